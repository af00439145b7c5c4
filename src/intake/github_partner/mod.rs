//! GitHub's secret-scanning partner programme, as the issuer's side of it: GitHub sends the values
//! that match our pattern (docs.github.com, "Secret scanning partner program").
//!
//! Others send the same with header names and keys of their own, so both are settings. A value is
//! public when it comes: everybody could read where it was found.

mod keys;

use std::path::PathBuf;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding};
use crate::intake::github::api::client;
use crate::intake::github_partner::keys::Keys;
use crate::intake::reading::{Each, Raw, Text, bounded, finding, header, mask_of, parse};
use crate::intake::{Delivery, Message, Odd, Received, Rejected, Reply, Source};
use crate::model::clue::{Clue, Form};
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;
use crate::model::time::Span;

pub use crate::intake::github_partner::keys::{FLOOR, KEEP};

/// GitHub's list of keys.
pub const KEYS_URL: &str = "https://api.github.com/meta/public_keys/secret_scanning";

/// GitHub's header for the id of the key.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("github-public-key-identifier");

/// GitHub's header for the signature.
pub const SIGNATURE_HEADER: HeaderName = HeaderName::from_static("github-public-key-signature");

/// How long a key is believed after it was last seen to be current, unless the config says
/// otherwise: messages signed before a change may still be on their way.
pub const LATELY_DEFAULT: Span = Span::from_secs(24 * 3600);

/// Longest id of a key that is looked up; GitHub's have 64 characters.
const KEY_ID_MAX: usize = 200;

/// What such a source needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the public keys are listed, [`KEYS_URL`] as a rule.
    pub keys_url: Url,
    /// A token for that address, whose limits are low without one.
    pub token: Option<SecretRef>,
    /// The header with the key's id.
    pub key_header: HeaderName,
    /// The header with the signature.
    pub signature_header: HeaderName,
    /// How long a key is believed after it was last seen to be current.
    pub lately: Span,
    /// Whether each value is answered with whether it is ours.
    pub feedback: bool,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
    /// Whether it may act without proof of knowledge; every message of it has that.
    pub trusted: bool,
}

/// Such a source.
#[derive(Debug)]
pub struct GitHubPartner {
    keys: Keys,
    key_header: HeaderName,
    signature_header: HeaderName,
    feedback: bool,
    trusted: bool,
}

#[derive(Deserialize)]
struct Record {
    token: Raw,
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    url: Text,
    #[serde(default)]
    source: Text,
}

impl GitHubPartner {
    /// A source with these settings.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn new(settings: Settings, secrets: Secrets) -> Result<GitHubPartner, DriverError> {
        let client = client(settings.keys_url, settings.ca_file, settings.allow_http)?;
        Ok(GitHubPartner {
            keys: Keys::new(client, settings.token, secrets, settings.lately),
            key_header: settings.key_header,
            signature_header: settings.signature_header,
            feedback: settings.feedback,
            trusted: settings.trusted,
        })
    }

    /// Answers the signature, once it is known to be right.
    async fn authenticate<'a>(&self, delivery: &Delivery<'a>) -> Result<&'a str, Rejected> {
        let given = (
            header(delivery, self.key_header.as_str()),
            header(delivery, self.signature_header.as_str()),
        );
        let (Some(id), Some(signature)) = given else { return Err(Rejected::Unauthenticated) };
        if id.len() > KEY_ID_MAX {
            return Err(Rejected::Unauthenticated);
        }
        let key = self.keys.get(id, delivery.at).await?;
        key.verify(signature, delivery.body.expose()).map_err(|_| Rejected::Unauthenticated)?;
        Ok(signature)
    }
}

#[async_trait]
impl Source for GitHubPartner {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.trim_matches('/').is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        let signature = self.authenticate(delivery).await?;
        let (findings, odd) = read(delivery.body)?;
        // Nothing names a delivery; its signature is never made twice.
        let id = hex::encode(&digest(&SHA256, signature.as_bytes()).as_ref()[..8]);
        Ok(Received::Alert(Message { key: Some(id.clone()), id, findings, odd }))
    }

    fn answer(&self, message: &Message, verdicts: &[Verdict]) -> Reply {
        if !self.feedback {
            return Reply { status: StatusCode::NO_CONTENT, body: None };
        }
        let feedback: Vec<Value> =
            message.findings.iter().zip(verdicts).filter_map(|(f, v)| label(f, v)).collect();
        Reply { status: StatusCode::OK, body: Some(Value::Array(feedback)) }
    }

    fn trusted(&self) -> bool {
        self.trusted
    }
}

/// What is found in a message, and what of it cannot be read.
pub(in crate::intake) fn read(body: &SecretBytes) -> Result<(Vec<Finding>, Vec<Odd>), Rejected> {
    let records: Each<Record> = parse(body)?;
    bounded(records.len())?;
    if records.read.is_empty() && !records.odd.is_empty() {
        return Err(Rejected::Malformed("no record has a token".to_owned()));
    }
    let mask = mask_of(records.iter().map(|record| &record.token));
    Ok((records.iter().map(|record| record.finding(&mask)).collect(), records.odd))
}

impl Record {
    fn finding(&self, mask: &Mask) -> Finding {
        let Record { token, kind, url, source } = self;
        let place = if url.as_str().is_empty() { source.as_str() } else { url.as_str() };
        finding(token, kind.as_str(), place, Claim::Public, mask)
    }
}

/// A value is named by its digest, never by itself: an answer may end in somebody's log.
fn label(finding: &Finding, verdict: &Verdict) -> Option<Value> {
    let Some(Clue::Digest(exact)) = finding.clues.first() else { return None };
    let hash = (exact.form == Form::Sha256).then(|| hex::encode(exact.expose()))?;
    let label = if verdict.ours.is_empty() { "false_positive" } else { "true_positive" };
    Some(json!({ "token_hash": hash, "token_type": finding.label, "label": label }))
}
