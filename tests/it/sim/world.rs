//! The simulated world: what Vault, issuers and targets really hold, whatever anybody believes.
//!
//! Everything in it changes in one place, and after every change the checkers look at the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rotord::model::id::{Generation, SecretName, TargetName, VersionId};
use rotord::model::policy::Kind;
use rotord::model::target::Role;
use rotord::model::time::{Clock, Span, Timestamp};
use rotord::rotation::Rotation;
use rotord::store::audit::{AuditError, AuditSink, Entry, Head, MemoryAudit, Seq};
use tokio::sync::Notify;

use crate::sim::checkers;
use crate::sim::faults::Fault;
use crate::sim::time::{Chance, SimClock};
use crate::support::mem_kv::MemKv;

/// Lines of trace that are kept: enough to read a failing seed, not enough to fill memory.
const TRACE_MAX: usize = 4_000;

/// A key at an issuer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) value: Vec<u8>,
    pub(super) mark: String,
    pub(super) version: VersionId,
    pub(super) created_at: Timestamp,
    pub(super) alive: bool,
}

/// What a target held from some moment on.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    pub(super) since: Timestamp,
    pub(super) generation: Generation,
    pub(super) accepted: Vec<VersionId>,
    pub(super) current: Option<VersionId>,
}

/// A dependent service as it is.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) role: Role,
    pub(super) propagation: Span,
    /// Oldest first; never empty once it was told something.
    pub(super) holdings: Vec<Holding>,
    /// The highest generation that was sent to it.
    pub(super) sent: Generation,
}

/// One secret's part of the world.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) kind: Kind,
    pub(super) has_issuer: bool,
    /// Which versions die by themselves when another is minted.
    pub(super) dies_on_mint: bool,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) services: BTreeMap<TargetName, Service>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) secrets: BTreeMap<SecretName, Truth>,
    /// Faults at given boundaries, for scripts; chance decides the rest.
    pub(super) planned: BTreeMap<u64, Fault>,
    pub(super) boundaries: u64,
    pub(super) fault_permille: u64,
    pub(super) faults_on: bool,
    pub(super) crashes: u64,
    pub(super) minted: u64,
    /// Every value that ever was, for the checker of secrecy.
    pub(super) values: Vec<Vec<u8>>,
    /// When each driver was called, for the checker of bounds.
    pub(super) calls: BTreeMap<String, Vec<Timestamp>>,
    pub(super) violations: Vec<String>,
    trace: Vec<String>,
    /// What lands later, whoever sent it.
    landing: u64,
}

/// The world, shared by everything that is simulated.
pub(super) struct World {
    pub(super) clock: SimClock,
    pub(super) chance: Chance,
    pub(super) kv: Arc<MemKv>,
    pub(super) crashed: Notify,
    audit: Mutex<MemoryAudit>,
    state: Mutex<State>,
}

/// The audit log, which outlives the process that writes it.
pub(super) struct SimAudit(pub(super) Arc<World>);

impl AuditSink for SimAudit {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        self.0.audit().append(entry)
    }

    fn head(&self) -> Head {
        self.0.audit().head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.0.audit().durable_head()
    }
}

impl World {
    pub(super) fn new(seed: u64, fault_permille: u64) -> Arc<World> {
        let clock = SimClock::start();
        let state = State { fault_permille, faults_on: true, ..State::default() };
        Arc::new(World {
            clock,
            chance: Chance::new(seed),
            kv: Arc::new(MemKv::with_clock(Arc::new(clock))),
            crashed: Notify::new(),
            audit: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn audit(&self) -> MutexGuard<'_, MemoryAudit> {
        self.audit.lock().unwrap()
    }

    pub(super) fn note(&self, line: &str) {
        let after = self.clock.now().since(crate::sim::time::BEGIN);
        let mut state = self.state();
        if state.trace.len() < TRACE_MAX {
            state.trace.push(format!("t+{after:<16} {line}"));
        }
    }

    pub(super) fn trace(&self) -> String {
        self.state().trace.join("\n")
    }

    pub(super) fn faults_on(&self) -> bool {
        self.state().faults_on
    }

    pub(super) fn fault_rate(&self) -> u64 {
        self.state().fault_permille
    }

    pub(super) fn stop_faults(&self) {
        self.note("-- faults stop --");
        self.state().faults_on = false;
    }

    pub(super) fn count_boundary(&self) -> u64 {
        let mut state = self.state();
        state.boundaries += 1;
        state.boundaries
    }

    pub(super) fn crash(&self) {
        self.state().crashes += 1;
        self.note("-- crash --");
        self.crashed.notify_one();
    }

    pub(super) fn land_later(self: &World, after: Duration, act: Box<dyn Fn() + Send + Sync>) {
        self.state().landing += 1;
        #[expect(clippy::disallowed_methods, reason = "what is on the wire outlives its sender")]
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            act();
        });
    }

    /// Notes that a driver was called.
    pub(super) fn called(&self, what: String) {
        let now = self.clock.now();
        self.state().calls.entry(what).or_default().push(now);
    }

    /// Changes the world and has every checker look at it.
    pub(super) fn change<T>(&self, line: &str, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let now = self.clock.now();
        self.note(line);
        let result = act(&mut self.state(), now);
        checkers::after_change(self, now);
        result
    }

    pub(super) fn violate(&self, promise: &str, what: &str) {
        self.note(&format!("!! {promise}: {what}"));
        self.state().violations.push(format!("{promise}: {what}"));
    }

    /// The rotation as the record in Vault has it, whoever wrote it.
    pub(super) fn rotation(&self, name: &SecretName) -> Option<Rotation> {
        let at =
            rotord::vault::KvPath { mount: "rotord".to_owned(), path: format!("state/{name}") };
        let content = self.kv.peek(&at)?;
        serde_json::from_value(content.get("rotation")?.clone()).ok()
    }
}

impl Service {
    pub(super) fn new(role: Role, propagation: Span) -> Service {
        Service { role, propagation, holdings: Vec::new(), sent: Generation::default() }
    }

    pub(super) fn holds(&self) -> Option<&Holding> {
        self.holdings.last()
    }

    /// Everything that some consumer of it may be working with now: what it holds, and what it
    /// held within its propagation.
    pub(super) fn in_use(&self, now: Timestamp) -> Vec<&Holding> {
        let mut in_use = Vec::new();
        for (at, holding) in self.holdings.iter().enumerate() {
            let replaced_at = self.holdings.get(at + 1).map(|next| next.since);
            if replaced_at.is_none_or(|at| at + self.propagation > now) {
                in_use.push(holding);
            }
        }
        in_use
    }

    /// The versions that some consumer of it may be presenting now.
    pub(super) fn presented(&self, now: Timestamp) -> BTreeSet<VersionId> {
        if !self.role.signs() {
            return BTreeSet::new();
        }
        self.in_use(now).into_iter().filter_map(|holding| holding.current).collect()
    }

    /// The versions that every consumer of it certainly accepts now.
    pub(super) fn certainly_accepted(&self, now: Timestamp) -> BTreeSet<VersionId> {
        let mut sets = self.in_use(now).into_iter().map(|h| h.accepted.iter().copied());
        let first: BTreeSet<VersionId> = sets.next().map(Iterator::collect).unwrap_or_default();
        sets.fold(first, |common, set| {
            let set: BTreeSet<VersionId> = set.collect();
            common.intersection(&set).copied().collect()
        })
    }
}
