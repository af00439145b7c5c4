//! GitHub's partner programme, with its list of keys as a server of ours.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, StatusCode};
use rotord::engine::desk::{Judged, Verdict};
use rotord::incident::alert::Claim;
use rotord::incident::decide::Action;
use rotord::intake::github_partner::{
    FLOOR, GitHubPartner, KEEP, KEY_HEADER, LATELY_DEFAULT, SIGNATURE_HEADER, Settings,
};
use rotord::intake::{Rejected, Source as _};
use rotord::model::id::{SecretName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::version::Stage;
use serde_json::{Value, json};

use super::fake::{Fake, Told};
use super::{CANARY, Log, NO_CONTENT, Sent, Vault, assert_silent, digest_of, field, place, said};

const PUBLISHED_KEYS: &str = include_str!("../../fixtures/alerts/github_partner/public_keys.json");
const PUBLISHED_BODY: &str = include_str!("../../fixtures/alerts/github_partner/body.json");
const PUBLISHED_ID: &str = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c";
const PUBLISHED_SIGNATURE: &str = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4\
                                   XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";

/// A key of ours in GitHub's place.
struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Signer {
        Signer { id, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap() }
    }

    fn listed(&self, is_current: bool) -> Value {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        json!({ "key_identifier": self.id, "key": pem, "is_current": is_current })
    }

    fn send(&self, body: &str) -> Sent {
        let signature = self.pair.sign(&SystemRandom::new(), body.as_bytes()).unwrap();
        Sent::post(body)
            .with(KEY_HEADER.as_str(), self.id)
            .with(SIGNATURE_HEADER.as_str(), &STANDARD.encode(signature))
    }
}

fn settings(fake: &Fake) -> Settings {
    Settings {
        keys_url: fake.url("/meta/public_keys/secret_scanning"),
        token: None,
        key_header: KEY_HEADER,
        signature_header: SIGNATURE_HEADER,
        lately: LATELY_DEFAULT,
        feedback: true,
        ca_file: None,
        allow_http: false,
        trusted: false,
    }
}

fn source(settings: Settings) -> GitHubPartner {
    let vault = Vault::new(&[("token", "ghp_token-for-the-list")]);
    GitHubPartner::new(settings, vault.secrets()).unwrap()
}

fn list(keys: &[Value]) -> Told {
    Told::json(json!({ "public_keys": keys, "new": 1 }))
}

fn seconds(span: rotord::model::time::Span) -> i64 {
    i64::try_from(span.0 / 1000).unwrap()
}

#[tokio::test]
async fn the_published_message_is_believed() {
    let fake = Fake::start(|_| Told::json(PUBLISHED_KEYS)).await;
    let source = source(settings(&fake));
    let sent = |id: &str| {
        Sent::post(PUBLISHED_BODY)
            .with("Github-Public-Key-Identifier", id)
            .with("GITHUB-PUBLIC-KEY-SIGNATURE", PUBLISHED_SIGNATURE)
    };
    let message = sent(PUBLISHED_ID).alert(&source).await;
    let [finding] = &message.findings[..] else { panic!("one finding") };
    assert_eq!(finding.clues[0], digest_of("some_token"));
    assert_eq!((finding.label.as_str(), finding.claim), ("some_type", Claim::Public));
    assert_eq!(place(finding), "https://example.com/base-repo-url/");
    let reply = source.answer(&message, &[Verdict::default()]);
    let hash = hex::encode(digest(&SHA256, b"some_token"));
    let feedback =
        json!([{ "token_hash": hash, "token_type": "some_type", "label": "false_positive" }]);
    assert_eq!((reply.status, reply.body), (StatusCode::OK, Some(feedback)));

    let mut longer = sent(PUBLISHED_ID);
    longer.body = SecretBytes::new(format!("{PUBLISHED_BODY}\n").into_bytes());
    assert_eq!(longer.refused(&source).await, Rejected::Unauthenticated);
    let not_current = "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a";
    assert_eq!(sent(not_current).refused(&source).await, Rejected::Unauthenticated);
}

#[tokio::test]
async fn header_names_key_address_and_token_are_settings() {
    let signer = Signer::new("k1");
    let key = signer.listed(true);
    let fake = Fake::start(move |_| list(std::slice::from_ref(&key))).await;
    let source = source(Settings {
        key_header: HeaderName::from_static("gosst-public-key-identifier"),
        signature_header: HeaderName::from_static("gosst-public-key-signature"),
        keys_url: fake.url("/keys"),
        token: Some(field("token")),
        feedback: false,
        ..settings(&fake)
    });
    let usual = signer.send("[]");
    assert_eq!(usual.refused(&source).await, Rejected::Unauthenticated);
    assert!(fake.take().is_empty(), "without the headers nobody is asked");
    let signature = usual.headers[&SIGNATURE_HEADER].to_str().unwrap().to_owned();
    let sent = Sent::post("[]")
        .with("gosst-public-key-identifier", "k1")
        .with("gosst-public-key-signature", &signature);
    let message = sent.alert(&source).await;
    assert_eq!(source.answer(&message, &[]), NO_CONTENT, "no feedback was asked for");
    let [call] = &fake.take()[..] else { panic!("one request") };
    assert_eq!(call.place, "/keys");
    assert_eq!(call.authorization, "Bearer ghp_token-for-the-list");
}

#[tokio::test]
async fn keys_are_kept_and_asked_for_again_only_if_something_changed() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let old = one.listed(true);
    let fake = Fake::start(move |call| match &call.if_none_match {
        Some(etag) if etag == "\"v1\"" => Told::status(304),
        _ => {
            let Told(status, _, body) = list(std::slice::from_ref(&old));
            Told(status, vec![("etag", "\"v1\"".to_owned())], body)
        }
    })
    .await;
    let source = source(settings(&fake));
    for later in [0, 1, seconds(KEEP) - 1] {
        one.send("[]").later(later).alert(&source).await;
    }
    assert_eq!(fake.take().len(), 1);
    for later in [seconds(KEEP), 2 * seconds(KEEP), 2 * seconds(KEEP) + 59] {
        one.send("[]").later(later).alert(&source).await;
    }
    let calls = fake.take();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.if_none_match.as_deref() == Some("\"v1\"")));

    let both = [one.listed(false), two.listed(true)];
    fake.answers(move |_| list(&both));
    let start = 2 * seconds(KEEP);
    let early = two.send("[]").later(start + seconds(FLOOR) - 1);
    assert_eq!(early.refused(&source).await, Rejected::Unauthenticated);
    assert!(fake.take().is_empty());
    two.send("[]").later(start + seconds(FLOOR)).alert(&source).await;
    assert_eq!(fake.take().len(), 1, "an unknown key is asked for once");

    let lately = start + seconds(LATELY_DEFAULT);
    one.send("[]").later(lately).alert(&source).await;
    let too_late = one.send("[]").later(lately + 1);
    assert_eq!(too_late.refused(&source).await, Rejected::Unauthenticated);
    two.send("[]").later(lately + 1).alert(&source).await;
}

#[tokio::test]
async fn forged_key_ids_do_not_make_us_ask_again_and_again() {
    let signer = Signer::new("k1");
    let key = signer.listed(true);
    let fake = Fake::start(move |_| list(std::slice::from_ref(&key))).await;
    let source = source(settings(&fake));
    for n in 0..1_000 {
        let forged = Sent::post("[]")
            .with(KEY_HEADER.as_str(), &format!("forged-{n}"))
            .with(SIGNATURE_HEADER.as_str(), PUBLISHED_SIGNATURE);
        assert_eq!(forged.refused(&source).await, Rejected::Unauthenticated);
    }
    assert_eq!(fake.take().len(), 1);
    signer.send("[]").alert(&source).await;
    let stranger = Signer { id: "k1", ..Signer::new("x") };
    assert_eq!(stranger.send("[]").refused(&source).await, Rejected::Unauthenticated);
    let long = Signer { id: "", ..Signer::new("x") }.send("[]");
    assert_eq!(long.refused(&source).await, Rejected::Unauthenticated);
}

#[tokio::test]
async fn a_list_that_does_not_come_is_no_answer_and_one_bad_key_spoils_nothing() {
    let log = Log::listen();
    let signer = Signer::new("k1");
    let fake = Fake::start(|_| Told::status(500)).await;
    let source = source(settings(&fake));
    let sent = |later| signer.send("[]").later(later);
    assert_eq!(sent(0).refused(&source).await, Rejected::Unavailable);
    assert_eq!(sent(1).refused(&source).await, Rejected::Unavailable);
    assert_eq!(fake.take().len(), 1, "a failure is not repeated hot");
    for (n, bad) in ["", "[]", "{\"public_keys\":7}"].into_iter().enumerate() {
        fake.answers(move |_| Told::json(bad));
        let later = seconds(FLOOR) * (i64::try_from(n).unwrap() + 1);
        assert_eq!(sent(later).refused(&source).await, Rejected::Unavailable, "{bad}");
    }
    assert!(log.text().contains("public keys"), "{}", log.text());
    let good = signer.listed(true);
    let rsa =
        json!({ "key_identifier": "r", "key": "-----BEGIN PUBLIC KEY-----", "is_current": 1 });
    fake.answers(move |_| list(&[json!(7), rsa.clone(), good.clone()]));
    sent(600).alert(&source).await;
    fake.answers(|_| Told::status(500));
    sent(600 + seconds(KEEP)).alert(&source).await;
}

#[tokio::test]
async fn a_bad_record_does_not_spoil_the_others() {
    let signer = Signer::new("k1");
    let key = signer.listed(true);
    let fake = Fake::start(move |_| list(std::slice::from_ref(&key))).await;
    let source = source(settings(&fake));
    let body = json!([
        { "token": CANARY, "type": "rotord_key", "url": "", "source": "Gist_content", "new": {} },
        { "token": 7, "type": "rotord_key" },
        { "type": "rotord_key" },
        "token",
        null,
        { "token": "", "type": "x" },
        { "token": "another-token", "type": null, "url": [] },
    ]);
    let message = signer.send(&body.to_string()).alert(&source).await;
    assert_eq!(message.findings.len(), 2);
    assert_eq!(place(&message.findings[0]), "Gist_content");
    let ours = Verdict {
        ours: vec![Judged {
            secret: SecretName::new("billing-key").unwrap(),
            version: VersionId(3),
            stage: Stage::Revoked,
            action: Action::AlreadyRevoked,
            incident: None,
            rotation: None,
        }],
    };
    let reply = source.answer(&message, &[ours, Verdict::default()]).body.unwrap();
    let labels: Vec<&Value> = reply.as_array().unwrap().iter().map(|one| &one["label"]).collect();
    assert_eq!(labels, ["true_positive", "false_positive"]);
    assert!(!reply.to_string().contains("token_raw"));

    for body in ["", "[", "{}", "[7]", "[{}]", &"[".repeat(100_000)] {
        let rejected = signer.send(body).refused(&source).await;
        assert!(matches!(rejected, Rejected::Malformed(_)), "{rejected:?}");
    }
    let many = format!("[{}]", vec!["{\"token\":\"t\"}"; 10_001].join(","));
    assert!(matches!(signer.send(&many).refused(&source).await, Rejected::Malformed(_)));
    let elsewhere = Sent { rest: "/x", ..signer.send("[]") };
    assert_eq!(elsewhere.refused(&source).await, Rejected::NoSuchEndpoint);
}

#[tokio::test]
async fn the_value_is_nowhere_afterwards() {
    let log = Log::listen();
    let signer = Signer::new("k1");
    let key = signer.listed(true);
    let fake = Fake::start(move |_| list(std::slice::from_ref(&key))).await;
    let source = source(settings(&fake));
    let body = json!([
        { "token": CANARY, "type": CANARY, "url": format!("https://x.example/?k={CANARY}") },
        { "token": [CANARY] },
    ]);
    let message = signer.send(&body.to_string()).alert(&source).await;
    let reply = source.answer(&message, &[Verdict::default()]);
    assert_silent(&said(&message, &[reply]));
    assert_silent(&format!("{source:?} {}", log.text()));
    assert_eq!(message.odd.iter().map(|odd| odd.at).collect::<Vec<_>>(), [1]);
}
