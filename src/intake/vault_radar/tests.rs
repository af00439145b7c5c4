//! Events as the page shows them, in both shapes, and claims about other people's Vaults.

use serde_json::{Value, json};

use super::*;
use crate::intake::trial::{Asked, keys, secret};

const SECRET: &str = "the-secret-of-the-webhook";

fn own(namespace: Option<&str>) -> Own {
    Own {
        hosts: BTreeSet::from([("vault.hashicorp.cloud".to_owned(), 8200)]),
        namespace: namespace.map(str::to_owned),
        mounts: BTreeSet::from(["kv".to_owned(), "team-a/kv".to_owned()]),
    }
}

fn source() -> VaultRadar {
    by_key(SECRET)
}

fn by_key(text: &str) -> VaultRadar {
    let (keys, secrets) = keys(&[text]);
    VaultRadar::new(Settings { keys, trusted: true, own: own(Some("admin")) }, secrets)
}

fn event(managed_locations: &Value) -> Value {
    json!({
        "version": "0.1",
        "event_id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "event_type": "secret",
        "event_subtype": "aws_access_key",
        "description": "An AWS key",
        "severity": "critical",
        "data_source": {"type": "git_repo", "name": "o/r", "resource": "https://github.com/o/r"},
        "managed_locations": managed_locations,
        "links": {"event": "https://portal.cloud.hashicorp.com/"},
    })
}

fn location(text: &str) -> Value {
    json!({"location": text, "is_latest": true, "is_created_by_radar": false})
}

const EXAMPLE: &str = "vault://vault.hashicorp.cloud:8200/admin/kv?key=mysecret&version=1";

fn signed(body: &Value) -> Asked {
    let body = body.to_string();
    let signature = signing::sign(&secret(SECRET), body.as_bytes());
    Asked::post(body).with(signing::SIGNATURE_HEADER, &signature)
}

fn place(path: &str, version: Option<u64>) -> Clue {
    Clue::VaultPlace { path: path.to_owned(), version }
}

#[tokio::test]
async fn the_place_in_our_vault_is_the_clue_whichever_shape_it_has() {
    let managers = json!({"hashicorp_vault": [location(EXAMPLE)], "aws_sm": [{"arn": "a"}]});
    for shape in [managers.clone(), json!([managers])] {
        let Ok(Received::Alert(message)) = signed(&event(&shape)).of(&source()).await else {
            panic!("{shape}")
        };
        assert_eq!(message.id, "7bf73129-1428-4cd3-a780-95db273d1602");
        let [found] = message.findings.as_slice() else { panic!("{:?}", message.findings) };
        assert_eq!(found.clues, [place("admin/kv/mysecret", Some(1))]);
        assert!(!found.clues[0].proves_knowledge());
        assert_eq!(found.label, "aws_access_key");
        assert_eq!(found.found_at.as_ref().unwrap().as_str(), "https://github.com/o/r");
    }
    let mut spoilt = managers.clone();
    spoilt["hashicorp_vault"].as_array_mut().unwrap().insert(0, 7.into());
    for shape in [spoilt.clone(), json!([7, spoilt])] {
        let asked = signed(&event(&shape));
        let Ok(Received::Alert(message)) = asked.of(&source()).await else { panic!("{shape}") };
        assert_eq!(message.findings[0].clues, [place("admin/kv/mysecret", Some(1))]);
        assert!(!message.odd.is_empty());
    }
    let mut renamed = event(&managers);
    let members = renamed.as_object_mut().unwrap();
    let kind = members.remove("event_type").unwrap();
    let kind_within = members.remove("event_subtype").unwrap();
    members.insert("type".to_owned(), kind);
    members.insert("sub_type".to_owned(), kind_within);
    assert_eq!(signed(&renamed).findings(&source()).await[0].label, "aws_access_key");
}

#[test]
fn only_places_in_our_own_vault_count() {
    let admin = own(Some("admin"));
    for (text, clue) in [
        (EXAMPLE, place("admin/kv/mysecret", Some(1))),
        (
            "vault://VAULT.hashicorp.cloud/admin/team-a/kv?key=a%2Fb",
            place("admin/team-a/kv/a/b", None),
        ),
        (
            "vault://vault.hashicorp.cloud:8200/admin/kv/?version=9&key=/a/b/",
            place("admin/kv/a/b", Some(9)),
        ),
    ] {
        assert_eq!(admin.clue(text), Some(clue), "{text}");
    }
    for text in [
        "vault://vault.example.org:8200/admin/kv?key=mysecret",
        "vault://vault.hashicorp.cloud:8201/admin/kv?key=mysecret",
        "vault://vault.hashicorp.cloud.evil.example:8200/admin/kv?key=mysecret",
        "vault://vault.hashicorp.cloud:8200/kv?key=mysecret",
        "vault://vault.hashicorp.cloud:8200/other/kv?key=mysecret",
        "vault://vault.hashicorp.cloud:8200/administrators/kv?key=mysecret",
        "vault://vault.hashicorp.cloud:8200/admin/kv2?key=mysecret",
        "vault://vault.hashicorp.cloud:8200/admin/kv?version=1",
        "vault://vault.hashicorp.cloud:8200/admin/kv?key=/",
        "https://vault.hashicorp.cloud:8200/admin/kv?key=mysecret",
        "vault:admin/kv",
        "",
    ] {
        assert_eq!(admin.clue(text), None, "{text}");
    }
    let without = own(None);
    let text = "vault://vault.hashicorp.cloud:8200/kv?key=mysecret&version=x";
    assert_eq!(without.clue(text), Some(place("kv/mysecret", None)));
    assert_eq!(without.clue(EXAMPLE), None);
}

#[tokio::test]
async fn an_event_about_anything_else_is_recorded_without_a_clue() {
    let elsewhere = location("vault://other.example:8200/admin/kv?key=mysecret");
    let many: Vec<Value> = vec![elsewhere; LOCATIONS_MAX + 1];
    for managed in [
        Value::Null,
        json!([]),
        json!({}),
        json!({"hashicorp_vault": many}),
        json!({"hashicorp_vault": [{"location": 7}]}),
    ] {
        let findings = signed(&event(&managed)).findings(&source()).await;
        assert_eq!(findings.len(), 1);
        assert!(findings[0].clues.is_empty(), "{managed}");
    }
    let test = json!({"message": "This is a test"});
    assert_eq!(signed(&test).nothing(&source()).await, ("test", DONE));
}

#[tokio::test]
async fn nobody_without_the_secret_is_believed() {
    let managers = json!({"hashicorp_vault": [location(EXAMPLE)]});
    let body = event(&managers).to_string();
    let signature = signing::sign(&secret(SECRET), body.as_bytes());
    let header = signing::SIGNATURE_HEADER;
    let by_another = signing::sign(&secret("another secret altogether"), body.as_bytes());
    for asked in [
        Asked::post(&body),
        Asked::post(&body).with(header, ""),
        Asked::post(&body).with(header, &by_another),
        Asked::post(&body[..body.len() - 1]).with(header, &signature),
        Asked::post(body.replace("mysecret", "yoursecret")).with(header, &signature),
    ] {
        assert_eq!(asked.rejected(&source()).await, Rejected::Unauthenticated);
    }
    // What is not signed neither helps nor hurts.
    let old = Asked::post(&body).with(header, &signature).with("x-hcp-radar-timestamp", "1");
    assert_eq!(old.findings(&source()).await.len(), 1);
    let keyless = by_key("away");
    assert_eq!(signed(&json!({})).rejected(&keyless).await, Rejected::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_without_its_content() {
    let mut broken = event(&json!({"hashicorp_vault": "rk_live_0123456789"}));
    let rejected = signed(&broken).rejected(&source()).await;
    assert!(matches!(rejected, Rejected::Malformed(_)));
    assert!(!rejected.to_string().contains("rk_live"), "{rejected}");
    broken["managed_locations"] = 7.into();
    assert!(matches!(signed(&broken).rejected(&source()).await, Rejected::Malformed(_)));
    let elsewhere = signed(&event(&Value::Null)).at("/more");
    assert_eq!(elsewhere.rejected(&source()).await, Rejected::NoSuchEndpoint);
    let read = signed(&event(&Value::Null)).by(Method::GET);
    assert_eq!(read.rejected(&source()).await, Rejected::NoSuchEndpoint);
}
