//! Writers that race: each counts up records in OpenBao by check-and-set, through the store that
//! rotord itself uses, and nothing that was acknowledged may be missing at the end.
//!
//! Decides how they race; must not know how a write is settled.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use rotord::engine::clock::{SystemClock, SystemEntropy};
use rotord::model::capability::Capabilities;
use rotord::model::fingerprint::Fingerprint;
use rotord::model::id::{Epoch, RotationId, SecretName, VersionId, WriteId};
use rotord::model::material::SecretBytes;
use rotord::model::policy::{Kind, Lane, Policy};
use rotord::model::time::{Span, Timestamp};
use rotord::rotation::open::{Adopted, Opening};
use rotord::rotation::{Rotation, Terms, Trigger};
use rotord::store::kv::KvStore;
use rotord::store::record::{Record, SCHEMA};
use rotord::store::{Revision, Store, StoreError};
use rotord::vault::client::Vault;
use rotord::vault::settings::Settings;
use serde::Serialize;
use tokio::time::Instant;

use crate::Fallible;
use crate::server::Server;

/// rotord's mount of the race.
const MOUNT: &str = "race";

/// The moment that every record begins with; one millisecond more is one increment.
const BEGIN: Timestamp = Timestamp(1_795_000_000_000);

/// What was raced, and what came of it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Race {
    pub(crate) writers: usize,
    /// Records that they count up; each writer picks one at random every time.
    pub(crate) records: usize,
    /// Increments that the store acknowledged.
    pub(crate) increments: u64,
    /// Times at which another writer had come first.
    pub(crate) conflicts: u64,
    /// Acknowledged increments that are missing at the end.
    pub(crate) lost: u64,
    /// Increments that are there and were never acknowledged.
    pub(crate) unasked: u64,
    pub(crate) seconds: u64,
}

/// Races until `race.increments` were acknowledged; the rest of it is answered.
pub(crate) async fn run(server: &Server, race: Race) -> Fallible<Race> {
    server.mount(MOUNT).await?;
    let token = server.root().to_owned();
    let mut writers = Vec::new();
    for seed in 0..race.writers {
        writers.push(Writer::new(server.address(), &token, seed)?);
    }
    let first = writers.first().ok_or("a race without writers")?;
    let names: Vec<SecretName> = (0..race.records).map(name_of).collect::<Fallible<_>>()?;
    for name in &names {
        first.store.save(&record(name.clone()), Revision::default()).await?;
    }
    let (began, left) = (Instant::now(), Cell::new(race.increments));
    let racing = writers.iter_mut().map(|writer| writer.race(&names, &left));
    try_join_all(racing).await?;
    let mut there = 0;
    for name in &names {
        let stored = writers[0].store.load(name).await?.ok_or("a record is gone")?;
        there += u64::try_from(stored.record.last_scheduled.0 - BEGIN.0)?;
    }
    let increments = writers.iter().map(|writer| writer.acknowledged).sum();
    Ok(Race {
        increments,
        conflicts: writers.iter().map(|writer| writer.conflicts).sum(),
        lost: u64::saturating_sub(increments, there),
        unasked: u64::saturating_sub(there, increments),
        seconds: began.elapsed().as_secs(),
        ..race
    })
}

/// Somebody with a client, a store and a random number generator of its own.
struct Writer {
    store: KvStore,
    random: u64,
    acknowledged: u64,
    conflicts: u64,
}

impl Writer {
    fn new(address: &str, token: &str, seed: usize) -> Fallible<Writer> {
        let vault = Vault::new(&Settings::new(address.parse()?), Arc::new(SystemClock))?;
        vault.set_token(SecretBytes::new(token.as_bytes().to_vec()))?;
        let store = KvStore::new(Arc::new(vault), MOUNT, Arc::new(SystemEntropy::default()));
        Ok(Writer { store, random: u64::try_from(seed)? + 1, acknowledged: 0, conflicts: 0 })
    }

    async fn race(&mut self, names: &[SecretName], left: &Cell<u64>) -> Fallible<()> {
        while let Some(less) = left.get().checked_sub(1) {
            left.set(less);
            // Knuth's generator: any will do that spreads.
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = usize::try_from(self.random >> 33)? % names.len();
            self.increment(&names[place]).await?;
        }
        Ok(())
    }

    /// Until it is acknowledged.
    async fn increment(&mut self, name: &SecretName) -> Fallible<()> {
        loop {
            let mut stored = self.store.load(name).await?.ok_or("a record is gone")?;
            stored.record.last_scheduled = stored.record.last_scheduled + Span(1);
            match self.store.save(&stored.record, stored.revision).await {
                Ok(_) => break,
                Err(StoreError::Conflict(_)) => self.conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
        self.acknowledged += 1;
        Ok(())
    }
}

fn name_of(number: usize) -> Fallible<SecretName> {
    Ok(SecretName::new(format!("counter-{number}"))?)
}

/// A record as small as they get: a secret that was adopted, without targets.
fn record(name: SecretName) -> Record {
    let opening = Opening {
        id: RotationId("20261122T031200Z-adopt".into()),
        trigger: Trigger::Adopted { by: "race".into() },
        lane: Lane::Routine,
        at: BEGIN,
        terms: Terms {
            kind: Kind::WebhookHmac,
            capabilities: Capabilities::local(),
            policy: Policy::default(),
        },
        targets: BTreeMap::new(),
    };
    let adopted = Adopted { version: VersionId(1), key: None, fingerprint: Fingerprint([7; 16]) };
    Record {
        schema: SCHEMA,
        incarnation: "race".into(),
        epoch: Epoch(1),
        write_id: WriteId(String::new()),
        fingerprint_key: "1".into(),
        name,
        last_scheduled: BEGIN,
        rotation: Rotation::adopt(opening, adopted),
        history: Vec::new(),
        recognition: Arc::default(),
    }
}
