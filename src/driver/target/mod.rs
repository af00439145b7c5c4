//! The target's contract: what receives versions and says where it stands.

mod agreement;
pub mod channel;
pub mod http;
pub mod vault_kv;
mod wiped;

#[cfg(any(test, fuzzing))]
pub(crate) use http::fuzz;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;

use crate::driver::error::DriverError;
use crate::model::id::{KeyId, RotationId, SecretName, TargetName, VersionId};
use crate::model::material::Material;
use crate::model::target::{Observation, Wanted};
use crate::model::time::Timestamp;

/// A fresh random number that a proof must cover, so that an old proof proves nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One accepted version as a target is given it.
#[derive(Debug)]
pub struct Given<'a> {
    /// The value.
    pub material: &'a Material,
    /// The issuer's id, where there is one.
    pub key_id: Option<&'a KeyId>,
    /// When its material was durable.
    pub staged_at: Timestamp,
}

/// What a target is to hold, with the material to hold it.
#[derive(Debug)]
pub struct Order<'a> {
    /// The secret.
    pub secret: &'a SecretName,
    /// The target, as the config names it.
    pub target: &'a TargetName,
    /// The rotation that made the wish, or the last one.
    pub rotation: &'a RotationId,
    /// The wish.
    pub wanted: &'a Wanted,
    /// The material of every version in `wanted.accepted`.
    pub given: &'a BTreeMap<VersionId, Given<'a>>,
    /// The version to prove: the newest one accepted.
    pub prove: Option<VersionId>,
    /// What the proof must cover.
    pub nonce: Nonce,
    /// The moment of the order.
    pub now: Timestamp,
}

/// A document in Vault that holds versions of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The mount and the path below it.
    pub path: String,
    /// The newest KV version that is known, and the versions it holds.
    pub newest: Option<(u64, Vec<VersionId>)>,
}

/// Receives the versions of one secret.
///
/// # Expected flow
/// `push` whenever the wish changes or the target was seen elsewhere; `observe` to refresh
/// evidence; `purge` once, after a version is revoked.
///
/// # Guarantees the driver gives
/// - `push` is idempotent: the same order again changes nothing and answers the same.
/// - An [`Observation`] says what the *target* holds, as the target or a read-back said it; it is
///   never derived from the order. A push that the target took but has not applied yet answers
///   with what holds now (or with `not_yet_applied`), not with the wish.
/// - Another target's or environment's answer, a higher generation than ordered and a wrong proof
///   are errors, each with its own reason; the second names the generation found. So is a lower generation in the answer to a push; to
///   `observe` it is the truth (a service that restarted empty has generation 0).
/// - A value that rotord did not put there is never overwritten unasked: `foreign_value`.
/// - No method retries by itself and each ends within the driver's time-out.
///
/// # What it may assume
/// `order.given` holds every accepted version; generations given to one target only rise.
///
/// # Cancellation
/// A dropped call counts as ambiguous; the next push of the same or a higher generation settles it.
///
/// # Errors
/// [`DriverError`], whose text holds no secret and no part of an answer's body.
#[async_trait]
pub trait Target: Send + Sync {
    /// Brings the target to the wish and says what it then holds.
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError>;

    /// Asks what the target holds, changing nothing. The order says what is expected and proved.
    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError>;

    /// Destroys what the target's own history still keeps of these revoked versions. The default
    /// is for targets without a history.
    async fn purge(&self, order: &Order<'_>, revoked: &[VersionId]) -> Result<(), DriverError> {
        let _ = (order, revoked);
        Ok(())
    }

    /// Takes note of the versions that leaked and are not gone yet: for a target that uses what it
    /// is given within this process. Said before the first push, and again whenever it changes.
    fn distrust(&self, leaked: &BTreeSet<VersionId>) {
        let _ = leaked;
    }

    /// The document in Vault that this target is, if it is one: for reports that name a place. As
    /// far as it is known without asking.
    fn document(&self) -> Option<Kept> {
        None
    }

    /// Whether something stands where this target writes that rotord did not put there. Asked once
    /// before a first rotation, so that nothing of a person's is overwritten.
    async fn foreign(&self) -> Result<bool, DriverError> {
        Ok(false)
    }
}
