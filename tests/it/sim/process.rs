//! The real engine in the simulated world: started, crashed, started again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::leader::{self, Keeper};
use rotord::engine::limits::Limits;
use rotord::engine::managed::{Managed, ManagedTarget};
use rotord::engine::recognition::{Recogniser, Settings};
use rotord::engine::snapshot::Snapshot;
use rotord::engine::{Doors, Engine, Parts};
use rotord::model::id::{InstanceId, TargetName};
use rotord::model::reason::Reason;
use rotord::model::target::TargetTerms;
use rotord::model::time::{Clock, Entropy, Span};
use rotord::plan::budget::Budget;
use rotord::store::Store;
use rotord::store::audit::intents::Intents;
use rotord::store::audit::owed::Owed;
use rotord::store::kv::KvStore;
use rotord::store::lease::{Lease, LeaseConfig};
use rotord::telemetry::metrics::Metrics;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::sim::issuer::SimIssuer;
use crate::sim::setups::Setup;
use crate::sim::target::SimTarget;
use crate::sim::time::Chance;
use crate::sim::vault::SimVault;
use crate::sim::world::{SimAudit, World};

/// A running rotord.
pub(super) struct Process {
    world: Arc<World>,
    tasks: JoinSet<()>,
    commands: mpsc::Sender<Envelope>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reloads: mpsc::Sender<Vec<Managed>>,
    /// What scanners' reports are looked up in.
    pub(super) recogniser: Recogniser,
}

struct SharedChance(Arc<World>);

impl Entropy for SharedChance {
    fn fill(&self, buffer: &mut [u8]) {
        Chance::fill(&self.0.chance, buffer);
    }
}

impl Process {
    /// Starts one. Nothing of an earlier one is known to it but what lies in Vault.
    pub(super) async fn start(world: &Arc<World>, setups: &[Setup]) -> Process {
        let instance = InstanceId("sim".to_owned());
        begins(world, &instance);
        let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let entropy: Arc<dyn Entropy> = Arc::new(SharedChance(Arc::clone(world)));
        let kv = Arc::new(SimVault { world: Arc::clone(world) });
        let store = KvStore::new(kv.clone(), "rotord", Arc::clone(&entropy));
        let fingerprints = loop {
            match store.fingerprint_key("1").await {
                Ok(key) => break key,
                Err(_) => world.pass(Span(500).to_std()).await,
            }
        };
        let (leadership, leads) = watch::channel(Err(Reason::NoLease));
        let (leader_in, led_by) = watch::channel(None);
        let (commands, commands_in) = mpsc::channel(16);
        let (reloads, reloads_in) = mpsc::channel(1);
        let epoch_seen = Arc::new(AtomicU64::new(0));
        let metrics = Metrics::new("sim", clock.now());
        let limits = Limits::default();
        let recogniser = Recogniser::default();
        let config = LeaseConfig {
            mount: "rotord".to_owned(),
            instance: instance.clone(),
            host: "sim".to_owned(),
            // Longer than usual: to renew it every few seconds of virtual hours takes long.
            ttl: Span::from_secs(60),
            effect_timeout: limits.effect_timeout,
        };
        let lease = Lease::new(kv, Arc::clone(&clock), Arc::clone(&entropy), config);
        let engine = Engine::new(Parts {
            store: Arc::new(store),
            clock: Arc::clone(&clock),
            entropy,
            fingerprints,
            recognition: Settings::default(),
            recogniser: recogniser.clone(),
            audit: Box::new(SimAudit(Arc::clone(world))),
            leadership: leads,
            leader: led_by,
            epoch_seen: Arc::clone(&epoch_seen),
            instance: instance.clone(),
            limits,
            budget: Budget::default(),
            metrics: metrics.clone(),
            managed: setups.iter().map(|setup| managed(world, setup)).collect(),
        });
        let (snapshots_in, snapshots) = watch::channel(engine.snapshot());
        let stop = CancellationToken::new();
        let doors = Doors {
            commands: commands_in,
            reloads: reloads_in,
            snapshots: snapshots_in,
            turned: Box::new(|| ()),
            stop: stop.clone(),
        };
        let keeper = Keeper {
            lease,
            clock,
            leadership,
            leader: leader_in,
            epoch_seen,
            metrics,
            audit: Box::new(SimAudit(Arc::clone(world))),
            instance,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(leader::keep(keeper, stop));
        tasks.spawn(engine.run(doors));
        Process { world: Arc::clone(world), tasks, commands, snapshots, reloads, recogniser }
    }

    /// Kills it, wherever it stands.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Gives it a new config.
    pub(super) async fn reload(&self, setups: &[Setup]) {
        let managed = setups.iter().map(|setup| managed(&self.world, setup)).collect();
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

/// A process has begun: what the one before owed is lost, and what it left open is answered.
fn begins(world: &Arc<World>, instance: &InstanceId) {
    world.note("-- start --");
    let left: Intents = {
        let mut audit = world.audit();
        audit.process += 1;
        audit.owed = Owed::default();
        audit.intents.clone()
    };
    left.give_up(&mut SimAudit(Arc::clone(world)), instance, world.clock.now());
}

fn managed(world: &Arc<World>, setup: &Setup) -> Managed {
    let target = |name: &TargetName, terms: &TargetTerms| ManagedTarget {
        terms: terms.clone(),
        driver: Arc::new(SimTarget {
            world: Arc::clone(world),
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
