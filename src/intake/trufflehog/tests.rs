//! Questions as the page shows them and as the program sends them, and the three answers.

use serde_json::{Value, json};

use super::*;
use crate::engine::desk::Judged;
use crate::incident::decide::Action;
use crate::intake::trial::{Asked, keys, secret};
use crate::model::clue::{Form, ValueDigest};
use crate::model::id::{SecretName, VersionId};

const TOKEN: &str = "the-token-of-the-scanner";
const VALUE: &str = "rk_live_0123456789abcdef";

fn source(report: bool) -> TruffleHog {
    let (keys, secrets) = keys(&[TOKEN]);
    let settings = Settings {
        keys,
        report,
        live: StatusCode::OK,
        rotated: StatusCode::FORBIDDEN,
        unknown: StatusCode::NOT_FOUND,
    };
    TruffleHog::new(settings, secrets)
}

fn asked(body: &Value) -> Asked {
    Asked::post(body.to_string()).with("authorization", &format!("Bearer {TOKEN}"))
}

fn digest(value: &str) -> Clue {
    Clue::Digest(ValueDigest::of(Form::Sha256, &secret(value)))
}

#[tokio::test]
async fn the_match_and_its_groups_are_clues_to_one_value() {
    let full = format!("key={VALUE}");
    let listed = json!({"rotord": {"key": [full, VALUE]}});
    let found = asked(&listed).findings(&source(true)).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].clues.contains(&digest(VALUE)) && found[0].clues.contains(&digest(&full)));
    assert_eq!((found[0].label.as_str(), found[0].claim), ("rotord", Claim::Leaked));
    let plain = json!({"rotord": {"key": VALUE, "id": "AKIA0123"}});
    let found = asked(&plain).findings(&source(false)).await;
    assert_eq!(found.len(), 2);
    assert!(found[1].clues.contains(&digest(VALUE)));
    assert_eq!(found[1].claim, Claim::Asked, "looked up, and nothing more");
    let escaped = "a\"b\\c\u{e9}0123456789";
    let found = asked(&json!({"d": {"r": [escaped]}})).findings(&source(true)).await;
    assert!(found[0].clues.contains(&digest(escaped)));
}

#[tokio::test]
async fn an_odd_expression_keeps_no_other_from_being_looked_up() {
    let body = json!({VALUE: {"a": 7, "key": VALUE}, "other": {"key": [null]}});
    let Ok(Received::Alert(message)) = asked(&body).of(&source(true)).await else { panic!() };
    let [found] = message.findings.as_slice() else { panic!("{:?}", message.findings) };
    assert!(found.clues.contains(&digest(VALUE)));
    assert_eq!(found.label, "[secret]");
    assert_eq!(message.odd.iter().map(|odd| odd.at).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn what_is_live_is_said_before_what_is_rotated() {
    let judged = |stage| Judged {
        secret: SecretName::new("billing".to_owned()).unwrap(),
        version: VersionId(1),
        stage,
        action: Action::Note,
        incident: None,
        rotation: None,
    };
    let message = Message { id: String::new(), key: None, findings: Vec::new(), odd: Vec::new() };
    let answer = |verdicts: &[&[Stage]]| {
        let verdicts: Vec<Verdict> = verdicts
            .iter()
            .map(|stages| Verdict { ours: stages.iter().map(|stage| judged(*stage)).collect() })
            .collect();
        source(true).answer(&message, &verdicts).status
    };
    assert_eq!(answer(&[]), StatusCode::NOT_FOUND);
    assert_eq!(answer(&[&[], &[]]), StatusCode::NOT_FOUND);
    for live in [Stage::Pending, Stage::Current, Stage::Previous] {
        assert_eq!(answer(&[&[], &[Stage::Revoked, live]]), StatusCode::OK);
        assert_eq!(answer(&[&[live], &[Stage::Retired]]), StatusCode::OK);
    }
    assert_eq!(answer(&[&[Stage::Revoked], &[]]), StatusCode::FORBIDDEN);
    assert_eq!(answer(&[&[Stage::Retired]]), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_the_scanner_may_ask() {
    let body = json!({"rotord": {"key": [VALUE]}}).to_string();
    for bad in [
        Asked::post(&body),
        Asked::post(&body).with("authorization", "Bearer the-token-of-somebody-else"),
        Asked::post(&body).with("authorization", &format!("Bearer {VALUE}")),
    ] {
        assert_eq!(bad.rejected(&source(true)).await, Rejected::Unauthenticated);
    }
    let elsewhere = asked(&json!({})).at("/more");
    assert_eq!(elsewhere.rejected(&source(true)).await, Rejected::NoSuchEndpoint);
    let read = asked(&json!({})).by(Method::GET);
    assert_eq!(read.rejected(&source(true)).await, Rejected::NoSuchEndpoint);
}

#[tokio::test]
async fn what_is_no_question_is_said_without_its_content() {
    for broken in [
        json!([VALUE]),
        json!({"rotord": VALUE}),
        json!({"rotord": {"key": 7}}),
        json!({"rotord": {"key": [VALUE, 7]}}),
        json!({"rotord": {"key": 7, "id": null}}),
        json!({"rotord": {"key": {"a": VALUE}}}),
        json!({"rotord": {"key": vec![VALUE; VALUES_MAX + 1]}}),
    ] {
        let rejected = asked(&broken).rejected(&source(true)).await;
        assert!(matches!(rejected, Rejected::Malformed(_)), "{broken}");
        assert!(!rejected.to_string().contains("rk_live"), "{rejected}");
    }
    assert_eq!(asked(&json!({})).findings(&source(true)).await, []);
    let most = json!({"rotord": {"key": vec![VALUE; VALUES_MAX]}});
    assert_eq!(asked(&most).findings(&source(true)).await.len(), 1);
}
