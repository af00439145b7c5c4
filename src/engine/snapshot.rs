//! The immutable picture for readers: what `status`, metrics and health are answered from.
//!
//! Readers never wait for the engine and the engine never waits for readers. Nothing in here is
//! secret and nothing here is ever written back.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::engine::opening;
use crate::model::id::{Epoch, InstanceId, SecretName, VersionId};
use crate::model::policy::Kind;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;
use crate::plan::Limits;
use crate::plan::cadence::Cadence;
use crate::plan::facts::{Facts, Initial};
use crate::plan::outlook::{Outlook, outlook};
use crate::rotation::Rotation;
use crate::store::lease::Holder;
use crate::store::record::Past;

/// Everything, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// How the daemon itself is.
    pub health: Health,
    /// What the secrets share, as the planner sees it.
    pub limits: Limits,
    /// The secrets by name.
    pub secrets: Arc<BTreeMap<SecretName, Arc<SecretView>>>,
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// This process.
    pub instance: InstanceId,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// When the loop last turned: alive.
    pub turned_at: Timestamp,
    /// The epoch it acts under, while it holds the lease.
    pub epoch: Option<Epoch>,
    /// Who leads, as it was seen last; none if nobody does, or nobody can tell.
    pub leader: Option<Holder>,
    /// Until when the lease is certainly ours if it cannot be renewed, while it is.
    pub lease_until: Option<Timestamp>,
    /// Before this moment nothing is taken away, while it is ahead: effects of the leader before
    /// may still be on their way.
    pub destructive_from: Option<Timestamp>,
    /// What keeps it from acting, since when; none if Vault answers and the lease is ours.
    pub trouble: Option<(Reason, Timestamp)>,
    /// All records were loaded once.
    pub loaded: bool,
    /// Secrets whose records were not read since others may have written, while it leads: what is
    /// recognised by them may be old.
    pub unread: usize,
    /// Too many routine rotations failed: only single ones start for now.
    pub breaker_open: bool,
}

/// Why it is not known yet what is ours and what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CannotTell {
    /// No record was read.
    #[error("the records are not read yet: ask again in a moment")]
    Loading,
    /// Another replica writes the records.
    #[error(
        "this instance does not hold the lease and cannot tell what is new: ask the one that does"
    )]
    Standby,
    /// Another replica may have written some of them.
    #[error("{0} records are still to be read after a change of leader: ask again in a moment")]
    Unread(usize),
    /// What knows the version is ahead of the picture.
    #[error("a version is so new that it is not in the picture yet: ask again in a moment")]
    Behind,
}

/// Something that a person must look at and that is about the daemon, not about one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The stable code.
    pub reason: Reason,
    /// Since when.
    pub since: Timestamp,
    /// What happened, for people.
    pub text: String,
}

/// One secret.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// What it is.
    pub kind: Kind,
    /// Its tags.
    pub tags: Vec<String>,
    /// In the config, or only in Vault.
    pub managed: bool,
    /// Its record was not read since others may have written.
    pub unread: bool,
    /// The mark of its record: another one if the record was deleted and made anew.
    pub incarnation: Option<Arc<str>>,
    /// The rotation that is open, or the last one; none before the first.
    pub rotation: Option<Arc<Rotation>>,
    /// Rotations before it.
    pub history: Arc<Vec<Past>>,
    /// What it waits for.
    pub waiting: Waiting,
    /// What is planned from, if it is managed: plans are made when somebody asks.
    pub planning: Option<Planning>,
    /// The last failures, as text for people: effect or target, and what it said.
    pub failures: Vec<FailureView>,
}

/// What the planner needs of one secret beside its rotation.
#[derive(Clone, Debug)]
pub struct Planning {
    /// When it is rotated.
    pub cadence: Arc<Cadence>,
    /// Since when that has been its cadence, if that was after the start.
    pub cadence_since: Option<Timestamp>,
    /// How it begins, without a record.
    pub initial: Initial,
    /// Higher goes first when there is not room for all.
    pub priority: u8,
    /// When many are rotated at once, it is begun after these are in use.
    pub after: Vec<SecretName>,
    /// The last scheduled instant that was run, or when the record was created.
    pub last_scheduled: Option<Timestamp>,
    /// Why nothing is opened before its record was read anew, or a person has looked.
    pub in_the_way: Option<Reason>,
    /// Its next run as it was foreseen when the picture of it was made: enough as long as it is
    /// still ahead, and thousands of secrets are looked at in one status.
    pub next_run: Option<Timestamp>,
}

impl Health {
    /// What keeps it from saying of a value that it is nobody's here; none if it can.
    pub fn cannot_tell(&self) -> Option<CannotTell> {
        match self.epoch {
            _ if !self.loaded => Some(CannotTell::Loading),
            None => Some(CannotTell::Standby),
            Some(_) if self.unread > 0 => Some(CannotTell::Unread(self.unread)),
            Some(_) => None,
        }
    }
}

impl SecretView {
    /// Where a version stands: what the record does not list any more is revoked. None of a number
    /// that it has not given out: the picture is older than what knows the version.
    pub fn stage(&self, version: VersionId) -> Option<Stage> {
        let rotation = self.rotation.as_deref()?;
        let gone = (version < rotation.next_version).then_some(Stage::Revoked);
        rotation.versions.get(&version).map(|found| found.stage).or(gone)
    }

    /// How it stands with its plan at this moment; none if the config does not have it.
    pub fn outlook(&self, limits: &Limits, now: Timestamp, runs: usize) -> Option<Outlook> {
        let planning = self.planning.as_ref()?;
        let mut facts = Facts::new(&self.name, &planning.cadence);
        facts.cadence_since = planning.cadence_since;
        facts.initial = planning.initial;
        facts.priority = planning.priority;
        facts.last_scheduled = planning.last_scheduled;
        facts.reconcile_required = planning.in_the_way.is_some();
        if let Some(rotation) = &self.rotation {
            opening::tell_planner(&mut facts, rotation);
        }
        let mut outlook = outlook(&facts, limits, now, runs);
        if let (Some(reason), Some(refusal)) = (planning.in_the_way, &mut outlook.refusal) {
            refusal.reason = reason;
        }
        Some(outlook)
    }

    /// When its next run starts, if one can be foretold.
    pub fn next_run(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let foreseen = self.planning.as_ref()?.next_run;
        if let Some(ahead) = foreseen.filter(|at| *at > now) {
            return Some(ahead);
        }
        self.outlook(limits, now, 1)?.runs.first().map(|run| run.at)
    }
}

/// A failure for people. Its text names places and remedies, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureView {
    /// The effect.
    pub effect: String,
    /// The stable code.
    pub reason: Reason,
    /// What it said.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// What a secret waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// In words: `overlap until ...`, `target api: not_yet_applied`, `schedule`.
    pub why: String,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
    /// A person is needed, and this is why.
    pub needs_human: Option<Reason>,
    /// The command that helps, if a person is needed.
    pub remedy: Option<String>,
}

/// How long readers may take a snapshot's `turned_at` for alive.
pub const ALIVE_WITHIN: Span = Span::from_secs(30);
