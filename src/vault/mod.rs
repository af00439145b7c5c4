//! Vault and OpenBao: the few verbs that rotord uses, and the only place that names vaultrs.
//!
//! Decides how a request is sent, classified and settled; must not know what a record, a secret or
//! a rotation is. Everybody else sees [`Kv`], which the simulated Vault of the tests implements
//! too and which one contract suite holds both to.

mod answer;
pub mod auth;
pub mod client;
mod consistency;
pub mod document;
pub mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kv;
mod order;
pub mod settings;
pub mod turns;
mod wire;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use crate::model::time::Timestamp;
use crate::vault::document::Document;
use crate::vault::error::VaultError;

/// A place in a KV v2 mount: `mount` and `path` without slashes at either end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvPath {
    /// Where the engine is mounted, e.g. `rotord` or `team-a/kv`.
    pub mount: String,
    /// The path inside it, e.g. `state/billing-webhook`.
    pub path: String,
}

impl fmt::Display for KvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.path)
    }
}

impl fmt::Debug for KvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A document as it was read.
#[derive(Debug)]
pub struct Read {
    /// The KV version it is.
    pub version: u64,
    /// Its content.
    pub document: Document,
}

/// What there is to know of a path without its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The newest KV version, deleted or not.
    pub current_version: u64,
    /// Every version that Vault still lists.
    pub versions: BTreeMap<u64, VersionMetadata>,
}

/// One KV version without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionMetadata {
    /// When it was written.
    pub created_at: Timestamp,
    /// Soft-deleted: the content can still be brought back.
    pub deleted: bool,
    /// Destroyed: the content is gone.
    pub destroyed: bool,
}

/// The verbs on KV v2.
///
/// # Guarantees
/// - `read` answers `None` only if nothing was ever written at the path, or its metadata was
///   deleted; a soft-deleted or destroyed newest version is [`VaultError::Deleted`].
/// - `write` and `patch` succeed only if the newest version is `cas` (0: never written), and
///   answer the version they made. [`VaultError::Conflict`] means nothing was written;
///   [`VaultError::Ambiguous`] means it may have been: read back to settle it.
/// - What this client wrote, this client reads, through standbys too.
/// - `destroy` and `delete_metadata` take no check-and-set, and succeed if there is nothing.
/// - No verb retries, follows a redirect or prints a body; each ends within the client's time-out.
#[async_trait]
pub trait Kv: Send + Sync {
    /// The newest version.
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError>;

    /// The version of that number; `None` if it is deleted, destroyed or was never there.
    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError>;

    /// Writes a whole document if the newest version is `cas`.
    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError>;

    /// Merges a JSON merge patch (RFC 7396) into the document if the newest version is `cas`.
    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError>;

    /// The names directly below a path; those of folders end in `/`. Empty if there are none.
    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError>;

    /// Versions and their fates; `None` if the path has no metadata.
    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError>;

    /// Destroys the content of these versions for good.
    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError>;

    /// Deletes the path with all its versions; its counter starts again.
    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError>;
}
