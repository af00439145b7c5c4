//! A document in the user's own KV v2 mount: what a dependent reads.
//!
//! Decides what is written there, whose it is and which of its history must go; the document is a
//! projection, never the truth. Written in one piece by check-and-set: a consumer sees the state
//! before or after, and a person's change in between is never lost. All other fields are kept.
//!
//! ```json
//! { "current": "…", "previous": "…", "accepted": ["…", "…"],
//!   "current_version": 4, "accepted_versions": [4, 3], "rotated_at": "2026-11-22T03:12:00.000Z",
//!   "generation": 12, "rotation": "20261122T031200Z-sched",
//!   "rotord": { "secret": "billing-webhook", "since": 7 } }
//! ```
//!
//! `rotord` marks the document as ours; `since` is the first KV version that may hold a value of
//! the secret, so that [`Target::purge`] knows where a person's own history ends.

pub mod acks;
mod content;
mod history;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;

use self::acks::Acks;
use self::content::{Content, Node, Owner, Projection};
use self::history::Past;
use crate::driver::error::DriverError;
use crate::driver::target::{Kept, Order, Target, wiped};
use crate::model::id::{Generation, VersionId};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation};
use crate::vault::document::{Document, Malformed};
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath, Read};

/// How often a push loses the race for the document before it leaves it to the next try: four
/// writers in one second is a quarrel, not chance.
const LOST_RACES_MAX: u32 = 3;

/// The names of our fields in the document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// The value to use.
    pub current: String,
    /// The value before it, while it is accepted.
    pub previous: String,
    /// All values to accept, newest first.
    pub accepted: String,
    /// The number of `current`.
    pub current_version: String,
    /// The numbers of `accepted`, in the same order.
    pub accepted_versions: String,
    /// When `current` last changed.
    pub rotated_at: String,
    /// The generation: every change of the document by us raises it.
    pub generation: String,
    /// The rotation that made the change.
    pub rotation: String,
    /// What marks the document as ours.
    pub marker: String,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields::prefixed("")
    }
}

impl Fields {
    /// The usual names behind a prefix, for several secrets in one document.
    pub fn prefixed(prefix: &str) -> Fields {
        let name = |usual: &str| format!("{prefix}{usual}");
        Fields {
            current: name("current"),
            previous: name("previous"),
            accepted: name("accepted"),
            current_version: name("current_version"),
            accepted_versions: name("accepted_versions"),
            rotated_at: name("rotated_at"),
            generation: name("generation"),
            rotation: name("rotation"),
            marker: name("rotord"),
        }
    }

    /// Every name.
    pub fn names(&self) -> [&String; 9] {
        [
            &self.current,
            &self.previous,
            &self.accepted,
            &self.current_version,
            &self.accepted_versions,
            &self.rotated_at,
            &self.generation,
            &self.rotation,
            &self.marker,
        ]
    }

    /// A name that is used twice or is empty.
    pub fn fault(&self) -> Option<&String> {
        let names = self.names();
        let twice = |at: usize, name: &&String| names[..at].contains(name) || name.is_empty();
        names.iter().enumerate().find(|(at, name)| twice(*at, name)).map(|(_, name)| *name)
    }
}

/// Where the document is and what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The document.
    pub at: KvPath,
    /// The names of its fields.
    pub fields: Fields,
    /// Where consumers acknowledge, if they do.
    pub acks: Option<Acks>,
}

/// A target of type `vault_kv`.
pub struct VaultKv {
    kv: Arc<dyn Kv>,
    settings: Settings,
    /// The document after the last read or write: it spares the read before the next patch. Empty
    /// while a write is under way, so that one that was dropped is read back.
    known: Mutex<Option<Known>>,
}

/// The newest KV version of the document, known to be ours.
#[derive(Clone, Debug)]
struct Known {
    kv_version: u64,
    since: u64,
    generation: Generation,
    accepted: Vec<VersionId>,
    current: Option<VersionId>,
}

/// What a push finds before it writes.
enum Ground {
    /// Nothing was ever written here.
    Absent,
    /// A document whose fields of ours are ours or unused.
    Ours(Known),
    /// What is wanted stands there already.
    Settled(Observation, Known),
}

impl VaultKv {
    /// A target that writes one document.
    ///
    /// # Errors
    /// `misconfigured` if two fields have the same name or one has none.
    pub fn new(kv: Arc<dyn Kv>, settings: Settings) -> Result<VaultKv, DriverError> {
        if let Some(name) = settings.fields.fault() {
            let text = format!("{}: field name {name:?} is empty or used twice", settings.at);
            return Err(DriverError::refused(Reason::Misconfigured, text));
        }
        Ok(VaultKv { kv, settings, known: Mutex::new(None) })
    }

    async fn read(&self) -> Result<Option<(u64, Content<'_>)>, DriverError> {
        let at = &self.settings.at;
        let Some(Read { version, document }) = self.kv.read(at).await.map_err(of_vault)? else {
            return Ok(None);
        };
        Ok(Some((version, self.content(&document)?)))
    }

    fn content(&self, document: &Document) -> Result<Content<'_>, DriverError> {
        let root: Node =
            document.decode().map_err(|malformed| bad_document(&self.settings.at, malformed))?;
        Ok(Content { fields: &self.settings.fields, root })
    }

    /// Finds out where a push stands, when it is not known from before.
    async fn survey(&self, order: &Order<'_>) -> Result<Ground, DriverError> {
        let Some((kv_version, content)) = self.read().await? else { return Ok(Ground::Absent) };
        match content.owner() {
            Owner::Rotord { secret, since } => {
                self.check_owner(&secret, order)?;
                let known = known_of(&content, kv_version, since);
                let seen = self.judge(&content, order)?;
                let wanted = order.wanted;
                let same = seen.generation == wanted.generation
                    && seen.accepted == wanted.accepted
                    && seen.current == wanted.current;
                Ok(if same { Ground::Settled(seen, known) } else { Ground::Ours(known) })
            }
            owner @ (Owner::Somebody | Owner::Nobody) => {
                let since = match self.past(order, kv_version, &content).await? {
                    Past::Ours { since, generation } => {
                        self.check_generation(generation, order)?;
                        since
                    }
                    Past::Theirs(since) => match owner {
                        Owner::Somebody if !content.is_known_to(order) => {
                            return Err(self.foreign_value());
                        }
                        _ => since,
                    },
                };
                Ok(Ground::Ours(known_of(&content, kv_version, since)))
            }
        }
    }

    /// Writes what is wanted over the ground that was found.
    async fn write(&self, order: &Order<'_>, ground: &Ground) -> Result<Known, VaultOrDriver> {
        let (cas, since, before) = match ground {
            Ground::Absent => (0, 1, None),
            Ground::Ours(known) | Ground::Settled(_, known) => {
                (known.kv_version, known.since, known.current)
            }
        };
        let changes = cas == 0 || before != order.wanted.current;
        let projection = Projection {
            fields: &self.settings.fields,
            order,
            since,
            rotated_at: changes.then_some(order.now),
        };
        let document = Document::from_json(wiped::to_json(&projection)?);
        let at = &self.settings.at;
        let kv_version = match cas {
            0 => self.kv.write(at, &document, 0).await?,
            _ => self.kv.patch(at, &document, cas).await?,
        };
        Ok(Known {
            kv_version,
            since,
            generation: order.wanted.generation,
            accepted: order.wanted.accepted.clone(),
            current: order.wanted.current,
        })
    }

    /// What a document of ours holds, at the level of a read-back.
    fn judge(&self, content: &Content<'_>, order: &Order<'_>) -> Result<Observation, DriverError> {
        let generation = content.generation();
        self.check_generation(generation, order)?;
        let accepted = content.held(order);
        let current = content.listed_current().filter(|version| accepted.contains(version));
        Ok(stored(generation, accepted, current, "read back"))
    }

    fn check_generation(
        &self,
        generation: Generation,
        order: &Order<'_>,
    ) -> Result<(), DriverError> {
        let wanted = order.wanted.generation;
        if generation <= wanted {
            return Ok(());
        }
        let at = &self.settings.at;
        Err(DriverError::ahead(
            generation,
            format!("{at} has {generation}, and was last told {wanted}; another rotord writes it"),
        ))
    }

    fn check_owner(&self, secret: &str, order: &Order<'_>) -> Result<(), DriverError> {
        if secret == order.secret.as_str() { Ok(()) } else { Err(self.foreign_value()) }
    }

    fn foreign_value(&self) -> DriverError {
        DriverError::refused(
            Reason::ForeignValue,
            format!(
                "{} holds values that this secret's rotations did not write; adopt them, choose \
                 other field names, or remove them",
                self.settings.at
            ),
        )
    }

    /// Takes what is known, so that it is unknown until the write under way has ended well.
    fn take_known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

#[async_trait]
impl Target for VaultKv {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        for (version, given) in order.given {
            wiped::check_text(*version, given.material)?;
        }
        // A repeat is answered by reading: it must change nothing if the first one arrived.
        let known = self.take_known().filter(|k| k.generation < order.wanted.generation);
        let mut ground = match known {
            Some(known) => Ground::Ours(known),
            None => self.survey(order).await?,
        };
        for _ in 0..=LOST_RACES_MAX {
            if let Ground::Settled(seen, known) = ground {
                self.remember(known);
                return Ok(seen);
            }
            match self.write(order, &ground).await {
                Ok(known) => {
                    self.remember(known);
                    let Order { wanted, .. } = order;
                    let accepted = wanted.accepted.clone();
                    return Ok(stored(wanted.generation, accepted, wanted.current, "written"));
                }
                Err(VaultOrDriver::Vault(VaultError::Conflict { .. })) => {
                    ground = self.survey(order).await?;
                }
                Err(VaultOrDriver::Vault(error)) => return Err(of_vault(error)),
                Err(VaultOrDriver::Driver(error)) => return Err(error),
            }
        }
        let text = format!("{} was changed by others all the while", self.settings.at);
        Err(DriverError::transient(Reason::Conflict, text))
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let Some((kv_version, content)) = self.read().await? else {
            return Ok(stored(Generation::default(), Vec::new(), None, "read back"));
        };
        let Owner::Rotord { secret, since } = content.owner() else {
            return Ok(stored(Generation::default(), content.held(order), None, "read back"));
        };
        self.check_owner(&secret, order)?;
        let seen = self.judge(&content, order)?;
        self.remember(known_of(&content, kv_version, since));
        let wanted = order.wanted;
        let written = seen.generation == wanted.generation && seen.accepted == wanted.accepted;
        match &self.settings.acks {
            Some(acks) if written => Ok(acks.read(self.kv.as_ref(), wanted).await?.unwrap_or(seen)),
            _ => Ok(seen),
        }
    }

    async fn purge(&self, order: &Order<'_>, revoked: &[VersionId]) -> Result<(), DriverError> {
        self.purge_history(order, revoked).await
    }

    fn document(&self) -> Option<Kept> {
        let KvPath { mount, path } = &self.settings.at;
        let newest = self.known().map(|known| (known.kv_version, known.accepted));
        Some(Kept { path: format!("{mount}/{path}"), newest })
    }

    async fn foreign(&self) -> Result<bool, DriverError> {
        let content = self.read().await?;
        Ok(content.is_some_and(|(_, content)| matches!(content.owner(), Owner::Somebody)))
    }
}

fn known_of(content: &Content<'_>, kv_version: u64, since: u64) -> Known {
    Known {
        kv_version,
        // A document copied from elsewhere, or a counter that started again.
        since: if since > kv_version + 1 { 1 } else { since },
        generation: content.generation(),
        accepted: content.listed(),
        current: content.listed_current(),
    }
}

fn stored(
    generation: Generation,
    accepted: Vec<VersionId>,
    current: Option<VersionId>,
    by: &str,
) -> Observation {
    Observation { generation, accepted, current, level: Level::Stored, by: by.to_owned() }
}

/// The errors of a write, kept apart because a lost race is no failure yet.
enum VaultOrDriver {
    Vault(VaultError),
    Driver(DriverError),
}

impl From<VaultError> for VaultOrDriver {
    fn from(error: VaultError) -> VaultOrDriver {
        VaultOrDriver::Vault(error)
    }
}

impl From<DriverError> for VaultOrDriver {
    fn from(error: DriverError) -> VaultOrDriver {
        VaultOrDriver::Driver(error)
    }
}

fn of_vault(error: VaultError) -> DriverError {
    let failure = error.failure();
    DriverError::new(failure.class, failure.reason, error.to_string())
}

fn bad_document(at: &KvPath, malformed: Malformed) -> DriverError {
    DriverError::refused(Reason::BadAnswer, format!("{at}: {malformed}"))
}
