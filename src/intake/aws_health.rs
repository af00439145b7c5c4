//! AWS Health events about exposed access keys, as EventBridge delivers them (docs.aws.amazon.com,
//! "AWS Health events", "EventBridge API destinations").
//!
//! The event names keys by their public ids, so it proves no knowledge of a value: it opens
//! incidents, and acts alone only if the config trusts the way it comes. Who sends it is shown by
//! the hop, not by the event: a bearer token, which an API destination sends with every call.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Each, Text};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source, parts};
use crate::model::clue::Clue;
use crate::model::id::KeyId;

/// The codes of the service `RISK` that are about credentials, and what each claims.
const CODES: [(&str, Claim); 5] = [
    ("AWS_RISK_CREDENTIALS_EXPOSED", Claim::Public),
    ("AWS_RISK_CREDENTIALS_EXPOSURE_SUSPECTED", Claim::Leaked),
    ("AWS_RISK_CREDENTIALS_COMPROMISED", Claim::Leaked),
    ("AWS_RISK_CREDENTIALS_COMPROMISE_SUSPECTED", Claim::Leaked),
    ("AWS_RISK_IAM_QUARANTINE", Claim::Leaked),
];

/// Entities of one event that are looked at: an account has far fewer keys that leak together.
const ENTITIES_MAX: usize = 1_000;

/// Longest id of an entity: an access key's has 20 characters.
const ENTITY_LEN_MAX: usize = 128;

/// What the config says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The bearer tokens, the one in use first.
    pub keys: Vec<SecretRef>,
    /// Whether it may act without proof of knowledge. It never has one.
    pub trusted: bool,
}

/// The source.
#[derive(Debug)]
pub struct AwsHealth {
    settings: Settings,
    keyring: Keyring,
}

impl AwsHealth {
    /// A source of these settings.
    pub fn new(settings: Settings, secrets: Secrets) -> AwsHealth {
        let keyring = Keyring::new(settings.keys.clone(), secrets);
        AwsHealth { settings, keyring }
    }
}

/// The envelope of EventBridge.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    source: Text,
    #[serde(default)]
    detail: Option<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    #[serde(default)]
    service: Text,
    #[serde(default)]
    event_type_code: Text,
    #[serde(default)]
    affected_entities: Option<Each<Entity>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    #[serde(default)]
    entity_value: Text,
}

#[async_trait]
impl Source for AwsHealth {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        parts::bearer(&self.keyring, delivery).await?;
        let envelope: Envelope = parts::object(delivery.body)?;
        let ours = envelope.source.as_str() == "aws.health";
        let Some(detail) =
            envelope.detail.filter(|detail| ours && detail.service.as_str() == "RISK")
        else {
            return Ok(Received::Nothing { event: "other_event", reply: DONE });
        };
        let known = CODES.iter().find(|(code, _)| detail.event_type_code.as_str() == *code);
        let Some((code, claim)) = known else {
            return Ok(Received::Nothing { event: "unknown", reply: DONE });
        };
        let id = parts::uuid(envelope.id.as_str());
        let entities = detail.affected_entities.unwrap_or_default();
        Ok(Received::Alert(Message {
            id: id.unwrap_or_default().to_owned(),
            key: id.map(str::to_owned),
            findings: findings(&entities, code, *claim),
            odd: entities.odd,
        }))
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        DONE
    }

    fn trusted(&self) -> bool {
        self.settings.trusted
    }
}

/// One finding for each key that the event names.
fn findings(entities: &Each<Entity>, code: &str, claim: Claim) -> Vec<Finding> {
    let entities = entities.iter().take(ENTITIES_MAX);
    let named: BTreeSet<&str> = entities
        .map(|entity| entity.entity_value.as_str())
        .filter(|id| (1..=ENTITY_LEN_MAX).contains(&id.len()))
        .collect();
    let finding = |id: &str| Finding {
        clues: vec![Clue::KeyId(KeyId(id.to_owned()))],
        label: code.to_owned(),
        found_at: None,
        claim,
    };
    named.into_iter().map(finding).collect()
}

/// EventBridge takes any success, and sends again for anything else.
const DONE: Reply = Reply { status: StatusCode::OK, body: None };

#[cfg(test)]
mod tests;
