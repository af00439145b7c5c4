//! Durable state: the record of each secret, the material of its versions, the lease, the audit
//! chain. Decides where things lie in Vault and how a write is settled; must not know what a phase
//! means.

pub mod record;

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, RotationId, SecretName, VersionId};
use crate::model::material::Material;
use crate::model::reason::Reason;
use crate::store::record::Record;
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
    /// It was written.
    Written,
    /// The same rotation had written it before; what lies there is what counts.
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
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        match self {
            StoreError::Vault(error) => error.failure(),
            StoreError::Conflict(_) => {
                Failure { class: Class::Transient, reason: Reason::Conflict }
            }
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
///   reading back the write id: `Ok` means it is written, [`StoreError::Conflict`] means it is not.
///   Only when reading back fails too does the ambiguity reach the caller, as
///   [`VaultError::Ambiguous`]; saving again with the same record and revision settles it then.
/// - A record that is written is one that passes [`Record::check`]; one that is read has passed it.
/// - `put_material` writes once and never over anything.
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

    /// Writes a record over the revision named; [`Revision::default`] if there is none yet.
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

    /// The numbers under which material lies: what no record names is swept.
    async fn list_material(&self, name: &SecretName) -> Result<Vec<VersionId>, StoreError>;
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
