//! Events as the page shows them, signed as the vector is, and everything that is none.

use serde_json::json;

use super::*;
use crate::intake::trial::{Asked, keys, secret};
use crate::model::material::SecretBytes;

const TOKEN: &str = "the-token-of-the-hook";
const FORMER: &str = "the-token-before-it";
const HASH: &str = "743d9fde380b7064cc6a8d3071184fc47905cf7440e5615cd46c7b6cbfb46d47";
const VALUE: &str = "rk_live_0123456789abcdef";

fn source() -> GitGuardian {
    by_keys(&[TOKEN, FORMER])
}

fn by_keys(texts: &[&str]) -> GitGuardian {
    let (keys, secrets) = keys(texts);
    GitGuardian::new(Settings { keys, trusted: false }, secrets)
}

fn event(action: &str) -> Value {
    json!({
        "source": "GitGuardian",
        "timestamp": "2026-09-21T14:13:20Z",
        "action": action,
        "message": "A new incident",
        "target_user": null,
        "incident": {
            "id": 3759,
            "date": "2026-09-21T14:13:18Z",
            "detector": {"name": "slack_bot_token", "family": "Api"},
            "secret_hash": "Ri9FjVgdOlPnBmujoxP4XPJcbe82BhJXB/SAngijw/juCISuOMgPzYhV28m6OG24",
            "hmsl_hash": HASH,
            "validity": "valid",
            "gitguardian_url": "https://dashboard.gitguardian.com/workspace/1/incidents/3759?x=1",
            "a_member_of_tomorrow": {"with": ["more"]},
        },
        "occurrence": {
            "filepath": "src/a.env",
            "source": {"type": "github", "url": "https://github.com/o/r", "visibility": "private"},
        },
    })
}

fn signed_at(body: &str, timestamp: &str, token: &str) -> Asked {
    let signature = signing::sign(&secret(token), timestamp, body.as_bytes());
    Asked::post(body)
        .with(signing::SIGNATURE_HEADER, &signature)
        .with(signing::TIMESTAMP_HEADER, timestamp)
}

fn signed(body: &Value) -> Asked {
    signed_at(&body.to_string(), "1790000000", TOKEN)
}

#[tokio::test]
async fn an_incident_is_recognised_by_its_hash() {
    let value = SecretBytes::new(b"password".to_vec());
    let clue = Clue::Digest(ValueDigest::of(Form::Hmsl, &value));
    for action in ["incident_triggered", "new_occurrence", "incident_validity_changed"] {
        let findings = signed(&event(action)).findings(&source()).await;
        let [found] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(found.clues, std::slice::from_ref(&clue));
        assert_eq!(found.label, "slack_bot_token");
        assert_eq!(found.claim, Claim::Leaked);
        assert_eq!(found.found_at.as_ref().unwrap().as_str(), "src/a.env");
    }
    let mut public = event("incident_triggered");
    public["occurrence"]["source"]["visibility"] = "public".into();
    assert_eq!(signed(&public).findings(&source()).await[0].claim, Claim::Public);
    let mut bare = event("incident_triggered");
    bare["occurrence"] = Value::Null;
    let found = signed(&bare).findings(&source()).await;
    let url = "https://dashboard.gitguardian.com/workspace/1/incidents/3759";
    assert_eq!(found[0].found_at.as_ref().unwrap().as_str(), url);
}

#[tokio::test]
async fn every_action_has_its_meaning_and_an_unknown_one_has_none() {
    for (action, meaning) in ACTIONS {
        let asked = signed(&event(action));
        match meaning {
            Meaning::Leaked | Meaning::LeakedIfValid => {
                assert_eq!(asked.findings(&source()).await[0].claim, Claim::Leaked, "{action}");
            }
            Meaning::Withdrawn => {
                assert_eq!(asked.findings(&source()).await[0].claim, Claim::Withdrawn, "{action}");
            }
            Meaning::Nothing => assert_eq!(asked.nothing(&source()).await, (action, DONE)),
        }
    }
    assert_eq!(signed(&event("incident_of_tomorrow")).nothing(&source()).await, ("unknown", DONE));
    let mut invalid = event("incident_validity_changed");
    invalid["incident"]["validity"] = "invalid".into();
    let (event, _) = signed(&invalid).nothing(&source()).await;
    assert_eq!(event, "incident_validity_changed");
}

#[tokio::test]
async fn the_test_message_with_a_value_in_clear_is_taken_and_not_read() {
    let test = json!({
        "id": 1, "origin": "GitHub", "detector": {"name": VALUE},
        "matches": [{"type": "apikey", "value": VALUE, "indices": [1, 2]}],
    });
    assert_eq!(signed(&test).nothing(&source()).await, ("test", DONE));
    assert_eq!(signed(&json!({})).nothing(&source()).await, ("unknown", DONE));
}

#[tokio::test]
async fn members_of_another_kind_cost_no_alert() {
    let mut odd = event("incident_triggered");
    odd["incident"]["id"] = VALUE.into();
    odd["incident"]["hmsl_hash"] = json!(["not", "a", "text"]);
    odd["incident"]["detector"]["name"] = json!({"a": 1});
    odd["occurrence"]["filepath"] = 7.into();
    let Ok(Received::Alert(message)) = signed(&odd).of(&source()).await else { panic!() };
    assert_eq!(message.id, "");
    assert!(message.findings[0].clues.is_empty());
    assert_eq!(message.findings[0].label, "");
}

#[tokio::test]
async fn nobody_without_the_token_is_believed() {
    let body = event("incident_triggered").to_string();
    let at = "1790000000";
    assert_eq!(signed_at(&body, at, FORMER).findings(&source()).await.len(), 1);
    let signature = signing::sign(&secret(TOKEN), at, body.as_bytes());
    let former = Asked::post(&body)
        .with(signing::FORMER_SIGNATURE_HEADER, &signature)
        .with(signing::TIMESTAMP_HEADER, at);
    assert_eq!(former.findings(&source()).await.len(), 1);

    let unsigned = Asked::post(&body).with(signing::TIMESTAMP_HEADER, at);
    let undated = Asked::post(&body).with(signing::SIGNATURE_HEADER, &signature);
    let changed = Asked::post(body.replace("3759", "3760"))
        .with(signing::SIGNATURE_HEADER, &signature)
        .with(signing::TIMESTAMP_HEADER, at);
    let truncated = Asked::post(&body[..body.len() - 1])
        .with(signing::SIGNATURE_HEADER, &signature)
        .with(signing::TIMESTAMP_HEADER, at);
    let stolen = signed_at(&body, at, "another token altogether");
    let late_and_stolen = signed_at(&body, "1", "another token altogether");
    for asked in [unsigned, undated, changed, truncated, stolen, late_and_stolen] {
        assert_eq!(asked.rejected(&source()).await, Rejected::Unauthenticated);
    }
    let twice = signed_at(&body, at, TOKEN).with(signing::TIMESTAMP_HEADER, at);
    assert_eq!(twice.rejected(&source()).await, Rejected::Unauthenticated, "which one counts?");
    let keyless = by_keys(&["away"]);
    assert_eq!(signed_at(&body, at, TOKEN).rejected(&keyless).await, Rejected::Unavailable);
}

#[tokio::test]
async fn what_is_signed_must_be_fresh_and_whole_and_here() {
    let body = event("incident_triggered").to_string();
    for stale in ["1789999699", "1790000301", "0", "tomorrow"] {
        let rejected = signed_at(&body, stale, TOKEN).rejected(&source()).await;
        assert_eq!(rejected, Rejected::Stale, "{stale}");
    }
    for broken in [&body[..body.len() / 2], "", "[]", "\"rk_live_0123456789abcdef\"", "\u{0}"] {
        let rejected = signed_at(broken, "1790000000", TOKEN).rejected(&source()).await;
        assert!(matches!(rejected, Rejected::Malformed(_)), "{rejected}");
        assert!(!rejected.to_string().contains("rk_live"), "{rejected}");
    }
    let without = json!({"action": "incident_triggered"});
    assert!(matches!(signed(&without).rejected(&source()).await, Rejected::Malformed(_)));
    let elsewhere = signed(&event("incident_triggered")).at("/more");
    assert_eq!(elsewhere.rejected(&source()).await, Rejected::NoSuchEndpoint);
    let read = signed(&event("incident_triggered")).by(Method::GET);
    assert_eq!(read.rejected(&source()).await, Rejected::NoSuchEndpoint);
}
