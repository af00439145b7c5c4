//! Durable state: the record of each secret, the material of its versions, the lease, the audit
//! chain. Decides where things lie in Vault and how a write is settled; must not know what a phase
//! means.

pub mod audit;
pub mod folded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod incident;
pub mod instance;
pub mod kv;
pub mod lease;
pub mod memory;
pub mod recognition;
pub mod record;
mod saved;

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::fingerprint::FingerprintKey;
use crate::model::id::{KeyId, RotationId, SecretName, VersionId};
use crate::model::material::Material;
use crate::model::reason::Reason;
use crate::store::record::{Record, RecordFault, WentBack};
use crate::vault::error::VaultError;

/// The KV version of a stored document: what the next write names as its check-and-set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A record with the revision it was read or written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its revision.
    pub revision: Revision,
}

impl Stored {
    /// Checks that this is what a record known before has become: see [`Record::follows`]. Both
    /// must be what was loaded or saved, write id included.
    ///
    /// # Errors
    /// [`RecordFault::WentBack`] with what went back: Vault was restored from a backup, or the
    /// record was deleted and made anew. Nothing may be taken away on its word.
    pub fn follows(&self, known: &Stored) -> Result<(), RecordFault> {
        self.record.follows(&known.record)?;
        if self.revision < known.revision {
            return Err(RecordFault::WentBack(WentBack::Revision));
        }
        if self.revision == known.revision && self.record.write_id != known.record.write_id {
            return Err(RecordFault::WentBack(WentBack::Content));
        }
        Ok(())
    }
}

/// The material of one version as it lies in Vault.
#[derive(Debug)]
pub struct Saved {
    /// The rotation that made it.
    pub rotation: RotationId,
    /// The issuer's id of it.
    pub key: Option<KeyId>,
    /// The value.
    pub material: Material,
}

/// What became of a write of material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// What was given lies there, by this write or an earlier one.
    Written,
    /// The same rotation had written another value before; what lies there is what counts.
    OursAlready,
    /// Another rotation's material has the number.
    Taken,
}

/// Why the store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Vault said no or nothing.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Another writer changed the record first: read it again, judge it again.
    #[error("the record of {0} was changed by another writer")]
    Conflict(SecretName),
    /// Another writer changed a document that is no record: read it again, judge it again.
    #[error("{place} was changed by another writer")]
    Changed {
        /// The path.
        place: String,
    },
    /// The record to be written is not one that may be written: a defect of ours. Nothing was
    /// sent.
    #[error("the record of {name} must not be written: {fault}")]
    Fault {
        /// The secret.
        name: SecretName,
        /// The rule it breaks.
        fault: RecordFault,
    },
    /// Another replica with a higher epoch owns the record.
    #[error("the record of {0} belongs to a higher epoch")]
    Fenced(SecretName),
    /// The document is there and cannot be used; nothing may be done with the secret until a
    /// person has looked.
    #[error("{place} cannot be used: {what}")]
    Unreadable {
        /// The path.
        place: String,
        /// What is wrong, without content.
        what: String,
    },
}

impl StoreError {
    /// What lies at a place cannot be used.
    pub(crate) fn unreadable(place: &impl fmt::Display, what: impl fmt::Display) -> StoreError {
        StoreError::Unreadable { place: place.to_string(), what: what.to_string() }
    }

    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        match self {
            StoreError::Vault(error) => error.failure(),
            StoreError::Conflict(_) | StoreError::Changed { .. } => {
                Failure { class: Class::Transient, reason: Reason::Conflict }
            }
            StoreError::Fault { .. } => Failure { class: Class::Refused, reason: Reason::Defect },
            StoreError::Fenced(_) => Failure { class: Class::Refused, reason: Reason::Fenced },
            StoreError::Unreadable { .. } => {
                Failure { class: Class::Refused, reason: Reason::ReconcileRequired }
            }
        }
    }
}

/// Durable state.
///
/// # Guarantees
/// - `save` succeeds only if the record's revision is the one named, and settles a lost answer by
///   reading back the write id: `Ok` means it is written; [`StoreError::Conflict`] and
///   [`StoreError::Fenced`] mean that another writer's lies there. Only when reading back fails
///   too does the ambiguity reach the caller, as [`VaultError::Ambiguous`]; saving again with the
///   same record and revision settles it then.
/// - `save` changes neither a record's incarnation nor lowers its epoch, as far as this instance
///   has seen the record.
/// - A record that is written is one that passes [`Record::check`]; one that is read has passed it.
/// - `put_material` writes once and never over anything. Repeating it is safe.
/// - Each verb is one request to Vault as long as nothing goes wrong.
/// - `load` answers `None` only if there is no record; anything else that keeps it from being read
///   is an error. A deleted record is [`StoreError::Unreadable`].
///
/// # Errors
/// [`StoreError`]; its text holds paths and names, never content.
#[async_trait]
pub trait Store: Send + Sync {
    /// The names of all secrets that have a record.
    async fn list(&self) -> Result<Vec<SecretName>, StoreError>;

    /// The record of a secret.
    async fn load(&self, name: &SecretName) -> Result<Option<Stored>, StoreError>;

    /// Writes a record over the revision named; [`Revision::default`] if there is none yet. The
    /// store gives each write its own write id.
    async fn save(&self, record: &Record, over: Revision) -> Result<Revision, StoreError>;

    /// Writes the material of a version, once.
    async fn put_material(
        &self,
        name: &SecretName,
        version: VersionId,
        saved: &Saved,
    ) -> Result<Placed, StoreError>;

    /// The material of a version, or `None` if there is none.
    async fn material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<Option<Saved>, StoreError>;

    /// Deletes the material of a version with its history. Succeeds if there is none.
    async fn forget_material(
        &self,
        name: &SecretName,
        version: VersionId,
    ) -> Result<(), StoreError>;

    /// The numbers under which material lies, ascending: what no record names is swept.
    async fn list_material(&self, name: &SecretName) -> Result<Vec<VersionId>, StoreError>;

    /// The fingerprint key of that id; drawn and written if there is none yet.
    async fn fingerprint_key(&self, id: &str) -> Result<FingerprintKey, StoreError>;

    /// The fingerprint key of that id if there is one: an older one is never drawn anew.
    async fn old_fingerprint_key(&self, id: &str) -> Result<Option<FingerprintKey>, StoreError>;
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
