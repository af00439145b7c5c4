//! GitLab's revocation API and its webhook.

use http::{Method, StatusCode};
use rotord::engine::desk::Verdict;
use rotord::incident::alert::Claim;
use rotord::intake::gitlab::{Hook, HookSettings, Revocation, RevocationSettings};
use rotord::intake::{Rejected, Source as _};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::{self, MessageId};
use serde_json::{Value, json};

use super::{
    CANARY, Log, NO_CONTENT, Sent, THEN, Vault, assert_silent, digest_of, field, place, said,
};

const TOKEN: &str = "shared-token-of-gitlab";
const OLD_TOKEN: &str = "shared-token-of-gitlab-before";
const SIGNING: &str = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=";
const KIND: &str = "gitleaks_rule_id_gitlab_rotord";

fn revocation() -> Revocation {
    let vault = Vault::new(&[("current", TOKEN), ("previous", OLD_TOKEN)]);
    let settings = RevocationSettings {
        tokens: vec![field("current"), field("previous")],
        token_types: vec![KIND.to_owned()],
        trusted: false,
    };
    Revocation::new(settings, vault.secrets())
}

fn hook() -> Hook {
    let vault = Vault::new(&[("current", SIGNING), ("previous", TOKEN)]);
    let keys = vec![field("current"), field("previous")];
    Hook::new(HookSettings { keys, trusted: false }, vault.secrets())
}

fn revoke(body: impl Into<Vec<u8>>) -> Sent {
    Sent { rest: "/v1/revoke_tokens", ..Sent::post(body).with("authorization", TOKEN) }
}

#[tokio::test]
async fn gitlab_is_told_which_types_it_may_send() {
    let source = revocation();
    let ask = || Sent { method: Method::GET, rest: "/v1/revocable_token_types", ..Sent::post("") };
    for token in [TOKEN, OLD_TOKEN, &format!("Bearer {TOKEN}")] {
        let (event, reply) = ask().with("authorization", token).nothing(&source).await;
        assert_eq!(event, "revocable_token_types");
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.body, Some(json!({ "types": [KIND] })));
    }
    for token in ["", "wrong", &TOKEN[1..], &format!("Basic {TOKEN}")] {
        let rejected = ask().with("authorization", token).refused(&source).await;
        assert_eq!(rejected, Rejected::Unauthenticated, "{token:?}");
    }
    assert_eq!(ask().refused(&source).await, Rejected::Unauthenticated);
}

#[tokio::test]
async fn values_are_taken_in_and_answered_without_a_word() {
    let source = revocation();
    let body = json!([
        { "type": KIND, "token": CANARY, "location": "https://git.example/a/-/blob/b/c.env#L3" },
        { "type": "another", "token": "also-looked-up", "location": null, "new": {} },
        { "type": KIND, "token": 7 },
        "nonsense",
    ]);
    let message = revoke(body.to_string()).alert(&source).await;
    assert_eq!(message.findings.len(), 2);
    assert_eq!(message.odd.iter().map(|odd| odd.at).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(message.key, None, "GitLab names no call; what it brings about is done once");
    let first = &message.findings[0];
    assert_eq!(first.clues[0], digest_of(CANARY));
    assert_eq!((first.label.as_str(), first.claim), (KIND, Claim::Public));
    assert_eq!(place(first), "https://git.example/a/-/blob/b/c.env#L3");
    assert_eq!(source.answer(&message, &vec![Verdict::default(); 2]), NO_CONTENT);
    assert!(revoke("[]").alert(&source).await.findings.is_empty());
}

#[tokio::test]
async fn nothing_that_could_be_looked_up_is_not_to_be_sent_again() {
    let source = revocation();
    for body in [
        json!([{ "type": "another", "token": CANARY }]).to_string(),
        json!([{ "type": KIND }]).to_string(),
        json!([[CANARY]]).to_string(),
        json!({ "token": CANARY }).to_string(),
        format!("[{{\"type\":\"{KIND}\",\"token\":\"{}", &CANARY[..12]),
        "[".repeat(100_000),
        String::new(),
    ] {
        let rejected = revoke(body).refused(&source).await;
        assert!(matches!(rejected, Rejected::Malformed(_)), "{rejected:?}");
        assert_silent(&format!("{rejected} {rejected:?}"));
    }
    for (method, rest) in
        [(Method::POST, ""), (Method::GET, "/v1/revoke_tokens"), (Method::POST, "/v1/other")]
    {
        let sent = Sent { method, rest, ..revoke("[]") };
        assert_eq!(sent.refused(&source).await, Rejected::NoSuchEndpoint);
    }
    let wrong = Sent { rest: "/v1/revoke_tokens", ..Sent::post("[") }.with("authorization", "x");
    assert_eq!(wrong.refused(&source).await, Rejected::Unauthenticated, "before it is read");
}

fn vulnerability(report_type: &str, state: &str) -> Value {
    json!({
        "object_kind": "vulnerability",
        "object_attributes": {
            "id": 73, "url": "https://git.example/a/-/security/vulnerabilities/73?x=y",
            "title": "rotord key", "state": state, "report_type": report_type,
            "severity": "critical", "location": { "file": "c.env" }, "issues": [],
            "identifiers": [{
                "name": "Gitleaks rule ID rotord", "external_type": "gitleaks_rule_id",
                "external_id": "rotord", "url": null,
            }],
        },
    })
}

fn hooked(body: &Value) -> Sent {
    Sent::post(body.to_string())
        .with("x-gitlab-event", "Vulnerability Hook")
        .with("x-gitlab-token", TOKEN)
        .with("idempotency-key", "11-22")
}

#[tokio::test]
async fn a_found_value_is_noted_by_its_place() {
    let source = hook();
    for (state, claim) in [
        ("detected", Claim::Leaked),
        ("confirmed", Claim::Leaked),
        ("dismissed", Claim::Withdrawn),
        ("resolved", Claim::Withdrawn),
    ] {
        let message = hooked(&vulnerability("secret_detection", state)).alert(&source).await;
        assert_eq!((message.id.as_str(), message.key.as_deref()), ("73", Some("11-22")));
        let [finding] = &message.findings[..] else { panic!("one finding") };
        assert_eq!((finding.claim, finding.label.as_str()), (claim, "Gitleaks rule ID rotord"));
        assert_eq!(place(finding), "https://git.example/a/-/security/vulnerabilities/73");
        assert!(finding.clues.is_empty(), "the message has no digest");
    }
    let mut with_digest = vulnerability("secret_detection", "detected");
    let value = SecretBytes::new(CANARY.as_bytes().to_vec());
    let digest = rotord::model::clue::ValueDigest::of(rotord::model::clue::Form::Sha256, &value);
    let cve = format!("c.env:{}:rotord", hex::encode(digest.expose()));
    with_digest["object_attributes"]["cve"] = json!(cve);
    let message = hooked(&with_digest).alert(&source).await;
    assert_eq!(message.findings[0].clues, [digest_of(CANARY)]);
}

#[tokio::test]
async fn what_is_no_found_value_means_nothing() {
    let source = hook();
    let dependency = vulnerability("dependency_scanning", "detected");
    assert_eq!(hooked(&dependency).nothing(&source).await, ("other_report_type", NO_CONTENT));
    let mut issue = vulnerability("secret_detection", "detected");
    issue["object_kind"] = json!("issue");
    assert_eq!(hooked(&issue).nothing(&source).await, ("other_event", NO_CONTENT));
    let push = Sent::post("{}").with("x-gitlab-token", TOKEN).with("x-gitlab-event", "Push Hook");
    assert_eq!(push.nothing(&source).await, ("other_event", NO_CONTENT));
    for bad in ["", "[]", "{", r#"{"object_kind":"vulnerability"}"#] {
        let sent = Sent { body: SecretBytes::new(bad.into()), ..hooked(&dependency) };
        assert!(matches!(sent.refused(&source).await, Rejected::Malformed(_)), "{bad}");
    }
}

#[tokio::test]
async fn the_hook_signs_or_sends_its_token() {
    let source = hook();
    let body = vulnerability("secret_detection", "detected").to_string();
    let key = |text: &str| SigningKey::new(&SecretBytes::new(text.into())).unwrap();
    let signed = |with: &str, seconds: i64| {
        let id = MessageId::new("msg_9").unwrap();
        let at = Timestamp::from_seconds(THEN);
        let signature = standard::sign(&[key(with)], &id, at, body.as_bytes());
        Sent::post(body.clone())
            .with("x-gitlab-event", "Vulnerability Hook")
            .with("webhook-id", "msg_9")
            .with("webhook-timestamp", &THEN.to_string())
            .with("webhook-signature", &signature)
            .later(seconds)
    };
    let message = signed(SIGNING, 300).alert(&source).await;
    assert_eq!(message.key.as_deref(), Some("msg_9"));
    assert_eq!(signed(SIGNING, 301).refused(&source).await, Rejected::Stale);
    let wrong = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    assert_eq!(signed(wrong, 0).refused(&source).await, Rejected::Unauthenticated);
    let neither = Sent::post(body.clone()).with("x-gitlab-token", &TOKEN[1..]);
    assert_eq!(neither.refused(&source).await, Rejected::Unauthenticated);
}

#[tokio::test]
async fn the_value_is_nowhere_afterwards() {
    let log = Log::listen();
    let source = revocation();
    let body = json!([{ "type": CANARY, "token": CANARY, "location": CANARY },
                      { "type": KIND, "token": CANARY, "location": format!("x {CANARY}") }]);
    let message = revoke(body.to_string()).alert(&source).await;
    assert_eq!(message.findings[0].label, "[secret]");
    assert_silent(&said(&message, &[source.answer(&message, &[])]));
    assert_silent(&format!("{source:?} {:?} {}", hook(), log.text()));
}
