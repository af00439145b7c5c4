//! The chain's head in Vault: what a rewritten chain cannot match.
//!
//! Decides when a head is due and that it never goes back; must not know what lines say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::InstanceId;
use crate::model::time::{Span, Steady, Timestamp};
use crate::store::StoreError;
use crate::store::audit::{Head, LineHash, Seq};
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath};

/// How old the anchor may become while lines are written: what an intruder could take away unseen.
pub const ANCHOR_EVERY: Span = Span::from_secs(5);

/// How many lines may be written before an anchor is due at once.
pub const ANCHOR_LINES: u64 = 1_000;

/// Where one writer's head is anchored.
pub struct Anchor {
    kv: Arc<dyn Kv>,
    at: KvPath,
    known: Option<Known>,
    tried: Option<Steady>,
}

#[derive(Clone, Copy)]
struct Known {
    version: u64,
    head: Head,
}

/// The document at `<mount>/audit-head/<writer>`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchored {
    seq: Seq,
    hash: LineHash,
    at: Timestamp,
}

impl Anchor {
    /// The anchor of one writer's chain in the mount of rotord's own documents.
    pub fn new(kv: Arc<dyn Kv>, mount: impl Into<String>, writer: &InstanceId) -> Anchor {
        let at = KvPath { mount: mount.into(), path: format!("audit-head/{writer}") };
        Anchor { kv, at, known: None, tried: None }
    }

    /// The head that is anchored; none before the first. To verify a chain, and at start.
    ///
    /// # Errors
    /// [`StoreError`] of Vault, or of a document that is no head.
    pub async fn load(&mut self) -> Result<Option<Head>, StoreError> {
        let known = self.read().await?;
        Ok((known.version > 0).then_some(known.head))
    }

    /// Whether the head should be anchored now.
    pub fn is_due(&self, head: Head, now: Steady) -> bool {
        let anchored = self.known.map_or(Seq(0), |known| known.head.seq);
        let lines = head.seq.0.saturating_sub(anchored.0);
        let rested = self.tried.is_none_or(|tried| now.since(tried) >= ANCHOR_EVERY);
        lines > 0 && (rested || (lines >= ANCHOR_LINES && self.known.is_some()))
    }

    /// Anchors a head that is durable. One request; one more the first time and after a failure.
    ///
    /// # Errors
    /// [`StoreError`] of Vault: it is due again after [`ANCHOR_EVERY`]. [`StoreError::Unreadable`]
    /// if a later line, or another one of the same number, is anchored already: lines were lost,
    /// and the anchor that shows it is kept.
    pub async fn put(&mut self, head: Head, at: Timestamp, now: Steady) -> Result<(), StoreError> {
        self.tried = Some(now);
        let known = self.known(head).await?;
        if known.head == head {
            return Ok(());
        }
        let document = Document::encode(&Anchored { seq: head.seq, hash: head.hash, at })
            .map_err(|error| StoreError::unreadable(&self.at, error))?;
        let lost = match self.kv.write(&self.at, &document, known.version).await {
            Ok(version) => {
                self.known = Some(Known { version, head });
                return Ok(());
            }
            Err(error) => error,
        };
        self.known = None;
        match lost {
            VaultError::Conflict { .. } | VaultError::Ambiguous { .. } => {
                match self.known(head).await?.head == head {
                    true => Ok(()),
                    false => Err(lost.into()),
                }
            }
            _ => Err(lost.into()),
        }
    }

    async fn read(&mut self) -> Result<Known, StoreError> {
        self.known = None;
        let known = match self.kv.read(&self.at).await {
            Ok(Some(read)) => {
                let Anchored { seq, hash, .. } = read
                    .document
                    .decode()
                    .map_err(|error| StoreError::unreadable(&self.at, error))?;
                Known { version: read.version, head: Head { seq, hash } }
            }
            Ok(None) => Known { version: 0, head: Head::default() },
            Err(error @ VaultError::Deleted { .. }) => {
                return Err(StoreError::unreadable(&self.at, error));
            }
            Err(error) => return Err(error.into()),
        };
        self.known = Some(known);
        Ok(known)
    }

    /// What is anchored, read if it is not known, and checked against the chain's head.
    async fn known(&mut self, head: Head) -> Result<Known, StoreError> {
        let known = match self.known {
            Some(known) => known,
            None => self.read().await?,
        };
        let (anchored, ends) = (known.head.seq, head.seq);
        if anchored > ends {
            let what = format!(
                "line {anchored} is anchored and the audit chain ends at {ends}: its tail was cut"
            );
            return Err(StoreError::unreadable(&self.at, what));
        }
        if anchored == ends && known.head.hash != head.hash {
            let what = format!("another line {ends} is anchored: the audit chain was rewritten");
            return Err(StoreError::unreadable(&self.at, what));
        }
        Ok(known)
    }
}
