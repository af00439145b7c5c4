//! The acknowledgement document: where consumers write what they have taken in.
//!
//! ```json
//! { "instances": { "billing-0": { "generation": 12, "accepted": [4, 3], "current": 4,
//!                                 "at": "2026-11-22T03:12:00Z" } } }
//! ```
//!
//! or, where there is one consumer, the inner object alone. `at` is for people.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::driver::error::DriverError;
use crate::driver::target::agreement::lowest_common;
use crate::driver::target::vault_kv::{bad_document, of_vault};
use crate::model::id::{Generation, VersionId};
use crate::model::target::{Level, Observation, Wanted};
use crate::vault::{Kv, KvPath};

/// Where consumers acknowledge, and who must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The document.
    pub at: KvPath,
    /// The instances that must all have acknowledged. Empty: whoever is in the document counts,
    /// and at least one must be.
    pub instances: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Ack {
    generation: Generation,
    accepted: Vec<VersionId>,
    #[serde(default)]
    current: Option<VersionId>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AckDocument {
    Many { instances: BTreeMap<String, Ack> },
    One(Ack),
}

impl Acks {
    /// What the consumers say together, or `None` while one that must has not taken in this
    /// generation. Reads once.
    pub(super) async fn read(
        &self,
        kv: &dyn Kv,
        wanted: &Wanted,
    ) -> Result<Option<Observation>, DriverError> {
        let Some(read) = kv.read(&self.at).await.map_err(of_vault)? else { return Ok(None) };
        let document =
            read.document.decode().map_err(|malformed| bad_document(&self.at, malformed))?;
        let acks = match document {
            AckDocument::Many { instances } => instances,
            AckDocument::One(ack) => BTreeMap::from([(self.at.to_string(), ack)]),
        };
        self.judge(&acks, wanted)
    }

    fn judge(
        &self,
        acks: &BTreeMap<String, Ack>,
        wanted: &Wanted,
    ) -> Result<Option<Observation>, DriverError> {
        let must = |name: &String| self.instances.is_empty() || self.instances.contains(name);
        let counted: Vec<(&String, &Ack)> = acks.iter().filter(|(name, _)| must(name)).collect();
        let furthest = counted.iter().max_by_key(|(_, ack)| ack.generation);
        if let Some((name, ack)) = furthest.filter(|(_, a)| a.generation > wanted.generation) {
            return Err(DriverError::ahead(
                ack.generation,
                format!("{}: {name} acknowledges a generation it was never told", self.at),
            ));
        }
        let missing = self.instances.iter().any(|name| !acks.contains_key(name));
        if missing || counted.iter().any(|(_, ack)| ack.generation < wanted.generation) {
            return Ok(None);
        }
        let seen: Vec<Observation> = counted
            .into_iter()
            .map(|(name, ack)| Observation {
                generation: ack.generation,
                accepted: ack.accepted.clone(),
                current: ack.current,
                level: Level::Acknowledged,
                by: name.clone(),
            })
            .collect();
        Ok(lowest_common(wanted, &seen))
    }
}
