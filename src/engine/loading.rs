//! The first reading of the records, those without a config included, and what is to be read again:
//! all of them, whenever others may have written.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;

use crate::engine::Engine;
use crate::engine::ledger::Entry;
use crate::engine::recollect::learn_keys;
use crate::engine::walk::Standing;
use crate::model::id::{Epoch, SecretName};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// Records that are read at once: what keeps Vault busy without piling up.
const LOADS_AT_ONCE: usize = 64;

impl Engine {
    /// Goes on under this epoch: what was read under another one does not count any more.
    pub(super) fn lead_under(&mut self, epoch: Epoch, now: Timestamp) {
        if self.read_under.replace(epoch) != Some(epoch) {
            self.doubt(now);
        }
    }

    /// Has everything read again: from when we do not lead until we do, others may write.
    pub(super) fn doubt(&mut self, now: Timestamp) {
        self.ledger.doubt(now);
        self.changed.extend(self.ledger.names());
    }

    /// Reads what there is: every record, those without a config included.
    pub(super) async fn load(&mut self) -> Result<(), (Reason, String)> {
        let failed = |error: &StoreError| (error.failure().reason, error.to_string());
        let listed = self.world.store.list().await.map_err(|error| failed(&error))?;
        let listed: BTreeSet<SecretName> = listed.into_iter().collect();
        for name in self.ledger.names() {
            if !listed.contains(&name)
                && let Some(entry) = self.ledger.get_mut(&name)
            {
                // Like the others it is read once more, under our lease.
                let text = "there is no record; not looked at yet".to_owned();
                entry.settle(Standing::Unknown { reason: Reason::NoLease, text }, Vec::new());
            }
        }
        let store = &self.world.store;
        let reads = listed.into_iter().map(|name| async move {
            let read = store.load(&name).await;
            (name, read)
        });
        let mut reads = futures_util::stream::iter(reads).buffered(LOADS_AT_ONCE);
        let mut loaded = Vec::new();
        while let Some(read) = reads.next().await {
            loaded.push(read);
        }
        drop(reads);
        for stored in loaded.iter().filter_map(|(_, read)| read.as_ref().ok()?.as_ref()) {
            let learned = learn_keys(&self.world, &stored.record).await;
            learned.map_err(|error| failed(&error))?;
        }
        let now = self.world.clock.now();
        for (name, read) in loaded {
            if self.ledger.get(&name).is_none() {
                self.ledger.insert(name.clone(), Entry::new(None, Standing::Absent));
            }
            let Some(entry) = self.ledger.get_mut(&name) else { continue };
            match read {
                Ok(Some(stored)) => {
                    self.epoch_seen.fetch_max(stored.record.epoch.0, Ordering::Relaxed);
                    entry.durable = Some(stored.clone());
                    entry.last_seen = Some(stored);
                    // The first walk reads it once more, under our lease.
                    let text = "read; not looked at yet".to_owned();
                    let reason = Reason::NoLease;
                    entry.settle(Standing::Unknown { reason, text }, Vec::new());
                }
                Ok(None) => entry.settle(Standing::Absent, Vec::new()),
                Err(StoreError::Unreadable { place, what }) => {
                    let text = format!("{place} cannot be used: {what}");
                    entry.settle(Standing::Unreadable { text }, Vec::new());
                }
                Err(error) => {
                    let (reason, text) = failed(&error);
                    entry.settle(Standing::Unknown { reason, text }, Vec::new());
                }
            }
        }
        self.recall_outcomes(now);
        for name in self.ledger.names() {
            self.ledger.count(&name);
            self.recognise(&name);
            self.ledger.wake_at(&name, Some(now));
            self.changed.insert(name);
        }
        self.health.loaded = true;
        self.trouble(None);
        Ok(())
    }
}
