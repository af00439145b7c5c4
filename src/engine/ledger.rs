//! All secrets in memory: where each stands, what waits for it, and when to look again.
//!
//! The ledger is a cache of Vault and nothing more; whatever it says can be read again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::command::Envelope;
use crate::engine::lanes::Ticket;
use crate::engine::managed::Managed;
use crate::engine::opening;
use crate::engine::snapshot::FailureView;
use crate::engine::walk::{Standing, Task};
use crate::model::id::{RotationId, SecretName};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::plan::facts::Facts;
use crate::rotation::Rotation;
use crate::rotation::phase::Phase;
use crate::store::Stored;

/// Commands that may wait for one secret: people, not programs, send them.
pub(super) const COMMANDS_MAX: usize = 16;

/// Urgent commands that may wait besides: that the secret leaked is not turned away because
/// somebody asked for other things before.
pub(super) const URGENT_COMMANDS_MAX: usize = 4;

/// Failures that status shows for one secret.
pub(super) const FAILURES_MAX: usize = 10;

/// Waits between tries at reading a record that could not be read.
const RELOAD_PAUSES: [Span; 6] =
    [Span(500), Span(1_000), Span(2_000), Span(5_000), Span(10_000), Span(30_000)];

/// How soon it is looked again whether a value of somebody else's is still where a first version
/// would go: a person who takes it away does not wait long, and nothing is asked hot.
const FOREIGN_PAUSE: Span = Span::from_secs(300);

/// Whether a secret is being walked.
pub(super) enum Turn {
    /// No.
    Idle,
    /// As soon as there is a place.
    Queued {
        /// Its place in the queue.
        ticket: Ticket,
        /// What for.
        task: Task,
    },
    /// Yes.
    Walking {
        /// In this lane.
        lane: Lane,
        /// Tells the walk that an emergency of the same secret waits for it.
        hurry: CancellationToken,
    },
}

/// One secret in memory.
pub(super) struct Entry {
    /// What the config says of it; none if it is only in Vault.
    pub(super) managed: Option<Arc<Managed>>,
    /// Where it stands.
    pub(super) standing: Standing,
    /// The last record that was seen, whatever became of it since: what status shows while Vault
    /// is away.
    pub(super) last_seen: Option<Stored>,
    /// The record as this process last read or wrote it: what it must not fall behind.
    pub(super) durable: Option<Stored>,
    /// The last rotation of which the breaker was told how it went.
    pub(super) judged: Option<RotationId>,
    /// Whether it is being walked.
    pub(super) turn: Turn,
    /// The lane in which a rotation is to be opened that is not in the record yet.
    pub(super) starting: Option<Lane>,
    /// It was not read since others may have written: what is recognised by it may be old.
    pub(super) unread: bool,
    /// Others may have written while a walk was under way, which does not know of it.
    pub(super) doubted: bool,
    /// The config changed while a walk was under way, which does not know of it.
    pub(super) reloaded: bool,
    /// Commands that wait for the walk to end.
    pub(super) commands: VecDeque<Envelope>,
    /// The last failures, newest last.
    pub(super) failures: VecDeque<FailureView>,
    /// When the config gave it the cadence it has, if that was after the start.
    pub(super) cadence_since: Option<Timestamp>,
    reloads: usize,
    wake: Option<Timestamp>,
    /// The lane in which its rotation counts as on the move.
    moving: Option<Lane>,
    /// It counts among those that are to be opened.
    opening: bool,
}

/// All secrets.
#[derive(Default)]
pub(super) struct Ledger {
    entries: BTreeMap<SecretName, Entry>,
    /// Rotations on the move: routine, emergency.
    moving: (u32, u32),
    /// Routine rotations that are to be opened and are not in their records yet.
    opening: u32,
    wakes: BTreeSet<(Timestamp, SecretName)>,
}

impl Entry {
    pub(super) fn new(managed: Option<Arc<Managed>>, standing: Standing) -> Entry {
        Entry {
            unread: matches!(standing, Standing::Unknown { .. }),
            managed,
            standing,
            last_seen: None,
            durable: None,
            judged: None,
            turn: Turn::Idle,
            starting: None,
            doubted: false,
            reloaded: false,
            commands: VecDeque::new(),
            failures: VecDeque::new(),
            cadence_since: None,
            reloads: 0,
            wake: None,
            moving: None,
            opening: false,
        }
    }

    /// The record, if what memory says of it still counts.
    pub(super) fn known(&self) -> Option<&Stored> {
        match &self.standing {
            Standing::Known { stored, .. } => Some(stored),
            _ => None,
        }
    }

    /// Whether a walk of it is under way, or waits for its place.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.turn, Turn::Idle)
    }

    /// Whether there is nothing of it: neither the config nor any record says that it exists.
    pub(super) fn is_nothing(&self) -> bool {
        let was_read = self.last_seen.is_some();
        let unusable = matches!(self.standing, Standing::Unreadable { .. });
        let gone = matches!(self.standing, Standing::Absent);
        self.managed.is_none() && !self.is_busy() && (gone || !(was_read || unusable))
    }

    /// Whether an emergency is among the commands that wait for it.
    pub(super) fn has_emergency(&self) -> bool {
        self.commands.iter().any(|waiting| waiting.command.is_emergency())
    }

    /// The lane in which its next walk runs.
    pub(super) fn lane(&self) -> Lane {
        let rotation = self.last_seen.as_ref().map(|stored| &stored.record.rotation);
        match rotation {
            Some(rotation) if !rotation.is_closed() => rotation.lane,
            _ => Lane::Routine,
        }
    }

    /// Takes in where a walk left it.
    pub(super) fn settle(&mut self, standing: Standing, failures: Vec<FailureView>) {
        self.reloads = match &standing {
            Standing::Unknown { .. } => self.reloads.saturating_add(1),
            _ => 0,
        };
        self.unread &= matches!(standing, Standing::Unknown { .. });
        if let Standing::Known { stored, .. } = &standing {
            self.last_seen = Some(stored.clone());
            self.durable = Some(stored.clone());
        }
        self.standing = standing;
        self.failures.extend(failures);
        while self.failures.len() > FAILURES_MAX {
            self.failures.pop_front();
        }
    }

    /// What memory says of it does not count any more: it is to be read again.
    pub(super) fn doubt(&mut self) {
        self.unread = true;
        let text = "another replica may have changed it since it was read".to_owned();
        self.standing = Standing::Unknown { reason: Reason::NoLease, text };
    }

    /// Has its rotation looked at now, so that it is told of new terms.
    pub(super) fn look_again(&mut self, now: Timestamp) {
        if let Standing::Known { wait, .. } = &mut self.standing {
            wait.until = Some(now);
        }
    }

    /// Whether reading or writing its record has failed for so long that a person should know.
    pub(super) fn is_stuck(&self) -> bool {
        self.reloads > RELOAD_PAUSES.len()
    }

    /// When its rotation, or the record itself, is to be looked at again.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.standing {
            Standing::Known { wait, .. } => wait.until,
            Standing::Unknown { .. } => {
                let row = self.reloads.saturating_sub(1).min(RELOAD_PAUSES.len() - 1);
                Some(now + RELOAD_PAUSES[row])
            }
            Standing::Foreign { .. } => Some(now + FOREIGN_PAUSE),
            Standing::Absent | Standing::Unreadable { .. } => None,
        }
    }
}

impl Ledger {
    pub(super) fn get(&self, name: &SecretName) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &SecretName) -> Option<&mut Entry> {
        self.entries.get_mut(name)
    }

    pub(super) fn insert(&mut self, name: SecretName, entry: Entry) {
        self.entries.insert(name, entry);
    }

    /// Rotations on the move: routine, emergency. One that only waits in its overlap is not; one
    /// that is about to be opened is.
    pub(super) fn moving(&self) -> (u32, u32) {
        self.moving
    }

    /// Counts a secret anew after it changed.
    pub(super) fn count(&mut self, name: &SecretName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let rotation = entry.last_seen.as_ref().map(|stored| &stored.record.rotation);
        let moves = |r: &&Rotation| !r.is_closed() && !matches!(r.phase, Phase::Overlap { .. });
        let now = rotation.filter(moves).map(|rotation| rotation.lane).or(entry.starting);
        for (lane, change) in [(entry.moving, -1), (now, 1)] {
            let count = match lane {
                Some(Lane::Routine) => &mut self.moving.0,
                Some(Lane::Emergency) => &mut self.moving.1,
                None => continue,
            };
            *count = count.saturating_add_signed(change);
        }
        entry.moving = now;
        let opening = entry.starting == Some(Lane::Routine);
        let change = i32::from(opening) - i32::from(entry.opening);
        self.opening = self.opening.saturating_add_signed(change);
        entry.opening = opening;
    }

    /// Whether a routine rotation is about to be opened.
    pub(super) fn is_opening(&self) -> bool {
        self.opening > 0
    }

    /// A queued secret whose turn has come, with its lane and what it is to do.
    pub(super) fn called(&mut self, name: &SecretName) -> Option<(&mut Entry, Lane, Task)> {
        let entry = self.entries.get_mut(name)?;
        match std::mem::replace(&mut entry.turn, Turn::Idle) {
            Turn::Queued { ticket, task } => Some((entry, ticket.lane(), task)),
            turn => {
                entry.turn = turn;
                None
            }
        }
    }

    pub(super) fn names(&self) -> Vec<SecretName> {
        self.entries.keys().cloned().collect()
    }

    pub(super) fn remove(&mut self, name: &SecretName) {
        self.wake_at(name, None);
        self.entries.remove(name);
    }

    /// Sets when a secret is to be looked at again.
    pub(super) fn wake_at(&mut self, name: &SecretName, at: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if let Some(old) = entry.wake.take() {
            self.wakes.remove(&(old, name.clone()));
        }
        if let Some(at) = at {
            entry.wake = Some(at);
            self.wakes.insert((at, name.clone()));
        }
    }

    /// Has every secret of the config read again, whatever is known of it.
    pub(super) fn doubt(&mut self, now: Timestamp) {
        for name in self.names() {
            let Some(entry) = self.get_mut(&name).filter(|entry| entry.managed.is_some()) else {
                continue;
            };
            match entry.turn {
                Turn::Walking { .. } => {
                    entry.unread = true;
                    entry.doubted = true;
                }
                Turn::Idle | Turn::Queued { .. } => entry.doubt(),
            }
            self.wake_at(&name, Some(now));
        }
    }

    /// Managed secrets that are not read yet since others may have written. One that cannot be
    /// read for long is a person's affair and keeps nobody else waiting.
    pub(super) fn unread(&self) -> usize {
        let unread = |entry: &&Entry| entry.unread && entry.managed.is_some() && !entry.is_stuck();
        self.entries.values().filter(unread).count()
    }

    /// Has every secret looked at again, whatever it waits for.
    pub(super) fn look_again(&mut self, now: Timestamp) {
        for name in self.names() {
            if let Some(Entry { standing: Standing::Known { wait, .. }, .. }) = self.get_mut(&name)
                && wait.until.is_some()
            {
                wait.until = Some(now);
            }
            self.wake_at(&name, Some(now));
        }
    }

    /// The next moment at which anything is to be looked at.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Takes out what is due.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<SecretName> {
        let mut due = Vec::new();
        while let Some((at, name)) = self.wakes.first().cloned() {
            if at > now {
                break;
            }
            self.wake_at(&name, None);
            due.push(name);
        }
        due
    }
}

/// What the planner may know about a secret.
pub(super) fn facts<'a>(name: &'a SecretName, entry: &Entry, managed: &'a Managed) -> Facts<'a> {
    let mut facts = Facts::new(name, &managed.cadence);
    facts.cadence_since = entry.cadence_since;
    facts.initial = managed.initial;
    facts.priority = managed.priority;
    match &entry.standing {
        Standing::Absent => {}
        Standing::Unknown { .. } | Standing::Unreadable { .. } | Standing::Foreign { .. } => {
            facts.reconcile_required = true;
        }
        Standing::Known { stored, .. } => {
            facts.last_scheduled = Some(stored.record.last_scheduled);
            opening::tell_planner(&mut facts, &stored.record.rotation);
        }
    }
    facts
}
