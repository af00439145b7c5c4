//! A real OpenBao, as its administrator sees it: started, initialised, unsealed, killed, asked.
//!
//! Decides how a server is set up. Must not know what lies in it.

#![allow(dead_code, reason = "some want a server that forgets, others one that can be killed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Fallible;
use crate::processes::{House, free_port};

/// Most looks at a server that is starting, one every [`LOOK`]: together twenty seconds.
const LOOKS: u32 = 400;
const LOOK: Duration = Duration::from_millis(50);

/// What the health check answers for a server that serves, that is sealed, and that has no keys.
const SERVING: u16 = 200;
const SEALED: u16 = 503;
const WITHOUT_KEYS: u16 = 501;

/// What the programs of this are called in a house.
const NAME: &str = "openbao";

/// What stands in the audit log of a server on disk, and where it is.
#[derive(Clone, Copy)]
pub(crate) enum Audit<'a> {
    /// There is none.
    Off,
    /// Values as digests, as it should be.
    Hashed(&'a Path),
    /// Everything in clear text, values included: for throw-away servers.
    Raw(&'a Path),
}

/// A running server.
pub(crate) struct Server {
    address: String,
    root: String,
    /// None if it is never sealed.
    unseal_key: Option<String>,
    http: Client,
}

impl Audit<'_> {
    fn config(self) -> String {
        let (file, raw) = match self {
            Audit::Off => return String::new(),
            Audit::Hashed(file) => (file, false),
            Audit::Raw(file) => (file, true),
        };
        let options = format!("file_path = {:?}\n    log_raw = \"{raw}\"", file.display());
        format!("audit \"file\" \"log\" {{\n  options {{\n    {options}\n  }}\n}}\n")
    }
}

impl Server {
    /// Starts a server that keeps everything in memory, unsealed.
    pub(crate) async fn in_memory(house: &mut House, http: Client) -> Fallible<Server> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let listen = format!("-dev-listen-address={address}");
        let arguments = ["server", "-dev", "-dev-no-store-token", "-log-level=error", &listen];
        house.start(NAME, &binary()?, arguments)?;
        let token = |line: &str| line.strip_prefix("Root Token: ").map(str::to_owned);
        let root = house.told(NAME, token).await?;
        Ok(Server { address: format!("http://{address}"), root, unseal_key: None, http })
    }

    /// Starts a server with Raft storage on disk, one node, initialised and unsealed.
    pub(crate) async fn on_disk(
        house: &mut House,
        http: Client,
        audit: Audit<'_>,
    ) -> Fallible<Server> {
        let (port, cluster) = (free_port()?, free_port()?);
        let raft = house.path("raft");
        fs::create_dir(&raft)?;
        let raft = raft.display();
        let audit = audit.config();
        // The multiplier makes elections take one second instead of five.
        let config = format!(
            r#"
storage "raft" {{
    path = "{raft}"
    node_id = "one"
    performance_multiplier = "1"
}}
listener "tcp" {{
    address = "127.0.0.1:{port}"
    cluster_address = "127.0.0.1:{cluster}"
    tls_disable = true
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
log_level = "error"
{audit}"#
        );
        house.write("openbao.hcl", &config)?;
        let address = format!("http://127.0.0.1:{port}");
        let mut server = Server { address, root: String::new(), unseal_key: None, http };
        server.spawn(house)?;
        server.until(WITHOUT_KEYS).await?;
        let keys = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let keys = server.put("sys/init", &keys).await?;
        server.unseal_key = Some(text(&keys, "/keys/0")?);
        server.root = text(&keys, "/root_token")?;
        server.unseal().await?;
        Ok(server)
    }

    /// `kill -9`, and a start: sealed then, and to be unsealed.
    pub(crate) async fn crash(&self, house: &mut House) -> Fallible<()> {
        house.kill(NAME).await?;
        self.spawn(house)?;
        self.until(SEALED).await
    }

    /// Seals it.
    pub(crate) async fn seal(&self) -> Fallible<()> {
        self.put("sys/seal", &json!({})).await?;
        self.until(SEALED).await
    }

    /// Unseals it and waits until it serves.
    pub(crate) async fn unseal(&self) -> Fallible<()> {
        let key = self.unseal_key.as_deref().ok_or("a server that is never sealed")?;
        self.put("sys/unseal", &json!({ "key": key })).await?;
        self.until(SERVING).await
    }

    /// Where it listens, such as `http://127.0.0.1:8200`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The token that may do everything.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Mounts a KV v2 engine and waits until it can be written to.
    pub(crate) async fn mount(&self, name: &str) -> Fallible<()> {
        let kv2 = json!({ "type": "kv", "options": { "version": "2" } });
        self.put(&format!("sys/mounts/{name}"), &kv2).await?;
        let config = format!("{name}/config");
        for _ in 0..LOOKS {
            if matches!(self.read(&config).await, Ok(Some(_))) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("{name} does not get ready").into())
    }

    /// Writes a policy.
    pub(crate) async fn policy(&self, name: &str, policy: &str) -> Fallible<()> {
        self.put(&format!("sys/policies/acl/{name}"), &json!({ "policy": policy })).await?;
        Ok(())
    }

    /// Makes a role of AppRole with one policy and no other. Answers its id and its secret half.
    pub(crate) async fn role(&self, policy: &'static str) -> Fallible<(String, String)> {
        self.put("sys/auth/approle", &json!({ "type": "approle" })).await?;
        let role = format!("auth/approle/role/{policy}");
        // Not even the default policy: what `check --policy` prints must be enough.
        let only = json!({ "token_policies": [policy], "token_no_default_policy": true });
        self.put(&role, &only).await?;
        let id = self.read(&format!("{role}/role-id")).await?.ok_or("no role id")?;
        let secret = self.put(&format!("{role}/secret-id"), &json!({})).await?;
        Ok((text(&id, "/data/role_id")?, text(&secret, "/data/secret_id")?))
    }

    /// A token that may do what one policy says, and no more.
    pub(crate) async fn token(&self, policy: &str, ttl: &str) -> Fallible<String> {
        let wanted = json!({ "policies": [policy], "no_default_policy": true, "ttl": ttl });
        text(&self.put("auth/token/create", &wanted).await?, "/auth/client_token")
    }

    /// Reads as root; None if nothing is there.
    pub(crate) async fn read(&self, path: &str) -> Fallible<Option<Value>> {
        self.call(Method::GET, path, None).await
    }

    /// Writes as root.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Fallible<Value> {
        Ok(self.call(Method::POST, path, Some(body)).await?.unwrap_or_default())
    }

    fn spawn(&self, house: &mut House) -> Fallible<()> {
        let config = house.path("openbao.hcl");
        let arguments = ["server".to_owned(), format!("-config={}", config.display())];
        house.start(NAME, &binary()?, arguments)
    }

    async fn until(&self, health: u16) -> Fallible<()> {
        let url = format!("{}/v1/sys/health", self.address);
        for _ in 0..LOOKS {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status() == health) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("OpenBao does not get to health {health}").into())
    }

    /// None for what is not there.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Fallible<Option<Value>> {
        let url = format!("{}/v1/{path}", self.address);
        let call = self.http.request(method, url);
        let call = match self.root.as_str() {
            // Before it was initialised.
            "" => call,
            root => call.header("x-vault-token", root),
        };
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        let answer = call.send().await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::NO_CONTENT => Ok(Some(Value::Null)),
            status if status.is_success() => Ok(Some(answer.json().await?)),
            status => Err(format!("OpenBao answers {status} to {path}").into()),
        }
    }
}

/// The one that `make` has brought, or the one that is named in the environment.
pub(crate) fn binary() -> Fallible<PathBuf> {
    let brought = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bao/bin/bao");
    let binary = std::env::var_os("ROTORD_BAO").map_or(brought, PathBuf::from);
    match binary.exists() {
        true => Ok(binary),
        false => Err(format!("no OpenBao at {}: `make tools` brings it", binary.display()).into()),
    }
}

/// A text in an answer.
pub(crate) fn text(answer: &Value, pointer: &str) -> Fallible<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("OpenBao's answer has no {pointer}"))?.to_owned())
}
