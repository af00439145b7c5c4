//! The verifier of a TruffleHog custom detector (docs.trufflesecurity.com, "Custom detectors").
//!
//! The scanner posts what its regular expressions matched and reads the status: live, rotated or
//! unknown. Whoever may ask can try values, so it asks for a token and is rate-limited like every
//! source. That a value was asked about is itself a sighting, and counts as an alert if the config
//! says so; if not, it is only looked up.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Raw, label_of};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source, parts};
use crate::model::clue::Clue;
use crate::model::version::Stage;

/// Values in one question: the scanner asks about one match at a time, whose expressions have a
/// handful of groups.
pub const VALUES_MAX: usize = 256;

/// What the config says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The bearer tokens, the one in use first.
    pub keys: Vec<SecretRef>,
    /// Whether a question about a value of ours is an alert.
    pub report: bool,
    /// The answer for a value that is accepted somewhere.
    pub live: StatusCode,
    /// The answer for one that was ours and is accepted nowhere.
    pub rotated: StatusCode,
    /// The answer for any other.
    pub unknown: StatusCode,
}

/// The source.
#[derive(Debug)]
pub struct TruffleHog {
    settings: Settings,
    keyring: Keyring,
}

impl TruffleHog {
    /// A source of these settings.
    pub fn new(settings: Settings, secrets: Secrets) -> TruffleHog {
        let keyring = Keyring::new(settings.keys.clone(), secrets);
        TruffleHog { settings, keyring }
    }

    /// One finding for each expression: its match and its groups are clues to the same value.
    fn findings(&self, delivery: &Delivery<'_>) -> Result<Vec<Finding>, Rejected> {
        let body: BTreeMap<String, BTreeMap<String, Matched>> = parts::object(delivery.body)?;
        let claim = if self.settings.report { Claim::Leaked } else { Claim::Withdrawn };
        let mut findings = Vec::new();
        let mut left = VALUES_MAX;
        for (detector, expressions) in &body {
            for Matched(values) in expressions.values() {
                left = left.checked_sub(values.len()).ok_or_else(too_many)?;
                let clues = values.iter().flat_map(|value| Clue::of_value(&value.0)).collect();
                let label = label_of(detector, values.first().map(|value| &value.0));
                findings.push(Finding { clues, label, found_at: None, claim });
            }
        }
        Ok(findings)
    }
}

/// What one expression matched: the page shows a text, the program sends a list.
struct Matched(Vec<Raw>);

impl<'de> Deserialize<'de> for Matched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Matched, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let read = if raw.get().starts_with('[') {
            serde_json::from_str(raw.get())
        } else {
            serde_json::from_str(raw.get()).map(|one| vec![one])
        };
        read.map(Matched).map_err(|_| D::Error::custom("neither a text nor a list of texts"))
    }
}

fn too_many() -> Rejected {
    Rejected::Malformed(format!("more than {VALUES_MAX} values"))
}

#[async_trait]
impl Source for TruffleHog {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        parts::bearer(&self.keyring, delivery).await?;
        let findings = self.findings(delivery)?;
        Ok(Received::Alert(Message { id: String::new(), key: None, findings }))
    }

    fn answer(&self, _: &Message, verdicts: &[Verdict]) -> Reply {
        let stages = verdicts.iter().flat_map(|verdict| &verdict.ours).map(|ours| ours.stage);
        let live = stages.map(|stage| !matches!(stage, Stage::Retired | Stage::Revoked)).max();
        let status = match live {
            Some(true) => self.settings.live,
            Some(false) => self.settings.rotated,
            None => self.settings.unknown,
        };
        Reply { status, body: None }
    }

    fn trusted(&self) -> bool {
        // It always brings the value.
        false
    }
}

#[cfg(test)]
mod tests;
