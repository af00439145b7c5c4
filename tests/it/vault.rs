//! The client of Vault against a real OpenBao, and against servers that misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use rotord::model::material::SecretBytes;
use rotord::model::time::Span;
use rotord::vault::client::Vault;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::settings::{Settings, SetupError};
use rotord::vault::turns::{self, Urgency};
use rotord::vault::{Kv, KvPath};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::bao::{Bao, Config, Storage};
use crate::support::clock::MachineClock;
use crate::support::kv_contract;

#[tokio::test]
async fn the_real_vault_keeps_the_contract_of_kv() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    kv_contract::all(&vault, &bao.fresh_mount().await).await;
}

#[tokio::test]
async fn a_soft_deleted_document_is_not_absent() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    let mount = bao.fresh_mount().await;
    kv_contract::a_soft_deleted_newest_version_is_not_absent(
        &vault,
        &mount,
        async |at: &KvPath| {
            bao.ok(Method::DELETE, &format!("{}/data/{}", at.mount, at.path), None).await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_deletion_that_lies_ahead_is_no_deletion() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    let at = at(&bao.fresh_mount().await, "short-lived");
    let appointment = json!({"delete_version_after": "1h"});
    bao.ok(Method::POST, &format!("{}/metadata/{}", at.mount, at.path), Some(appointment)).await;
    assert!(vault.read(&at).await.unwrap().is_none(), "metadata alone is no document");
    vault.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();
    assert!(vault.read(&at).await.unwrap().is_some());
    assert!(!vault.metadata(&at).await.unwrap().unwrap().versions[&1].deleted);
}

#[tokio::test]
async fn a_mount_that_demands_check_and_set_gets_it() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let demand = json!({"cas_required": true});
    bao.ok(Method::POST, &format!("{mount}/config"), Some(demand)).await;
    let at = at(&mount, "a");
    assert_eq!(bao.vault().write(&at, &document(json!({})), 0).await.unwrap(), 1);
}

#[tokio::test]
async fn a_mount_of_version_1_leaves_a_write_in_doubt_and_says_why() {
    let bao = Bao::shared().await;
    bao.ok(Method::POST, "sys/mounts/kv-one", Some(json!({"type": "kv"}))).await;
    let error = bao.vault().write(&at("kv-one", "a"), &document(json!({})), 0).await.unwrap_err();
    assert!(error.to_string().contains("is the mount KV version 2?"), "{error}");
}

#[tokio::test]
async fn what_is_no_document_is_refused_and_never_shown() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    let at = at(&bao.fresh_mount().await, "a");
    for text in [r#""hunter2""#, r#"{"a": "hunter2""#, "hunter2", r#"{},"options":{"cas":7}"#] {
        let error = vault
            .write(&at, &Document::from_json(text.as_bytes().to_vec()), 0)
            .await
            .expect_err(text);
        assert!(matches!(error, VaultError::Refused { .. }), "{text}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let huge = document(json!({"a": "x".repeat(600 * 1024)}));
    let error = vault.write(&at, &huge, 0).await.unwrap_err();
    assert!(error.to_string().contains("512 KiB"), "{error}");
    assert!(vault.read(&at).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_that_is_dead_is_told_from_one_that_may_not() {
    let bao = Bao::shared().await;
    let at = at(&bao.fresh_mount().await, "a");
    let unknown = bao.vault_with("no-such-token", &bao.settings());
    assert_eq!(unknown.read(&at).await.unwrap_err(), VaultError::Unauthenticated);

    let none = Vault::new(&bao.settings(), Arc::new(MachineClock::new())).unwrap();
    assert_eq!(none.read(&at).await.unwrap_err(), VaultError::Unauthenticated);
    assert_eq!(sent(&none), 0);

    for no_default_policy in [false, true] {
        let kind = json!({"no_default_policy": no_default_policy, "policies": ["nothing"]});
        let answer = bao.ok(Method::POST, "auth/token/create", Some(kind)).await;
        let token = answer["auth"]["client_token"].as_str().unwrap();
        let poor = bao.vault_with(token, &bao.settings());
        let denied = VaultError::Denied { path: at.to_string() };
        assert_eq!(poor.read(&at).await.unwrap_err(), denied, "{no_default_policy}");
        assert_eq!(poor.write(&at, &document(json!({})), 0).await.unwrap_err(), denied);
    }
}

#[tokio::test]
async fn capabilities_are_told_path_by_path() {
    let bao = Bao::shared().await;
    let rules = r#"path "kv/data/state/*" { capabilities = ["read", "patch"] }"#;
    let policy = json!({"policy": rules});
    bao.ok(Method::POST, "sys/policies/acl/some", Some(policy)).await;
    let kind = json!({"policies": ["some"]});
    let answer = bao.ok(Method::POST, "auth/token/create", Some(kind)).await;
    let vault = bao.vault_with(answer["auth"]["client_token"].as_str().unwrap(), &bao.settings());

    let paths = ["kv/data/state/a".to_owned(), "kv/data/other".to_owned()];
    let granted = vault.capabilities(&paths).await.unwrap();
    assert_eq!(granted["kv/data/state/a"], ["patch", "read"]);
    assert_eq!(granted["kv/data/other"], ["deny"]);
    assert_eq!(granted.len(), 2);
}

/// What may be written once may not be updated, and Vault looks at that first.
#[tokio::test]
async fn a_second_first_write_is_a_conflict_for_a_token_that_may_only_create_too() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let rules = format!(
        r#"path "{mount}/data/once/*" {{ capabilities = ["create", "read"] }}
        path "{mount}/data/blind/*" {{ capabilities = ["create"] }}"#
    );
    let policy = json!({"policy": rules});
    bao.ok(Method::POST, "sys/policies/acl/once", Some(policy)).await;
    let kind = json!({"policies": ["once"]});
    let answer = bao.ok(Method::POST, "auth/token/create", Some(kind)).await;
    let vault = bao.vault_with(answer["auth"]["client_token"].as_str().unwrap(), &bao.settings());
    let (once, blind) = (at(&mount, "once/a"), at(&mount, "blind/a"));
    let write = async |at: &KvPath| vault.write(at, &document(json!({"a": "b"})), 0).await;

    assert_eq!(write(&once).await, Ok(1));
    assert_eq!(write(&once).await, Err(VaultError::Conflict { path: once.to_string() }));
    assert_eq!(write(&blind).await, Ok(1));
    assert_eq!(write(&blind).await, Err(VaultError::Denied { path: blind.to_string() }));
    let update = vault.write(&once, &document(json!({})), 1).await;
    assert_eq!(update, Err(VaultError::Denied { path: once.to_string() }));
}

#[tokio::test]
async fn a_namespace_is_a_vault_of_its_own() {
    let bao = Bao::shared().await;
    bao.ok(Method::POST, "sys/namespaces/team-a", Some(json!({}))).await;
    let kind = json!({"type": "kv", "options": {"version": "2"}});
    bao.ok(Method::POST, "team-a/sys/mounts/kv", Some(kind)).await;

    let mut settings = bao.settings();
    settings.namespace = Some("team-a/".to_owned());
    let inside = bao.vault_with(bao.root_token(), &settings);
    inside.write(&at("kv", "a"), &document(json!({"a": "b"})), 0).await.unwrap();
    assert!(inside.read(&at("kv", "a")).await.unwrap().is_some());
    assert!(bao.vault().read(&at("team-a/kv", "a")).await.unwrap().is_some());

    settings.namespace = Some("team-b".to_owned());
    let nowhere = bao.vault_with(bao.root_token(), &settings);
    let error = nowhere.read(&at("kv", "a")).await.unwrap_err();
    assert!(matches!(error, VaultError::NoMount { .. }), "{error:?}");
}

#[tokio::test]
async fn a_serving_node_says_so_and_what_time_it_is() {
    let bao = Bao::shared().await;
    let vault = bao.vault();
    assert_eq!(vault.server_time(), None);
    let health = vault.health().await.unwrap();
    assert!(health.initialized && !health.sealed && !health.standby, "{health:?}");
    assert!(!health.version.is_empty());
    let status = vault.seal_status().await.unwrap();
    assert!(!status.sealed && status.initialized, "{status:?}");
    let time = vault.server_time().unwrap();
    assert!(time.skew() <= Span::from_secs(2), "{time:?}");
    let requests: Vec<_> = vault.requests().filter(|(_, count)| *count > 0).collect();
    assert_eq!(requests, [("status", 2)]);
}

#[tokio::test]
async fn tls_is_verified_against_the_configured_authority_only() {
    let bao = Bao::dev_tls().await;
    assert!(bao.vault().health().await.is_ok());

    let other = Bao::dev_tls().await;
    let mut settings = bao.settings();
    settings.ca_pem = other.settings().ca_pem;
    let vault = bao.vault_with(bao.root_token(), &settings);
    let error = vault.write(&at("secret", "a"), &document(json!({})), 0).await.unwrap_err();
    assert!(matches!(&error, VaultError::Unavailable { what } if what.contains("certificate")));
}

#[tokio::test]
async fn a_sealed_vault_says_so_and_serves_again_once_it_is_unsealed() {
    let bao = Bao::with_config(Config { storage: Storage::Memory, tls: false }).await;
    let at = at(&bao.fresh_mount().await, "a");
    let vault = bao.vault();
    vault.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();

    bao.seal().await;
    assert_eq!(vault.read(&at).await.unwrap_err(), VaultError::Sealed);
    let write = vault.write(&at, &document(json!({"a": "c"})), 1).await;
    assert_eq!(write.unwrap_err(), VaultError::Sealed);
    assert!(vault.health().await.unwrap().sealed);
    let status = vault.seal_status().await.unwrap();
    assert_eq!((status.sealed, status.threshold, status.progress), (true, 1, 0));

    bao.unseal().await;
    assert_eq!(vault.read(&at).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn what_was_written_outlives_a_crash_of_the_server() {
    let mut bao = Bao::with_config(Config { storage: Storage::Raft, tls: true }).await;
    let at = at(&bao.fresh_mount().await, "a");
    let vault = bao.vault();
    vault.write(&at, &document(json!({"a": "b"})), 0).await.unwrap();

    bao.kill();
    let error = vault.write(&at, &document(json!({"a": "c"})), 1).await.unwrap_err();
    assert!(matches!(error, VaultError::Unavailable { .. } | VaultError::Ambiguous { .. }));
    bao.start().await;
    assert_eq!(vault.read(&at).await.unwrap().unwrap().version, 1);
    assert!(bao.audit_log().contains(&format!("{}/data/a", at.mount)));
}

#[tokio::test]
async fn what_was_written_is_read_through_a_standby_too() {
    let active = Bao::with_config(Config { storage: Storage::Raft, tls: false }).await;
    let mount = active.fresh_mount().await;
    let standby = active.standby().await;
    let vault = Arc::new(standby.vault());
    assert!(vault.health().await.unwrap().standby);
    // Many at once, so that the standby lags behind as it does in life.
    let mut writing = JoinSet::new();
    for path in 0..16 {
        let (vault, at) = (Arc::clone(&vault), at(&mount, &path.to_string()));
        writing.spawn(async move {
            for version in 1..=25 {
                let write = vault.write(&at, &document(json!({})), version - 1).await;
                assert_eq!(write.unwrap(), version);
                assert_eq!(vault.read(&at).await.unwrap().unwrap().version, version);
            }
        });
    }
    writing.join_all().await;
}

#[tokio::test]
async fn silence_leaves_a_write_in_doubt_and_a_read_unanswered() {
    let silent = Fake::start(&[]).await;
    let vault = silent.vault(Vec::new());
    let at = at("kv", "a");
    let read = vault.read(&at).await.unwrap_err();
    assert!(matches!(read, VaultError::Unavailable { .. }), "{read:?}");
    for doubt in [
        vault.write(&at, &document(json!({})), 0).await.map(|_| ()),
        vault.patch(&at, &document(json!({})), 0).await.map(|_| ()),
        vault.destroy(&at, &[1]).await,
        vault.delete_metadata(&at).await,
    ] {
        assert!(matches!(doubt, Err(VaultError::Ambiguous { .. })), "{doubt:?}");
    }
}

#[tokio::test]
async fn a_write_that_was_never_sent_is_not_in_doubt() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let vault = vault_with(&settings_at(closed));
    let error = vault.write(&at("kv", "a"), &document(json!({})), 0).await.unwrap_err();
    assert!(matches!(&error, VaultError::Unavailable { what } if what.contains("refused")));
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_cannot_be_read_is_not_believed() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{\"data\"";
    let huge =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n{}", "x".repeat(5_000_000));
    let html = answer("200 OK", "<p>hunter2</p>");
    let proxy = answer("404 Not Found", "<p>hunter2</p>");
    for text in [half.to_owned(), huge, html, proxy] {
        let fake = Fake::start(&[text.clone(), text.clone()]).await;
        let vault = fake.vault(Vec::new());
        let read = vault.read(&at("kv", "a")).await.unwrap_err();
        assert!(
            matches!(read, VaultError::Unavailable { .. } | VaultError::BadAnswer { .. }),
            "{read:?}"
        );
        assert!(!format!("{read:?} {read}").contains("hunter2"));
        if text.starts_with("HTTP/1.1 200") {
            let write = vault.write(&at("kv", "a"), &document(json!({})), 0).await.unwrap_err();
            assert!(matches!(write, VaultError::Ambiguous { .. }), "{write:?}");
        }
    }
}

#[tokio::test]
async fn a_redirect_to_an_unknown_host_gets_neither_token_nor_body() {
    let thief = Fake::start(&[answer("200 OK", "{}")]).await;
    let standby = Fake::start(&[redirect(thief.at), redirect(thief.at)]).await;
    let vault = standby.vault(Vec::new());
    let error = vault.write(&at("kv", "a"), &document(json!({"p": "q"})), 0).await.unwrap_err();
    assert!(matches!(&error, VaultError::Refused { what, .. } if what.contains("redirect_hosts")));
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_known_host_is_followed_once() {
    let written = answer("200 OK", r#"{"data": {"version": 7}}"#);
    let active = Fake::start(&[written, redirect("127.0.0.1:9".parse().unwrap())]).await;
    let standby = Fake::start(&[redirect(active.at), redirect(active.at)]).await;
    let hosts = vec!["127.0.0.1:9".to_owned(), active.at.to_string()];
    let vault = standby.vault(hosts);
    let write = vault.write(&at("kv", "a b"), &document(json!({"p": "q"})), 6).await;
    assert_eq!(write.unwrap(), 7);
    let request = &active.requests()[0];
    assert!(request.starts_with("POST /v1/kv/data/a%20b HTTP/1.1"), "{request}");
    assert!(request.contains("x-vault-token: the-token"), "{request}");
    assert!(request.ends_with(r#"{"options":{"cas":6},"data":{"p":"q"}}"#), "{request}");

    let again = vault.write(&at("kv", "a"), &document(json!({})), 7).await.unwrap_err();
    assert!(matches!(again, VaultError::Refused { .. }), "{again:?}");
}

#[tokio::test]
async fn the_index_of_replication_goes_back_to_vault_with_the_next_request() {
    let index = "eyJjbHVzdGVyIjoiYSIsInZhbHVlIjoiNDAifQ==";
    let written = answer(&format!("200 OK\r\nX-Vault-Index: {index}"), r#"{"data":{"version":1}}"#);
    let fake = Fake::start(&[written, answer("404 Not Found", r#"{"errors":[]}"#)]).await;
    let vault = fake.vault(Vec::new());
    vault.write(&at("kv", "a"), &document(json!({})), 0).await.unwrap();
    assert!(vault.read(&at("kv", "a")).await.unwrap().is_none());
    let requests = fake.requests();
    assert!(!requests[0].contains("x-vault-index"), "{}", requests[0]);
    assert!(requests[1].contains(&format!("x-vault-index: {index}")), "{}", requests[1]);
    assert!(requests[1].contains("x-vault-inconsistent: forward-active-node"));
}

#[tokio::test]
async fn more_requests_than_help_wait_their_turn() {
    let silent = Fake::start(&[]).await;
    let mut settings = silent.settings();
    settings.timeout = Span::from_secs(60);
    let vault = Arc::new(vault_with(&settings));
    let mut asking = JoinSet::new();
    for _ in 0..64 {
        let vault = Arc::clone(&vault);
        // All the room there is is the lease's alone.
        asking.spawn(turns::with(Urgency::Lease, async move {
            vault.read(&at("kv", "a")).await.map(|_| ())
        }));
    }
    while sent(&vault) < 64 {
        tokio::task::yield_now().await;
    }
    let one_more = tokio::time::timeout(Duration::from_millis(100), vault.health());
    assert!(one_more.await.is_err(), "it waits");
    assert_eq!(sent(&vault), 64, "and is not sent");
}

#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_no_doubt() {
    let silent = Fake::start(&[]).await;
    let vault = Arc::new(silent.vault(Vec::new()));
    let mut asking = JoinSet::new();
    for _ in 0..640 {
        let vault = Arc::clone(&vault);
        let path = at("kv", "a");
        asking.spawn(async move { vault.write(&path, &document(json!({})), 0).await.unwrap_err() });
    }
    let errors = asking.join_all().await;
    let sent = usize::try_from(sent(&vault)).unwrap();
    let doubts = errors.iter().filter(|e| matches!(e, VaultError::Ambiguous { .. })).count();
    assert_eq!(doubts, sent, "what was not sent is not in doubt");
    assert!(sent < errors.len(), "some never got their turn");
}

#[test]
fn settings_that_would_leak_the_token_are_refused() {
    let make = |address: &str| {
        let settings = Settings::new(address.parse().unwrap());
        Vault::new(&settings, Arc::new(MachineClock::new())).map(|_| ())
    };
    assert!(matches!(make("http://vault.example.com:8200"), Err(SetupError::PlainHttp)));
    assert!(matches!(make("ftp://127.0.0.1"), Err(SetupError::Address)));
    assert!(matches!(make("https://user:pw@vault.example.com"), Err(SetupError::Address)));
    assert!(make("http://127.0.0.1:8200").is_ok());
    assert!(make("http://[::1]:8200").is_ok());

    let mut settings = Settings::new("https://vault.example.com:8200".parse().unwrap());
    settings.ca_pem = Some(b"hunter2".to_vec());
    let vault = Vault::new(&settings, Arc::new(MachineClock::new()));
    assert!(matches!(vault.map(|_| ()), Err(SetupError::Ca)));
}

/// A server that gives each connection the next answer, and after the last one is silent.
struct Fake {
    at: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    async fn start(answers: &[String]) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answers = answers.to_vec();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = answers.iter();
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(answer) = answers.next() else {
                    silent.push(stream);
                    continue;
                };
                let mut request = vec![0u8; 64 * 1024];
                let length = stream.read(&mut request).await.unwrap();
                request.truncate(length);
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                // The client hangs up on answers that are too long.
                stream.write_all(answer.as_bytes()).await.unwrap_or_default();
            }
        });
        Fake { at, requests, _serving: serving }
    }

    fn settings(&self) -> Settings {
        settings_at(self.at)
    }

    fn vault(&self, redirect_hosts: Vec<String>) -> Vault {
        vault_with(&Settings { redirect_hosts, ..self.settings() })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn settings_at(at: SocketAddr) -> Settings {
    let mut settings = Settings::new(format!("http://{at}").parse().unwrap());
    settings.timeout = Span(500);
    settings.connect_timeout = Span(400);
    settings
}

fn vault_with(settings: &Settings) -> Vault {
    let vault = Vault::new(settings, Arc::new(MachineClock::new())).unwrap();
    vault.set_token(SecretBytes::new(b"the-token".to_vec())).unwrap();
    vault
}

fn answer(head: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn redirect(to: SocketAddr) -> String {
    answer(&format!("307 Temporary Redirect\r\nlocation: http://{to}/v1/elsewhere"), "")
}

fn at(mount: &str, path: &str) -> KvPath {
    KvPath { mount: mount.to_owned(), path: path.to_owned() }
}

fn document(value: Value) -> Document {
    Document::encode(&value).unwrap()
}

fn sent(vault: &Vault) -> u64 {
    vault.requests().map(|(_, count)| count).sum()
}
