//! rotord's own format.

use http::{Method, StatusCode};
use rotord::engine::desk::{Judged, Verdict};
use rotord::incident::alert::Claim;
use rotord::incident::decide::{Action, Doubt};
use rotord::intake::generic::{Generic, Settings};
use rotord::intake::{Rejected, Source as _};
use rotord::model::clue::Clue;
use rotord::model::id::{IncidentId, KeyId, SecretName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::model::version::Stage;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;
use rotord::signing::{self, xpi};
use serde_json::{Value, json};

use super::{
    CANARY, Log, Sent, THEN, Vault, assert_silent, digest_of, field, place, recorded, said,
};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn source(trusted: bool) -> Generic {
    let vault = Vault::new(&[("current", KEY)]);
    Generic::new(Settings { keys: vec![field("current")], trusted }, vault.secrets())
}

fn key(text: &str) -> SigningKey {
    SigningKey::new(&SecretBytes::new(text.as_bytes().to_vec())).unwrap()
}

/// Signed in both schemes, so many seconds ahead of its arrival.
fn signed(body: &str, with: &str, ahead: i64) -> Sent {
    let id = MessageId::new("msg_1").unwrap();
    let at = Timestamp::from_seconds(THEN + ahead);
    let headers = signing::headers(&[key(with)], &id, at, body.as_bytes());
    headers.iter().fold(Sent::post(body), |sent, (name, value)| sent.with(name, value))
}

fn without(mut sent: Sent, prefix: &str) -> Sent {
    let names: Vec<_> = sent.headers.keys().cloned().collect();
    for name in names.iter().filter(|name| name.as_str().starts_with(prefix)) {
        sent.headers.remove(name);
    }
    sent
}

fn body(findings: Value) -> String {
    json!({ "id": "scan-1", "findings": findings }).to_string()
}

#[tokio::test]
async fn what_other_libraries_signed_is_believed() {
    let all = recorded("standard-webhooks");
    assert_eq!(all.len(), 4);
    for one in all {
        let vault = Vault::new(&[("current", OTHER), ("previous", &one.secret)]);
        let keys = vec![field("current"), field("previous")];
        let source = Generic::new(Settings { keys, trusted: false }, vault.secrets());
        assert_eq!(one.timestamp, THEN);
        let sent = Sent::post(one.body)
            .with("webhook-id", &one.id)
            .with("webhook-timestamp", &one.timestamp.to_string())
            .with("webhook-signature", &one.signature);
        let message = sent.alert(&source).await;
        assert_eq!(message.id, "scan-4711", "{}", one.made_by);
        assert_eq!(message.key.as_deref(), Some("scan-4711"));
        let [finding] = &message.findings[..] else { panic!("one finding") };
        assert_eq!(finding.clues[0], digest_of(CANARY));
        assert_eq!((finding.label.as_str(), finding.claim), ("rotord key", Claim::Public));
        assert_eq!(place(finding), "https://git.example/app/blob/main/.env#L7");
    }
}

#[tokio::test]
async fn either_scheme_is_enough_and_the_signature_comes_before_the_moment() {
    let source = source(false);
    let body = body(json!([]));
    for prefix in ["none", "webhook-", "x-pi-"] {
        for ahead in [0, 300, -300] {
            let sent = without(signed(&body, KEY, ahead), prefix);
            assert!(sent.to(&source).await.is_ok(), "{prefix} {ahead}");
        }
        for ahead in [301, -301, 100_000] {
            let sent = without(signed(&body, KEY, ahead), prefix);
            assert_eq!(sent.refused(&source).await, Rejected::Stale, "{prefix} {ahead}");
            let sent = without(signed(&body, OTHER, ahead), prefix);
            assert_eq!(sent.refused(&source).await, Rejected::Unauthenticated);
        }
    }
    let unsigned = Sent::post(body.clone());
    assert_eq!(unsigned.refused(&source).await, Rejected::Unauthenticated);
    let twice = signed(&body, KEY, 0);
    let again = twice.headers["webhook-signature"].to_str().unwrap().to_owned();
    let twice = without(twice.with("webhook-signature", &again), "x-pi-");
    assert_eq!(twice.refused(&source).await, Rejected::Unauthenticated, "which one counts?");
    let not_a_time = xpi::sign(&key(KEY), Timestamp::from_seconds(THEN), body.as_bytes());
    let sent = Sent::post(body).with("x-pi-timestamp", "now").with("x-pi-signature", &not_a_time);
    assert_eq!(sent.refused(&source).await, Rejected::Unauthenticated);
}

#[tokio::test]
async fn what_was_changed_or_cut_off_on_the_way_is_not_believed() {
    let source = source(false);
    let body = body(json!([{ "value": CANARY }]));
    for changed in [&body[..body.len() - 1], &format!("{body} "), "", "{}"] {
        let sent = Sent { body: SecretBytes::new(changed.into()), ..signed(&body, KEY, 0) };
        assert_eq!(sent.refused(&source).await, Rejected::Unauthenticated);
    }
    let replayed = signed(&body, KEY, 0).later(301);
    assert_eq!(replayed.refused(&source).await, Rejected::Stale);
    let elsewhere = Sent { rest: "/x", ..signed(&body, KEY, 0) };
    assert_eq!(elsewhere.refused(&source).await, Rejected::NoSuchEndpoint);
    let got = Sent { method: Method::GET, ..signed(&body, KEY, 0) };
    assert_eq!(got.refused(&source).await, Rejected::NoSuchEndpoint);
}

#[tokio::test]
async fn every_way_to_name_a_value_is_taken() {
    let source = source(false);
    let sha256 = "A".repeat(64);
    let body = body(json!([
        { "value": CANARY, "label": 7, "found_at": null, "more": { "x": [1] } },
        { "sha256": sha256 },
        { "sha1": "b".repeat(40), "found_at": "a.env:3" },
        { "key_id": "AKIAIOSFODNN7EXAMPLE" },
        { "vault_path": "/team/kv/billing/", "vault_version": 4, "public": true },
        { "vault_path": "kv/billing", "vault_version": null },
    ]));
    let message = signed(&body, KEY, 0).alert(&source).await;
    let clues: Vec<&Clue> = message.findings.iter().map(|finding| &finding.clues[0]).collect();
    assert_eq!(*clues[0], digest_of(CANARY));
    assert!(clues[1].proves_knowledge() && clues[2].proves_knowledge());
    assert_eq!(*clues[3], Clue::KeyId(KeyId("AKIAIOSFODNN7EXAMPLE".to_owned())));
    let path = |path: &str, version| Clue::VaultPlace { path: path.to_owned(), version };
    assert_eq!(*clues[4], path("team/kv/billing", Some(4)));
    assert_eq!(*clues[5], path("kv/billing", None));
    assert_eq!(message.findings[4].claim, Claim::Public);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_by_its_place() {
    let source = source(false);
    let one = "exactly one of value, sha256, sha1, key_id, vault_path";
    let fit = "not what is expected there";
    for (body, told) in [
        ("[]".to_owned(), format!("line 1, column 2: {fit}")),
        ("{".to_owned(), "line 1, column 1: the JSON ends too early".to_owned()),
        (r#"{"id":"a"}"#.to_owned(), format!("line 1, column 10: {fit}")),
        (r#"{"id":7,"findings":[]}"#.to_owned(), format!("line 1, column 7: {fit}")),
        (
            json!({"id": "", "findings": []}).to_string(),
            "id: 1 to 200 characters without control characters".to_owned(),
        ),
        (
            json!({"id": "a\nb", "findings": []}).to_string(),
            "id: 1 to 200 characters without control characters".to_owned(),
        ),
        (
            json!({"id": format!("x{CANARY}"), "findings": [{"value": CANARY}]}).to_string(),
            "id: it holds a value".to_owned(),
        ),
        (body(json!([{}])), format!("findings[0]: {one}")),
        (body(json!([{"sha1": "00"}])), "findings[0]: sha1: 40 hexadecimal digits".to_owned()),
        (
            body(json!([{"value": CANARY, "key_id": "a"}, {"value": 7}])),
            format!("findings[0]: {one}"),
        ),
        (body(json!([7])), format!("findings[0]: line 1, column 1: {fit}")),
        (body(json!([{ "key_id": "" }])), "findings[0]: key_id: 1 to 300 characters".to_owned()),
        (body(json!([{ "value": [CANARY] }])), format!("findings[0]: line 1, column 9: {fit}")),
    ] {
        let rejected = signed(&body, KEY, 0).refused(&source).await;
        assert_silent(&format!("{rejected} {rejected:?}"));
        let Rejected::Malformed(text) = rejected else { panic!("{rejected:?} for {body}") };
        assert_eq!(text, told);
    }
}

#[tokio::test]
async fn a_finding_that_cannot_be_read_keeps_no_other_from_being_taken() {
    let source = source(true);
    let body = body(json!([
        { "value": [CANARY] }, { "value": CANARY }, 7, { "sha1": "00" }, { "key_id": "AKIA" },
        { "value": CANARY, "sha1": "00" },
    ]));
    let message = signed(&body, KEY, 0).alert(&source).await;
    assert_eq!(message.findings.len(), 2);
    let odd: Vec<usize> = message.odd.iter().map(|odd| odd.at).collect();
    assert_eq!(odd, [0, 2, 3, 5]);
    let reply = source.answer(&message, &[verdict(Action::Rotate), Verdict::default()]);
    let told = &reply.body.as_ref().unwrap()["findings"];
    assert_eq!(told.as_array().unwrap().len(), 6, "one for each, in their order");
    assert_eq!(told[1]["versions"][0]["secret"], "billing-key");
    assert_eq!(told[3], json!({ "error": "sha1: 40 hexadecimal digits" }));
    assert_eq!(told[4], json!({ "versions": [] }));
    let one = "exactly one of value, sha256, sha1, key_id, vault_path";
    assert_eq!(told[5], json!({ "error": one }));
    assert_silent(&said(&message, &[reply]));
}

#[tokio::test]
async fn the_value_of_one_finding_is_in_no_text_of_another() {
    let source = source(false);
    let url: String = CANARY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, CANARY);
    let quoted = Value::from(CANARY).to_string();
    let texts = [CANARY, &url, &encoded, &quoted];
    let mut findings = vec![json!({ "value": quoted, "found_at": "a" })];
    findings.extend(texts.map(|text| {
        let (label, found_at) = (format!("at {text}"), format!("b/{text}:1"));
        json!({ "key_id": "AKIA", "label": label, "found_at": found_at })
    }));
    let message = signed(&body(Value::Array(findings)), KEY, 0).alert(&source).await;
    for finding in &message.findings[1..4] {
        assert_eq!((finding.label.as_str(), place(finding)), ("at [secret]", "b/[secret]:1"));
    }
    let said = said(&message, &[]);
    assert!(!said.contains(&encoded[4..]) && !said.contains(&url[9..]), "{said}");
    assert_silent(&said);
    let held = json!({"id": format!("x-{url}"), "findings": [{"value": CANARY}]}).to_string();
    let rejected = signed(&held, KEY, 0).refused(&source).await;
    assert_eq!(rejected, Rejected::Malformed("id: it holds a value".to_owned()));
}

#[tokio::test]
async fn a_large_message_is_taken_and_a_larger_one_not() {
    let source = source(false);
    let many = |count: usize| body(Value::Array(vec![json!({ "key_id": "k" }); count]));
    let message = signed(&many(10_000), KEY, 0).alert(&source).await;
    assert_eq!(message.findings.len(), 10_000);
    let rejected = signed(&many(10_001), KEY, 0).refused(&source).await;
    assert!(rejected.to_string().contains("more than 10000"), "{rejected}");
}

fn verdict(action: Action) -> Verdict {
    Verdict {
        ours: vec![Judged {
            secret: SecretName::new("billing-key").unwrap(),
            version: VersionId(3),
            stage: Stage::Current,
            action,
            incident: Some(IncidentId("20261122T031200Z-7f3a".to_owned())),
            rotation: None,
        }],
    }
}

#[tokio::test]
async fn names_are_answered_to_who_knows_a_value_or_is_trusted() {
    let body = body(json!([{ "value": CANARY }, { "key_id": "AKIA" }, { "sha1": "0".repeat(40) }]));
    let verdicts =
        [verdict(Action::Rotate), verdict(Action::Ask(Doubt::Unproved)), Verdict::default()];
    for trusted in [false, true] {
        let source = source(trusted);
        assert_eq!(source.trusted(), trusted);
        let message = signed(&body, KEY, 0).alert(&source).await;
        let reply = source.answer(&message, &verdicts);
        assert_eq!(reply.status, StatusCode::OK);
        let told = reply.body.clone().unwrap();
        assert_eq!(told["id"], "scan-1");
        let first = &told["findings"][0]["versions"][0];
        assert_eq!(first["secret"], "billing-key");
        assert_eq!(first["version"], 3);
        assert_eq!((&first["stage"], &first["action"]), (&json!("current"), &json!("rotate")));
        assert_eq!(told["findings"][1]["versions"].is_null(), !trusted);
        assert_eq!(told["findings"][2]["versions"], json!([]));
        assert_silent(&said(&message, &[reply]));
    }
}

#[tokio::test]
async fn the_value_is_nowhere_afterwards() {
    let log = Log::listen();
    let source = source(false);
    let body = body(json!([
        { "value": CANARY, "label": CANARY, "found_at": format!("a/{CANARY}/b") },
    ]));
    let message = signed(&body, KEY, 0).alert(&source).await;
    assert_eq!(message.findings[0].label, "[secret]");
    assert_eq!(place(&message.findings[0]), "a/[secret]/b");
    assert_silent(&said(&message, &[source.answer(&message, &[Verdict::default()])]));
    assert_silent(&format!("{source:?} {}", log.text()));
}
