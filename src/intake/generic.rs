//! Alerts in rotord's own format, for programs that have none of the known ones.
//!
//! `docs/alerts-sources.md` describes it for those who send it. Signed with Standard Webhooks, with
//! X-Pi, or with both; one that is right is enough, for no one without the key makes either.

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::{Judged, Verdict};
use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Each, ID_MAX, Raw, Text, bounded, finding, label_of, mask_of, parse};
use crate::intake::{Delivery, Message, Odd, Received, Rejected, Reply, Source, signed};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::id::KeyId;
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;

/// Longest id of a key, and longest place in Vault, in characters: a cloud's resource name has some
/// 200, a path with its namespace less.
const REFERENCE_MAX: usize = 300;

/// What such a source needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The keys that senders may sign with, the one in use first: `whsec_...` or the bytes
    /// themselves.
    pub keys: Vec<SecretRef>,
    /// Whether it may act without proof of knowledge.
    pub trusted: bool,
}

/// Such a source.
#[derive(Debug)]
pub struct Generic {
    keyring: Keyring,
    trusted: bool,
}

#[derive(Deserialize)]
struct Body {
    id: String,
    findings: Each<Found>,
}

#[derive(Deserialize)]
struct Found {
    value: Option<Raw>,
    sha256: Option<String>,
    sha1: Option<String>,
    key_id: Option<String>,
    vault_path: Option<String>,
    vault_version: Option<u64>,
    #[serde(default)]
    label: Text,
    #[serde(default)]
    found_at: Text,
    #[serde(default)]
    public: bool,
}

impl Generic {
    /// A source with these settings.
    pub fn new(settings: Settings, secrets: Secrets) -> Generic {
        let Settings { keys, trusted } = settings;
        Generic { keyring: Keyring::new(keys, secrets), trusted }
    }
}

#[async_trait]
impl Source for Generic {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.trim_matches('/').is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        self.keyring
            .judge(delivery.at, |keys| {
                signed::either(signed::by_standard(delivery, keys), signed::by_xpi(delivery, keys))
            })
            .await?;
        read(delivery.body).map(Received::Alert)
    }

    fn answer(&self, message: &Message, verdicts: &[Verdict]) -> Reply {
        let told = |(finding, verdict): (&Finding, &Verdict)| {
            // Names are for those who know the value, or whom the config trusts: a key's id or a
            // path can be guessed.
            let names = self.trusted || finding.clues.iter().any(Clue::proves_knowledge);
            match names {
                true => json!({ "versions": verdict.ours.iter().map(judged).collect::<Vec<_>>() }),
                false => json!({ "versions": null }),
            }
        };
        let mut findings: Vec<Value> = message.findings.iter().zip(verdicts).map(told).collect();
        for Odd { at, why } in &message.odd {
            findings.insert((*at).min(findings.len()), json!({ "error": why }));
        }
        let body = json!({ "id": message.id, "findings": findings });
        Reply { status: StatusCode::OK, body: Some(body) }
    }

    fn trusted(&self) -> bool {
        self.trusted
    }
}

fn judged(judged: &Judged) -> Value {
    json!({
        "secret": judged.secret,
        "version": judged.version,
        "stage": judged.stage,
        "action": judged.action,
        "incident": judged.incident,
        "rotation": judged.rotation,
    })
}

fn read(body: &SecretBytes) -> Result<Message, Rejected> {
    let Body { id, findings } = parse(body)?;
    if id.is_empty() || id.chars().count() > ID_MAX || id.chars().any(char::is_control) {
        let text = format!("id: 1 to {ID_MAX} characters without control characters");
        return Err(Rejected::Malformed(text));
    }
    bounded(findings.len())?;
    let mask = mask_of(findings.iter().filter_map(|found| found.value.as_ref()));
    if mask.finds(&id) {
        return Err(Rejected::Malformed("id: it holds a value".to_owned()));
    }
    let Each { read, mut odd } = findings;
    let mut findings = Vec::with_capacity(read.len());
    for (at, found) in read {
        match found.finding(&mask) {
            Ok(finding) => findings.push(finding),
            Err(why) => odd.push(Odd { at, why: why.to_owned() }),
        }
    }
    odd.sort_by_key(|odd| odd.at);
    match odd.first() {
        Some(Odd { at, why }) if findings.is_empty() => {
            Err(Rejected::Malformed(format!("findings[{at}]: {why}")))
        }
        _ => Ok(Message { key: Some(id.clone()), id, findings, odd }),
    }
}

impl Found {
    fn finding(self, mask: &Mask) -> Result<Finding, &'static str> {
        let claim = if self.public { Claim::Public } else { Claim::Leaked };
        let (label, place) = (self.label.as_str(), self.found_at.as_str());
        let digest = |form, text: &str| ValueDigest::parse(form, text).map(Clue::Digest);
        let short = |text: &str| (1..=REFERENCE_MAX).contains(&text.chars().count());
        let clue = match (&self.value, &self.sha256, &self.sha1, &self.key_id, &self.vault_path) {
            (Some(value), None, None, None, None) => {
                return Ok(finding(value, label, place, claim, mask));
            }
            (None, Some(text), None, None, None) => {
                digest(Form::Sha256, text).ok_or("sha256: 64 hexadecimal digits")?
            }
            (None, None, Some(text), None, None) => {
                digest(Form::Sha1, text).ok_or("sha1: 40 hexadecimal digits")?
            }
            (None, None, None, Some(id), None) if short(id) => Clue::KeyId(KeyId(id.clone())),
            (None, None, None, None, Some(path)) if short(path) => Clue::VaultPlace {
                path: path.trim_matches('/').to_owned(),
                version: self.vault_version,
            },
            (None, None, None, Some(_), None) => return Err("key_id: 1 to 300 characters"),
            (None, None, None, None, Some(_)) => return Err("vault_path: 1 to 300 characters"),
            _ => return Err("exactly one of value, sha256, sha1, key_id, vault_path"),
        };
        Ok(Finding {
            clues: vec![clue],
            label: label_of(label, mask),
            found_at: FoundAt::new(place, mask),
            claim,
        })
    }
}
