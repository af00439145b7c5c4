//! HCP Vault Radar's webhook (developer.hashicorp.com, "Vault Radar: webhook").
//!
//! An event carries neither value nor digest, but may name where in a Vault the leaked value lies.
//! That is the sender's word about a server of ours, so it counts only if host, namespace and mount
//! are those of our own; even then it proves no knowledge of the value.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;
use url::Url;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Each, Text, header, label_of};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source, parts};
use crate::model::clue::Clue;
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;
use crate::signing::radar as signing;

/// Port of a location that names none: Vault's own.
pub const PORT: u16 = 8200;

/// Locations of one event that are looked at: a value is seldom kept in more than two places.
const LOCATIONS_MAX: usize = 100;

/// What the config says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The webhook's secrets, the one in use first.
    pub keys: Vec<SecretRef>,
    /// Whether it may act without proof of knowledge. It never has one.
    pub trusted: bool,
    /// What counts as a place in our own Vault.
    pub own: Own,
}

/// Our own Vault, as Vault Radar would write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its hosts and ports, in lower case.
    pub hosts: BTreeSet<(String, u16)>,
    /// Our namespace, if there are any.
    pub namespace: Option<String>,
    /// The KV mounts in which managed secrets lie.
    pub mounts: BTreeSet<String>,
}

/// The source.
#[derive(Debug)]
pub struct VaultRadar {
    settings: Settings,
    keyring: Keyring,
}

impl VaultRadar {
    /// A source of these settings.
    pub fn new(settings: Settings, secrets: Secrets) -> VaultRadar {
        let keyring = Keyring::new(settings.keys.clone(), secrets);
        VaultRadar { settings, keyring }
    }

    async fn authenticate(&self, delivery: &Delivery<'_>) -> Result<(), Rejected> {
        let signature = header(delivery, signing::SIGNATURE_HEADER);
        let signature = signature.ok_or(Rejected::Unauthenticated)?;
        let body = delivery.body.expose();
        let verify = |secrets: &[&SecretBytes]| signing::verify(secrets, signature, body);
        self.keyring.judge(delivery.at, verify).await?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    event_id: Text,
    #[serde(default, alias = "type")]
    event_type: Text,
    #[serde(default, alias = "sub_type")]
    event_subtype: Text,
    #[serde(default)]
    data_source: Option<DataSource>,
    #[serde(default)]
    managed_locations: Option<Managed>,
}

#[derive(Deserialize)]
struct DataSource {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    resource: Text,
}

/// The page gives the type as a list and shows an object: both are read.
#[derive(Default)]
struct Managed(Each<Location>);

#[derive(Deserialize)]
struct Managers {
    #[serde(default)]
    hashicorp_vault: Each<Location>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    location: Text,
}

impl<'de> Deserialize<'de> for Managed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Managed, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let all = if raw.get().starts_with('[') {
            serde_json::from_str::<Each<Managers>>(raw.get())
        } else {
            serde_json::from_str(raw.get())
                .map(|one| Each { read: vec![(0, one)], ..Each::default() })
        };
        let all = all.map_err(|_| D::Error::custom("neither a list nor an object of managers"))?;
        let mut locations = Each { read: Vec::new(), odd: all.odd };
        for (_, Managers { hashicorp_vault }) in all.read {
            locations.read.extend(hashicorp_vault.read);
            locations.odd.extend(hashicorp_vault.odd);
        }
        Ok(Managed(locations))
    }
}

#[async_trait]
impl Source for VaultRadar {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        self.authenticate(delivery).await?;
        let event: Event = parts::object(delivery.body)?;
        if event.event_type.as_str().is_empty() || event.event_id.as_str().is_empty() {
            return Ok(Received::Nothing { event: "test", reply: DONE });
        }
        let Managed(locations) = event.managed_locations.unwrap_or_default();
        let claimed = locations.iter().take(LOCATIONS_MAX).map(|at| at.location.as_str());
        let clues: BTreeSet<Clue> =
            claimed.filter_map(|location| self.settings.own.clue(location)).collect();
        let place = event.data_source.as_ref().and_then(|from| {
            let text = [&from.resource, &from.name].into_iter().find_map(parts::some)?;
            FoundAt::new(text, &Mask::default())
        });
        let label = parts::some(&event.event_subtype).unwrap_or_else(|| event.event_type.as_str());
        let finding = Finding {
            clues: clues.into_iter().collect(),
            label: label_of(label, &Mask::default()),
            found_at: place,
            claim: Claim::Leaked,
        };
        Ok(Received::Alert(Message {
            id: parts::uuid(event.event_id.as_str()).unwrap_or_default().to_owned(),
            // The same event is told of again when its state there changes.
            key: None,
            findings: vec![finding],
            odd: locations.odd,
        }))
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        DONE
    }

    fn trusted(&self) -> bool {
        self.settings.trusted
    }
}

impl Own {
    /// The place that a location names, if it is in our Vault:
    /// `vault://host:8200/<namespace>/<mount>?key=<path>&version=<n>`.
    fn clue(&self, location: &str) -> Option<Clue> {
        let url = Url::parse(location).ok().filter(|url| url.scheme() == "vault")?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_ascii_lowercase();
        if !self.hosts.contains(&(host, url.port().unwrap_or(PORT))) {
            return None;
        }
        let path = percent_decode_str(url.path()).decode_utf8().ok()?;
        let path = path.trim_matches('/');
        let mount = match &self.namespace {
            None => path,
            Some(namespace) => path.strip_prefix(namespace.trim_matches('/'))?.strip_prefix('/')?,
        };
        if !self.mounts.contains(mount) {
            return None;
        }
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name);
        let (_, key) = parameter("key")?;
        let key = key.trim_matches('/');
        let version = parameter("version").and_then(|(_, text)| text.parse().ok());
        (!key.is_empty()).then(|| Clue::VaultPlace { path: format!("{path}/{key}"), version })
    }
}

/// Any success is enough.
const DONE: Reply = Reply { status: StatusCode::OK, body: None };

#[cfg(test)]
mod tests;
