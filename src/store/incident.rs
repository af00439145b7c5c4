//! Incidents in Vault: one document each, written by check-and-set.
//!
//! Decides where an incident lies and how a write is settled whose answer was lost: by reading
//! back the write id, as for records. Must not know what an incident means. There is no epoch in
//! it: nothing is done to the world because of it alone, and a former leader's write fails or is
//! merged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;

use crate::incident::record::{Incident, SCHEMA, parse_id};
use crate::model::id::{IncidentId, WriteId};
use crate::model::time::Entropy;
use crate::store::{Revision, StoreError, folded};
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath};

/// Largest incident in bytes of JSON: all its lists full of the longest texts stay below it.
pub const INCIDENT_BYTES_MAX: usize = 512 * 1024;

/// How often one write is sent: once, and once more if its answer was lost and nothing was
/// written.
const WRITE_TRIES: u32 = 2;

/// Durable incidents.
///
/// # Guarantees
/// - `save` succeeds only if the incident's revision is the one named, and settles a lost answer:
///   `Ok` means it is written, [`StoreError::Changed`] that another writer's lies there. Only when
///   reading back fails too does the ambiguity reach the caller; saving the same again settles it.
/// - Each verb is one request to Vault as long as nothing goes wrong.
///
/// # Errors
/// [`StoreError`]; its text holds paths and ids, never content.
#[async_trait]
pub trait Incidents: Send + Sync {
    /// The ids of all incidents, oldest first.
    async fn list(&self) -> Result<Vec<IncidentId>, StoreError>;

    /// An incident, or `None` if there is none of that id.
    async fn load(&self, id: &IncidentId) -> Result<Option<(Incident, Revision)>, StoreError>;

    /// Writes an incident over the revision named; [`Revision::default`] if there is none yet.
    async fn save(&self, incident: &Incident, over: Revision) -> Result<Revision, StoreError>;

    /// Deletes an incident with its history; nothing happens if there is none.
    async fn delete(&self, id: &IncidentId) -> Result<(), StoreError>;
}

/// Incidents on KV v2.
pub struct KvIncidents {
    kv: Arc<dyn Kv>,
    mount: String,
    /// Part of every write id: two processes that write the same are told apart.
    nonce: [u8; 16],
}

/// The part of a document that every schema has, and that settles a write.
#[derive(Deserialize)]
struct Shape {
    schema: u32,
    write_id: WriteId,
}

impl KvIncidents {
    /// Incidents in the mount named, e.g. `rotord`.
    pub fn new(kv: Arc<dyn Kv>, mount: impl Into<String>, entropy: &dyn Entropy) -> KvIncidents {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        KvIncidents { kv, mount: mount.into(), nonce }
    }

    fn at(&self, path: String) -> KvPath {
        KvPath { mount: self.mount.clone(), path }
    }

    /// The incident with a write id that follows from it, from the revision and from this process.
    fn stamp(
        &self,
        at: &KvPath,
        incident: &Incident,
        over: Revision,
    ) -> Result<(WriteId, Document), StoreError> {
        let mut stamped = Incident { write_id: WriteId(String::new()), ..incident.clone() };
        let mut digest = Context::new(&SHA256);
        digest.update(&self.nonce);
        digest.update(&over.0.to_be_bytes());
        digest.update(encode(at, &stamped)?.expose());
        stamped.write_id = WriteId(hex::encode(&digest.finish().as_ref()[..16]));
        let document = encode(at, &stamped)?;
        Ok((stamped.write_id, document))
    }

    /// What became of a write over a revision: the revision if it is ours, `None` if nothing was
    /// written since. `why` is what the write itself answered.
    async fn settle(
        &self,
        at: &KvPath,
        over: Revision,
        mine: &WriteId,
        why: &VaultError,
    ) -> Result<Option<Revision>, StoreError> {
        let read = match self.kv.read(at).await {
            Ok(Some(read)) => read,
            Ok(None) if over == Revision::default() => return Ok(None),
            Ok(None) => return Err(StoreError::unreadable(at, "it was deleted while in use")),
            Err(error @ VaultError::Deleted { .. }) => {
                return Err(StoreError::unreadable(at, error));
            }
            Err(_) => {
                let what = format!("reading back failed after: {why}");
                return Err(VaultError::Ambiguous { path: at.to_string(), what }.into());
            }
        };
        let shape: Shape =
            folded::decode(&read.document).map_err(|error| StoreError::unreadable(at, error))?;
        match Revision(read.version) {
            revision if shape.write_id == *mine => Ok(Some(revision)),
            revision if revision == over => Ok(None),
            _ => Err(StoreError::Changed { place: at.to_string() }),
        }
    }
}

#[async_trait]
impl Incidents for KvIncidents {
    async fn list(&self) -> Result<Vec<IncidentId>, StoreError> {
        let names = self.kv.list(&self.at("incident".to_owned())).await?;
        let mut ids: Vec<IncidentId> = names.iter().filter_map(|name| parse_id(name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    async fn load(&self, id: &IncidentId) -> Result<Option<(Incident, Revision)>, StoreError> {
        let at = self.at(place(id));
        let read = match self.kv.read(&at).await {
            Err(error @ VaultError::Deleted { .. }) => {
                return Err(StoreError::unreadable(&at, error));
            }
            read => read?,
        };
        let Some(read) = read else { return Ok(None) };
        Ok(Some((decode(&at, id, &read.document)?, Revision(read.version))))
    }

    async fn save(&self, incident: &Incident, over: Revision) -> Result<Revision, StoreError> {
        let at = self.at(place(&incident.id));
        let (mine, document) = self.stamp(&at, incident, over)?;
        let mut tries = WRITE_TRIES;
        loop {
            tries -= 1;
            let error = match self.kv.write(&at, &document, over.0).await {
                Ok(version) => return Ok(Revision(version)),
                Err(error @ (VaultError::Conflict { .. } | VaultError::Ambiguous { .. })) => error,
                Err(error) => return Err(error.into()),
            };
            match self.settle(&at, over, &mine, &error).await? {
                Some(revision) => return Ok(revision),
                None if tries == 0 => return Err(error.into()),
                None => {}
            }
        }
    }

    async fn delete(&self, id: &IncidentId) -> Result<(), StoreError> {
        Ok(self.kv.delete_metadata(&self.at(place(id))).await?)
    }
}

/// Incidents in memory, for models and tests of the engine: the same promises without a Vault.
#[derive(Default)]
pub struct MemoryIncidents {
    inner: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    all: BTreeMap<IncidentId, (Incident, Revision)>,
    writes: u64,
}

impl MemoryIncidents {
    /// None yet.
    pub fn new() -> MemoryIncidents {
        MemoryIncidents::default()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Incidents for MemoryIncidents {
    async fn list(&self) -> Result<Vec<IncidentId>, StoreError> {
        Ok(self.lock().all.keys().cloned().collect())
    }

    async fn load(&self, id: &IncidentId) -> Result<Option<(Incident, Revision)>, StoreError> {
        Ok(self.lock().all.get(id).cloned())
    }

    async fn save(&self, incident: &Incident, over: Revision) -> Result<Revision, StoreError> {
        encode(&place(&incident.id), incident)?;
        let mut kept = self.lock();
        let found = kept.all.get(&incident.id).map_or_else(Revision::default, |(_, at)| *at);
        if found != over {
            return Err(StoreError::Changed { place: place(&incident.id) });
        }
        kept.writes += 1;
        let write_id = WriteId(format!("{:032x}", kept.writes));
        let revision = Revision(over.0 + 1);
        let incident = Incident { write_id, ..incident.clone() };
        kept.all.insert(incident.id.clone(), (incident, revision));
        Ok(revision)
    }

    async fn delete(&self, id: &IncidentId) -> Result<(), StoreError> {
        self.lock().all.remove(id);
        Ok(())
    }
}

fn place(id: &IncidentId) -> String {
    format!("incident/{id}")
}

pub(super) fn encode(
    at: &impl std::fmt::Display,
    incident: &Incident,
) -> Result<Document, StoreError> {
    let refused = |what: String| VaultError::Refused { path: at.to_string(), what };
    let document = folded::encode(incident).map_err(|error| refused(error.to_string()))?;
    match document.expose().len() {
        bytes if bytes > INCIDENT_BYTES_MAX => Err(refused(format!(
            "it has {bytes} bytes, at most {INCIDENT_BYTES_MAX} are allowed, and was not sent"
        ))
        .into()),
        _ => Ok(document),
    }
}

pub(super) fn decode(
    at: &KvPath,
    id: &IncidentId,
    document: &Document,
) -> Result<Incident, StoreError> {
    let inside = folded::unfold(document);
    let document = inside.as_ref().unwrap_or(document);
    let shape: Shape = document.decode().map_err(|error| StoreError::unreadable(at, error))?;
    if shape.schema > SCHEMA {
        let what = format!("a newer rotord wrote it (schema {})", shape.schema);
        return Err(StoreError::unreadable(at, what));
    }
    let incident: Incident =
        document.decode().map_err(|error| StoreError::unreadable(at, error))?;
    if incident.id != *id {
        return Err(StoreError::unreadable(at, "it is another incident"));
    }
    Ok(incident)
}
