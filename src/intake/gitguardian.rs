//! GitGuardian's custom webhook (docs.gitguardian.com, "Custom webhook", version 2).
//!
//! An event names the secret by `hmsl_hash`, which only somebody who has the value can compute. It
//! is sent once and never again, so a poll of the incidents makes up for what was lost. The message
//! that "send test" brings has an older shape and a value in clear: it is recognised by that shape,
//! and no member of it is read.

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Text, header, label_of};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source, parts};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;
use crate::signing::gitguardian as signing;

/// What an event means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The secret is where it should not be.
    Leaked,
    /// The same, if it is said to work.
    LeakedIfValid,
    /// It is dealt with, or was none.
    Withdrawn,
    /// Something about the work on it there.
    Nothing,
}

/// Every published action.
const ACTIONS: [(&str, Meaning); 17] = [
    ("incident_triggered", Meaning::Leaked),
    ("new_occurrence", Meaning::Leaked),
    ("incident_reopened", Meaning::Leaked),
    ("incident_regression", Meaning::Leaked),
    ("incident_validity_changed", Meaning::LeakedIfValid),
    ("incident_resolved", Meaning::Withdrawn),
    ("incident_ignored", Meaning::Withdrawn),
    ("incident_assigned", Meaning::Nothing),
    ("incident_reassigned", Meaning::Nothing),
    ("incident_unassigned", Meaning::Nothing),
    ("incident_severity_changed", Meaning::Nothing),
    ("incident_access_granted", Meaning::Nothing),
    ("incident_access_revoked", Meaning::Nothing),
    ("incident_shared_publicly", Meaning::Nothing),
    ("incident_unshared_publicly", Meaning::Nothing),
    ("incident_feedback_received", Meaning::Nothing),
    ("incident_note_created", Meaning::Nothing),
];

/// What the config says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The signature tokens, the one in use first.
    pub keys: Vec<SecretRef>,
    /// Whether it may act without proof of knowledge.
    pub trusted: bool,
}

/// The source.
#[derive(Debug)]
pub struct GitGuardian {
    settings: Settings,
    keyring: Keyring,
}

impl GitGuardian {
    /// A source of these settings.
    pub fn new(settings: Settings, secrets: Secrets) -> GitGuardian {
        let keyring = Keyring::new(settings.keys.clone(), secrets);
        GitGuardian { settings, keyring }
    }

    async fn authenticate(&self, delivery: &Delivery<'_>) -> Result<(), Rejected> {
        let signature = header(delivery, signing::SIGNATURE_HEADER);
        let former = header(delivery, signing::FORMER_SIGNATURE_HEADER);
        let timestamp = header(delivery, signing::TIMESTAMP_HEADER);
        let (Some(signature), Some(timestamp)) = (signature.or(former), timestamp) else {
            return Err(Rejected::Unauthenticated);
        };
        let message = signing::Message { timestamp, signature, body: delivery.body.expose() };
        let verify = |tokens: &[&SecretBytes]| signing::verify(tokens, &message, delivery.at);
        self.keyring.judge(delivery.at, verify).await?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    action: Text,
    #[serde(default)]
    incident: Option<Incident>,
    #[serde(default)]
    occurrence: Option<Occurrence>,
    #[serde(default)]
    origin: Option<IgnoredAny>,
    #[serde(default)]
    matches: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Incident {
    id: Option<Value>,
    detector: Option<Detector>,
    hmsl_hash: Text,
    validity: Text,
    gitguardian_url: Text,
}

#[derive(Deserialize)]
struct Detector {
    #[serde(default)]
    name: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Occurrence {
    url: Text,
    filepath: Text,
    source: Option<Place>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    url: Text,
    visibility: Text,
}

#[async_trait]
impl Source for GitGuardian {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        self.authenticate(delivery).await?;
        let event: Event = parts::object(delivery.body)?;
        let Some(action) = parts::some(&event.action) else {
            let test = event.origin.is_some() && event.matches.is_some();
            return Ok(nothing(if test { "test" } else { "unknown" }));
        };
        let known = ACTIONS.iter().find(|(word, _)| *word == action);
        let Some((word, meaning)) = known else { return Ok(nothing("unknown")) };
        let Some(incident) = &event.incident else {
            return Err(Rejected::Malformed("body: the member incident is missing".to_owned()));
        };
        let claim = match meaning {
            Meaning::Nothing => return Ok(nothing(word)),
            Meaning::LeakedIfValid if incident.validity.as_str() != "valid" => {
                return Ok(nothing(word));
            }
            Meaning::Withdrawn => Claim::Withdrawn,
            Meaning::Leaked | Meaning::LeakedIfValid if event.is_public() => Claim::Public,
            Meaning::Leaked | Meaning::LeakedIfValid => Claim::Leaked,
        };
        Ok(Received::Alert(Message {
            id: incident.number(),
            // Two occurrences may be told of in the same second: neither is to be refused.
            key: None,
            findings: vec![event.finding(incident, claim)],
            odd: Vec::new(),
        }))
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        DONE
    }

    fn trusted(&self) -> bool {
        self.settings.trusted
    }
}

impl Event {
    fn is_public(&self) -> bool {
        let place = self.occurrence.as_ref().and_then(|occurrence| occurrence.source.as_ref());
        place.is_some_and(|place| place.visibility.as_str() == "public")
    }

    fn finding(&self, incident: &Incident, claim: Claim) -> Finding {
        let digest = ValueDigest::parse(Form::Hmsl, incident.hmsl_hash.as_str());
        let occurrence = self.occurrence.as_ref();
        let place = occurrence.and_then(|occurrence| {
            let source = occurrence.source.as_ref().and_then(|place| parts::some(&place.url));
            [&occurrence.url, &occurrence.filepath].into_iter().find_map(parts::some).or(source)
        });
        let found_at = place.or_else(|| parts::some(&incident.gitguardian_url));
        let label = incident.detector.as_ref().map(|detector| detector.name.as_str());
        Finding {
            clues: digest.map(Clue::Digest).into_iter().collect(),
            label: label_of(label.unwrap_or_default(), &Mask::default()),
            found_at: found_at.and_then(|text| FoundAt::new(text, &Mask::default())),
            claim,
        }
    }
}

impl Incident {
    /// Its number there; empty if it is something else than a number.
    fn number(&self) -> String {
        let number = self.id.as_ref().and_then(Value::as_u64);
        number.map_or_else(String::new, |number| number.to_string())
    }
}

/// It counts any success as taken, and reads no body.
const DONE: Reply = Reply { status: StatusCode::OK, body: None };

fn nothing(event: &'static str) -> Received {
    Received::Nothing { event, reply: DONE }
}

#[cfg(test)]
mod tests;
