//! The one loop: wake, gather, decide, gate, execute, record, publish.
//!
//! One task owns all state. Others send a [`command::Command`] and get a reply, or read the
//! immutable [`snapshot::Snapshot`]. The engine knows records and drivers; it must not know HTTP,
//! config text or the command line.
//!
//! ```text
//!   clock ──┐                       ┌── walk (one a secret) ── gate ── drivers, store
//!   commands ─→  Engine::run  ──────┤        decide/apply
//!   reload ──┘     ledger, plan     └── snapshot ──→ status, metrics, health
//! ```
//!
//! There is no start-up code but reading the records, and no recovery: a walk that breaks leaves
//! its secret `Unknown`, and the next one reads it again.

pub mod clock;
pub mod command;
mod commands;
pub mod desk;
mod execute;
mod expose;
pub mod gate;
mod incoming;
mod lanes;
pub mod leader;
mod ledger;
pub mod limits;
mod loading;
pub mod managed;
mod marking;
mod opening;
mod perform;
mod reach;
pub mod recognition;
mod recollect;
pub mod scan;
pub mod snapshot;
mod sweep;
mod tags;
mod verdict;
mod view;
mod waiting;
mod walk;
mod world;
mod worth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::command::Envelope;
use crate::engine::gate::{Gate, Leadership, Posts};
use crate::engine::lanes::Lanes;
use crate::engine::ledger::{Entry, Ledger, Turn};
use crate::engine::limits::{Limits, Places, urgency};
use crate::engine::managed::Managed;
use crate::engine::marking::Marking;
use crate::engine::recognition::{Recogniser, Settings};
use crate::engine::snapshot::{Health, SecretView, Snapshot};
use crate::engine::waiting::Waiting;
use crate::engine::walk::{Progress, Signals, Standing, Task, Walk, Walked};
use crate::engine::world::World;
use crate::model::fingerprint::FingerprintKey;
use crate::model::id::{Epoch, InstanceId, SecretName};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Entropy, Span, Steady, Timestamp};
use crate::plan::breaker::Breaker;
use crate::plan::budget::Budget;
use crate::plan::{self, Start};
use crate::rotation::machine::Machine;
use crate::store::Store;
use crate::store::audit::AuditSink;
use crate::store::lease::Holder;
use crate::telemetry::metrics::Metrics;
use crate::vault::turns;

/// The longest the loop sleeps: it must show that it lives, and a clock that was set is noticed
/// within this time.
const TURN_MAX: Span = Span::from_secs(5);

/// The picture for readers is made anew at most this often while much is going on.
const PUBLISH_PAUSE: Span = Span(50);

/// Pause between tries at the first reading of the records.
const LOAD_PAUSE: Span = Span::from_secs(2);

/// What the engine is made of.
pub struct Parts {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The generator.
    pub entropy: Arc<dyn Entropy>,
    /// What recognises values.
    pub fingerprints: FingerprintKey,
    /// How values are recognised in reports.
    pub recognition: Settings,
    /// The index that reports are looked up in; the engine fills it.
    pub recogniser: Recogniser,
    /// Where audit lines go.
    pub audit: Box<dyn AuditSink>,
    /// What decides.
    pub machine: Machine,
    /// Whether we lead; if not, why.
    pub leadership: watch::Receiver<Result<Leadership, Reason>>,
    /// Who leads, for people.
    pub leader: watch::Receiver<Option<Holder>>,
    /// The highest epoch that a record was seen with, for whoever keeps the lease.
    pub epoch_seen: Arc<AtomicU64>,
    /// This process.
    pub instance: InstanceId,
    /// How much may be under way.
    pub limits: Limits,
    /// How many rotations may be on the move.
    pub budget: Budget,
    /// What is counted.
    pub metrics: Metrics,
    /// The secrets of the config.
    pub managed: Vec<Managed>,
}

/// How others reach the engine, and it them.
pub struct Doors {
    /// Commands in.
    pub commands: mpsc::Receiver<Envelope>,
    /// A new set of secrets, after a reload.
    pub reloads: mpsc::Receiver<Vec<Managed>>,
    /// Pictures out.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// Called at each turn of the loop: what feeds a watchdog.
    pub turned: Box<dyn FnMut() + Send>,
    /// The end.
    pub stop: CancellationToken,
}

/// The loop and all that it owns.
pub struct Engine {
    world: Arc<World>,
    ledger: Ledger,
    lanes: Lanes,
    waiting: Waiting,
    walks: JoinSet<Walked>,
    /// Whose walk each task is, for the one that breaks off.
    under_way: Vec<(tokio::task::Id, SecretName)>,
    progress: (mpsc::UnboundedSender<Progress>, mpsc::UnboundedReceiver<Progress>),
    budget: Budget,
    breaker: Breaker,
    leadership: watch::Receiver<Result<Leadership, Reason>>,
    /// The epoch under which memory is read: under another one others may have written since.
    read_under: Option<Epoch>,
    leader: watch::Receiver<Option<Holder>>,
    epoch_seen: Arc<AtomicU64>,
    health: Health,
    changed: BTreeSet<SecretName>,
    published: Steady,
    marking: Marking,
    views: Arc<BTreeMap<SecretName, Arc<SecretView>>>,
}

impl Engine {
    /// An engine that has not read anything yet.
    pub fn new(parts: Parts) -> Engine {
        let started_at = parts.clock.now();
        let leadership = parts.leadership.clone();
        let gate = Gate::new(Posts {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            audit: parts.audit,
            leadership: parts.leadership,
            instance: parts.instance.clone(),
            effect_timeout: parts.limits.effect_timeout,
        });
        let places = Places::new(&parts.limits);
        let fingerprints = Arc::new(parts.fingerprints);
        parts.recogniser.begin(Arc::clone(&fingerprints), parts.recognition.clone());
        let lanes = Lanes::new(&parts.limits);
        let world = World {
            store: parts.store,
            clock: parts.clock,
            entropy: parts.entropy,
            fingerprints,
            recognition: parts.recognition,
            recogniser: parts.recogniser,
            gate,
            machine: parts.machine,
            limits: parts.limits,
            places,
            stopping: AtomicBool::new(false),
            metrics: parts.metrics,
        };
        let mut engine = Engine {
            world: Arc::new(world),
            ledger: Ledger::default(),
            lanes,
            waiting: Waiting::default(),
            walks: JoinSet::new(),
            under_way: Vec::new(),
            progress: mpsc::unbounded_channel(),
            budget: parts.budget,
            breaker: Breaker::default(),
            leadership,
            read_under: None,
            leader: parts.leader,
            epoch_seen: parts.epoch_seen,
            health: Health {
                instance: parts.instance,
                started_at,
                turned_at: started_at,
                epoch: None,
                leader: None,
                lease_until: None,
                destructive_from: None,
                trouble: None,
                loaded: false,
                unread: 0,
                breaker_open: false,
            },
            changed: BTreeSet::new(),
            published: Steady::default(),
            marking: Marking::default(),
            views: Arc::new(BTreeMap::new()),
        };
        for managed in parts.managed {
            let name = managed.name.clone();
            let reason = Reason::VaultUnreachable;
            let standing = Standing::Unknown { reason, text: "not read yet".to_owned() };
            engine.changed.insert(name.clone());
            engine.ledger.insert(name, Entry::new(Some(Arc::new(managed)), standing));
        }
        engine
    }

    /// The picture before anything was read: what readers get until the loop turns.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let (at, secrets) = (self.world.clock.now(), Arc::clone(&self.views));
        let (health, limits) = (self.health.clone(), self.plan_limits());
        Arc::new(Snapshot { at, health, limits, secrets })
    }

    /// Runs until told to stop; then lets what is under way come to its record.
    pub async fn run(mut self, mut doors: Doors) {
        let mut next_load = Some(self.world.clock.now());
        loop {
            (doors.turned)();
            let now = self.world.clock.now();
            if next_load.is_some_and(|at| at <= now) {
                let Some(loaded) = self.load_alive(&mut doors).await else { break };
                next_load = match loaded {
                    Ok(()) => None,
                    Err((reason, text)) => {
                        tracing::warn!(reason = %reason, "records could not be listed: {text}");
                        self.trouble(Some(reason));
                        Some(now + LOAD_PAUSE)
                    }
                };
            }
            self.turn();
            self.set_off();
            self.publish(&doors.snapshots);
            let pause = self.pause(next_load);
            tokio::select! {
                biased;
                () = doors.stop.cancelled() => break,
                Some(walked) = self.walks.join_next_with_id() => self.walked(walked),
                Some(envelope) = doors.commands.recv() => self.command(envelope),
                Some(progress) = self.progress.1.recv() => self.progressed(progress),
                Some(managed) = doors.reloads.recv() => self.reload(managed),
                Ok(()) = self.leadership.changed() => {}
                () = tokio::time::sleep(pause.to_std()) => {}
            }
        }
        self.world.stopping.store(true, Ordering::Relaxed);
        while let Some(walked) = self.walks.join_next_with_id().await {
            (doors.turned)();
            self.walked(walked);
        }
        self.publish(&doors.snapshots);
    }

    /// Reads the records, showing all the while that the loop lives. None if told to stop.
    async fn load_alive(&mut self, doors: &mut Doors) -> Option<Result<(), (Reason, String)>> {
        let stop = doors.stop.clone();
        let mut load = std::pin::pin!(self.load());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                loaded = &mut load => return Some(loaded),
                () = tokio::time::sleep(TURN_MAX.to_std()) => (doors.turned)(),
            }
        }
    }

    // ------------------------------------------------------------ one turn

    /// Starts a walk for everything that is due and not under way.
    fn turn(&mut self) {
        let now = self.world.clock.now();
        if now < self.health.turned_at {
            // The clock was set back: moments that were near are far away now.
            self.ledger.look_again(now);
        }
        self.health.turned_at = now;
        self.world.metrics.loop_turned(now);
        self.note_leadership(now);
        if !self.health.loaded {
            return;
        }
        let led = self.health.epoch.is_some();
        let leads = self.world.gate.leads_for(Span::ZERO);
        self.health.epoch = leads.as_ref().ok().map(|leadership| leadership.epoch);
        let Ok(leadership) = leads else {
            // Nothing is started, so nothing else would say what is in the way.
            self.trouble(Some(self.world.gate.why_not()));
            if led {
                self.doubt(now);
            }
            return;
        };
        if !led {
            // Vault has just taken a write of ours.
            self.trouble(None);
        }
        self.lead_under(leadership.epoch, now);
        self.health.breaker_open = self.breaker.is_tripped();
        for name in self.waiting.called(self.plan_limits().budget) {
            self.ledger.wake_at(&name, Some(now));
        }
        let due = self.ledger.take_due(now);
        let starts = self.plan(&due, now);
        for name in due {
            let start = starts.get(&name).cloned();
            self.set_out(&name, start, now);
        }
        self.mark_next(now);
    }

    /// Who leads, and how long what we hold is good for, as moments that people can read.
    fn note_leadership(&mut self, now: Timestamp) {
        let steady = self.world.clock.steady();
        let leadership = self.world.gate.leads_for(Span::ZERO).ok();
        let ahead = |at: Steady| Some(now + at.since(steady)).filter(|at| *at > now);
        self.health.leader = self.leader.borrow().clone();
        self.health.lease_until = leadership.and_then(|held| ahead(held.until));
        self.health.destructive_from = leadership.and_then(|held| ahead(held.destructive_from));
    }

    /// Asks the planner about the secrets that are due. Whoever finds no room waits for it.
    fn plan(&mut self, due: &[SecretName], now: Timestamp) -> BTreeMap<SecretName, Start> {
        let facts: Vec<_> = due
            .iter()
            .filter_map(|name| {
                let entry = self.ledger.get(name).filter(|entry| !entry.is_busy())?;
                Some(ledger::facts(name, entry, entry.managed.as_deref()?))
            })
            .collect();
        let plan = plan::plan(&facts, &self.plan_limits(), now);
        due.iter().for_each(|name| self.waiting.leave(name));
        for refused in plan.refused.into_iter().filter(|refused| refused.reason == Reason::Busy) {
            let priority = self.ledger.get(&refused.name).and_then(|e| e.managed.as_ref());
            let priority = priority.map_or(0, |managed| managed.priority);
            self.waiting.join(refused.name, refused.trigger.lane(), priority);
        }
        plan.start.into_iter().map(|start| (start.name.clone(), start)).collect()
    }

    /// What the secrets share, as it stands now.
    fn plan_limits(&self) -> plan::Limits {
        let (routine_moving, emergency_moving) = self.ledger.moving();
        let budget = Budget { routine_moving, emergency_moving, ..self.budget.clone() };
        let mut breaker = self.breaker.clone();
        // What is about to be opened may be the trial: there is no second one beside it.
        if self.ledger.is_opening() {
            breaker.started(self.world.clock.now());
        }
        plan::Limits { budget, breaker }
    }

    fn set_out(&mut self, name: &SecretName, start: Option<Start>, now: Timestamp) {
        let Some(entry) = self.ledger.get(name) else { return };
        if entry.is_busy() || entry.managed.is_none() {
            return;
        }
        let unread = matches!(entry.standing, Standing::Unknown { .. });
        let moves = match &entry.standing {
            Standing::Known { wait, .. } => wait.until.is_some_and(|until| until <= now),
            _ => unread,
        };
        match start {
            Some(start) => self.walk(name, start.lane, Task::Start(start)),
            None if moves => {
                let lane = entry.lane();
                self.walk(name, lane, Task::GoOn);
            }
            None if matches!(entry.standing, Standing::Foreign { .. }) => {
                self.walk(name, Lane::Routine, Task::LookAgain);
            }
            None => self.schedule(name, now, Span(1)),
        }
    }

    /// Queues a walk for a secret that has none.
    fn walk(&mut self, name: &SecretName, lane: Lane, task: Task) {
        let Some(entry) = self.ledger.get_mut(name) else { return };
        entry.starting = task.opens();
        let ticket = self.lanes.join(lane, name.clone());
        entry.turn = Turn::Queued { ticket, task };
        self.ledger.count(name);
        self.changed.insert(name.clone());
    }

    /// Starts the walks there are places for, the most urgent first.
    fn set_off(&mut self) {
        while let Some(name) = self.lanes.next() {
            let Some((entry, lane, task)) = self.ledger.called(&name) else {
                self.lanes.arrived();
                continue;
            };
            let Some(managed) = entry.managed.clone() else {
                self.left(&name, task);
                continue;
            };
            let hurry = CancellationToken::new();
            // It does what it set out for and goes no further.
            if entry.has_emergency() {
                hurry.cancel();
            }
            entry.turn = Turn::Walking { lane, hurry: hurry.clone() };
            let (known, durable) = (entry.known().cloned(), entry.durable.clone());
            let signals = Signals { progress: self.progress.0.clone(), hurry };
            let walk = Walk::new(Arc::clone(&self.world), managed, signals, durable);
            let walk = turns::with(urgency(lane), walk.run(known, task));
            let task = self.walks.spawn(walk);
            self.under_way.push((task.id(), name));
        }
    }

    /// Sets when a secret is to be looked at again: if at once, then after this pause.
    fn schedule(&mut self, name: &SecretName, now: Timestamp, pause: Span) {
        let Some(entry) = self.ledger.get(name) else { return };
        let planned = entry.managed.as_deref().and_then(|managed| {
            let facts = ledger::facts(name, entry, managed);
            plan::next_wake(&facts, &self.plan_limits(), now)
        });
        let at = entry.next_look(now).into_iter().chain(planned).min();
        self.ledger.wake_at(name, at.map(|at| if at > now { at } else { now + pause }));
    }

    fn pause(&self, next_load: Option<Timestamp>) -> Span {
        let now = self.world.clock.now();
        let next = self.ledger.next_wake().filter(|_| self.health.epoch.is_some());
        let marks = self.marking.next().filter(|_| self.health.epoch.is_some());
        let next = next.into_iter().chain(next_load).chain(marks).min();
        let longest = if self.changed.is_empty() { TURN_MAX } else { PUBLISH_PAUSE };
        next.map_or(longest, |at| at.since(now).min(longest)).max(Span(1))
    }

    // ------------------------------------------------------------ what goes out

    fn trouble(&mut self, reason: Option<Reason>) {
        let now = self.world.clock.now();
        self.health.trouble = match (reason, self.health.trouble) {
            (None, _) => None,
            (Some(reason), Some((same, since))) if reason == same => Some((same, since)),
            (Some(reason), _) => Some((reason, now)),
        };
    }

    fn publish(&mut self, snapshots: &watch::Sender<Arc<Snapshot>>) {
        let at = self.world.clock.now();
        if !self.changed.is_empty() {
            let steady = self.world.clock.steady();
            // Copying the picture of ten thousand secrets costs a millisecond: not more often than
            // people can see, unless nothing else is going on.
            if steady.since(self.published) < PUBLISH_PAUSE && !self.walks.is_empty() {
                return;
            }
            self.published = steady;
            self.health.unread = self.ledger.unread();
            let limits = self.plan_limits();
            let views = Arc::make_mut(&mut self.views);
            for name in std::mem::take(&mut self.changed) {
                match self.ledger.get(&name) {
                    Some(entry) => {
                        let view = view::secret(&name, entry, &limits, at);
                        views.insert(name, Arc::new(view));
                    }
                    None => drop(views.remove(&name)),
                }
            }
        }
        snapshots.send_replace(self.snapshot());
    }
}
