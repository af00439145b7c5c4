//! The only door to the world.
//!
//! Everything that changes something outside this process passes here and gets a boundary number:
//! every write of a record, and every effect. The gate checks, in this order, that the lease is
//! ours for long enough, that the record's epoch is not above ours, that no hold stands against a
//! destructive effect; it writes the intent, by check-and-set, and the audit line; only then is a
//! [`Permit`] given, and without one nothing is executed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::driver::error::DriverError;
use crate::model::failure::{Class, Failure};
use crate::model::id::{Epoch, InstanceId};
use crate::model::reason::Reason;
use crate::model::time::{Clock, Span, Steady, Timestamp};
use crate::rotation::effect::Effect;
use crate::store::audit::{AuditSink, Entry, EntryKind, Head};
use crate::store::record::Record;
use crate::store::{Revision, Store, StoreError, Stored};

/// Leadership as the gate needs it: published by whoever keeps the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The fencing number to write.
    pub epoch: Epoch,
    /// The lease is certainly ours until this moment of the steady clock.
    pub until: Steady,
    /// Destructive effects wait until this moment: an effect of a former leader may still be on
    /// its way.
    pub destructive_from: Steady,
}

/// Leave to execute one effect, once.
#[derive(Debug)]
pub struct Permit {
    boundary: u64,
    began: Steady,
}

/// When an effect came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// By the clock on the wall.
    pub at: Timestamp,
    /// By the clock that nobody can set.
    pub steady: Steady,
}

impl Permit {
    /// How long the effect took, from the moment it was let through.
    pub fn took(&self, ended: Ended) -> Span {
        ended.steady.since(self.began)
    }
}

/// Why the gate stays shut. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Shut {
    /// Another replica leads, or nobody can tell.
    #[error("the lease is not ours, or ends before the effect could")]
    NoLease,
    /// A former leader's effect may still be on its way.
    #[error("destructive effects wait {0} after a takeover")]
    TakeoverWait(Span),
    /// A hold stands against it.
    #[error("a hold is in force")]
    Held,
    /// The audit line could not be written.
    #[error("the audit line could not be written: {0}")]
    Audit(String),
    /// The record could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What must be known before anything is done could not be asked.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl Shut {
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        match self {
            Shut::NoLease => Failure { class: Class::Transient, reason: Reason::NoLease },
            Shut::TakeoverWait(wait) => {
                Failure { class: Class::Throttled(*wait), reason: Reason::NoLease }
            }
            Shut::Held => Failure { class: Class::Transient, reason: Reason::Held },
            Shut::Audit(_) => Failure { class: Class::Transient, reason: Reason::AuditUnwritable },
            Shut::Store(error) => error.failure(),
            Shut::Driver(error) => error.failure(),
        }
    }
}

/// The door.
pub struct Gate {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    audit: Mutex<Box<dyn AuditSink>>,
    leadership: watch::Receiver<Result<Leadership, Reason>>,
    instance: InstanceId,
    effect_timeout: Span,
    boundary: AtomicU64,
}

/// What the gate stands between.
pub struct Posts {
    /// Where records go.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where audit lines go.
    pub audit: Box<dyn AuditSink>,
    /// Whether we lead; if not, why.
    pub leadership: watch::Receiver<Result<Leadership, Reason>>,
    /// Who we are, for the audit lines.
    pub instance: InstanceId,
    /// The longest that one effect may take.
    pub effect_timeout: Span,
}

impl Gate {
    /// A door between these.
    pub fn new(posts: Posts) -> Gate {
        let Posts { store, clock, audit, leadership, instance, effect_timeout } = posts;
        let audit = Mutex::new(audit);
        let boundary = AtomicU64::new(0);
        Gate { store, clock, audit, leadership, instance, effect_timeout, boundary }
    }

    /// Writes the record over the revision it was read at, under our epoch.
    ///
    /// # Errors
    /// [`Shut`]; nothing was written, unless it is an ambiguous answer of Vault's.
    pub async fn save(&self, stored: &mut Stored) -> Result<(), Shut> {
        let epoch = self.leads_for(Span::ZERO)?.epoch;
        if stored.record.epoch > epoch {
            return Err(Shut::Store(StoreError::Fenced(stored.record.name.clone())));
        }
        self.boundary.fetch_add(1, Ordering::Relaxed);
        stored.record.epoch = epoch;
        let revision: Revision = self.store.save(&stored.record, stored.revision).await?;
        stored.revision = revision;
        Ok(())
    }

    /// What stands against a destructive effect for now: a takeover that is too fresh, or a hold.
    /// Asked before its intent is written, so that none is written in vain.
    pub fn stands_against(&self, record: &Record, effect: &Effect) -> Option<Shut> {
        let rotation = &record.rotation;
        if !rotation.is_destructive(effect) {
            return None;
        }
        let leadership = self.leadership.borrow().ok();
        let wait = leadership.map(|l| l.destructive_from.since(self.clock.steady()));
        if let Some(wait) = wait.filter(|wait| *wait > Span::ZERO) {
            return Some(Shut::TakeoverWait(wait));
        }
        let now = self.clock.now();
        let bound = rotation.hold.as_ref().is_some_and(|h| h.binds(rotation.lane, now));
        // An orphan is nobody's version: no hold speaks of it.
        (bound && !matches!(effect, Effect::Sweep { .. })).then_some(Shut::Held)
    }

    /// Lets one question through that is about no rotation yet. It leaves nothing behind, so there
    /// is no line about it.
    ///
    /// # Errors
    /// [`Shut`]; nothing must be asked.
    pub fn ask(&self) -> Result<(), Shut> {
        self.leads_for(self.effect_timeout)?;
        self.boundary.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether an effect may be sent at this moment: the lease, the record's epoch, and what stands
    /// against a destructive one. Asked when it passes, and again after it has waited for a place.
    ///
    /// # Errors
    /// [`Shut`]; the effect must not be sent.
    pub fn look(&self, record: &Record, effect: &Effect) -> Result<(), Shut> {
        let epoch = self.leads_for(self.effect_timeout)?.epoch;
        // An intent of ours is under our epoch. Where it is not, the lease was somebody else's in
        // between, and the record may be.
        if record.epoch > epoch || (effect.needs_intent() && record.epoch != epoch) {
            return Err(Shut::Store(StoreError::Fenced(record.name.clone())));
        }
        self.stands_against(record, effect).map_or(Ok(()), Err)
    }

    /// Lets one effect through. Its intent must have been saved.
    ///
    /// # Errors
    /// [`Shut`]; the effect must not be executed.
    pub async fn pass(&self, record: &Record, effect: &Effect) -> Result<Permit, Shut> {
        self.look(record, effect)?;
        let began = self.clock.steady();
        let boundary = self.boundary.fetch_add(1, Ordering::Relaxed) + 1;
        // Asking leaves nothing behind: ten thousand idle secrets would fill the chain with it.
        if !effect.only_asks() {
            let entry = self.entry(record, EntryKind::Intent);
            let effect = Some(effect.clone());
            self.append(Entry { boundary: Some(boundary), effect, ..entry }).await?;
        }
        Ok(Permit { boundary, began })
    }

    /// The moment, for an effect that comes back at it.
    pub fn ended(&self) -> Ended {
        Ended { at: self.clock.now(), steady: self.clock.steady() }
    }

    /// Writes down what became of an effect. An outcome that cannot be written now is written
    /// before any other line: no effect starts without one.
    pub async fn outcome(
        &self,
        permit: &Permit,
        record: &Record,
        effect: &Effect,
        failure: Option<Failure>,
    ) {
        if !effect.only_asks() {
            let entry = self.entry(record, EntryKind::Outcome);
            let effect = Some(effect.clone());
            let entry = Entry { boundary: Some(permit.boundary), effect, failure, ..entry };
            self.audit.lock().await.owe(entry);
        }
    }

    /// Writes down what a person asked for.
    ///
    /// # Errors
    /// [`Shut::Audit`]; the command must not be carried out.
    pub async fn command(&self, record: &Record, actor: &str, what: &str) -> Result<(), Shut> {
        let entry = self.entry(record, EntryKind::Command).note(what);
        self.append(Entry { actor: actor.to_owned(), ..entry }).await
    }

    /// Writes down a step of the record that is no effect and that somebody may ask about later:
    /// now or, since it is in the record already, as soon as lines can be written.
    pub async fn step(&self, record: &Record, what: &str) {
        self.audit.lock().await.owe(self.entry(record, EntryKind::Step).note(what));
    }

    /// Makes the lines so far durable and answers where the chain ends.
    ///
    /// # Errors
    /// [`Shut::Audit`].
    pub async fn durable_head(&self) -> Result<Head, Shut> {
        let mut audit = self.audit.lock().await;
        audit.durable_head().map_err(|error| Shut::Audit(error.to_string()))
    }

    /// Whether the lease is ours for at least this long.
    pub fn leads_for(&self, span: Span) -> Result<Leadership, Shut> {
        let leadership = (*self.leadership.borrow()).map_err(|_| Shut::NoLease)?;
        let left = leadership.until.since(self.clock.steady());
        if left == Span::ZERO || left < span { Err(Shut::NoLease) } else { Ok(leadership) }
    }

    /// What keeps the lease from being ours: another holder, or what Vault answers.
    pub fn why_not(&self) -> Reason {
        self.leadership.borrow().err().unwrap_or(Reason::NoLease)
    }

    fn entry(&self, record: &Record, kind: EntryKind) -> Entry {
        Entry {
            secret: Some(record.name.clone()),
            rotation: Some(record.rotation.id.clone()),
            ..Entry::new(self.clock.now(), &self.instance, kind)
        }
    }

    async fn append(&self, entry: Entry) -> Result<(), Shut> {
        let mut audit = self.audit.lock().await;
        audit.append(entry).map(drop).map_err(|error| Shut::Audit(error.to_string()))
    }
}
