//! What a poll must not forget: where it ended, and which alerts are still to be closed.
//!
//! Decides the document `poll/SOURCE` in rotord's own mount and how it is written: by
//! check-and-set, so that of two that poll only one goes on. Holds no value and no digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::{SecretName, SourceName, VersionId};
use crate::model::time::Timestamp;
use crate::store::{StoreError, folded};
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath};

/// The layout that this program writes.
const SCHEMA: u32 = 1;

/// Most alerts of one source that wait to be closed. Past it the first by name are dropped: their
/// alerts stay open at the source, where people see them.
pub const AWAITED_MAX: usize = 2_000;

/// Where a poll goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything before this moment was seen.
    pub since: Timestamp,
    /// The source's own mark (a page, an `ETag`); not secret, understood by its file alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// The content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    schema: u32,
    /// Where to go on.
    pub cursor: Cursor,
    /// The alerts to be closed, by the source's id of them, and what each is about.
    pub awaited: BTreeMap<String, Vec<Awaited>>,
}

/// A version that an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Awaited {
    /// The secret.
    pub secret: SecretName,
    /// The version.
    pub version: VersionId,
}

impl Book {
    /// A book that begins at a moment.
    pub fn new(since: Timestamp) -> Book {
        let cursor = Cursor { since, mark: None };
        Book { schema: SCHEMA, cursor, awaited: BTreeMap::new() }
    }

    /// Notes that an alert is to be closed once these versions are revoked.
    pub fn wait_for(&mut self, alert: String, versions: Vec<Awaited>) {
        self.awaited.insert(alert, versions);
        while self.awaited.len() > AWAITED_MAX {
            self.awaited.pop_first();
        }
    }
}

/// Where the book of one source lies.
pub struct Shelf {
    kv: Arc<dyn Kv>,
    at: KvPath,
}

impl Shelf {
    /// The place of a source's book in rotord's own mount.
    pub fn new(kv: Arc<dyn Kv>, mount: impl Into<String>, source: &SourceName) -> Shelf {
        Shelf { kv, at: KvPath { mount: mount.into(), path: format!("poll/{source}") } }
    }

    /// The book and its revision; `None` if there is none yet.
    ///
    /// # Errors
    /// [`StoreError`]. A book that was deleted or cannot be read is for a person: beginning anew
    /// would pass over what happened since.
    pub async fn load(&self) -> Result<Option<(Book, u64)>, StoreError> {
        let read = match self.kv.read(&self.at).await {
            Err(error @ VaultError::Deleted { .. }) => {
                return Err(StoreError::unreadable(&self.at, error));
            }
            read => read?,
        };
        let Some(read) = read else { return Ok(None) };
        let book: Book = folded::decode(&read.document)
            .map_err(|error| StoreError::unreadable(&self.at, error))?;
        if book.schema != SCHEMA {
            let what = format!("its schema is {}, this program knows {SCHEMA}", book.schema);
            return Err(StoreError::unreadable(&self.at, what));
        }
        Ok(Some((book, read.version)))
    }

    /// Writes the book over the revision named; 0 if there is none yet.
    ///
    /// # Errors
    /// [`StoreError`]. After any error the book must be read again: the write may have been done.
    pub async fn save(&self, book: &Book, over: u64) -> Result<u64, StoreError> {
        let document =
            folded::encode(book).map_err(|error| StoreError::unreadable(&self.at, error))?;
        Ok(self.kv.write(&self.at, &document, over).await?)
    }
}
