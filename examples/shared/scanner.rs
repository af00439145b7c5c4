//! A scanner that finds a value of ours somewhere, and says so in a signed message.
//!
//! Decides what a scanner does: it knows a value and a place, and rotord's address. What is done
//! about it is rotord's to decide.

use std::net::SocketAddr;
use std::time::Instant;

use reqwest::{Client, StatusCode};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::headers;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;
use serde::Deserialize;
use serde_json::json;

use crate::Fallible;

/// Where the value was found.
const PASTE: &str = "https://paste.example/raw/8xk2";

/// A scanner that rotord believes: it has a key of its own to sign with.
pub(crate) struct Scanner {
    http: Client,
    /// Where rotord listens for alerts.
    pub(crate) address: SocketAddr,
    key: SecretBytes,
}

/// What rotord answered, and how soon.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) milliseconds: u128,
    /// The versions that the value is of: usually one.
    pub(crate) versions: Vec<Judged>,
}

/// An answer as it came.
pub(crate) struct Delivered {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    pub(crate) milliseconds: u128,
}

/// What rotord does about one version.
#[derive(Deserialize)]
pub(crate) struct Judged {
    pub(crate) secret: String,
    pub(crate) version: u64,
    pub(crate) stage: String,
    pub(crate) action: String,
    pub(crate) incident: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    versions: Vec<Judged>,
}

impl Scanner {
    /// A scanner with this key that reports to this address.
    pub(crate) fn new(http: Client, address: SocketAddr, key: &str) -> Scanner {
        Scanner { http, address, key: SecretBytes::new(key.as_bytes().to_vec()) }
    }

    /// Reports a value, and takes nothing but a judgement for an answer.
    pub(crate) async fn report(&self, id: &str, value: &SecretBytes) -> Fallible<Answer> {
        let Delivered { status, text, milliseconds } = self.deliver(id, value).await?;
        if !status.is_success() {
            return Err(format!("the alert was answered with {status}: {text}").into());
        }
        let Body { findings } = serde_json::from_str(&text)?;
        let versions = findings.into_iter().flat_map(|finding| finding.versions).collect();
        Ok(Answer { status, milliseconds, versions })
    }

    /// Sends a report once. Whatever comes back is an answer.
    pub(crate) async fn deliver(&self, id: &str, value: &SecretBytes) -> Fallible<Delivered> {
        let value = value.expose_str().ok_or("a value that is no text")?;
        let finding = json!({
            "value": value, "label": "paste", "found_at": PASTE, "public": true,
        });
        let body = serde_json::to_vec(&json!({ "id": id, "findings": [finding] }))?;
        let key = SigningKey::new(&self.key).map_err(|_| "a key that signs nothing")?;
        let signed = headers(&[key], &MessageId::new(id)?, now(), &body);
        let url = format!("http://{}/alerts/scanner", self.address);
        let request = self.http.post(url).body(body);
        let request = signed.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let begun = begin();
        let answer = request.send().await?;
        let (status, milliseconds) = (answer.status(), begun.elapsed().as_millis());
        Ok(Delivered { status, text: answer.text().await?, milliseconds })
    }
}

/// The moment, for a signature.
#[expect(clippy::disallowed_methods, reason = "a program has to read the clock somewhere")]
pub(crate) fn now() -> Timestamp {
    Timestamp(chrono::Utc::now().timestamp_millis())
}

/// The beginning of a span of time.
#[expect(clippy::disallowed_methods, reason = "a program has to read the clock somewhere")]
pub(crate) fn begin() -> Instant {
    Instant::now()
}
