//! Two mounts on a real server for one daemon: its own and the one that programs read, with a
//! token that may do what the config needs and no more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::bao::{Bao, Config, Storage};
use crate::support::daemon::Home;
use crate::support::needle::Needles;

/// Raft on disk, as in production; shared by the tests that leave it alone.
pub(crate) async fn shared() -> &'static Bao {
    static SHARED: OnceCell<Bao> = OnceCell::const_new();
    let config = Config { storage: Storage::Raft, tls: false };
    SHARED.get_or_init(|| Bao::with_config(config)).await
}

/// The mounts of one daemon.
pub(crate) struct Places<'b> {
    pub(crate) bao: &'b Bao,
    /// rotord's own mount.
    pub(crate) state: String,
    /// The one that programs read.
    pub(crate) apps: String,
}

impl<'b> Places<'b> {
    pub(crate) async fn new(bao: &'b Bao) -> Places<'b> {
        let places = Places { bao, state: bao.fresh_mount().await, apps: bao.fresh_mount().await };
        places.leave_a_settled_lease().await;
        places
    }

    /// What a replica leaves behind that led for long and stopped in order: nothing of a former
    /// leader is on its way, so nobody has to wait before the first destructive effect.
    async fn leave_a_settled_lease(&self) {
        let lease = json!({ "data": {
            "schema": 1, "holder": null, "epoch": 1, "taken_at": "2026-01-01T00:00:00.000Z",
            "ttl": "15s", "settled": true, "write_id": "0",
        } });
        self.bao.ok(Method::POST, &format!("{}/data/lease", self.state), Some(lease)).await;
    }

    /// Writes a config with these tables, and a token with the policy that it needs. `vault` is
    /// where the daemon finds the server.
    pub(crate) async fn configure(&self, home: &Home, vault: &str, rest: &str) {
        let vault = vault.trim_end_matches('/');
        let config = format!(
            r#"
[vault]
address = "{vault}"
auth = {{ token_file = "token" }}
connect_timeout = "3s"
request_timeout = "5s"
mount = "{}"

[daemon]
state_directory = "state"
socket = "rotord.sock"
log_level = "debug"
{rest}"#,
            self.state
        );
        home.put("rotord.toml", &config);
        let token = self.token(home).await;
        home.put("token", &token);
    }

    /// Lets the token do what the config needs by now.
    pub(crate) async fn grant(&self, home: &Home) {
        let policy = home.rotord(&["check", "--policy"]).await;
        assert_eq!(policy.exit, 0, "{}", policy.err);
        self.set_policy(&policy.out).await;
    }

    /// A token that may do what `rotord check --policy` says.
    async fn token(&self, home: &Home) -> String {
        home.put("token", "not made yet");
        self.grant(home).await;
        let name = self.policy_name();
        let wish = json!({ "policies": [name], "no_default_policy": true, "ttl": "1h" });
        let made = self.bao.ok(Method::POST, "auth/token/create", Some(wish)).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// What the daemon's token may do.
    pub(crate) async fn policy(&self) -> String {
        let at = format!("sys/policies/acl/{}", self.policy_name());
        let found = self.bao.ok(Method::GET, &at, None).await;
        found["data"]["policy"].as_str().unwrap().to_owned()
    }

    /// Changes what the daemon's token may do.
    pub(crate) async fn set_policy(&self, rules: &str) {
        let at = format!("sys/policies/acl/{}", self.policy_name());
        self.bao.ok(Method::PUT, &at, Some(json!({ "policy": rules }))).await;
    }

    fn policy_name(&self) -> String {
        format!("rotord-at-{}", self.state)
    }

    /// The newest version of a document that programs read.
    pub(crate) async fn document(&self, path: &str) -> Value {
        self.read(&format!("{}/data/{path}", self.apps)).await.expect("a document")
    }

    /// The value of a version as it lies in rotord's own mount; none once it is gone.
    pub(crate) async fn value(&self, secret: &str, version: u64) -> Option<String> {
        let found = self.read(&format!("{}/data/material/{secret}/{version}", self.state)).await?;
        let encoded = found["fields"]["value"].as_str().unwrap();
        Some(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap())
    }

    /// The numbers of the versions whose values lie in rotord's own mount.
    pub(crate) async fn values(&self, secret: &str) -> Vec<u64> {
        let paths = self.paths(&self.state).await;
        let within = format!("material/{secret}/");
        paths.iter().filter_map(|path| path.strip_prefix(&within)?.parse().ok()).collect()
    }

    async fn read(&self, path: &str) -> Option<Value> {
        let (status, answer) = self.bao.call(Method::GET, path, None).await.unwrap();
        (status == 200).then(|| answer["data"]["data"].clone())
    }

    /// Where in both mounts a value stands: in every version of every document, deleted ones that
    /// can be brought back included.
    pub(crate) async fn traces(&self, needles: &Needles) -> Vec<String> {
        let mut found = Vec::new();
        for mount in [&self.state, &self.apps] {
            for path in self.paths(mount).await {
                let (versions, text) = self.everything(mount, &path).await;
                assert!(versions > 0, "{mount}/{path} could not be read");
                let hits = needles.found_in(text.as_bytes());
                found.extend(hits.into_iter().map(|hit| format!("{mount}/{path}: {hit}")));
            }
        }
        found
    }

    /// All that a path keeps: how many versions could be looked at, and their text with every
    /// Base64 in it decoded as well.
    async fn everything(&self, mount: &str, path: &str) -> (usize, String) {
        let at = |verb: &str| format!("{mount}/{verb}/{path}");
        let metadata = self.bao.ok(Method::GET, &at("metadata"), None).await;
        let mut text = metadata.to_string();
        let versions = metadata["data"]["versions"].as_object().unwrap();
        for (number, version) in versions {
            if version["destroyed"] == true {
                continue;
            }
            if version["deletion_time"] != "" {
                let which = json!({ "versions": [number.parse::<u64>().unwrap()] });
                self.bao.ok(Method::POST, &at("undelete"), Some(which)).await;
            }
            let place = format!("{}?version={number}", at("data"));
            let read = self.bao.ok(Method::GET, &place, None).await;
            text.push_str(&read.to_string());
            decoded(&read, &mut text);
        }
        (versions.len(), text)
    }

    /// Every path of a mount.
    async fn paths(&self, mount: &str) -> Vec<String> {
        let list = Method::from_bytes(b"LIST").unwrap();
        let (mut open, mut found) = (vec![String::new()], Vec::new());
        while let Some(folder) = open.pop() {
            let at = format!("{mount}/metadata/{folder}");
            let (status, answer) = self.bao.call(list.clone(), &at, None).await.unwrap();
            assert!(status == 200 || status == 404, "{at}: {status}");
            for key in answer["data"]["keys"].as_array().into_iter().flatten() {
                let path = format!("{folder}{}", key.as_str().unwrap());
                if path.ends_with('/') { open.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

/// Adds what the strings in here stand for if they are Base64.
fn decoded(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => {
            if let Ok(bytes) = STANDARD.decode(string) {
                text.push_str(&String::from_utf8_lossy(&bytes));
                text.push_str(&hex::encode(bytes));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| decoded(item, text)),
        Value::Object(fields) => fields.values().for_each(|field| decoded(field, text)),
        _ => {}
    }
}
