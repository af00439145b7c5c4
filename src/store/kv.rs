//! The store on KV v2.
//!
//! Decides the paths, and how a write is settled whose answer was lost or whose check-and-set
//! failed: by reading back the write id. Must not know what a record means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;

use crate::model::fingerprint::FingerprintKey;
use crate::model::id::{Epoch, SecretName, VersionId, WriteId};
use crate::model::material::SecretBytes;
use crate::model::time::Entropy;
use crate::store::record::{Record, RecordFault, WentBack};
use crate::store::{Placed, Revision, Saved, Store, StoreError, Stored, folded, saved};
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath, Read};

/// How often one write is sent: once, and once more if its answer was lost and nothing was
/// written. What fails twice is the caller's to repeat, at the caller's pace.
const WRITE_TRIES: u32 = 2;

/// The store on KV v2.
pub struct KvStore {
    kv: Arc<dyn Kv>,
    mount: String,
    entropy: Arc<dyn Entropy>,
    /// Part of every write id, so that two processes that write the same never take each other's
    /// write for their own.
    nonce: [u8; 16],
    seen: Mutex<BTreeMap<SecretName, Seen>>,
}

/// What this instance knows of a record that may not change under it.
#[derive(Clone)]
struct Seen {
    incarnation: String,
    epoch: Epoch,
}

/// The part of a record that settles a write. Read leniently: the record of a newer program must
/// still be recognised as somebody else's.
#[derive(Deserialize)]
struct Mark {
    incarnation: String,
    epoch: Epoch,
    write_id: WriteId,
}

/// What reading back showed.
enum Settled {
    Mine(Revision),
    /// Nothing was written since; the write may still be on its way.
    Unchanged,
}

impl KvStore {
    /// A store in the mount named, e.g. `rotord`.
    pub fn new(kv: Arc<dyn Kv>, mount: impl Into<String>, entropy: Arc<dyn Entropy>) -> KvStore {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        KvStore { kv, mount: mount.into(), entropy, nonce, seen: Mutex::default() }
    }

    fn at(&self, path: String) -> KvPath {
        KvPath { mount: self.mount.clone(), path }
    }

    fn state_at(&self, name: &SecretName) -> KvPath {
        self.at(format!("state/{name}"))
    }

    fn material_at(&self, name: &SecretName, version: VersionId) -> KvPath {
        self.at(format!("material/{name}/{}", version.0))
    }

    fn fingerprint_key_at(&self, id: &str) -> KvPath {
        self.at(format!("fingerprint-key/{id}"))
    }

    /// The newest version at a path. A deleted document is unreadable: it is not absent.
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, StoreError> {
        match self.kv.read(at).await {
            Err(error @ VaultError::Deleted { .. }) => Err(StoreError::unreadable(at, error)),
            read => Ok(read?),
        }
    }

    fn remember(&self, record: &Record) {
        let seen = Seen { incarnation: record.incarnation.clone(), epoch: record.epoch };
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(record.name.clone(), seen);
    }

    /// Refuses what check-and-set cannot see: a counter that started again lets a stale write of
    /// another incarnation through.
    fn may_write(&self, record: &Record, over: Revision) -> Result<(), StoreError> {
        if over == Revision::default() {
            return Ok(());
        }
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&record.name) {
            Some(seen) if seen.incarnation != record.incarnation => {
                Err(fault(record, RecordFault::WentBack(WentBack::Incarnation)))
            }
            Some(seen) if seen.epoch > record.epoch => Err(StoreError::Fenced(record.name.clone())),
            _ => Ok(()),
        }
    }

    /// The record with its write id, which follows from the record, the revision and this
    /// instance: saving the same again recognises an earlier attempt as its own.
    fn stamp(&self, record: &Record, over: Revision) -> Result<(WriteId, Document), StoreError> {
        let mut stamped = Record { write_id: WriteId(String::new()), ..record.clone() };
        let bare = stamped.encode().map_err(|fault_found| fault(record, fault_found))?;
        let mut digest = Context::new(&SHA256);
        digest.update(&self.nonce);
        digest.update(&over.0.to_be_bytes());
        digest.update(bare.expose());
        stamped.write_id = WriteId(hex::encode(&digest.finish().as_ref()[..16]));
        let document = stamped.encode().map_err(|fault_found| fault(record, fault_found))?;
        Ok((stamped.write_id, document))
    }

    /// Reads back what became of a write of `record` over a revision. `why` is what the write
    /// itself answered.
    async fn settle(
        &self,
        record: &Record,
        over: Revision,
        mine: &WriteId,
        why: &VaultError,
    ) -> Result<Settled, StoreError> {
        let at = self.state_at(&record.name);
        let read = match self.read(&at).await {
            Ok(Some(read)) => read,
            Ok(None) if over == Revision::default() => return Ok(Settled::Unchanged),
            Ok(None) => {
                return Err(StoreError::unreadable(&at, "it was deleted while it was in use"));
            }
            // A conflict may be with an earlier attempt of this very write.
            Err(StoreError::Vault(_)) => {
                let what = format!("reading back failed after: {why}");
                return Err(VaultError::Ambiguous { path: at.to_string(), what }.into());
            }
            Err(found) => return Err(found),
        };
        let revision = Revision(read.version);
        let mark: Mark =
            folded::decode(&read.document).map_err(|error| StoreError::unreadable(&at, error))?;
        if mark.write_id == *mine {
            return Ok(Settled::Mine(revision));
        }
        if over != Revision::default() && mark.incarnation != record.incarnation {
            return Err(StoreError::unreadable(&at, "it was deleted and made anew while in use"));
        }
        if mark.epoch > record.epoch {
            return Err(StoreError::Fenced(record.name.clone()));
        }
        if revision < over {
            return Err(StoreError::unreadable(&at, "its revision went back in time"));
        }
        if revision == over {
            return Ok(Settled::Unchanged);
        }
        Err(StoreError::Conflict(record.name.clone()))
    }

    /// What lies where material was to be written; `None` if nothing does.
    async fn compare(&self, at: &KvPath, given: &Saved) -> Result<Option<Placed>, StoreError> {
        match self.read(at).await {
            Ok(Some(read)) => {
                saved::decode(at, &read.document).map(|found| Some(saved::placed(given, &found)))
            }
            Ok(None) => Ok(None),
            // Deleted by somebody: the number is used up.
            Err(StoreError::Unreadable { .. }) => Ok(Some(Placed::Taken)),
            Err(error) => Err(error),
        }
    }

    async fn read_fingerprint_key(
        &self,
        at: &KvPath,
        id: &str,
    ) -> Result<Option<FingerprintKey>, StoreError> {
        let Some(read) = self.read(at).await? else { return Ok(None) };
        saved::decode_key(at, &read.document).map(|bytes| Some(FingerprintKey::new(id, &bytes)))
    }
}

#[async_trait]
impl Store for KvStore {
    async fn list(&self) -> Result<Vec<SecretName>, StoreError> {
        let names = self.kv.list(&self.at("state".to_owned())).await?;
        // What is no legal name can be no record of ours, nor be in a config.
        Ok(names.into_iter().filter_map(|name| SecretName::new(name).ok()).collect())
    }

    async fn load(&self, name: &SecretName) -> Result<Option<Stored>, StoreError> {
        let at = self.state_at(name);
        let Some(read) = self.read(&at).await? else { return Ok(None) };
        let record = Record::decode(&at.to_string(), name, &read.document)?;
        self.remember(&record);
        Ok(Some(Stored { record, revision: Revision(read.version) }))
    }

    async fn save(&self, record: &Record, over: Revision) -> Result<Revision, StoreError> {
        self.may_write(record, over)?;
        let (mine, document) = self.stamp(record, over)?;
        let at = self.state_at(&record.name);
        let mut tries = WRITE_TRIES;
        loop {
            tries -= 1;
            let error = match self.kv.write(&at, &document, over.0).await {
                Ok(version) => {
                    self.remember(record);
                    return Ok(Revision(version));
                }
                Err(error @ (VaultError::Conflict { .. } | VaultError::Ambiguous { .. })) => error,
                Err(error) => return Err(error.into()),
            };
            match self.settle(record, over, &mine, &error).await? {
                Settled::Mine(revision) => {
                    self.remember(record);
                    return Ok(revision);
                }
                Settled::Unchanged if tries == 0 => return Err(error.into()),
                Settled::Unchanged => {}
            }
        }
    }

    async fn put_material(
        &self,
        name: &SecretName,
        version: VersionId,
        saved: &Saved,
    ) -> Result<Placed, StoreError> {
        let at = self.material_at(name, version);
        let document = saved::encode(&at, saved)?;
        let mut tries = WRITE_TRIES;
        loop {
            tries -= 1;
            let error = match self.kv.write(&at, &document, 0).await {
                Ok(_) => return Ok(Placed::Written),
                Err(error @ (VaultError::Conflict { .. } | VaultError::Ambiguous { .. })) => error,
                Err(error) => return Err(error.into()),
            };
            match self.compare(&at, saved).await {
                Ok(Some(placed)) => return Ok(placed),
                Err(StoreError::Vault(_)) => return Err(error.into()),
                Err(found) => return Err(found),
                Ok(None) if tries == 0 => return Err(error.into()),
                Ok(None) => {}
            }
        }
    }

    async fn material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<Option<Saved>, StoreError> {
        let at = self.material_at(name, version);
        let read = self.read(&at).await?;
        read.map(|read| saved::decode(&at, &read.document)).transpose()
    }

    async fn forget_material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<(), StoreError> {
        Ok(self.kv.delete_metadata(&self.material_at(name, version)).await?)
    }

    async fn list_material(&self, name: &SecretName) -> Result<Vec<VersionId>, StoreError> {
        let names = self.kv.list(&self.at(format!("material/{name}"))).await?;
        let mut versions: Vec<VersionId> =
            names.iter().filter_map(|name| name.parse().ok()).map(VersionId).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    async fn old_fingerprint_key(&self, id: &str) -> Result<Option<FingerprintKey>, StoreError> {
        match self.read_fingerprint_key(&self.fingerprint_key_at(id), id).await {
            // Taken away by a person: what it had recognised is not recognised any more.
            Err(StoreError::Unreadable { .. }) => Ok(None),
            read => read,
        }
    }

    async fn fingerprint_key(&self, id: &str) -> Result<FingerprintKey, StoreError> {
        let at = self.fingerprint_key_at(id);
        if let Some(key) = self.read_fingerprint_key(&at, id).await? {
            return Ok(key);
        }
        let mut drawn = vec![0; saved::FINGERPRINT_KEY_LEN];
        self.entropy.fill(&mut drawn);
        let drawn = SecretBytes::new(drawn);
        let document = saved::encode_key(&at, &drawn)?;
        match self.kv.write(&at, &document, 0).await {
            Ok(_) => Ok(FingerprintKey::new(id, &drawn)),
            // Whoever wrote first has drawn the key for everybody.
            Err(error @ (VaultError::Conflict { .. } | VaultError::Ambiguous { .. })) => {
                self.read_fingerprint_key(&at, id).await?.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn fault(record: &Record, fault: RecordFault) -> StoreError {
    StoreError::Fault { name: record.name.clone(), fault }
}
