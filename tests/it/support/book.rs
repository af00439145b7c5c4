//! A secret with as many versions as a test asks for, and the orders about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rotord::driver::error::DriverError;
use rotord::driver::target::{Given, Nonce, Order, Target};
use rotord::model::id::{Generation, KeyId, RotationId, SecretName, TargetName, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::target::{Observation, Wanted};
use rotord::model::time::Timestamp;

/// One secret as a driver sees it.
pub(crate) struct Book {
    pub(crate) secret: SecretName,
    pub(crate) target: TargetName,
    pub(crate) rotation: RotationId,
    pub(crate) now: Timestamp,
    nonces: AtomicU64,
}

/// The value of a version: the same in every test and on every run.
pub(crate) fn value(version: u64) -> String {
    let bytes: Vec<u8> = (0..32).map(|n| (n * 7 + version * 13) as u8).collect();
    format!("whsec_{}", STANDARD.encode(bytes))
}

/// A wish in short.
pub(crate) fn wish(generation: u64, accepted: &[u64], current: impl Into<Option<u64>>) -> Wanted {
    Wanted {
        generation: Generation(generation),
        accepted: accepted.iter().copied().map(VersionId).collect(),
        current: current.into().map(VersionId),
    }
}

/// Whether a target was seen to hold a wish.
pub(crate) fn holds(seen: &Observation, wanted: &Wanted) -> bool {
    seen.generation == wanted.generation
        && seen.accepted == wanted.accepted
        && seen.current == wanted.current
}

impl Book {
    /// A secret of this name for a target of that name.
    pub(crate) fn new(secret: &str, target: &str, now: Timestamp) -> Book {
        Book {
            secret: SecretName::new(secret).unwrap(),
            target: TargetName::new(target).unwrap(),
            rotation: RotationId("20261122T031200Z-sched".to_owned()),
            now,
            nonces: AtomicU64::new(1),
        }
    }

    pub(crate) async fn push(
        &self,
        target: &dyn Target,
        wanted: &Wanted,
    ) -> Result<Observation, DriverError> {
        let pages = pages(wanted);
        let given = self.given(&pages);
        target.push(&self.order(wanted, &given)).await
    }

    pub(crate) async fn observe(
        &self,
        target: &dyn Target,
        wanted: &Wanted,
    ) -> Result<Observation, DriverError> {
        let pages = pages(wanted);
        let given = self.given(&pages);
        target.observe(&self.order(wanted, &given)).await
    }

    pub(crate) async fn purge(
        &self,
        target: &dyn Target,
        wanted: &Wanted,
        revoked: &[u64],
    ) -> Result<(), DriverError> {
        let pages = pages(wanted);
        let given = self.given(&pages);
        let revoked: Vec<VersionId> = revoked.iter().copied().map(VersionId).collect();
        target.purge(&self.order(wanted, &given), &revoked).await
    }

    /// An order with material of the test's own.
    pub(crate) fn order<'a>(
        &'a self,
        wanted: &'a Wanted,
        given: &'a BTreeMap<VersionId, Given<'a>>,
    ) -> Order<'a> {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Order {
            secret: &self.secret,
            target: &self.target,
            rotation: &self.rotation,
            wanted,
            given,
            prove: wanted.accepted.iter().copied().max(),
            nonce: Nonce(nonce),
            now: self.now,
        }
    }

    pub(crate) fn given<'a>(
        &self,
        pages: &'a BTreeMap<VersionId, (Material, KeyId)>,
    ) -> BTreeMap<VersionId, Given<'a>> {
        let give = |(version, (material, key_id)): (&VersionId, &'a (Material, KeyId))| {
            (*version, Given { material, key_id: Some(key_id), staged_at: Timestamp(0) })
        };
        pages.iter().map(give).collect()
    }
}

/// The material of every accepted version.
pub(crate) fn pages(wanted: &Wanted) -> BTreeMap<VersionId, (Material, KeyId)> {
    let page = |version: &VersionId| {
        let bytes = SecretBytes::new(value(version.0).into_bytes());
        (*version, (Material::single(bytes), KeyId(format!("key-{}", version.0))))
    };
    wanted.accepted.iter().map(page).collect()
}
