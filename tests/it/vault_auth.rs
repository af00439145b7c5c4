//! Logging in to a real OpenBao and staying logged in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use rotord::model::failure::Class;
use rotord::model::material::SecretBytes;
use rotord::model::reason::Reason;
use rotord::model::time::Timestamp;
use rotord::vault::auth::{Auth, AuthError, Keeper, Status};
use rotord::vault::client::Vault;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::bao::Bao;
use crate::support::clock::{MachineClock, Monotonous};

/// Longest a test waits for something that takes some seconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_role_logs_in_with_the_secret_id_from_its_file() {
    let role = Role::new(json!({"token_ttl": "1h"})).await;
    let (vault, mut keeper) = role.keeper();
    let status = keeper.status();
    assert_eq!(*status.borrow(), Status::Starting);
    assert_eq!(role.ask(&vault).await, Err(VaultError::Unauthenticated));
    keeper.login().await.unwrap();
    assert_eq!(role.ask(&vault).await, Ok(()));
    assert!(matches!(*status.borrow(), Status::Ok { expires_at: Some(_) }), "{status:?}");
}

#[tokio::test]
async fn a_wrong_secret_id_is_told_with_its_file_and_without_its_value() {
    let role = Role::new(json!({})).await;
    role.put_secret_id("hunter2");
    let (_, mut keeper) = role.keeper();
    let status = keeper.status();
    let error = keeper.login().await.unwrap_err();
    assert!(matches!(error, AuthError::Login { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&role.mount) && text.contains("secret-id"), "{text}");
    assert!(text.contains("is not valid") && !text.contains("hunter2"), "{text}");
    let Status::Failing { failure, .. } = *status.borrow() else { panic!("{status:?}") };
    assert_eq!((failure.class, failure.reason), (Class::Refused, Reason::VaultDenied));
}

#[tokio::test]
async fn a_missing_login_method_is_told() {
    let mut role = Role::new(json!({})).await;
    role.mount = "no-such-method".to_owned();
    let (_, mut keeper) = role.keeper();
    let error = keeper.login().await.unwrap_err();
    assert!(error.to_string().contains("403: nothing is mounted there"), "{error}");
}

#[tokio::test]
async fn a_token_is_renewed_without_another_login() {
    let role = Role::new(json!({"token_ttl": "3s"})).await;
    let kept = role.kept();
    let mut status = kept.status.clone();
    let mut last = None;
    for _ in 0..3 {
        let Status::Ok { expires_at } = next(&mut status).await else { panic!("{status:?}") };
        assert!(expires_at > last, "each renewal moves the end");
        last = expires_at;
    }
    assert_eq!(kept.count("login"), 1);
    assert_eq!(kept.count("renew"), 2);
    assert_eq!(role.ask(&kept.vault).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_may_not_live_longer_is_replaced() {
    let role = Role::new(json!({"token_ttl": "2s", "token_max_ttl": "3s"})).await;
    let kept = role.kept();
    kept.until(|kept| kept.count("login") >= 2).await;
    assert_eq!(role.ask(&kept.vault).await, Ok(()));
}

#[tokio::test]
async fn a_batch_token_is_replaced_in_time() {
    let role = Role::new(json!({"token_ttl": "2s", "token_type": "batch"})).await;
    let kept = role.kept();
    kept.until(|kept| kept.count("login") >= 3).await;
    assert_eq!(role.ask(&kept.vault).await, Ok(()));
    assert_eq!(kept.count("renew"), 0, "batch tokens cannot be renewed");
}

#[tokio::test]
async fn a_revoked_token_is_replaced_as_soon_as_somebody_runs_into_it() {
    let role = Role::new(json!({"token_ttl": "1h"})).await;
    let kept = role.kept();
    kept.until(|kept| kept.count("login") == 1).await;
    assert_eq!(role.ask(&kept.vault).await, Ok(()));

    role.revoke_all().await;
    for _ in 0..5 {
        assert_eq!(role.ask(&kept.vault).await, Err(VaultError::Unauthenticated));
    }
    kept.until(|kept| kept.count("login") == 2).await;
    assert_eq!(role.ask(&kept.vault).await, Ok(()));
    assert_eq!(kept.count("login"), 2, "five dead requests are one login");
}

#[tokio::test]
async fn a_keeper_that_fails_recovers_once_the_secret_id_is_right() {
    let role = Role::new(json!({"token_ttl": "1h"})).await;
    let right = fs::read_to_string(role.secret_id_file()).unwrap();
    role.put_secret_id("wrong");
    let kept = role.kept();
    let mut status = kept.status.clone();
    assert!(matches!(next(&mut status).await, Status::Failing { .. }));
    role.put_secret_id(&right);
    while !matches!(*status.borrow_and_update(), Status::Ok { .. }) {
        tokio::time::timeout(PATIENCE, status.changed()).await.unwrap().unwrap();
    }
    assert_eq!(role.ask(&kept.vault).await, Ok(()));
}

#[tokio::test]
async fn a_token_that_was_handed_over_is_checked_and_renewed() {
    let bao = Bao::shared().await;
    let token = create_token(bao, json!({"ttl": "2s", "renewable": true})).await;
    let mut kept = Kept::start(bao, Auth::Token(bytes(&token)));
    let first = next(&mut kept.status).await;
    assert!(matches!(first, Status::Ok { expires_at: Some(_) }), "{first:?}");
    kept.until(|kept| kept.count("renew") >= 2).await;

    let root = Kept::start(bao, Auth::Token(bytes(bao.root_token())));
    assert_eq!(next(&mut root.status.clone()).await, Status::Ok { expires_at: None });
}

#[tokio::test]
async fn a_dead_token_that_was_handed_over_is_told() {
    let bao = Bao::shared().await;
    let (_, mut keeper) = keeper(bao, Auth::Token(bytes("hunter2")));
    let error = keeper.login().await.unwrap_err();
    assert!(matches!(error, AuthError::Dead), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let (_, mut keeper) = self::keeper(bao, Auth::Token(bytes("hunter2\n")));
    let error = keeper.login().await.unwrap_err();
    assert!(matches!(error, AuthError::Unfit(_)), "{error:?}");
}

#[tokio::test]
async fn a_token_that_may_not_ask_about_itself_is_used_all_the_same() {
    let bao = Bao::shared().await;
    let kind = json!({"no_default_policy": true, "policies": ["nothing"], "ttl": "1h"});
    let token = create_token(bao, kind).await;
    let (_, mut keeper) = keeper(bao, Auth::Token(bytes(&token)));
    let status = keeper.status();
    keeper.login().await.unwrap();
    assert_eq!(*status.borrow(), Status::Ok { expires_at: None });
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_dies() {
    let bao = Bao::shared().await;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    let first = create_token(bao, json!({"ttl": "1h"})).await;
    put(&path, &first);
    let kept = Kept::start(bao, Auth::TokenFile(path.clone()));
    kept.until(|kept| kept.count("lookup") == 1).await;

    put(&path, &create_token(bao, json!({"ttl": "1h"})).await);
    bao.ok(Method::POST, "auth/token/revoke", Some(json!({"token": first}))).await;
    let capabilities = kept.vault.capabilities(&["a".to_owned()]).await;
    assert_eq!(capabilities.unwrap_err(), VaultError::Unauthenticated);
    kept.until(|kept| kept.count("lookup") >= 3).await;
    assert!(kept.vault.capabilities(&["a".to_owned()]).await.is_ok());
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes() {
    let bao = Bao::shared().await;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("token");
    put(&path, &create_token(bao, json!({"ttl": "1h"})).await);
    let kept = Kept::start(bao, Auth::TokenFile(path.clone()));
    kept.until(|kept| kept.count("lookup") == 1).await;

    let next = dir.path().join("next");
    put(&next, &create_token(bao, json!({"ttl": "2h"})).await);
    fs::rename(&next, &path).unwrap();
    let before = expiry(&kept);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    kept.until(|kept| expiry(kept) > before).await;
    assert_eq!(kept.count("lookup"), 2);
}

#[tokio::test]
async fn a_keeper_ends_when_it_is_told_to() {
    let role = Role::new(json!({"token_ttl": "1h"})).await;
    let mut kept = role.kept();
    kept.shutdown.cancel();
    let ended = tokio::time::timeout(PATIENCE, kept.keeping.join_next()).await;
    ended.unwrap().unwrap().unwrap();
}

/// An AppRole of its own, with a mount that its tokens may read.
struct Role {
    bao: &'static Bao,
    mount: String,
    role_id: String,
    kv: String,
    dir: TempDir,
}

impl Role {
    async fn new(terms: Value) -> Role {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let bao = Bao::shared().await;
        let mount = format!("login-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let kv = bao.fresh_mount().await;
        let rules = format!(r#"path "{kv}/*" {{ capabilities = ["read", "list"] }}"#);
        let policy = Some(json!({"policy": rules}));
        bao.ok(Method::POST, &format!("sys/policies/acl/{mount}"), policy).await;
        bao.ok(Method::POST, &format!("sys/auth/{mount}"), Some(json!({"type": "approle"}))).await;
        let mut terms = terms;
        terms["token_policies"] = json!([mount]);
        let place = format!("auth/{mount}/role/r");
        bao.ok(Method::POST, &place, Some(terms)).await;
        let role_id = bao.ok(Method::GET, &format!("{place}/role-id"), None).await;
        let secret_id = bao.ok(Method::POST, &format!("{place}/secret-id"), None).await;
        let role_id = role_id["data"]["role_id"].as_str().unwrap().to_owned();
        let role = Role { bao, mount, role_id, kv, dir: TempDir::new().unwrap() };
        role.put_secret_id(secret_id["data"]["secret_id"].as_str().unwrap());
        role
    }

    fn secret_id_file(&self) -> PathBuf {
        self.dir.path().join("secret-id")
    }

    fn put_secret_id(&self, text: &str) {
        put(&self.secret_id_file(), text);
    }

    fn auth(&self) -> Auth {
        Auth::AppRole {
            mount: self.mount.clone(),
            role_id: self.role_id.clone(),
            secret_id_file: self.secret_id_file(),
        }
    }

    fn keeper(&self) -> (Arc<Vault>, Keeper) {
        keeper(self.bao, self.auth())
    }

    fn kept(&self) -> Kept {
        Kept::start(self.bao, self.auth())
    }

    async fn ask(&self, vault: &Vault) -> Result<(), VaultError> {
        vault.read(&KvPath { mount: self.kv.clone(), path: "a".to_owned() }).await.map(|_| ())
    }

    async fn revoke_all(&self) {
        let prefix = format!("sys/leases/revoke-prefix/auth/{}/login", self.mount);
        self.bao.ok(Method::POST, &prefix, Some(json!({"sync": true}))).await;
    }
}

/// A keeper at work.
struct Kept {
    vault: Arc<Vault>,
    status: watch::Receiver<Status>,
    shutdown: CancellationToken,
    keeping: JoinSet<()>,
}

impl Kept {
    fn start(bao: &Bao, auth: Auth) -> Kept {
        let (vault, keeper) = keeper(bao, auth);
        let status = keeper.status();
        let shutdown = CancellationToken::new();
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.keep(shutdown.clone()));
        Kept { vault, status, shutdown, keeping }
    }

    fn count(&self, verb: &str) -> u64 {
        self.vault.requests().find(|(name, _)| *name == verb).unwrap().1
    }

    /// Waits until the status was published after which `seen` holds.
    async fn until(&self, seen: impl Fn(&Kept) -> bool) {
        let mut status = self.status.clone();
        let waiting = status.wait_for(|status| matches!(status, Status::Ok { .. }) && seen(self));
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time").expect("a keeper");
    }
}

fn keeper(bao: &Bao, auth: Auth) -> (Arc<Vault>, Keeper) {
    let vault = Vault::new(&bao.settings(), Arc::new(MachineClock::new())).unwrap();
    let vault = Arc::new(vault);
    (Arc::clone(&vault), Keeper::new(vault, auth, Arc::new(Monotonous(0))))
}

async fn next(status: &mut watch::Receiver<Status>) -> Status {
    tokio::time::timeout(PATIENCE, status.changed()).await.expect("in time").expect("a keeper");
    *status.borrow_and_update()
}

fn expiry(kept: &Kept) -> Option<Timestamp> {
    match *kept.status.borrow() {
        Status::Ok { expires_at } => expires_at,
        _ => None,
    }
}

async fn create_token(bao: &Bao, kind: Value) -> String {
    let answer = bao.ok(Method::POST, "auth/token/create", Some(kind)).await;
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn bytes(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}
