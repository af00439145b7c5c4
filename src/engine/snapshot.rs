//! The immutable picture for readers: what `status`, metrics and health are answered from.
//!
//! Readers never wait for the engine and the engine never waits for readers. Nothing in here is
//! secret and nothing here is ever written back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::id::{Epoch, InstanceId, SecretName};
use crate::model::policy::Kind;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::rotation::Rotation;
use crate::store::record::Past;

/// Everything, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// How the daemon itself is.
    pub health: Health,
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
    /// What keeps it from acting, since when; none if Vault answers and the lease is ours.
    pub trouble: Option<(Reason, Timestamp)>,
    /// All records were loaded once.
    pub loaded: bool,
    /// Too many routine rotations failed: only single ones start for now.
    pub breaker_open: bool,
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
    /// The rotation that is open, or the last one; none before the first.
    pub rotation: Option<Arc<Rotation>>,
    /// Rotations before it.
    pub history: Arc<Vec<Past>>,
    /// What it waits for.
    pub waiting: Waiting,
    /// The next runs of its schedule, jitter included.
    pub next_runs: Vec<Timestamp>,
    /// Why the next run would be refused now, if it would.
    pub refused: Option<Reason>,
    /// When a routine rotation is possible again, while one is open and that is known.
    pub possible_at: Option<Timestamp>,
    /// The last failures, as text for people: effect or target, and what it said.
    pub failures: Vec<FailureView>,
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
