//! Leadership among replicas: one document in Vault, and two clocks that are never compared.
//!
//! Decides who may act and for how much longer; must not know what is done under the lease. A
//! lease is a hint, not mutual exclusion: what makes two leaders harmless is the epoch in each
//! record. So this file has one duty only, to never make a holder believe longer than others wait.
//!
//! ```text
//!  absent, released, ours ------------------------- take (epoch + 1) --> Held
//!  another's --> Waiting: unchanged here for its ttl --- take ------------^ | renew every ttl / 3
//!      ^---------------- conflict: somebody else wrote ------------------- <'
//! ```
//!
//! Nothing here sleeps or spawns: [`Lease::step`] does what is due and [`Lease::due`] says when to
//! come back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::id::{Epoch, InstanceId, NUMBER_MAX, WriteId};
use crate::model::time::{Clock, Entropy, Span, Steady, Timestamp};
use crate::store::StoreError;
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath};

/// How long others wait for a holder that shows no sign of life: long enough for a Raft election
/// and a restart of Vault's active node, short enough that an emergency is not held up.
pub const TTL: Span = Span::from_secs(15);

/// The shortest ttl: a third of it must leave room for a request.
pub const TTL_MIN: Span = Span::from_secs(1);

/// The longest ttl in a document that is believed: a mistyped one must not stop rotation for days.
pub const TTL_MAX: Span = Span::from_secs(300);

/// Pause after a request that failed: a few tries within [`TTL`], and nothing hot.
const RETRY: Span = Span::from_secs(1);

/// The schema of the document.
const SCHEMA: u32 = 1;

/// What the lease is made of.
pub struct LeaseConfig {
    /// The mount of rotord's own documents, e.g. `rotord`.
    pub mount: String,
    /// This process; nobody else uses the same one at the same time.
    pub instance: InstanceId,
    /// The machine it runs on, for people who look for the leader.
    pub host: String,
    /// How long others wait for us; normally [`TTL`], kept between [`TTL_MIN`] and [`TTL_MAX`].
    pub ttl: Span,
    /// The longest that one effect takes: what a former holder may still have on the wire.
    pub effect_timeout: Span,
}

/// Who has the lease, for people: nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The instance.
    pub instance: InstanceId,
    /// The machine it runs on, as it calls itself.
    pub host: Option<String>,
    /// The epoch it acts under.
    pub epoch: Epoch,
    /// Since when it has it, by its own clock.
    pub since: Timestamp,
}

/// Leadership as one instance sees it.
pub struct Lease {
    kv: Arc<dyn Kv>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    at: KvPath,
    me: InstanceId,
    host: String,
    ttl: Span,
    settles_in: Span,
    state: State,
    due: Steady,
    /// The highest epoch seen anywhere: the next one taken is above it.
    floor: Epoch,
    holder: Option<Holder>,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The lease is ours under this epoch, for [`Lease::remaining`].
    Held {
        /// The fencing number to write into records.
        epoch: Epoch,
    },
    /// Another instance has it.
    Waiting {
        /// Which, if it can be told.
        holder: Option<InstanceId>,
    },
}

#[derive(Clone)]
enum State {
    /// Nothing is known, or what was known is not true any more.
    Unknown,
    Watching(Watching),
    Held(Held),
}

/// Somebody else's document, and since when it has not changed as far as we saw.
#[derive(Clone)]
struct Watching {
    version: u64,
    write_id: Option<WriteId>,
    since: Steady,
}

#[derive(Clone)]
struct Held {
    epoch: Epoch,
    version: u64,
    /// Taken before the last confirmed request was sent.
    confirmed: Steady,
    taken: Steady,
    taken_at: Timestamp,
    /// Nobody who had it before can still have an effect on the wire.
    settled: bool,
}

/// What became of a write of the document.
enum Written {
    Mine(u64),
    /// An earlier write of this holding lies there, whose answer was lost.
    Earlier(u64),
    Theirs,
}

/// The document at `<mount>/lease`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseDocument {
    schema: u32,
    /// None: released.
    holder: Option<InstanceId>,
    /// For people, like the moment below.
    #[serde(default)]
    host: Option<String>,
    pub(super) epoch: Epoch,
    /// For people; nobody's clock is compared with it.
    taken_at: Timestamp,
    ttl: Span,
    /// Destructive effects may start under this holder. In the document, because a holder that
    /// crashes and comes back cannot know for how long it was away.
    settled: bool,
    write_id: WriteId,
}

impl LeaseDocument {
    /// Reads what lies at a place.
    pub(super) fn decode(at: &KvPath, document: &Document) -> Result<LeaseDocument, StoreError> {
        let found: LeaseDocument =
            document.decode().map_err(|error| StoreError::unreadable(at, error))?;
        if found.schema > SCHEMA {
            return Err(StoreError::unreadable(at, "a newer rotord wrote it"));
        }
        if found.epoch.0 > NUMBER_MAX {
            return Err(StoreError::unreadable(at, "no rotord counted up to its epoch"));
        }
        Ok(found)
    }
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new(
        kv: Arc<dyn Kv>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: LeaseConfig,
    ) -> Lease {
        let due = clock.steady();
        let ttl = config.ttl.clamp(TTL_MIN, TTL_MAX);
        Lease {
            kv,
            clock,
            entropy,
            at: KvPath { mount: config.mount, path: "lease".to_owned() },
            me: config.instance,
            host: config.host,
            ttl,
            settles_in: ttl.plus(config.effect_timeout),
            state: State::Unknown,
            due,
            floor: Epoch::default(),
            holder: None,
        }
    }

    /// Does what is due: takes the lease if it is free, renews it if it is ours, watches it if it
    /// is another's. One request to watch or renew, two to take, more only if an answer was lost.
    /// Calling it early is harmless.
    ///
    /// # Errors
    /// [`StoreError`] of Vault or of an unreadable document. What is held stays held for
    /// [`Lease::remaining`]; come back at [`Lease::due`].
    pub async fn step(&mut self) -> Result<Standing, StoreError> {
        let result = match self.state.clone() {
            State::Held(held) if self.floor <= held.epoch => self.renew(held).await,
            _ => self.watch().await,
        };
        if result.is_err() {
            self.due = self.after(RETRY);
        }
        result
    }

    /// When [`Lease::step`] wants to be called again.
    pub fn due(&self) -> Steady {
        self.due
    }

    /// For how much longer the lease is certainly ours; zero if it is not. A tenth of the ttl is
    /// kept back for clocks that run at different rates.
    pub fn remaining(&self) -> Span {
        let State::Held(held) = &self.state else { return Span::ZERO };
        let good_for = Span(self.ttl.0 - self.ttl.0 / 10);
        Span(good_for.0.saturating_sub(self.clock.steady().since(held.confirmed).0))
    }

    /// The epoch to act under; none while the lease is not certainly ours.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.state {
            State::Held(held) if self.remaining() > Span::ZERO => Some(held.epoch),
            _ => None,
        }
    }

    /// For how much longer destructive effects must wait, so that nothing of a former holder is
    /// still on its way: its ttl, and the longest that one effect takes. None while the lease is
    /// not certainly ours.
    pub fn destructive_in(&self) -> Option<Span> {
        let State::Held(held) = &self.state else { return None };
        self.epoch()?;
        Some(match held.settled {
            true => Span::ZERO,
            false => {
                Span(self.settles_in.0.saturating_sub(self.clock.steady().since(held.taken).0))
            }
        })
    }

    /// Who has the lease, as it was seen last.
    pub fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Tells of an epoch that stands in a record. If it is above the one held, whoever deleted or
    /// restored the lease's document made its count start again: the next step takes a higher one.
    pub fn saw(&mut self, epoch: Epoch) {
        self.floor = self.floor.max(epoch);
        if matches!(&self.state, State::Held(held) if held.epoch < self.floor) {
            self.due = self.clock.steady();
        }
    }

    /// Gives the lease up, so that another instance need not wait. What is on its way must have
    /// ended before.
    ///
    /// # Errors
    /// [`StoreError`] of Vault. The lease is not ours any more in any case.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        let State::Held(held) = std::mem::replace(&mut self.state, State::Unknown) else {
            return Ok(());
        };
        self.holder = None;
        let (_, document) = self.document(None, &held)?;
        match self.kv.write(&self.at, &document, held.version).await {
            // Somebody else has it already.
            Ok(_) | Err(VaultError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn renew(&mut self, mut held: Held) -> Result<Standing, StoreError> {
        let sent = self.clock.steady();
        if sent < self.due {
            return Ok(self.standing());
        }
        held.settled |= sent.since(held.taken) >= self.settles_in;
        let (mine, document) = self.document(Some(&self.me), &held)?;
        match self.write(&document, &held, &mine).await? {
            Written::Mine(version) => {
                self.state = State::Held(Held { version, confirmed: sent, ..held });
                self.due = self.after_sent(sent);
            }
            // It confirms nothing, as nobody knows when it was sent.
            Written::Earlier(version) => {
                self.state = State::Held(Held { version, ..held });
                self.due = sent;
            }
            Written::Theirs => {
                self.state = State::Unknown;
                return self.watch().await;
            }
        }
        Ok(self.standing())
    }

    /// Looks at the document and takes the lease if nobody else has it.
    async fn watch(&mut self) -> Result<Standing, StoreError> {
        let (version, found) = match self.kv.read(&self.at).await {
            Ok(Some(read)) => {
                (read.version, Some(LeaseDocument::decode(&self.at, &read.document)?))
            }
            // Its metadata was deleted: a holder's next renewal fails, until then it may act.
            Ok(None) => return self.take(0, false).await,
            // Its content is gone and its holder does not know: it has the time it would have had.
            Err(VaultError::Deleted { version, .. }) => (version, None),
            Err(error) => return Err(error.into()),
        };
        let seen = self.clock.steady();
        self.holder = found.as_ref().and_then(|found| {
            let instance = found.holder.clone()?;
            let LeaseDocument { host, epoch, taken_at, .. } = found;
            Some(Holder { instance, host: host.clone(), epoch: *epoch, since: *taken_at })
        });
        if let Some(found) = &found {
            self.floor = self.floor.max(found.epoch);
            if found.holder.as_ref().is_none_or(|holder| *holder == self.me) {
                return self.take(version, found.settled).await;
            }
        }
        let ttl = found.as_ref().map_or(self.ttl, |found| found.ttl.min(TTL_MAX).max(self.ttl));
        let write_id = found.as_ref().map(|found| found.write_id.clone());
        let since = match &self.state {
            State::Watching(before) if before.version == version && before.write_id == write_id => {
                before.since
            }
            _ => seen,
        };
        let quiet = seen.since(since);
        if quiet >= ttl {
            return self.take(version, false).await;
        }
        self.state = State::Watching(Watching { version, write_id, since });
        self.due = self.after(Span((ttl.0 - quiet.0).min(self.ttl.0 / 3)));
        Ok(Standing::Waiting { holder: found.and_then(|found| found.holder) })
    }

    async fn take(&mut self, over: u64, settled: bool) -> Result<Standing, StoreError> {
        let epoch = self.floor.next();
        let sent = self.clock.steady();
        let taken_at = self.clock.now();
        let held = Held { epoch, version: over, confirmed: sent, taken: sent, taken_at, settled };
        let (mine, document) = self.document(Some(&self.me), &held)?;
        let Written::Mine(version) = self.write(&document, &held, &mine).await? else {
            // Another was faster: it is judged by what is seen of it from now on.
            self.state = State::Unknown;
            self.due = self.clock.steady();
            return Ok(Standing::Waiting { holder: None });
        };
        self.floor = epoch;
        let (instance, host) = (self.me.clone(), Some(self.host.clone()));
        self.holder = Some(Holder { instance, host, epoch, since: taken_at });
        // The former holder's last moment is counted from when this write was confirmed.
        self.state = State::Held(Held { version, taken: self.clock.steady(), ..held });
        self.due = self.after_sent(sent);
        Ok(self.standing())
    }

    /// An answer may have taken longer than the ttl: then it gave nothing.
    fn standing(&self) -> Standing {
        match self.epoch() {
            Some(epoch) => Standing::Held { epoch },
            None => Standing::Waiting { holder: None },
        }
    }

    /// Writes the document over the version of the holding, and settles a lost answer.
    async fn write(
        &self,
        document: &Document,
        held: &Held,
        mine: &WriteId,
    ) -> Result<Written, StoreError> {
        let lost = match self.kv.write(&self.at, document, held.version).await {
            Ok(version) => return Ok(Written::Mine(version)),
            Err(error @ (VaultError::Conflict { .. } | VaultError::Ambiguous { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let read = match self.kv.read(&self.at).await {
            Ok(Some(read)) => read,
            Ok(None) if held.version == 0 => return Err(lost.into()),
            Ok(None) | Err(VaultError::Deleted { .. }) => return Ok(Written::Theirs),
            Err(_) => return Err(lost.into()),
        };
        match LeaseDocument::decode(&self.at, &read.document) {
            Ok(found) if found.write_id == *mine => Ok(Written::Mine(read.version)),
            _ if read.version == held.version => Err(lost.into()),
            Ok(found) if found.holder.as_ref() == Some(&self.me) && found.epoch == held.epoch => {
                Ok(Written::Earlier(read.version))
            }
            _ => Ok(Written::Theirs),
        }
    }

    fn document(
        &self,
        holder: Option<&InstanceId>,
        held: &Held,
    ) -> Result<(WriteId, Document), StoreError> {
        let mut drawn = [0; 16];
        self.entropy.fill(&mut drawn);
        let write_id = WriteId(hex::encode(drawn));
        let content = LeaseDocument {
            schema: SCHEMA,
            holder: holder.cloned(),
            host: holder.map(|_| self.host.clone()),
            epoch: held.epoch,
            taken_at: held.taken_at,
            ttl: self.ttl,
            settled: held.settled,
            write_id: write_id.clone(),
        };
        let document =
            Document::encode(&content).map_err(|error| StoreError::unreadable(&self.at, error))?;
        Ok((write_id, document))
    }

    fn after_sent(&self, sent: Steady) -> Steady {
        Steady(sent.0.saturating_add(self.ttl.0 / 3))
    }

    fn after(&self, span: Span) -> Steady {
        Steady(self.clock.steady().0.saturating_add(span.0))
    }
}
