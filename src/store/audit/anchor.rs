//! The chain's head in Vault: what a rewritten chain cannot match.
//!
//! Decides when a head is due, that it never goes back, and that breaks of the chain stay beside it
//! until a person has seen them; must not know what lines say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::InstanceId;
use crate::model::time::{Span, Steady, Timestamp};
use crate::store::StoreError;
use crate::store::audit::breach::{Acknowledged, Breach, Noted};
use crate::store::audit::{Head, LineHash, Seq};
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath};

/// How old the anchor may become while lines are written: what an intruder could take away unseen.
pub const ANCHOR_EVERY: Span = Span::from_secs(5);

/// How many lines may be written before an anchor is due at once.
pub const ANCHOR_LINES: u64 = 1_000;

/// Breaks that are remembered. Those that were acknowledged make room, the oldest first; with so
/// many that nobody has looked at, the chain is not begun anew any more.
pub const BREACHES_MAX: usize = 32;

/// Where one writer's head is anchored.
pub struct Anchor {
    kv: Arc<dyn Kv>,
    at: KvPath,
    known: Option<Known>,
    tried: Option<Steady>,
}

#[derive(Clone, Default)]
struct Known {
    version: u64,
    anchored: Anchored,
}

/// The document at `<mount>/audit-head/<writer>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchored {
    /// The last line that Vault vouches for.
    pub seq: Seq,
    /// Its digest.
    pub hash: LineHash,
    /// When it was anchored.
    pub at: Timestamp,
    /// The breaks of the chain, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breaches: Vec<Noted>,
}

impl Anchored {
    /// The head.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    /// The breaks that nobody has acknowledged.
    pub fn alarms(&self) -> impl Iterator<Item = &Breach> {
        let open = self.breaches.iter().filter(|noted| noted.acknowledged.is_none());
        open.map(|noted| &noted.breach)
    }
}

impl Anchor {
    /// The anchor of one writer's chain in the mount of rotord's own documents.
    pub fn new(kv: Arc<dyn Kv>, mount: impl Into<String>, writer: &InstanceId) -> Anchor {
        let at = KvPath { mount: mount.into(), path: format!("audit-head/{writer}") };
        Anchor { kv, at, known: None, tried: None }
    }

    /// What is anchored, asked anew; none before the first. To verify a chain, and at start.
    ///
    /// # Errors
    /// [`StoreError`] of Vault, or of a document that is no head.
    pub async fn load(&mut self) -> Result<Option<Anchored>, StoreError> {
        let known = self.read().await?;
        Ok((known.version > 0).then_some(known.anchored))
    }

    /// Whether the head should be anchored now.
    pub fn is_due(&self, head: Head, now: Steady) -> bool {
        let anchored = self.known.as_ref().map_or(Seq(0), |known| known.anchored.seq);
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
        if known.anchored.head() == head {
            return Ok(());
        }
        let breaches = known.anchored.breaches;
        let anchored = Anchored { seq: head.seq, hash: head.hash, at, breaches };
        let lost = match self.write(anchored, known.version).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match lost {
            VaultError::Conflict { .. } | VaultError::Ambiguous { .. } => {
                match self.known(head).await?.anchored.head() == head {
                    true => Ok(()),
                    false => Err(lost.into()),
                }
            }
            _ => Err(lost.into()),
        }
    }

    /// Remembers a break beside the head that the chain broke with, which stays; where the writer
    /// knew its chain further than Vault did, that head is anchored with it. Does nothing if the
    /// break that goes on at the same line is known.
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be set aside then.
    pub async fn note(&mut self, breach: Breach) -> Result<(), StoreError> {
        let Known { version, mut anchored } = self.read().await?;
        let same =
            |noted: &Noted| noted.breach.resumed == breach.resumed && noted.acknowledged.is_none();
        if anchored.breaches.iter().any(same) && breach.anchored.seq <= anchored.seq {
            return Ok(());
        }
        if anchored.breaches.len() >= BREACHES_MAX {
            let seen = anchored.breaches.iter().position(|noted| noted.acknowledged.is_some());
            let Some(seen) = seen else {
                let what = format!("{BREACHES_MAX} breaks of the audit chain await a person");
                return Err(StoreError::unreadable(&self.at, what));
            };
            anchored.breaches.remove(seen);
        }
        if breach.anchored.seq > anchored.seq {
            let Head { seq, hash } = breach.anchored;
            anchored = Anchored { seq, hash, at: breach.at, ..anchored };
        }
        anchored.breaches.push(Noted { breach, acknowledged: None });
        Ok(self.write(anchored, version).await?)
    }

    /// Notes that a person has seen all breaks, and answers how many were new to them.
    ///
    /// # Errors
    /// [`StoreError`]; the alarm stays.
    pub async fn acknowledge(&mut self, seen: &Acknowledged) -> Result<usize, StoreError> {
        let Known { version, mut anchored } = self.read().await?;
        let mut count = 0;
        for noted in anchored.breaches.iter_mut().filter(|noted| noted.acknowledged.is_none()) {
            noted.acknowledged = Some(seen.clone());
            count += 1;
        }
        if count > 0 {
            self.write(anchored, version).await?;
        }
        Ok(count)
    }

    /// What is known to be anchored, without asking.
    pub fn anchored(&self) -> Option<&Anchored> {
        self.known.as_ref().map(|known| &known.anchored)
    }

    async fn write(&mut self, anchored: Anchored, version: u64) -> Result<(), VaultError> {
        self.known = None;
        let document = Document::encode(&anchored).expect("a head has only numbers and texts");
        let version = self.kv.write(&self.at, &document, version).await?;
        self.known = Some(Known { version, anchored });
        Ok(())
    }

    async fn read(&mut self) -> Result<Known, StoreError> {
        self.known = None;
        let known = match self.kv.read(&self.at).await {
            Ok(Some(read)) => {
                let anchored: Anchored = read
                    .document
                    .decode()
                    .map_err(|error| StoreError::unreadable(&self.at, error))?;
                Known { version: read.version, anchored }
            }
            Ok(None) => Known::default(),
            Err(error @ VaultError::Deleted { .. }) => {
                return Err(StoreError::unreadable(&self.at, error));
            }
            Err(error) => return Err(error.into()),
        };
        self.known = Some(known.clone());
        Ok(known)
    }

    /// What is anchored, read if it is not known, and checked against the chain's head.
    async fn known(&mut self, head: Head) -> Result<Known, StoreError> {
        let known = match &self.known {
            Some(known) => known.clone(),
            None => self.read().await?,
        };
        let (anchored, ends) = (known.anchored.seq, head.seq);
        if anchored > ends {
            let what = format!(
                "line {anchored} is anchored and the audit chain ends at {ends}: its tail was cut"
            );
            return Err(StoreError::unreadable(&self.at, what));
        }
        if anchored == ends && known.anchored.hash != head.hash {
            let what = format!("another line {ends} is anchored: the audit chain was rewritten");
            return Err(StoreError::unreadable(&self.at, what));
        }
        Ok(known)
    }
}
