//! The verifier of a TruffleHog custom detector (docs.trufflesecurity.com, "Custom detectors").
//!
//! The scanner posts what its regular expressions matched and reads the status: live, rotated or
//! unknown. Whoever may ask can try values, so it asks for a token and is rate-limited like every
//! source. That a value was asked about is itself a sighting: the config says whether it counts as
//! an alert, or is noted as what it is.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Raw, label_of, mask_of};
use crate::intake::{Delivery, Message, Odd, Received, Rejected, Reply, Source, parts};
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
    fn message(&self, delivery: &Delivery<'_>) -> Result<Message, Rejected> {
        let body: BTreeMap<String, BTreeMap<String, Matched>> = parts::object(delivery.body)?;
        let claim = if self.settings.report { Claim::Leaked } else { Claim::Asked };
        let all = || {
            let each = |(detector, expressions)| {
                BTreeMap::values(expressions).map(move |Matched(values)| (detector, values))
            };
            body.iter().flat_map(each)
        };
        let values = || all().filter_map(|(_, values)| values.as_ref()).flatten();
        if values().count() > VALUES_MAX {
            return Err(Rejected::Malformed(format!("more than {VALUES_MAX} values")));
        }
        let mask = mask_of(values());
        let (mut findings, mut odd) = (Vec::new(), Vec::new());
        for (at, (detector, values)) in all().enumerate() {
            let Some(values) = values else {
                odd.push(Odd { at, why: NO_MATCH.to_owned() });
                continue;
            };
            let clues = values.iter().flat_map(|value| Clue::of_value(&value.0)).collect();
            let label = label_of(detector, &mask);
            findings.push(Finding { clues, label, found_at: None, claim });
        }
        if findings.is_empty() && !odd.is_empty() {
            return Err(Rejected::Malformed(NO_MATCH.to_owned()));
        }
        Ok(Message { id: String::new(), key: None, findings, odd })
    }
}

/// What one expression matched: the page shows a text, the program sends a list. `None` if it is
/// neither.
struct Matched(Option<Vec<Raw>>);

/// What is said of an expression without a match.
const NO_MATCH: &str = "an expression has neither a text nor a list of texts";

impl<'de> Deserialize<'de> for Matched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Matched, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let read = if raw.get().starts_with('[') {
            serde_json::from_str(raw.get())
        } else {
            serde_json::from_str(raw.get()).map(|one| vec![one])
        };
        Ok(Matched(read.ok()))
    }
}

#[async_trait]
impl Source for TruffleHog {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        parts::bearer(&self.keyring, delivery).await?;
        self.message(delivery).map(Received::Alert)
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
