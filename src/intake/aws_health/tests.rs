//! Events in EventBridge's envelope, with every code, and what else comes on the same bus.

use serde_json::{Value, json};

use super::*;
use crate::intake::trial::{Asked, keys};

const TOKEN: &str = "the-token-of-the-destination";

fn source() -> AwsHealth {
    by_keys(&[TOKEN, "the-token-before-it"])
}

fn by_keys(texts: &[&str]) -> AwsHealth {
    let (keys, secrets) = keys(texts);
    AwsHealth::new(Settings { keys, trusted: true }, secrets)
}

fn event(code: &str) -> Value {
    json!({
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "AWS Health Event",
        "source": "aws.health",
        "account": "123456789012",
        "time": "2026-09-21T14:13:20Z",
        "region": "us-east-1",
        "resources": ["AKIAIOSFODNN7EXAMPLE"],
        "detail": {
            "eventArn": "arn:aws:health:us-east-1::event/RISK/AWS_RISK_CREDENTIALS_EXPOSED/1",
            "service": "RISK",
            "eventTypeCode": code,
            "eventTypeCategory": "issue",
            "startTime": "Mon, 21 Sep 2026 14:13:00 GMT",
            "eventDescription": [{"language": "en_US", "latestDescription": "A key was found"}],
            "affectedEntities": [
                {"entityValue": "AKIAIOSFODNN7EXAMPLE"},
                {"entityValue": "AKIAI44QH8DHBEXAMPLE", "tags": {}},
                {"entityValue": "AKIAIOSFODNN7EXAMPLE"},
            ],
        },
    })
}

fn sent(body: &Value) -> Asked {
    Asked::post(body.to_string()).with("authorization", &format!("Bearer {TOKEN}"))
}

#[tokio::test]
async fn each_key_is_found_by_its_id_and_proves_nothing() {
    for (code, claim) in CODES {
        let Ok(Received::Alert(message)) = sent(&event(code)).of(&source()).await else {
            panic!("{code}")
        };
        assert_eq!(message.key.as_deref(), Some("7bf73129-1428-4cd3-a780-95db273d1602"));
        let [second, first] = message.findings.as_slice() else { panic!("{code}") };
        for (finding, id) in [(first, "AKIAIOSFODNN7EXAMPLE"), (second, "AKIAI44QH8DHBEXAMPLE")] {
            assert_eq!(finding.clues, [Clue::KeyId(KeyId(id.to_owned()))]);
            assert!(!finding.clues[0].proves_knowledge());
            assert_eq!((finding.label.as_str(), finding.claim), (code, claim));
        }
    }
}

#[tokio::test]
async fn other_events_of_the_same_bus_mean_nothing() {
    let unknown = event("AWS_RISK_OF_TOMORROW");
    assert_eq!(sent(&unknown).nothing(&source()).await, ("unknown", DONE));
    let mut other = event("AWS_RISK_CREDENTIALS_EXPOSED");
    other["detail"]["service"] = "EC2".into();
    assert_eq!(sent(&other).nothing(&source()).await, ("other_event", DONE));
    let mut other = event("AWS_RISK_CREDENTIALS_EXPOSED");
    other["source"] = "aws.ec2".into();
    assert_eq!(sent(&other).nothing(&source()).await, ("other_event", DONE));
    assert_eq!(sent(&json!({})).nothing(&source()).await, ("other_event", DONE));
}

#[tokio::test]
async fn an_event_that_names_nothing_usable_finds_nothing() {
    let mut long = event("AWS_RISK_CREDENTIALS_EXPOSED");
    long["id"] = "rk_live_0123456789abcdef".into();
    long["detail"]["affectedEntities"] =
        json!([{"entityValue": "A".repeat(ENTITY_LEN_MAX + 1)}, {"entityValue": {}}, {}]);
    let Ok(Received::Alert(message)) = sent(&long).of(&source()).await else { panic!() };
    assert_eq!((message.id.as_str(), message.key, message.findings.len()), ("", None, 0));
    let many = (0..ENTITIES_MAX + 1).map(|n| json!({"entityValue": format!("AKIA{n}")}));
    long["detail"]["affectedEntities"] = many.collect();
    assert_eq!(sent(&long).findings(&source()).await.len(), ENTITIES_MAX);
}

#[tokio::test]
async fn the_token_is_asked_for_before_anything_is_read() {
    let body = event("AWS_RISK_CREDENTIALS_EXPOSED").to_string();
    let by = |token: &str| Asked::post(&body).with("authorization", token);
    assert_eq!(by(&format!("bearer {TOKEN}")).findings(&source()).await.len(), 2);
    assert_eq!(by("Bearer the-token-before-it").findings(&source()).await.len(), 2);
    for asked in [
        Asked::post(&body),
        by(""),
        by("Bearer"),
        by("Bearer the-token-of-somebody-else"),
        by(&format!("Basic {TOKEN}")),
        Asked::post("not json").with("authorization", "Bearer x"),
    ] {
        assert_eq!(asked.rejected(&source()).await, Rejected::Unauthenticated);
    }
    let broken = Asked::post("{\"id\": ").with("authorization", &format!("Bearer {TOKEN}"));
    assert!(matches!(broken.rejected(&source()).await, Rejected::Malformed(_)));
    let keyless = by_keys(&["away"]);
    assert_eq!(sent(&json!({})).rejected(&keyless).await, Rejected::Unavailable);
    let elsewhere = sent(&json!({})).at("/more");
    assert_eq!(elsewhere.rejected(&source()).await, Rejected::NoSuchEndpoint);
    let read = sent(&json!({})).by(Method::PUT);
    assert_eq!(read.rejected(&source()).await, Rejected::NoSuchEndpoint);
}
