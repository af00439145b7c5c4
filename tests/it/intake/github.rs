//! GitHub's webhooks, with its API as a server of ours.

use rotord::engine::desk::Verdict;
use rotord::incident::alert::Claim;
use rotord::intake::github::{GitHub, Settings, api};
use rotord::intake::{Rejected, Source as _};
use rotord::model::material::SecretBytes;
use rotord::signing::hub;
use serde_json::{Value, json};

use super::fake::{Fake, Told};
use super::said;
use super::{
    CANARY, Log, NO_CONTENT, Sent, Vault, assert_silent, digest_of, field, place, recorded,
};

const HOOK: &str = "the secret of the hook";
const OLD_HOOK: &str = "the secret of the hook before";
const TOKEN: &str = "ghp_token-that-reads-alerts";

fn source(fake: &Fake) -> GitHub {
    let vault = Vault::new(&[("current", HOOK), ("previous", OLD_HOOK), ("token", TOKEN)]);
    GitHub::new(settings(fake), vault.secrets()).unwrap()
}

pub(super) fn api(fake: &Fake) -> api::Settings {
    let token = field("token");
    api::Settings { base: fake.url("/api/v3"), token, ca_file: None, allow_http: false }
}

fn settings(fake: &Fake) -> Settings {
    let keys = vec![field("current"), field("previous")];
    Settings { keys, api: api(fake), trusted: false }
}

/// An alert as the API shows it.
fn shown() -> Value {
    json!({
        "number": 42, "state": "open", "secret": CANARY, "secret_type": "rotord_key",
        "html_url": "https://github.com/octo-org/hello/security/secret-scanning/42",
        "validity": "unknown", "publicly_leaked": false, "resolution": null,
        "first_location_detected": {
            "path": "src/app.env", "start_line": 7, "end_line": 7, "blob_sha": "ab",
            "commit_sha": "af5626b4a114abcb82d63db7c8082c3c4756e51b",
        },
    })
}

async fn fake(alert: Value) -> Fake {
    Fake::start(move |_| Told::json(&alert)).await
}

fn event(action: &str, alert: Value) -> Value {
    let mut whole = json!({ "number": 42, "validity": "unknown", "publicly_leaked": false });
    whole.as_object_mut().unwrap().extend(alert.as_object().unwrap().clone());
    json!({ "action": action, "alert": whole, "repository": { "full_name": "octo-org/hello" } })
}

fn sent(event: &str, body: &Value) -> Sent {
    signed(event, &body.to_string(), HOOK)
}

fn signed(event: &str, body: &str, with: &str) -> Sent {
    let key = SecretBytes::new(with.as_bytes().to_vec());
    Sent::post(body)
        .with("x-github-event", event)
        .with("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
        .with("x-hub-signature-256", &hub::sign(&key, body.as_bytes()))
}

const ALERT: &str = "secret_scanning_alert";

#[tokio::test]
async fn what_another_library_signed_is_believed_and_its_value_asked_for() {
    let fake = fake(shown()).await;
    let all = recorded("x-hub-signature-256");
    assert_eq!(all.len(), 2);
    for one in all {
        let vault = Vault::new(&[("current", &one.secret), ("token", TOKEN)]);
        let source = GitHub::new(settings(&fake), vault.secrets()).unwrap();
        let sent = Sent::post(one.body)
            .with("x-github-event", ALERT)
            .with("x-hub-signature-256", &one.signature);
        let message = sent.alert(&source).await;
        assert_eq!(message.id, "octo-org/hello#42", "{}", one.made_by);
        let [finding] = &message.findings[..] else { panic!("one finding") };
        assert_eq!(finding.clues[0], digest_of(CANARY));
        assert_eq!((finding.label.as_str(), finding.claim), ("rotord_key", Claim::Leaked));
        assert_eq!(place(finding), "octo-org/hello@af5626b4a114 src/app.env:7");
        let [call] = &fake.take()[..] else { panic!("one request") };
        assert_eq!(call.place, "/api/v3/repos/octo-org/hello/secret-scanning/alerts/42");
        assert_eq!(call.authorization, format!("Bearer {TOKEN}"));
    }
}

#[tokio::test]
async fn either_secret_signs_and_nothing_else_does() {
    let fake = fake(shown()).await;
    let source = source(&fake);
    let body = event("created", json!({})).to_string();
    for key in [HOOK, OLD_HOOK] {
        let message = signed(ALERT, &body, key).alert(&source).await;
        assert_eq!(message.key.as_deref(), Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
    }
    fake.take();
    let good = signed(ALERT, &body, HOOK);
    let changed = Sent { body: SecretBytes::new(format!("{body}\n").into_bytes()), ..good };
    let cut = Sent { body: SecretBytes::new(body[..40].into()), ..signed(ALERT, &body, HOOK) };
    let sha1 = Sent::post(body.clone()).with("x-hub-signature", "sha1=00");
    for sent in [changed, cut, sha1, signed(ALERT, &body, "another secret"), Sent::post(body)] {
        assert_eq!(sent.refused(&source).await, Rejected::Unauthenticated);
    }
    assert!(fake.take().is_empty(), "who is not believed makes us ask nobody");
}

#[tokio::test]
async fn each_action_has_its_meaning() {
    let fake = fake(shown()).await;
    let source = source(&fake);
    use Claim::{Leaked, Public, Withdrawn};
    for (action, alert, claim) in [
        ("created", json!({}), Leaked),
        ("created", json!({ "validity": "active" }), Leaked),
        ("created", json!({ "validity": "inactive" }), Withdrawn),
        ("created", json!({ "publicly_leaked": true }), Public),
        ("created", json!({ "publicly_leaked": null, "validity": null, "new": [] }), Leaked),
        ("publicly_leaked", json!({}), Public),
        ("reopened", json!({}), Leaked),
        ("reopened", json!({ "validity": "inactive" }), Withdrawn),
        ("validated", json!({ "validity": "active" }), Leaked),
        ("validated", json!({ "validity": "inactive" }), Withdrawn),
        ("resolved", json!({ "resolution": "false_positive" }), Withdrawn),
        ("resolved", json!({ "resolution": "used_in_tests" }), Withdrawn),
    ] {
        let message = sent(ALERT, &event(action, alert.clone())).alert(&source).await;
        assert_eq!(message.findings[0].claim, claim, "{action} {alert}");
        assert_eq!(source.answer(&message, &[Verdict::default()]), NO_CONTENT);
    }
    fake.take();
    for (action, alert, told) in [
        ("validated", json!({}), "validated"),
        ("resolved", json!({ "resolution": "revoked" }), "resolved"),
        ("resolved", json!({ "resolution": "wont_fix" }), "resolved"),
        ("revoked", json!({}), "revoked"),
        ("assigned", json!({}), "assigned"),
        ("unassigned", json!({}), "unassigned"),
        ("invented", json!({}), "other_action"),
    ] {
        let answered = sent(ALERT, &event(action, alert)).nothing(&source).await;
        assert_eq!(answered, (told, NO_CONTENT), "{action}");
    }
    for (event, told) in [
        ("ping", "ping"),
        ("secret_scanning_scan", "secret_scanning_scan"),
        ("push", "other_event"),
    ] {
        let answered = sent(event, &json!({ "zen": "x" })).nothing(&source).await;
        assert_eq!(answered, (told, NO_CONTENT));
    }
    assert!(fake.take().is_empty(), "what means nothing makes us ask nobody");
}

#[tokio::test]
async fn what_the_api_knows_by_now_counts() {
    for (change, claim) in [
        (json!({ "publicly_leaked": true }), Claim::Public),
        (json!({ "validity": "inactive" }), Claim::Withdrawn),
        (json!({ "state": "resolved", "resolution": "false_positive" }), Claim::Withdrawn),
        (json!({ "state": "resolved", "resolution": "revoked" }), Claim::Leaked),
    ] {
        let mut alert = shown();
        alert.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let fake = fake(alert).await;
        let message = sent(ALERT, &event("created", json!({}))).alert(&source(&fake)).await;
        assert_eq!(message.findings[0].claim, claim, "{change}");
    }
}

#[tokio::test]
async fn a_new_place_is_named_as_github_describes_it() {
    let fake = fake(shown()).await;
    let source = source(&fake);
    for (details, told) in [
        (
            json!({ "path": "b.yml", "start_line": 3, "commit_sha": "0123456789abcdef" }),
            "octo-org/hello@0123456789ab b.yml:3",
        ),
        (
            json!({ "issue_title_url": "https://api.github.com/repos/o/h/issues/1347" }),
            "https://api.github.com/repos/o/h/issues/1347",
        ),
        (json!({}), "https://github.com/octo-org/hello/security/secret-scanning/42"),
    ] {
        let mut body = event("created", json!({}));
        body["location"] = json!({ "type": "commit", "details": details });
        let message = sent("secret_scanning_alert_location", &body).alert(&source).await;
        assert_eq!(place(&message.findings[0]), told);
        assert_eq!(message.findings[0].clues[0], digest_of(CANARY));
    }
}

#[tokio::test]
async fn what_cannot_be_fetched_is_not_taken_for_nothing() {
    let fake = fake(shown()).await;
    let source = source(&fake);
    let body = event("created", json!({}));
    let mut hidden = shown();
    hidden["secret"] = Value::Null;
    for told in [
        (404, String::new()),
        (401, String::new()),
        (500, CANARY.to_owned()),
        (403, String::new()),
        (302, String::new()),
        (304, String::new()),
        (200, format!("{{\"secret\":\"{}", &CANARY[..20])),
        (200, format!("[\"{}\"]", &CANARY[..20])),
        (200, hidden.to_string()),
    ] {
        let log = Log::listen();
        let (status, text) = told.clone();
        fake.answers(move |_| Told(status, Vec::new(), text.clone()));
        assert_eq!(sent(ALERT, &body).refused(&source).await, Rejected::Unavailable, "{told:?}");
        assert!(log.text().contains("octo-org/hello#42"), "people are told: {}", log.text());
        assert_silent(&log.text());
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_leads_nowhere() {
    let fake = fake(shown()).await;
    let source = source(&fake);
    let named = |name: &str| {
        let repository = json!({ "full_name": name });
        json!({ "action": "created", "alert": { "number": 1 }, "repository": repository })
    };
    for body in [
        json!({}),
        json!([]),
        json!({ "action": "created", "alert": { "number": "1" }, "repository": {} }),
        json!({ "action": "created", "alert": { "number": -1 }, "repository": {} }),
        named("octo"),
        named("../admin"),
        named("octo-org/.."),
        named("octo-org/hello?x="),
        named("octo-org/hello/secret"),
        json!({ "action": "created", "alert": { "number": 1 }, "repository": { "full_name": 7 } }),
    ] {
        let rejected = sent(ALERT, &body).refused(&source).await;
        assert!(matches!(rejected, Rejected::Malformed(_)), "{body}: {rejected:?}");
    }
    let form = signed(ALERT, "payload=%7B%22action%22%3A%22created%22%7D", HOOK);
    assert!(matches!(form.refused(&source).await, Rejected::Malformed(_)));
    assert!(fake.take().is_empty());
    let elsewhere = Sent { rest: "/x", ..sent(ALERT, &event("created", json!({}))) };
    assert_eq!(elsewhere.refused(&source).await, Rejected::NoSuchEndpoint);
}

#[tokio::test]
async fn the_value_is_nowhere_afterwards() {
    let log = Log::listen();
    let mut alert = shown();
    alert["secret_type"] = json!(CANARY);
    alert["first_location_detected"] = json!({ "path": format!("{CANARY}.env") });
    let fake = fake(alert).await;
    let source = source(&fake);
    let hidden_in_it = json!({ "secret": CANARY, "resolution_comment": CANARY });
    let message = sent(ALERT, &event("created", hidden_in_it)).alert(&source).await;
    assert_eq!(message.findings[0].label, "[secret]");
    assert_eq!(place(&message.findings[0]), "octo-org/hello@ [secret].env");
    assert_silent(&said(&message, &[source.answer(&message, &[])]));
    assert_silent(&format!("{source:?} {}", log.text()));
    assert!(!log.text().contains(TOKEN));
}
