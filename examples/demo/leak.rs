//! The second act: a scanner finds the key of the moment, and says so in a signed message.
//!
//! Decides what a scanner does: it knows a value and a place, and rotord's address. What is done
//! about it is rotord's to decide.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use reqwest::{Client, StatusCode};
use rotord::api::wire::incidents::IncidentDetail;
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::headers;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;
use serde::Deserialize;
use serde_json::json;

use crate::Fallible;
use crate::proof::now;

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
    /// A scanner with this key. rotord is told to listen at its address.
    pub(crate) fn new(http: Client, key: &str) -> Fallible<Scanner> {
        // Free a moment ago; rotord takes it before anything else here asks for a port.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Scanner { http, address, key: SecretBytes::new(key.as_bytes().to_vec()) })
    }

    /// Reports a value.
    pub(crate) async fn report(&self, id: &str, value: &SecretBytes) -> Fallible<Answer> {
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
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("the alert was answered with {status}: {text}").into());
        }
        let Body { findings } = serde_json::from_str(&text)?;
        let versions = findings.into_iter().flat_map(|finding| finding.versions).collect();
        Ok(Answer { status, milliseconds, versions })
    }
}

/// The course of an incident with the time from the alert to each step.
pub(crate) fn course(detail: &IncidentDetail) -> Vec<String> {
    let begun = detail.incident.opened_at;
    let line = |at: Timestamp, text: &str| {
        let after = at.since(begun).to_std().as_secs_f64();
        format!("    +{after:>6.3}s  {text}")
    };
    detail.timeline.iter().map(|step| line(step.at, &step.text)).collect()
}

/// The beginning of a span of time.
#[expect(clippy::disallowed_methods, reason = "a program has to read the clock somewhere")]
fn begin() -> Instant {
    Instant::now()
}
