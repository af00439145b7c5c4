//! The real engine on a store in memory, with one secret and one target, in virtual time: for tests
//! of what commands and records make of each other, without faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rotord::driver::issuer::generated::{Format, Generated, Generator};
use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::gate::Leadership;
use rotord::engine::limits::Limits;
use rotord::engine::managed::{Managed, ManagedTarget};
use rotord::engine::recognition::{Recogniser, Settings};
use rotord::engine::snapshot::Snapshot;
use rotord::engine::{Doors, Engine, Parts};
use rotord::model::capability::Capabilities;
use rotord::model::id::{Epoch, InstanceId, SecretName, TargetName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::policy::{Kind, Policy};
use rotord::model::target::{Level, Role, TargetTerms};
use rotord::model::time::{Clock, Span, Steady, Timestamp};
use rotord::plan::budget::Budget;
use rotord::plan::cadence::Cadence;
use rotord::plan::facts::Initial;
use rotord::rotation::Terms;
use rotord::rotation::machine::Machine;
use rotord::store::audit::MemoryAudit;
use rotord::store::memory::MemoryStore;
use rotord::store::{Store, Stored};
use rotord::telemetry::metrics::Metrics;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::mem_target::MemTarget;
use crate::support::store_contract::CountingEntropy;

/// The moment at which every test begins.
const BEGIN: i64 = 1_795_000_000_000;

/// How long consumers of the target may still use what they read before.
pub(crate) const PROPAGATION: Span = Span::from_secs(60);

/// How long old and new are both accepted.
pub(crate) const OVERLAP: Span = Span::from_secs(3600);

/// Longest virtual time that anything in such a house may take.
const PATIENCE: Span = Span::from_secs(24 * 3600);

/// Wall and steady time that go with the runtime's.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN + i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    fn steady(&self) -> Steady {
        Steady(1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// The engine at work.
pub(crate) struct House {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) recogniser: Recogniser,
    commands: mpsc::Sender<Envelope>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _leads: watch::Sender<Result<Leadership, rotord::model::reason::Reason>>,
}

/// The secret's name.
pub(crate) fn hook() -> SecretName {
    SecretName::new("hook").unwrap()
}

impl House {
    /// Starts on what lies in the store, with the fingerprint key of that id.
    pub(crate) async fn start(store: Arc<MemoryStore>, key: &str, settings: Settings) -> House {
        let clock: Arc<dyn Clock> = Arc::new(Virtual(Instant::now()));
        let fingerprints = store.fingerprint_key(key).await.unwrap();
        let leadership = Leadership {
            epoch: Epoch(1),
            until: Steady(u64::MAX),
            destructive_from: Steady::default(),
        };
        let (leads, leadership) = watch::channel(Ok(leadership));
        let (commands, commands_in) = mpsc::channel(16);
        let (_, reloads) = mpsc::channel(1);
        let recogniser = Recogniser::default();
        let engine = Engine::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::clone(&clock),
            entropy: Arc::new(CountingEntropy::default()),
            fingerprints,
            recognition: settings,
            recogniser: recogniser.clone(),
            audit: Box::new(MemoryAudit::default()),
            machine: Machine::default(),
            leadership,
            leader: watch::channel(None).1,
            epoch_seen: Arc::new(AtomicU64::new(0)),
            instance: InstanceId("house".to_owned()),
            limits: Limits::default(),
            budget: Budget::default(),
            metrics: Metrics::new("house", clock.now()),
            managed: vec![managed()],
        });
        let (snapshots_in, snapshots) = watch::channel(engine.snapshot());
        let stop = CancellationToken::new();
        let doors = Doors {
            commands: commands_in,
            reloads,
            snapshots: snapshots_in,
            turned: Box::new(|| ()),
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.run(doors));
        House { store, recogniser, commands, snapshots, stop, tasks, _leads: leads }
    }

    /// Ends it in order, and gives back what it leaves behind.
    pub(crate) async fn end(mut self) -> Arc<MemoryStore> {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.store
    }

    pub(crate) async fn ask(&self, command: Command) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        let actor = Actor("ada".to_owned());
        self.commands.send(Envelope { actor, command, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// What lies in the store.
    pub(crate) async fn stored(&self) -> Stored {
        self.store.load(&hook()).await.unwrap().expect("a record")
    }

    /// Waits until what lies in the store fits.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&Stored) -> bool) -> Stored {
        let mut snapshots = self.snapshots.clone();
        let waiting = async {
            loop {
                if let Some(stored) = self.store.load(&hook()).await.unwrap().filter(&fits) {
                    return stored;
                }
                snapshots.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE.to_std(), waiting).await;
        waited.unwrap_or_else(|_| panic!("never {what}: {:#?}", self.snapshots.borrow().secrets))
    }

    /// Waits until nothing is open and this version is in use.
    pub(crate) async fn until_at_rest(&self, current: u64) -> Stored {
        let rests = |stored: &Stored| {
            let rotation = &stored.record.rotation;
            rotation.is_closed() && rotation.current() == Some(VersionId(current))
        };
        self.until(&format!("at rest with v{current}"), rests).await
    }

    /// The value of a version, as a consumer has it.
    pub(crate) async fn value(&self, version: u64) -> SecretBytes {
        let saved = self.store.material(&hook(), VersionId(version)).await.unwrap();
        let material = saved.expect("it has material").material;
        SecretBytes::new(material.value().unwrap().expose().to_vec())
    }
}

fn managed() -> Managed {
    let terms = TargetTerms {
        role: Role::Both,
        propagation: PROPAGATION,
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: false,
        recovery: None,
        place: None,
        observe_every: None,
    };
    let driver = Arc::new(MemTarget::default());
    let target = ManagedTarget { terms, driver, lane: "memory".to_owned() };
    Managed {
        name: hook(),
        tags: Vec::new(),
        priority: 0,
        after: Default::default(),
        terms: Terms {
            kind: Kind::WebhookHmac,
            capabilities: Capabilities::local(),
            policy: Policy { overlap: OVERLAP, ..Policy::default() },
        },
        cadence: Arc::new(Cadence {
            schedule: None,
            max_age: None,
            windows: Vec::new(),
            freezes: Vec::new(),
            jitter: Span::ZERO,
        }),
        initial: Initial::Generate,
        issuer: Arc::new(Generated::new(Generator::new(Format::Whsec, 32).unwrap())),
        issuer_lane: "generated".to_owned(),
        targets: BTreeMap::from([(TargetName::new("memory").unwrap(), target)]),
    }
}
