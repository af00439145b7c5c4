//! The OpenBao of the demo, and what its administrator does there.
//!
//! Decides mounts, policies and logins. The root token stays in here: rotord and the client get
//! logins that can do what they need and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, StatusCode};
use rotord::model::material::SecretBytes;
use rotord::store::audit::Head;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Fallible;
use crate::processes::{House, free_port};

/// Most looks at a server that is starting, one every [`LOOK`]: together twenty seconds.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(100);

/// The mount of the documents that programs read.
pub(crate) const APPS: &str = "apps";
/// The document that the client reads.
pub(crate) const DOCUMENT: &str = "client/partner-key";
/// The document in which the client acknowledges.
pub(crate) const ACKNOWLEDGEMENT: &str = "client/partner-key-ack";

/// The server, as its administrator sees it.
pub(crate) struct OpenBao {
    address: String,
    root: String,
    http: Client,
}

impl OpenBao {
    /// Starts a server that keeps everything in memory, and prepares the two mounts.
    pub(crate) async fn start(house: &mut House, http: Client) -> Fallible<OpenBao> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let listen = format!("-dev-listen-address={address}");
        let arguments = ["server", "-dev", "-dev-no-store-token", "-log-level=error", &listen];
        house.start("openbao", &binary()?, arguments)?;
        let token = |line: &str| line.strip_prefix("Root Token: ").map(str::to_owned);
        let root = house.told("openbao", token).await?;
        let bao = OpenBao { address: format!("http://{address}"), root, http };
        for mount in ["rotord", APPS] {
            let kv2 = json!({ "type": "kv", "options": { "version": "2" } });
            bao.put(&format!("sys/mounts/{mount}"), &kv2).await?;
            bao.until_there(&format!("{mount}/config")).await?;
        }
        Ok(bao)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Makes the role that rotord logs in with. Answers its id and its secret half.
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

    /// Writes a policy.
    pub(crate) async fn policy(&self, name: &str, policy: &str) -> Fallible<()> {
        self.put(&format!("sys/policies/acl/{name}"), &json!({ "policy": policy })).await?;
        Ok(())
    }

    /// A token for the client: it reads its document and acknowledges, no more.
    pub(crate) async fn client_token(&self) -> Fallible<String> {
        let policy = format!(
            "path \"{APPS}/data/{DOCUMENT}\" {{ capabilities = [\"read\"] }}\n\
             path \"{APPS}/data/{ACKNOWLEDGEMENT}\" {{ capabilities = [\"create\", \"update\"] }}"
        );
        self.policy("client", &policy).await?;
        let wanted = json!({ "policies": ["client"], "no_default_policy": true, "ttl": "1h" });
        text(&self.put("auth/token/create", &wanted).await?, "/auth/client_token")
    }

    /// The value of a version, while rotord keeps it. Only root and rotord can read it.
    pub(crate) async fn value(&self, secret: &str, version: u64) -> Fallible<SecretBytes> {
        let found = self.read(&format!("rotord/data/material/{secret}/{version}")).await?;
        let found = found.ok_or_else(|| format!("{secret} v{version} is not in OpenBao"))?;
        let value = text(&found, "/data/data/fields/value")?;
        Ok(SecretBytes::new(STANDARD.decode(value)?))
    }

    /// Whether no copy of a version's value is left: neither rotord's own, nor one in the history
    /// of the document that the client reads.
    pub(crate) async fn is_erased(
        &self,
        secret: &str,
        version: u64,
        value: &SecretBytes,
    ) -> Fallible<bool> {
        if self.read(&format!("rotord/metadata/material/{secret}/{version}")).await?.is_some() {
            return Ok(false);
        }
        let document = format!("{APPS}/metadata/{DOCUMENT}");
        let metadata = self.read(&document).await?.ok_or("the client's document is not there")?;
        let newest = metadata.pointer("/data/current_version").and_then(Value::as_u64);
        for past in 1..=newest.unwrap_or_default() {
            let past = self.read(&format!("{APPS}/data/{DOCUMENT}?version={past}")).await?;
            let shown = past.map(|past| past.to_string()).unwrap_or_default();
            if shown.contains(value.expose_str().ok_or("a value that is no text")?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The head of rotord's audit chain, as anchored here.
    pub(crate) async fn audit_head(&self) -> Fallible<Option<Head>> {
        let listed = self.call(Method::GET, "rotord/metadata/audit-head?list=true", None).await?;
        let writer = listed.and_then(|found| text(&found, "/data/keys/0").ok());
        let Some(writer) = writer else { return Ok(None) };
        let head = self.read(&format!("rotord/data/audit-head/{writer}")).await?;
        let part = |name: &str| {
            let found = head.as_ref()?.pointer(&format!("/data/data/{name}"))?;
            Some(found.clone())
        };
        let Some((seq, hash)) = part("seq").zip(part("hash")) else { return Ok(None) };
        Ok(Some(Head { seq: serde_json::from_value(seq)?, hash: serde_json::from_value(hash)? }))
    }

    async fn read(&self, path: &str) -> Fallible<Option<Value>> {
        self.call(Method::GET, path, None).await
    }

    async fn put(&self, path: &str, body: &Value) -> Fallible<Value> {
        Ok(self.call(Method::POST, path, Some(body)).await?.unwrap_or_default())
    }

    /// None for what is not there.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Fallible<Option<Value>> {
        let url = format!("{}/v1/{path}", self.address);
        let call = self.http.request(method, url).header("x-vault-token", &self.root);
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

    async fn until_there(&self, path: &str) -> Fallible<()> {
        for _ in 0..LOOKS {
            if matches!(self.read(path).await, Ok(Some(_))) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Err(format!("OpenBao does not get ready ({path})").into())
    }
}

/// The one that `make` has brought, or the one that is named in the environment.
fn binary() -> Fallible<PathBuf> {
    let brought = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bao/bin/bao");
    let binary = std::env::var_os("ROTORD_BAO").map_or(brought, PathBuf::from);
    match binary.exists() {
        true => Ok(binary),
        false => Err(format!("no OpenBao at {}: `make tools` brings it", binary.display()).into()),
    }
}

fn text(answer: &Value, pointer: &str) -> Fallible<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("OpenBao's answer has no {pointer}"))?.to_owned())
}
