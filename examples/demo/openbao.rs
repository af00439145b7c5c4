//! The OpenBao of the demo, and what its administrator does there.
//!
//! Decides mounts, policies and logins: rotord and the client get logins that can do what they need
//! and nothing else.

use reqwest::Client;
use rotord::model::material::SecretBytes;
use rotord::store::audit::Head;
use serde_json::Value;

use crate::Fallible;
use crate::material;
use crate::processes::House;
use crate::server::{Server, text};

/// The mount of the documents that programs read.
pub(crate) const APPS: &str = "apps";
/// The document that the client reads.
pub(crate) const DOCUMENT: &str = "client/partner-key";
/// The document in which the client acknowledges.
pub(crate) const ACKNOWLEDGEMENT: &str = "client/partner-key-ack";

/// The server, as its administrator sees it.
pub(crate) struct OpenBao {
    server: Server,
}

impl OpenBao {
    /// Starts a server that keeps everything in memory, and prepares the two mounts.
    pub(crate) async fn start(house: &mut House, http: Client) -> Fallible<OpenBao> {
        let server = Server::in_memory(house, http).await?;
        for mount in ["rotord", APPS] {
            server.mount(mount).await?;
        }
        Ok(OpenBao { server })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.server.address()
    }

    /// Makes the role that rotord logs in with. Answers its id and its secret half.
    pub(crate) async fn role(&self, policy: &'static str) -> Fallible<(String, String)> {
        self.server.role(policy).await
    }

    /// Writes a policy.
    pub(crate) async fn policy(&self, name: &str, policy: &str) -> Fallible<()> {
        self.server.policy(name, policy).await
    }

    /// A token for the client: it reads its document and acknowledges, no more.
    pub(crate) async fn client_token(&self) -> Fallible<String> {
        let policy = format!(
            "path \"{APPS}/data/{DOCUMENT}\" {{ capabilities = [\"read\"] }}\n\
             path \"{APPS}/data/{ACKNOWLEDGEMENT}\" {{ capabilities = [\"create\", \"update\"] }}"
        );
        self.policy("client", &policy).await?;
        self.server.token("client", "1h").await
    }

    /// The value of a version, while rotord keeps it. Only root and rotord can read it.
    pub(crate) async fn value(&self, secret: &str, version: u64) -> Fallible<SecretBytes> {
        material::value(&self.server, secret, version).await
    }

    /// Whether no copy of a version's value is left: neither rotord's own, nor one in the history
    /// of the document that the client reads.
    pub(crate) async fn is_erased(
        &self,
        secret: &str,
        version: u64,
        value: &SecretBytes,
    ) -> Fallible<bool> {
        if self
            .server
            .read(&format!("rotord/metadata/material/{secret}/{version}"))
            .await?
            .is_some()
        {
            return Ok(false);
        }
        let document = format!("{APPS}/metadata/{DOCUMENT}");
        let metadata =
            self.server.read(&document).await?.ok_or("the client's document is not there")?;
        let newest = metadata.pointer("/data/current_version").and_then(Value::as_u64);
        for past in 1..=newest.unwrap_or_default() {
            let past = self.server.read(&format!("{APPS}/data/{DOCUMENT}?version={past}")).await?;
            let shown = past.map(|past| past.to_string()).unwrap_or_default();
            if shown.contains(value.expose_str().ok_or("a value that is no text")?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The head of rotord's audit chain, as anchored here.
    pub(crate) async fn audit_head(&self) -> Fallible<Option<Head>> {
        let listed = self.server.read("rotord/metadata/audit-head?list=true").await?;
        let writer = listed.and_then(|found| text(&found, "/data/keys/0").ok());
        let Some(writer) = writer else { return Ok(None) };
        let head = self.server.read(&format!("rotord/data/audit-head/{writer}")).await?;
        let part = |name: &str| {
            let found = head.as_ref()?.pointer(&format!("/data/data/{name}"))?;
            Some(found.clone())
        };
        let Some((seq, hash)) = part("seq").zip(part("hash")) else { return Ok(None) };
        Ok(Some(Head { seq: serde_json::from_value(seq)?, hash: serde_json::from_value(hash)? }))
    }
}
