//! The simulated world: what Vault, issuers and targets really hold, whatever anybody believes.
//!
//! Everything in it changes in one place, and after every change the checkers look at the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::Hold;
use rotord::model::time::{Clock as _, Span, Timestamp};
use rotord::rotation::Forced;
use rotord::store::record::Record;
use rotord::vault::KvPath;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::sim::checkers;
use crate::sim::checkers::exposed::Exposures;
use crate::sim::checkers::fenced::Lead;
use crate::sim::faults::Fault;
use crate::sim::log::Log;
use crate::sim::planted::Bug;
use crate::sim::scanner::{Leak, Planned};
use crate::sim::seat::{Fate, SEATS, Seat};
use crate::sim::time::{BEGIN, Chance, SimClock};
use crate::sim::truth::Truth;
use crate::support::mem_kv::MemKv;

/// Lines of trace that are kept: enough to read a failing seed, not enough to fill memory.
const TRACE_MAX: usize = 6_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) secrets: BTreeMap<SecretName, Truth>,
    /// Faults at given boundaries, for scripts; chance decides the rest.
    pub(super) planned: BTreeMap<u64, Fault>,
    pub(super) boundaries: u64,
    /// How many there were when the faults stopped.
    pub(super) boundaries_troubled: u64,
    pub(super) fault_permille: u64,
    pub(super) faults_on: bool,
    pub(super) crashes: u64,
    pub(super) minted: u64,
    /// Vault answers nobody until this moment.
    pub(super) sealed_until: Timestamp,
    /// The audit log has no room until this moment.
    pub(super) audit_full_until: Timestamp,
    /// Somebody has set the wall clock.
    pub(super) clock_was_set: bool,
    /// Standbys of Vault answer, and lag behind.
    pub(super) stale_reads: bool,
    /// Who last wrote each place of rotord's own in Vault, and when.
    pub(super) writes: BTreeMap<KvPath, (usize, Timestamp)>,
    /// Some of what is delayed arrives up to an hour later.
    pub(super) long_delays: bool,
    /// How far the replicas' clocks may be ahead of it.
    pub(super) skew: Span,
    /// Who has the lease, and since when.
    pub(super) lead: Lead,
    /// When it was last set forward.
    pub(super) set_forward_at: Option<Timestamp>,
    /// Every value that ever was, for the checker of secrecy.
    pub(super) values: Vec<Vec<u8>>,
    /// When each driver was called, for the checker of bounds.
    pub(super) calls: BTreeMap<String, Vec<Timestamp>>,
    /// What this run has come through, for the checker of the checkers.
    pub(super) seen: BTreeSet<String>,
    /// Versions that leak at given boundaries, for scripts.
    pub(super) planned_leaks: Planned,
    /// At so many of a thousand boundaries something leaks.
    pub(super) leak_permille: u64,
    pub(super) leaks_so_far: u64,
    /// Holds that people were told are in force.
    pub(super) held: BTreeMap<SecretName, Hold>,
    /// Leaked versions of which scanners were told that they are taken care of.
    pub(super) reported: BTreeSet<(SecretName, VersionId)>,
    /// The rule that is broken on purpose.
    pub(super) bug: Option<Bug>,
    /// What leaked and was not taken note of yet.
    pub(super) leaks: Vec<Leak>,
    /// What is known of the leaks of each secret that has had any.
    pub(super) exposures: BTreeMap<SecretName, Exposures>,
    /// The exceptions that were recorded, for good: records forget them in time.
    pub(super) forced: BTreeMap<SecretName, Vec<Forced>>,
    /// Leaked versions that were accepted for too long when somebody last looked.
    pub(super) overdue: BTreeMap<(SecretName, VersionId), bool>,
    /// When the faults stopped.
    pub(super) quiet_since: Timestamp,
    pub(super) violations: Vec<String>,
    trace: Vec<String>,
    records: BTreeMap<SecretName, (u64, Arc<Record>)>,
}

/// The world, shared by everything that is simulated.
pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) chance: Chance,
    pub(super) kv: Arc<MemKv>,
    pub(super) seats: [Arc<Seat>; SEATS],
    /// A promise was broken.
    pub(super) violated: Notify,
    /// Something leaked.
    pub(super) leaked: Notify,
    /// Requests whose sender has stopped waiting for them and that have not arrived.
    pub(super) on_the_way: Arc<AtomicU64>,
    /// What the program writes into its log.
    pub(super) log: Log,
    state: Mutex<State>,
}

impl World {
    pub(super) fn new(seed: u64, fault_permille: u64) -> Arc<World> {
        World::over(seed, fault_permille, &["rotord"])
    }

    /// A world whose Vault has these mounts.
    pub(super) fn over(seed: u64, fault_permille: u64, mounts: &[&str]) -> Arc<World> {
        let clock = Arc::new(SimClock::start());
        let state = State { fault_permille, faults_on: true, ..State::default() };
        Arc::new(World {
            chance: Chance::new(seed),
            kv: Arc::new(MemKv::with_clock(Arc::clone(&clock) as _).mounted_at(mounts)),
            seats: std::array::from_fn(|number| Seat::new(number, &clock)),
            violated: Notify::new(),
            leaked: Notify::new(),
            on_the_way: Arc::default(),
            log: Log::default(),
            clock,
            state: Mutex::new(state),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets virtual time pass.
    pub(super) async fn pass(&self, span: Duration) {
        sleep_until(Instant::now() + span).await;
    }

    pub(super) fn note(&self, line: &str) {
        let after = self.clock.truly().since(BEGIN);
        let mut state = self.state();
        if state.trace.len() < TRACE_MAX {
            state.trace.push(format!("t+{:<10} {line}", after.0));
        }
    }

    /// What happened, a line each: milliseconds since the beginning, and what.
    pub(super) fn trace(&self) -> String {
        self.state().trace.join("\n")
    }

    /// Notes that the run came through this.
    pub(super) fn reached(&self, what: impl Into<String>) {
        self.state().seen.insert(what.into());
    }

    /// The rule that is broken on purpose.
    pub(super) fn bug(&self) -> Option<Bug> {
        self.state().bug
    }

    pub(super) fn faults_on(&self) -> bool {
        self.state().faults_on
    }

    pub(super) fn stop_faults(&self) {
        self.note("-- faults stop --");
        let quiet_since = self.clock.truly();
        let mut state = self.state();
        state.faults_on = false;
        state.quiet_since = quiet_since;
        state.planned.clear();
        state.boundaries_troubled = state.boundaries;
        state.sealed_until = Timestamp::default();
        state.audit_full_until = Timestamp::default();
        for truth in state.secrets.values_mut() {
            for service in truth.services.values_mut() {
                service.dead_until = Timestamp::default();
            }
        }
        for seat in &self.seats {
            *seat.fate() = Fate::default();
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.clock.truly() < self.state().sealed_until
    }

    pub(super) fn count_boundary(&self) -> u64 {
        let mut state = self.state();
        state.boundaries += 1;
        state.boundaries
    }

    pub(super) fn crash(&self, seat: &Seat) {
        self.state().crashes += 1;
        self.note(&format!("-- {} crashes --", seat.instance()));
        seat.crashed.notify_one();
    }

    /// Has something happen a while later, whatever becomes of the process until then.
    pub(super) fn later(&self, after: Duration, act: impl FnOnce() + Send + 'static) {
        let at = Instant::now() + after;
        let on_the_way = Arc::clone(&self.on_the_way);
        on_the_way.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "what is on the wire outlives its sender")]
        tokio::spawn(async move {
            sleep_until(at).await;
            act();
            on_the_way.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Notes that a driver was called.
    pub(super) fn called(&self, what: String) {
        let now = self.clock.truly();
        self.state().calls.entry(what.clone()).or_default().push(now);
        checkers::bounded::called(self, &what);
    }

    /// Changes the world and has every checker look at it.
    pub(super) fn change<T>(&self, line: &str, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let now = self.clock.truly();
        self.note(line);
        let result = act(&mut self.state(), now);
        checkers::after_change(self, now);
        result
    }

    pub(super) fn violate(&self, promise: &str, what: &str) {
        self.note(&format!("!! {promise}: {what}"));
        self.state().violations.push(format!("{promise}: {what}"));
        self.violated.notify_one();
    }

    /// Notes who wrote a place in Vault.
    pub(super) fn wrote(&self, seat: &Seat, at: &KvPath) {
        let now = self.clock.truly();
        self.state().writes.insert(at.clone(), (seat.number, now));
    }

    /// The record as it lies in Vault, whoever wrote it.
    pub(super) fn record(&self, name: &SecretName) -> Option<Arc<Record>> {
        let at = state_of(name);
        let newest = self.kv.newest(&at);
        if let Some((revision, record)) = self.state().records.get(name)
            && *revision == newest
        {
            return Some(Arc::clone(record));
        }
        let Some(content) = self.kv.peek(&at) else {
            // Somebody has deleted it: what it said last still counts.
            return self.last_seen(name);
        };
        let record: Arc<Record> = Arc::new(serde_json::from_value(content).unwrap());
        self.state().records.insert(name.clone(), (newest, Arc::clone(&record)));
        Some(record)
    }

    /// The record as it was when somebody last looked at it.
    pub(super) fn last_seen(&self, name: &SecretName) -> Option<Arc<Record>> {
        self.state().records.get(name).map(|(_, record)| Arc::clone(record))
    }

    pub(super) fn names(&self) -> Vec<SecretName> {
        self.state().secrets.keys().cloned().collect()
    }

    /// Whether rotord, by whichever clock it sees, is told by a hold to take nothing away.
    pub(super) fn is_held(&self, record: &Record) -> bool {
        let rotation = &record.rotation;
        let state = self.state();
        let now = self.clock.now() + state.skew;
        let promised = state.held.get(&record.name);
        let mut holds = rotation.hold.iter().chain(promised);
        holds.any(|hold| hold.binds(rotation.lane, now))
    }
}

/// Where the record of a secret lies.
pub(super) fn state_of(name: &SecretName) -> KvPath {
    KvPath { mount: "rotord".to_owned(), path: format!("state/{name}") }
}
