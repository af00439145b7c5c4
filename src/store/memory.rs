//! The store in memory: the same promises without a Vault, for models and tests of the engine.
//!
//! Decides nothing of its own: the contract suite holds it to what the store on KV v2 does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::model::fingerprint::FingerprintKey;
use crate::model::id::{SecretName, VersionId, WriteId};
use crate::model::material::SecretBytes;
use crate::store::record::{Record, RecordFault, WentBack};
use crate::store::{Placed, Revision, Saved, Store, StoreError, Stored, saved};
use crate::vault::document::Document;

/// The store in memory. Deterministic: write ids count up, the fingerprint key follows from its
/// id.
#[derive(Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    keys: BTreeSet<String>,
    records: BTreeMap<SecretName, Stored>,
    material: BTreeMap<(SecretName, VersionId), Document>,
    writes: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn list(&self) -> Result<Vec<SecretName>, StoreError> {
        Ok(self.lock().records.keys().cloned().collect())
    }

    async fn load(&self, name: &SecretName) -> Result<Option<Stored>, StoreError> {
        Ok(self.lock().records.get(name).cloned())
    }

    async fn save(&self, record: &Record, over: Revision) -> Result<Revision, StoreError> {
        let refused = |fault| StoreError::Fault { name: record.name.clone(), fault };
        record.encode().map_err(refused)?;
        let mut inner = self.lock();
        let found = inner.records.get(&record.name);
        if let Some(found) = found.filter(|found| found.record.epoch > record.epoch) {
            return Err(StoreError::Fenced(found.record.name.clone()));
        }
        if found.map_or_else(Revision::default, |found| found.revision) != over {
            return Err(StoreError::Conflict(record.name.clone()));
        }
        if found.is_some_and(|found| found.record.incarnation != record.incarnation) {
            return Err(refused(RecordFault::WentBack(WentBack::Incarnation)));
        }
        inner.writes += 1;
        let write_id = WriteId(format!("{:032x}", inner.writes));
        let record = Record { write_id, ..record.clone() };
        let revision = Revision(over.0 + 1);
        inner.records.insert(record.name.clone(), Stored { record, revision });
        Ok(revision)
    }

    async fn put_material(
        &self,
        name: &SecretName,
        version: VersionId,
        given: &Saved,
    ) -> Result<Placed, StoreError> {
        let place = place(name, version);
        let document = saved::encode(&place, given)?;
        let mut inner = self.lock();
        match inner.material.get(&(name.clone(), version)) {
            Some(found) => Ok(saved::placed(given, &saved::decode(&place, found)?)),
            None => {
                inner.material.insert((name.clone(), version), document);
                Ok(Placed::Written)
            }
        }
    }

    async fn material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<Option<Saved>, StoreError> {
        let inner = self.lock();
        let found = inner.material.get(&(name.clone(), version));
        found.map(|document| saved::decode(&place(name, version), document)).transpose()
    }

    async fn forget_material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<(), StoreError> {
        self.lock().material.remove(&(name.clone(), version));
        Ok(())
    }

    async fn list_material(&self, name: &SecretName) -> Result<Vec<VersionId>, StoreError> {
        let inner = self.lock();
        Ok(inner.material.keys().filter(|(of, _)| of == name).map(|(_, v)| *v).collect())
    }

    async fn fingerprint_key(&self, id: &str) -> Result<FingerprintKey, StoreError> {
        self.lock().keys.insert(id.to_owned());
        Ok(FingerprintKey::new(id, &SecretBytes::new(id.as_bytes().to_vec())))
    }

    async fn old_fingerprint_key(&self, id: &str) -> Result<Option<FingerprintKey>, StoreError> {
        let drawn = self.lock().keys.contains(id);
        Ok(drawn.then(|| FingerprintKey::new(id, &SecretBytes::new(id.as_bytes().to_vec()))))
    }
}

fn place(name: &SecretName, version: VersionId) -> String {
    format!("material/{name}/{}", version.0)
}
