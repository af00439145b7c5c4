//! Published vectors, the sides of every boundary, and what must not pass.

use serde::Deserialize;

use super::key::{BadKey, SigningKey};
use super::proof::Statement;
use super::standard::{self, MessageId};
use super::{Refusal, headers, xpi};
use crate::model::id::{Generation, VersionId};
use crate::model::material::SecretBytes;
use crate::model::time::Timestamp;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &[u8] = b"{\"test\": 2432232314}";

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn key(text: &str) -> SigningKey {
    SigningKey::new(&secret(text)).unwrap()
}

fn id() -> MessageId {
    MessageId::new("msg_p5jXN8AQM9LWM0D4loKWxJek").unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn check(
    keys: &[SigningKey],
    signature: &str,
    timestamp: &str,
    now: i64,
) -> Result<usize, Refusal> {
    let id = id();
    let message = standard::Message { id: id.as_str(), timestamp, signature, body: BODY };
    standard::verify(keys, &message, at(now))
}

#[derive(Deserialize)]
pub(super) struct Vector {
    scheme: String,
    pub(super) secret: Option<String>,
    id: Option<String>,
    pub(super) timestamp: Option<serde_json::Value>,
    pub(super) body: Option<String>,
    pub(super) header: Option<std::collections::BTreeMap<String, String>>,
}

/// The published vectors of one scheme.
pub(super) fn vectors(scheme: &str) -> Vec<Vector> {
    let text = include_str!("../../tests/fixtures/signing.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    vectors.into_iter().filter(|vector| vector.scheme == scheme).collect()
}

#[test]
fn published_standard_webhooks_vectors_are_made_and_verified() {
    let ours = vectors("standard-webhooks-v1");
    assert_eq!(ours.len(), 3);
    for vector in ours {
        let keys = [key(&vector.secret.unwrap())];
        let id = MessageId::new(vector.id.unwrap()).unwrap();
        let seconds = vector.timestamp.unwrap().as_i64().unwrap();
        let body = vector.body.unwrap();
        let signature = vector.header.unwrap()["webhook-signature"].clone();
        assert_eq!(standard::sign(&keys, &id, at(seconds), body.as_bytes()), signature);
        let message = standard::Message {
            id: id.as_str(),
            timestamp: &seconds.to_string(),
            signature: &signature,
            body: body.as_bytes(),
        };
        assert_eq!(standard::verify(&keys, &message, at(seconds)), Ok(0));
    }
}

#[test]
fn two_keys_sign_new_first_with_one_space_between() {
    let both = standard::sign(&[key(NEW), key(OLD)], &id(), at(1_614_265_330), BODY);
    let parts: Vec<&str> = both.split(' ').collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0], standard::sign(&[key(NEW)], &id(), at(1_614_265_330), BODY));
    assert_eq!(parts[1], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(check(&[key(OLD)], &both, "1614265330", 1_614_265_330), Ok(0));
    assert_eq!(check(&[key(NEW)], &both, "1614265330", 1_614_265_330), Ok(0));
    assert_eq!(check(&[key(NEW), key(OLD)], parts[1], "1614265330", 1_614_265_330), Ok(1));
}

#[test]
fn the_tolerance_holds_both_ways_and_comes_after_the_signature() {
    let now = 1_614_265_330;
    let keys = [key(OLD)];
    for (offset, expected) in [
        (0, Ok(0)),
        (300, Ok(0)),
        (-300, Ok(0)),
        (301, Err(Refusal::OutOfTolerance)),
        (-301, Err(Refusal::OutOfTolerance)),
    ] {
        let signed_at = now + offset;
        let signature = standard::sign(&keys, &id(), at(signed_at), BODY);
        let timestamp = signed_at.to_string();
        assert_eq!(check(&keys, &signature, &timestamp, now), expected, "{offset}");
        let other = check(&[key(NEW)], &signature, &timestamp, now);
        assert_eq!(other, Err(Refusal::BadSignature), "{offset}");

        let signature = xpi::sign(&keys[0], at(signed_at), BODY);
        let message = xpi::Message { timestamp: &timestamp, signature: &signature, body: BODY };
        assert_eq!(xpi::verify(&keys, &message, at(now)), expected, "{offset}");
    }
}

#[test]
fn a_signed_timestamp_that_is_no_plain_number_is_refused() {
    let key_of = key(OLD);
    for text in ["+1614265330", "01614265330", " 1614265330", "1614265330.0", "", "0x60", "١"] {
        let signature = hex::encode(key_of.mac(&[text.as_bytes(), b".", BODY]));
        let message = xpi::Message { timestamp: text, signature: &signature, body: BODY };
        let judged = xpi::verify(std::slice::from_ref(&key_of), &message, at(1_614_265_330));
        assert_eq!(judged, Err(Refusal::BadTimestamp), "{text:?}");
    }
}

#[test]
fn what_was_changed_on_the_way_does_not_pass() {
    let keys = [key(OLD)];
    let (now, stamp) = (1_614_265_330, "1614265330");
    let good = standard::sign(&keys, &id(), at(now), BODY);
    let refused = Err(Refusal::BadSignature);
    let doubled = format!("v1,AAAA  {good}");
    assert_eq!(check(&keys, &doubled, stamp, now), Ok(0), "a stray space alone refuses nothing");
    for signature in ["", "v1", "v1,", "v1,AAAA", &good[3..], &good.replace("v1,", "v2,")] {
        assert_eq!(check(&keys, signature, stamp, now), refused, "{signature:?}");
    }
    assert_eq!(check(&keys, &good, "1614265331", now), refused);
    assert_eq!(check(&[], &good, stamp, now), refused);
    let late: Vec<&str> = std::iter::repeat_n("v1a,x", 20).chain([good.as_str()]).collect();
    assert_eq!(check(&keys, &late.join(" "), stamp, now), Ok(0), "unknown versions are skipped");
}

#[test]
fn an_id_with_a_dot_cannot_shift_the_signed_bytes() {
    let keys = [key(OLD)];
    let signed = standard::sign(&keys, &MessageId::new("m").unwrap(), at(100), b"200.rest");
    let shifted =
        standard::Message { id: "m.100", timestamp: "200", signature: &signed, body: b"rest" };
    assert_eq!(standard::verify(&keys, &shifted, at(200)), Err(Refusal::BadSignature));
    assert!(MessageId::new("m.1").is_err());
    assert!(MessageId::new("").is_err());
}

#[test]
fn xpi_is_lower_case_hex_over_timestamp_dot_body() {
    // Computed with: printf '1614265330.hello' | openssl dgst -sha256 -hmac <key>
    let keys = [key("0123456789abcdef0123456789abcdef")];
    let right = "21fcdda5fd9bac9026c07fb533a8b68998a17ad30e035a5af41a209f79bf8aed";
    assert_eq!(xpi::sign(&keys[0], at(1_614_265_330), b"hello"), right);
    let verify = |signature: &str| {
        let message = xpi::Message { timestamp: "1614265330", signature, body: b"hello" };
        xpi::verify(&keys, &message, at(1_614_265_330))
    };
    assert_eq!(verify(right), Ok(0));
    assert_eq!(verify(&right.to_uppercase()), Err(Refusal::BadSignature));
    assert_eq!(verify(&right[2..]), Err(Refusal::BadSignature));
    assert_eq!(verify(""), Err(Refusal::BadSignature));
}

#[test]
fn one_request_carries_both_schemes() {
    let keys = [key(NEW), key(OLD)];
    let made = headers(&keys, &id(), at(1_614_265_330), BODY);
    let names: Vec<&str> = made.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "x-pi-timestamp",
            "x-pi-signature"
        ]
    );
    assert_eq!(made[4].1, xpi::sign(&key(NEW), at(1_614_265_330), BODY));
}

#[test]
fn keys_come_as_whsec_or_raw_and_not_shorter_than_a_key() {
    let refused = |text: &str| SigningKey::new(&secret(text)).unwrap_err();
    assert_eq!(refused("whsec_"), BadKey::Short);
    assert_eq!(refused("whsec_c2hvcnQ="), BadKey::Short);
    assert_eq!(refused("whsec_***"), BadKey::NotBase64);
    assert_eq!(refused("short"), BadKey::Short);
    let padded = key("whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=");
    let bare = key("whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c");
    assert_eq!(padded.mac(&[b"x"]), bare.mac(&[b"x"]));
    assert_eq!(format!("{padded:?}"), "[key]");
}

fn statement<'a>(accepted: &'a [VersionId]) -> Statement<'a> {
    Statement {
        target: "billing-api",
        environment: "prod",
        instance: "billing-api-0",
        covers_all: false,
        generation: Generation(12),
        accepted,
        current: Some(VersionId(3)),
        nonce: "00112233445566778899aabbccddeeff",
    }
}

#[test]
fn a_proof_covers_every_part_of_the_statement() {
    let value = secret(NEW);
    let accepted = [VersionId(4), VersionId(3)];
    let said = statement(&accepted);
    let proof = said.prove(&value).unwrap();
    assert!(said.is_proved(&value, &proof));
    assert!(!said.is_proved(&secret(OLD), &proof));
    assert!(!said.is_proved(&value, ""));
    assert!(!said.is_proved(&value, &proof[2..]));
    let fewer = [VersionId(4)];
    let joined = [VersionId(43)];
    let changes = [
        Statement { target: "billing-apj", ..said },
        Statement { environment: "staging", ..said },
        Statement { instance: "billing-api-1", ..said },
        Statement { covers_all: true, ..said },
        Statement { generation: Generation(13), ..said },
        Statement { accepted: &fewer, ..said },
        Statement { accepted: &joined, ..said },
        Statement { current: None, ..said },
        Statement { nonce: "10112233445566778899aabbccddeeff", ..said },
    ];
    for changed in changes {
        assert!(!changed.is_proved(&value, &proof), "{changed:?}");
    }
}

#[test]
fn a_proof_can_be_made_with_any_tool() {
    // printf 'rotord-proof-v1\nbilling-api\nprod\nbilling-api-0\nself\n12\n4,3\n3\n0011...' |
    //   openssl dgst -sha256 -hmac <the value as pushed>
    let proof = statement(&[VersionId(4), VersionId(3)]).prove(&secret(NEW)).unwrap();
    assert_eq!(proof, "397d8fef4fb8b8a47abd6f996c1db5e5ccce5e1d3d7bd29eddd486b163766a06");
}

#[test]
fn a_statement_that_could_be_read_in_two_ways_is_not_proved() {
    let said = Statement { instance: "a\nb", ..statement(&[]) };
    assert!(said.prove(&secret(NEW)).is_err());
    assert!(!said.is_proved(&secret(NEW), ""));
}
