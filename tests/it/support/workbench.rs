//! The real engine on virtual time, over a Vault in memory that takes its time: for tests of
//! order, of waiting and of cost. Nothing fails in it unless a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::Issuer;
use rotord::driver::target::{Order, Target};
use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::gate::Leadership;
use rotord::engine::limits::Limits;
use rotord::engine::managed::{Managed, ManagedTarget};
use rotord::engine::recognition::{Recogniser, Settings};
use rotord::engine::snapshot::{SecretView, Snapshot};
use rotord::engine::{Doors, Engine, Parts};
use rotord::model::capability::Capabilities;
use rotord::model::fingerprint::FingerprintKey;
use rotord::model::id::{Epoch, InstanceId, SecretName, TargetName, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::policy::{Kind, Policy};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, Role, TargetTerms};
use rotord::model::time::{Clock, Entropy, Span, Steady, Timestamp};
use rotord::plan::budget::Budget;
use rotord::plan::cadence::Cadence;
use rotord::plan::facts::Initial;
use rotord::rotation::Terms;
use rotord::rotation::machine::Machine;
use rotord::store::audit::{AuditError, AuditSink, Entry, Head, MemoryAudit, Seq};
use rotord::store::kv::KvStore;
use rotord::store::lease::Holder;
use rotord::telemetry::metrics::Metrics;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::turns::{self, Room, Turns};
use rotord::vault::{Kv, KvPath, Metadata, Read};
use tokio::sync::{Mutex as Queue, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::mem_kv::MemKv;
use crate::support::mem_target::MemTarget;
use crate::support::memory_issuer::MemoryIssuer;

/// How long a test waits, in virtual time: longer than anything in it takes.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// When it begins.
pub(crate) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

/// tokio's paused time; it counts how often it is read.
pub(crate) struct VirtualClock {
    began: Instant,
    pub(crate) reads: AtomicU64,
}

impl VirtualClock {
    pub(crate) fn start() -> Arc<VirtualClock> {
        Arc::new(VirtualClock { began: Instant::now(), reads: AtomicU64::new(0) })
    }

    pub(crate) fn elapsed(&self) -> Span {
        Span(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        BEGIN + self.elapsed()
    }

    fn steady(&self) -> Steady {
        Steady(self.elapsed().0 + 1_000_000)
    }
}

/// Lets virtual time pass.
pub(crate) async fn pass(span: Span) {
    sleep_until(Instant::now() + span.to_std()).await;
}

/// Different bytes at each draw.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let n = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let bytes = (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// A Vault that handles one request after the other, as the log of its storage does, behind the
/// same turns as the real client's.
pub(crate) struct BusyKv {
    kv: MemKv,
    turns: Turns,
    log: Queue<()>,
    takes: Duration,
    pub(crate) requests: AtomicU64,
}

impl BusyKv {
    pub(crate) fn new(clock: Arc<dyn Clock>, takes: Duration) -> Arc<BusyKv> {
        let room = Room { all: 64, for_emergencies: 16, for_lease: 4 };
        Arc::new(BusyKv {
            kv: MemKv::with_clock(clock).mounted_at(&["rotord"]),
            turns: Turns::new(room),
            log: Queue::new(()),
            takes,
            requests: AtomicU64::new(0),
        })
    }

    async fn turn(&self) -> turns::Turn {
        let turn = self.turns.take(turns::asking()).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.takes.is_zero() {
            let _log = self.log.lock().await;
            sleep_until(Instant::now() + self.takes).await;
        }
        turn
    }
}

#[async_trait]
impl Kv for BusyKv {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        let _turn = self.turn().await;
        self.kv.read(at).await
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        let _turn = self.turn().await;
        self.kv.read_version(at, version).await
    }

    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError> {
        let _turn = self.turn().await;
        self.kv.write(at, document, cas).await
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        let _turn = self.turn().await;
        self.kv.patch(at, patch, cas).await
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        let _turn = self.turn().await;
        self.kv.list(at).await
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        let _turn = self.turn().await;
        self.kv.metadata(at).await
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        let _turn = self.turn().await;
        self.kv.destroy(at, versions).await
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        let _turn = self.turn().await;
        self.kv.delete_metadata(at).await
    }
}

/// A dependent service.
#[derive(Default)]
pub(crate) struct Service {
    held: Mutex<BTreeMap<(SecretName, TargetName), Arc<MemTarget>>>,
    /// A push takes so many milliseconds.
    pub(crate) takes_ms: AtomicU64,
    /// It takes connections and never answers.
    pub(crate) hangs: AtomicBool,
    /// Something of somebody else's is there.
    pub(crate) foreign: AtomicBool,
    /// Calls under way at all services, now and at most.
    pub(crate) crowd: Arc<Crowd>,
    /// When it was first told to use a version.
    used: Mutex<BTreeMap<VersionId, Instant>>,
    /// What it was told of versions that leaked, and the pushes in between.
    pub(crate) heard: Mutex<Vec<String>>,
    pub(crate) pushes: AtomicU64,
    pub(crate) looks: AtomicU64,
}

/// How many calls are under way.
#[derive(Default)]
pub(crate) struct Crowd {
    now: AtomicU64,
    pub(crate) most: AtomicU64,
}

struct Present<'a>(&'a Crowd);

impl Crowd {
    fn enter(&self) -> Present<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Present(self)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// When it was first told to use the newest version it knows.
    pub(crate) fn newest(&self) -> Option<(VersionId, Instant)> {
        self.used.lock().unwrap().last_key_value().map(|(version, at)| (*version, *at))
    }

    fn held(&self, order: &Order<'_>) -> Arc<MemTarget> {
        let of = (order.secret.clone(), order.target.clone());
        Arc::clone(self.held.lock().unwrap().entry(of).or_default())
    }

    async fn answer(&self) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        pass(Span(self.takes_ms.load(Ordering::Relaxed))).await;
    }
}

#[async_trait]
impl Target for Service {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let _present = self.crowd.enter();
        self.pushes.fetch_add(1, Ordering::Relaxed);
        self.heard.lock().unwrap().push("push".to_owned());
        self.answer().await;
        if let Some(current) = order.wanted.current {
            self.used.lock().unwrap().entry(current).or_insert_with(Instant::now);
        }
        self.held(order).push(order).await
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        let _present = self.crowd.enter();
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.answer().await;
        self.held(order).observe(order).await
    }

    fn distrust(&self, leaked: &BTreeSet<VersionId>) {
        let leaked: Vec<u64> = leaked.iter().map(|version| version.0).collect();
        let mut heard = self.heard.lock().unwrap();
        let word = format!("{leaked:?}");
        if heard.last() != Some(&word) {
            heard.push(word);
        }
    }

    async fn foreign(&self) -> Result<bool, DriverError> {
        self.answer().await;
        Ok(self.foreign.load(Ordering::Relaxed))
    }
}

/// A secret to be managed.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: SecretName,
    pub(crate) kind: Kind,
    pub(crate) capabilities: Capabilities,
    pub(crate) issuer: Arc<dyn Issuer>,
    pub(crate) policy: Policy,
    pub(crate) initial: Initial,
    pub(crate) cadence: Cadence,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) host: String,
    pub(crate) observe_every: Option<Span>,
}

/// A value that rotord makes itself, with one service on a host of its own that uses it.
pub(crate) fn plan(name: &str, service: &Arc<Service>) -> Plan {
    let capabilities = Capabilities::local();
    Plan {
        name: SecretName::new(name).unwrap(),
        kind: Kind::ApiKey,
        issuer: Arc::new(MemoryIssuer::new(capabilities.clone())),
        capabilities,
        policy: Policy { overlap: Span::from_secs(60), ..Policy::default() },
        initial: Initial::Generate,
        cadence: Cadence::default(),
        services: vec![Arc::clone(service)],
        host: name.to_owned(),
        observe_every: None,
    }
}

impl Plan {
    /// The same at an issuer in memory that declares this.
    pub(crate) fn at(self, capabilities: Capabilities) -> Plan {
        let issuer = Arc::new(MemoryIssuer::new(capabilities.clone()));
        Plan { capabilities, issuer, ..self }
    }

    fn managed(&self) -> Managed {
        let terms = TargetTerms {
            role: Role::Signer,
            propagation: Span::ZERO,
            needs: Level::Acknowledged,
            unattested: false,
            keeps_history: false,
            recovery: None,
            observe_every: self.observe_every,
            place: None,
        };
        let target = |(at, service): (usize, &Arc<Service>)| {
            let name = TargetName::new(format!("t{at}")).unwrap();
            let driver = Arc::clone(service) as Arc<dyn Target>;
            let lane = format!("{}-{at}", self.host);
            (name, ManagedTarget { terms: terms.clone(), driver, lane })
        };
        Managed {
            name: self.name.clone(),
            tags: Vec::new(),
            priority: 0,
            after: Vec::new(),
            terms: Terms {
                kind: self.kind,
                capabilities: self.capabilities.clone(),
                policy: self.policy.clone(),
            },
            cadence: Arc::new(self.cadence.clone()),
            initial: self.initial,
            issuer: Arc::clone(&self.issuer),
            issuer_lane: self.name.to_string(),
            targets: self.services.iter().enumerate().map(target).collect(),
        }
    }
}

/// The audit lines, for whoever looks.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    chain: Arc<Mutex<MemoryAudit>>,
    pub(crate) entries: Arc<Mutex<Vec<Entry>>>,
    /// Lines that cannot be written.
    pub(crate) refuses: Arc<Mutex<Option<Refuses>>>,
}

/// Which lines cannot be written.
pub(crate) type Refuses = fn(&Entry) -> bool;

impl AuditSink for Lines {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        if self.refuses.lock().unwrap().is_some_and(|refuses| refuses(&entry)) {
            return Err(AuditError::Full { path: "the disk of the test".to_owned() });
        }
        self.entries.lock().unwrap().push(entry.clone());
        self.chain.lock().unwrap().append(entry)
    }

    fn owe(&mut self, entry: Entry) {
        self.entries.lock().unwrap().push(entry.clone());
        self.chain.lock().unwrap().owe(entry);
    }

    fn head(&self) -> Head {
        self.chain.lock().unwrap().head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.chain.lock().unwrap().durable_head()
    }
}

/// What outlives an engine.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) kv: Arc<BusyKv>,
    pub(crate) lines: Lines,
    pub(crate) limits: Limits,
    pub(crate) budget: Budget,
    /// Destructive effects wait so long.
    pub(crate) takeover: Span,
    pub(crate) metrics: Metrics,
}

/// An engine at work.
pub(crate) struct Shop {
    tasks: JoinSet<()>,
    commands: mpsc::Sender<Envelope>,
    reloads: mpsc::Sender<Vec<Managed>>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
    leads: watch::Sender<Result<Leadership, Reason>>,
    leader: watch::Sender<Option<Holder>>,
}

impl Bench {
    pub(crate) fn new(takes: Duration) -> Bench {
        let clock = VirtualClock::start();
        let kv = BusyKv::new(Arc::clone(&clock) as Arc<dyn Clock>, takes);
        let metrics = Metrics::new("bench", clock.now());
        Bench {
            clock,
            kv,
            lines: Lines::default(),
            limits: Limits::default(),
            budget: Budget::default(),
            takeover: Span::ZERO,
            metrics,
        }
    }

    /// Starts an engine that leads for good.
    pub(crate) fn open(&self, plans: &[Plan]) -> Shop {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let entropy: Arc<dyn Entropy> = Arc::new(Counting(AtomicU64::new(self.clock.elapsed().0)));
        let destructive_from = self.clock.steady().plus(self.takeover);
        let until = Steady(u64::MAX / 2);
        let (leads, leadership) =
            watch::channel(Ok(Leadership { epoch: Epoch(1), until, destructive_from }));
        let (leads_as, leader) = watch::channel(None);
        let (commands, commands_in) = mpsc::channel(rotord::engine::command::QUEUE_LEN);
        let (reloads_in, reloads) = mpsc::channel(1);
        let engine = Engine::new(Parts {
            store: Arc::new(KvStore::new(self.kv.clone(), "rotord", Arc::clone(&entropy))),
            clock: Arc::clone(&clock),
            entropy,
            fingerprints: FingerprintKey::new("1", &SecretBytes::new(vec![7; 32])),
            audit: Box::new(self.lines.clone()),
            machine: Machine::default(),
            leadership,
            leader,
            recognition: Settings::default(),
            recogniser: Recogniser::default(),
            epoch_seen: Arc::new(AtomicU64::new(0)),
            instance: InstanceId("bench".to_owned()),
            limits: self.limits.clone(),
            budget: self.budget.clone(),
            metrics: self.metrics.clone(),
            managed: plans.iter().map(Plan::managed).collect(),
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
        Shop { tasks, commands, reloads: reloads_in, snapshots, stop, leads, leader: leads_as }
    }
}

impl Shop {
    pub(crate) async fn ask(&self, command: Command) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        let actor = Actor("bench".to_owned());
        self.commands.send(Envelope { actor, command, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// The config has these secrets from now on.
    pub(crate) async fn reload(&self, plans: &[Plan]) {
        self.reloads.send(plans.iter().map(Plan::managed).collect()).await.unwrap();
    }

    /// The lease is another's from now on.
    pub(crate) fn lose_the_lease(&self) {
        let (instance, host) = (InstanceId("other".to_owned()), Some("b.example".to_owned()));
        let holder = Holder { instance, host, epoch: Epoch(2), since: Timestamp(0) };
        self.leader.send_replace(Some(holder));
        let _ = self.leads.send_replace(Err(Reason::NoLease));
    }

    /// The lease is ours again, under this epoch.
    pub(crate) fn take_the_lease(&self, epoch: u64) {
        let until = Steady(u64::MAX / 2);
        let leadership = Leadership { epoch: Epoch(epoch), until, destructive_from: Steady(0) };
        let _ = self.leads.send_replace(Ok(leadership));
    }

    pub(crate) fn view(&self, name: &SecretName) -> Arc<SecretView> {
        Arc::clone(&self.snapshots.borrow().secrets[name])
    }

    /// Waits until the picture of a secret is such.
    pub(crate) async fn until(&self, name: &SecretName, such: impl Fn(&SecretView) -> bool) {
        let mut snapshots = self.snapshots.clone();
        let there =
            |snapshot: &Arc<Snapshot>| snapshot.secrets.get(name).is_some_and(|view| such(view));
        let waited =
            timeout(PATIENCE, snapshots.wait_for(there)).await.map(|found| drop(found.unwrap()));
        assert!(waited.is_ok(), "it never came so far: {:#?}", self.view(name));
    }

    /// Waits until nothing is open any more.
    pub(crate) async fn rest(&self) {
        let mut snapshots = self.snapshots.clone();
        let rests = |view: &Arc<SecretView>| {
            view.rotation.as_ref().is_some_and(|rotation| rotation.is_closed())
        };
        let all = |snapshot: &Arc<Snapshot>| {
            !snapshot.secrets.is_empty() && snapshot.secrets.values().all(rests)
        };
        let waited =
            timeout(PATIENCE, snapshots.wait_for(all)).await.map(|found| drop(found.unwrap()));
        assert!(waited.is_ok(), "something never came to rest");
    }

    /// Lets it end as it should.
    pub(crate) async fn close(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

pub(crate) fn rotate(name: &SecretName, emergency: bool) -> Command {
    Command::Rotate { name: name.clone(), emergency, reason: "bench".to_owned() }
}

/// Names by number.
pub(crate) fn plans(prefix: &str, count: usize, service: &Arc<Service>) -> Vec<Plan> {
    (0..count).map(|at| plan(&format!("{prefix}-{at:04}"), service)).collect()
}
