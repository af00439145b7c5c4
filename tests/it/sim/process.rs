//! The real engine in the simulated world: started, crashed, started again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::gate::Leadership;
use rotord::engine::leader::{self, Keeper};
use rotord::engine::limits::Limits;
use rotord::engine::managed::{Managed, ManagedTarget};
use rotord::engine::recognition::{Recogniser, Settings};
use rotord::engine::snapshot::Snapshot;
use rotord::engine::{Doors, Engine, Parts};
use rotord::model::id::TargetName;
use rotord::model::reason::Reason;
use rotord::model::target::TargetTerms;
use rotord::model::time::{Clock, Entropy, Span};
use rotord::plan::budget::Budget;
use rotord::rotation::machine::Machine;
use rotord::store::Store;
use rotord::store::kv::KvStore;
use rotord::store::lease::{Lease, LeaseConfig};
use rotord::telemetry::metrics::Metrics;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sim::issuer::SimIssuer;
use crate::sim::planted::{Bug, Forgetful, Hasty};
use crate::sim::seat::{Seat, SimAudit, begins};
use crate::sim::setups::Setup;
use crate::sim::target::SimTarget;
use crate::sim::time::Chance;
use crate::sim::vault::SimVault;
use crate::sim::world::World;

/// How long the others wait for a replica: longer than usual, since to renew the lease every few
/// seconds of virtual hours takes long.
pub(super) const TTL: Span = Span::from_secs(60);

/// A running rotord.
pub(super) struct Process {
    world: Arc<World>,
    seat: Arc<Seat>,
    tasks: Mutex<Tasks>,
    commands: mpsc::Sender<Envelope>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reloads: mpsc::Sender<Vec<Managed>>,
    /// What scanners' reports are looked up in.
    pub(super) recogniser: Recogniser,
}

/// The engine, which is to end first, and the keeper of the lease.
struct Tasks {
    engine: (JoinSet<()>, CancellationToken),
    keeper: (JoinSet<()>, CancellationToken),
}

struct SharedChance(Arc<World>);

impl Entropy for SharedChance {
    fn fill(&self, buffer: &mut [u8]) {
        Chance::fill(&self.0.chance, buffer);
    }
}

impl Process {
    /// Starts one. Nothing of an earlier one is known to it but what lies in Vault.
    pub(super) async fn start(world: &Arc<World>, seat: &Arc<Seat>, setups: &[Setup]) -> Process {
        let instance = seat.instance();
        begins(world, seat);
        let clock: Arc<dyn Clock> = Arc::clone(&seat.clock) as Arc<dyn Clock>;
        let entropy: Arc<dyn Entropy> = Arc::new(SharedChance(Arc::clone(world)));
        let kv = Arc::new(SimVault { world: Arc::clone(world), seat: Arc::clone(seat) });
        let store = KvStore::new(kv.clone(), "rotord", Arc::clone(&entropy));
        let fingerprints = loop {
            match store.fingerprint_key("1").await {
                Ok(key) => break key,
                Err(_) => world.pass(Span(500).to_std()).await,
            }
        };
        let bug = world.bug();
        let audit = || SimAudit { world: Arc::clone(world), seat: Arc::clone(seat) };
        let (leadership, leads_so) = watch::channel(Err(Reason::NoLease));
        let (leads_in, misled) = watch::channel(Err(Reason::NoLease));
        let leads = if bug.is_some() { misled } else { leads_so.clone() };
        let (leader_in, led_by) = watch::channel(None);
        let (commands, commands_in) = mpsc::channel(16);
        let (reloads, reloads_in) = mpsc::channel(1);
        let epoch_seen = Arc::new(AtomicU64::new(0));
        let metrics = Metrics::new("sim", clock.now());
        let limits = Limits::default();
        let recogniser = Recogniser::default();
        let lease = Lease::new(kv, Arc::clone(&clock), Arc::clone(&entropy), lease(seat, &limits));
        let engine = Engine::new(Parts {
            store: Arc::new(Hasty(store, bug)),
            clock: Arc::clone(&clock),
            entropy,
            fingerprints,
            recognition: Settings::default(),
            recogniser: recogniser.clone(),
            audit: Box::new(Forgetful(audit(), bug)),
            machine: bug.map_or_else(Machine::default, Bug::machine),
            leadership: leads,
            leader: led_by,
            epoch_seen: Arc::clone(&epoch_seen),
            instance: instance.clone(),
            limits,
            budget: Budget::default(),
            metrics: metrics.clone(),
            managed: setups.iter().map(|setup| managed(world, seat, setup)).collect(),
        });
        let (snapshots_in, snapshots) = watch::channel(engine.snapshot());
        let (stop, given_up) = (CancellationToken::new(), CancellationToken::new());
        let doors = doors((commands_in, reloads_in), snapshots_in, stop.clone());
        let keeper = Keeper {
            lease,
            clock,
            leadership,
            leader: leader_in,
            epoch_seen,
            metrics,
            audit: Box::new(Forgetful(audit(), bug)),
            instance,
        };
        let (mut leading, mut turning) = (JoinSet::new(), JoinSet::new());
        leading.spawn(leader::keep(keeper, given_up.clone()));
        if let Some(bug) = bug {
            leading.spawn(mislead(bug, leads_so, leads_in));
        }
        turning.spawn(engine.run(doors));
        let tasks = Mutex::new(Tasks { engine: (turning, stop), keeper: (leading, given_up) });
        let (world, seat) = (Arc::clone(world), Arc::clone(seat));
        Process { world, seat, tasks, commands, snapshots, reloads, recogniser }
    }

    /// Kills it, wherever it stands.
    pub(super) async fn kill(&self) {
        let mut tasks = self.tasks.lock().await;
        tasks.engine.0.shutdown().await;
        tasks.keeper.0.shutdown().await;
    }

    /// Ends it as `systemctl stop` does: what is under way comes to its record, and the lease is
    /// given back.
    pub(super) async fn end(&self) {
        let mut tasks = self.tasks.lock().await;
        let Tasks { engine, keeper } = &mut *tasks;
        for (task, stop) in [engine, keeper] {
            stop.cancel();
            while task.join_next().await.is_some() {}
        }
    }

    /// Whether it leads, as far as it knows.
    pub(super) fn leads(&self) -> bool {
        self.snapshot().health.epoch.is_some()
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Gives it a new config.
    pub(super) async fn reload(&self, setups: &[Setup]) {
        let managed = setups.iter().map(|setup| managed(&self.world, &self.seat, setup)).collect();
        let _ = self.reloads.send(managed).await;
    }

    /// Asks for something and waits for the answer; none if the process dies before.
    pub(super) async fn ask(&self, command: Command) -> Option<Result<Done, Refusal>> {
        let (reply, answer) = oneshot::channel();
        let actor = Actor("sim".to_owned());
        self.commands.send(Envelope { actor, command, reply }).await.ok()?;
        answer.await.ok()
    }
}

fn doors(
    (commands, reloads): (mpsc::Receiver<Envelope>, mpsc::Receiver<Vec<Managed>>),
    snapshots: watch::Sender<Arc<Snapshot>>,
    stop: CancellationToken,
) -> Doors {
    Doors { commands, reloads, snapshots, turned: Box::new(|| ()), stop }
}

fn lease(seat: &Seat, limits: &Limits) -> LeaseConfig {
    LeaseConfig {
        mount: "rotord".to_owned(),
        instance: seat.instance(),
        host: "sim".to_owned(),
        ttl: TTL,
        effect_timeout: limits.effect_timeout,
    }
}

/// Tells the engine of leadership what a broken rule makes of it.
async fn mislead(
    bug: Bug,
    mut so: watch::Receiver<Result<Leadership, Reason>>,
    told: watch::Sender<Result<Leadership, Reason>>,
) {
    let mut had = None;
    loop {
        let now = *so.borrow_and_update();
        told.send_modify(|told| *told = bug.leadership(now, &mut had));
        if so.changed().await.is_err() {
            return;
        }
    }
}

fn managed(world: &Arc<World>, seat: &Arc<Seat>, setup: &Setup) -> Managed {
    let target = |name: &TargetName, terms: &TargetTerms| ManagedTarget {
        terms: terms.clone(),
        driver: Arc::new(SimTarget {
            world: Arc::clone(world),
            seat: Arc::clone(seat),
            secret: setup.name.clone(),
            name: name.clone(),
        }),
        lane: name.to_string(),
    };
    Managed {
        name: setup.name.clone(),
        tags: Vec::new(),
        priority: 0,
        after: Vec::new(),
        terms: setup.terms.clone(),
        cadence: Arc::new(setup.cadence.clone()),
        initial: setup.initial,
        issuer: Arc::new(SimIssuer {
            world: Arc::clone(world),
            seat: Arc::clone(seat),
            secret: setup.name.clone(),
            capabilities: setup.terms.capabilities.clone(),
            manner: setup.manner,
        }),
        issuer_lane: setup.name.to_string(),
        targets: setup
            .targets
            .iter()
            .map(|(name, terms)| (name.clone(), target(name, terms)))
            .collect(),
    }
}
