//! The real desk and the real engine on a virtual clock, with everything else in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rotord::driver::error::DriverError;
use rotord::driver::issuer::Issuer;
use rotord::driver::target::{Order, Target};
use rotord::engine::command::{Actor, Command, Done, Envelope, Refusal};
use rotord::engine::desk::{
    Ask, Desk, DeskHandle, KEEP_DEFAULT, NOTICES_LEN, Notice, Parts as DeskParts, Picture,
    Recognise, Verdict, Wish,
};
use rotord::engine::gate::Leadership;
use rotord::engine::limits::Limits;
use rotord::engine::managed::{Managed, ManagedTarget};
use rotord::engine::recognition::{Hit, Recogniser, Settings};
use rotord::engine::snapshot::Snapshot;
use rotord::engine::{Doors, Engine, Parts};
use rotord::incident::alert::{Alert, Claim, Finding, FoundAt};
use rotord::incident::guard;
use rotord::incident::record::Incident;
use rotord::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use rotord::model::clue::{Clue, Form, ValueDigest};
use rotord::model::id::{
    Epoch, IncidentId, InstanceId, KeyId, SecretName, SourceName, TargetName, VersionId,
};
use rotord::model::mask::Mask;
use rotord::model::material::SecretBytes;
use rotord::model::policy::{Kind, OnLeak, Policy};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, Role, TargetTerms};
use rotord::model::time::{Clock, Span, Steady, Timestamp};
use rotord::plan::budget::Budget;
use rotord::plan::cadence::Cadence;
use rotord::plan::facts::Initial;
use rotord::rotation::Terms;
use rotord::rotation::machine::Machine;
use rotord::store::audit::{AuditError, AuditSink, Entry, Head, MemoryAudit, Seq};
use rotord::store::incident::{Incidents, MemoryIncidents};
use rotord::store::memory::MemoryStore;
use rotord::store::{Revision, Store, StoreError};
use rotord::telemetry::metrics::Metrics;
use rotord::vault::error::VaultError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::sim::time::Chance;
use crate::support::mem_target::MemTarget;
use crate::support::memory_issuer::MemoryIssuer;

/// When every test begins.
pub(super) const BEGIN: Timestamp = Timestamp(1_795_317_120_000);

/// Longer than anything here takes, in virtual time.
const LONG: Duration = Duration::from_secs(3_600);

/// Virtual time, which jumps to the next timer.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        BEGIN + Span(self.steady().0)
    }

    fn steady(&self) -> Steady {
        Steady(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// What fits which version: what the engine remembers, and what the test says besides.
#[derive(Default)]
pub(super) struct Known {
    said: Mutex<BTreeMap<Clue, Vec<Hit>>>,
    remembered: Recogniser,
}

impl Recognise for Known {
    fn find(&self, clue: &Clue) -> Vec<Hit> {
        let mut hits = self.remembered.find(clue);
        hits.extend(self.said.lock().unwrap().get(clue).cloned().unwrap_or_default());
        hits
    }
}

/// An audit log that others look at.
#[derive(Clone, Default)]
pub(super) struct SharedAudit(Arc<Mutex<MemoryAudit>>);

impl AuditSink for SharedAudit {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        self.0.lock().unwrap().append(entry)
    }

    fn owe(&mut self, entry: Entry) {
        self.0.lock().unwrap().owe(entry);
    }

    fn head(&self) -> Head {
        self.0.lock().unwrap().head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.0.lock().unwrap().durable_head()
    }
}

/// Incidents in memory whose writes fail while the test says so, and are counted.
#[derive(Default)]
pub(super) struct Shelf {
    inner: MemoryIncidents,
    pub(super) broken: Mutex<bool>,
    pub(super) writes: AtomicU64,
}

#[async_trait]
impl Incidents for Shelf {
    async fn list(&self) -> Result<Vec<IncidentId>, StoreError> {
        self.inner.list().await
    }

    async fn load(&self, id: &IncidentId) -> Result<Option<(Incident, Revision)>, StoreError> {
        self.inner.load(id).await
    }

    async fn save(&self, incident: &Incident, over: Revision) -> Result<Revision, StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if *self.broken.lock().unwrap() {
            return Err(VaultError::Unavailable { what: "sealed".into() }.into());
        }
        self.inner.save(incident, over).await
    }

    async fn delete(&self, id: &IncidentId) -> Result<(), StoreError> {
        self.inner.delete(id).await
    }
}

/// A target that can be switched off, or made to hang.
#[derive(Default)]
pub(super) struct Switched {
    inner: MemTarget,
    pub(super) off: Mutex<bool>,
    pub(super) hung: Mutex<bool>,
}

impl Switched {
    async fn check(&self) -> Result<(), DriverError> {
        let hung = *self.hung.lock().unwrap();
        if hung {
            std::future::pending::<()>().await;
        }
        match *self.off.lock().unwrap() {
            true => Err(DriverError::transient(Reason::Unreachable, "switched off")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Target for Switched {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        self.check().await?;
        self.inner.push(order).await
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        self.check().await?;
        self.inner.observe(order).await
    }
}

/// One secret of the rig: a key of an issuer with two targets.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) name: SecretName,
    pub(super) on_leak: OnLeak,
    issuer: Arc<MemoryIssuer>,
    pub(super) targets: BTreeMap<TargetName, Arc<Switched>>,
}

/// What outlives a process.
#[derive(Clone)]
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) known: Arc<Known>,
    pub(super) audit: SharedAudit,
    pub(super) setups: Vec<Setup>,
    pub(super) limits: guard::Limits,
    pub(super) keep: Span,
    /// Secrets that are walked at once.
    pub(super) walks: usize,
    /// Of its randomness: the mark of a record is drawn.
    pub(super) seed: u64,
    pub(super) metrics: Metrics,
}

/// A running engine with its desk.
pub(super) struct Rig {
    pub(super) world: World,
    pub(super) desk: DeskHandle,
    pub(super) commands: mpsc::Sender<Envelope>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) notices: mpsc::Receiver<Notice>,
    leadership: watch::Sender<Result<Leadership, Reason>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

pub(super) fn secret(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

pub(super) fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

/// A clue that a value with this name gives.
pub(super) fn clue(value: &str) -> Clue {
    Clue::Digest(ValueDigest::of(Form::Sha256, &SecretBytes::new(value.as_bytes().to_vec())))
}

/// An alert that names one value.
pub(super) fn alert(clue: Clue, place: &str) -> Alert {
    Alert {
        source: SourceName::new("scanner").unwrap(),
        id: "delivery-1".to_owned(),
        trusted: false,
        at: BEGIN,
        findings: vec![Finding {
            clues: vec![clue],
            label: "acme_token".to_owned(),
            found_at: FoundAt::new(place, &Mask::default()),
            claim: Claim::Leaked,
        }],
    }
}

impl World {
    /// Secrets of these names, kept serving when they leak.
    pub(super) fn of(names: &[&str]) -> World {
        let began = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(PausedClock(began));
        let metrics = Metrics::new("rig", clock.now());
        let setup = |name: &&str| Setup {
            name: secret(name),
            on_leak: OnLeak::KeepServing,
            issuer: Arc::new(MemoryIssuer::new(issuer())),
            targets: ["api", "worker"].map(|name| (target(name), Arc::default())).into(),
        };
        World {
            clock,
            store: Arc::new(MemoryStore::new()),
            shelf: Arc::default(),
            known: Arc::default(),
            audit: SharedAudit::default(),
            setups: names.iter().map(setup).collect(),
            limits: guard::Limits::default(),
            keep: KEEP_DEFAULT,
            walks: Limits::default().walks,
            seed: 7,
            metrics,
        }
    }

    /// Lets a clue fit a version.
    pub(super) fn knows(&self, clue: &Clue, name: &str, version: u64) {
        let hit = Hit { secret: secret(name), version: VersionId(version) };
        self.known.said.lock().unwrap().entry(clue.clone()).or_default().push(hit);
    }

    /// The only incident there is in Vault.
    pub(super) async fn only_incident(&self) -> Incident {
        let ids = self.shelf.list().await.unwrap();
        assert_eq!(ids.len(), 1, "{ids:?}");
        self.shelf.load(&ids[0]).await.unwrap().unwrap().0
    }

    pub(super) async fn incidents(&self) -> usize {
        self.shelf.list().await.unwrap().len()
    }

    pub(super) fn audit_lines(&self) -> String {
        self.audit.0.lock().unwrap().lines().join("\n")
    }

    /// The rotations that the record of a secret knows, the last one included.
    pub(super) async fn rotations(&self, name: &str) -> usize {
        let stored = self.store.load(&secret(name)).await.unwrap().unwrap();
        stored.record.history.len() + 1
    }

    /// Starts a process; its secrets are brought to their first version if they have none.
    pub(super) async fn start(&self) -> Rig {
        let instance = InstanceId("rig".to_owned());
        let entropy = Arc::new(Chance::new(self.seed));
        let leading = Leadership {
            epoch: Epoch(1),
            until: Steady(u64::MAX),
            destructive_from: Steady::default(),
        };
        let (leadership, leads) = watch::channel(Ok(leading));
        let (commands, commands_in) = mpsc::channel(16);
        let (_reloads, reloads) = mpsc::channel(1);
        let (notice, notices) = mpsc::channel(NOTICES_LEN);
        let engine = Engine::new(Parts {
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            entropy: entropy.clone(),
            fingerprints: self.store.fingerprint_key("1").await.unwrap(),
            audit: Box::new(self.audit.clone()),
            machine: Machine::default(),
            leadership: leads,
            leader: watch::channel(None).1,
            recognition: Settings::default(),
            recogniser: self.known.remembered.clone(),
            epoch_seen: Arc::new(AtomicU64::new(0)),
            instance: instance.clone(),
            limits: Limits { walks: self.walks, ..Limits::default() },
            budget: Budget::default(),
            metrics: self.metrics.clone(),
            managed: self.setups.iter().map(managed).collect(),
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
        let (desk, ends) = DeskHandle::new();
        let parts = DeskParts {
            store: self.shelf.clone(),
            clock: Arc::clone(&self.clock),
            entropy,
            audit: Box::new(self.audit.clone()),
            instance,
            recogniser: self.known.clone(),
            commands: commands.clone(),
            snapshots: snapshots.clone(),
            limits: self.limits,
            keep: self.keep,
            notices: notice,
            metrics: self.metrics.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.run(doors));
        tasks.spawn(Desk::new(parts, ends).run(stop.clone()));
        let world = self.clone();
        let mut rig = Rig { world, desk, commands, snapshots, notices, leadership, tasks, stop };
        rig.until(|rig| {
            let snapshot = rig.snapshot();
            let closed = |name: &SecretName| {
                let view = snapshot.secrets.get(name);
                view.and_then(|view| view.rotation.as_ref()).is_some_and(|r| r.is_closed())
            };
            rig.desk.picture().ready && rig.world.setups.iter().all(|s| closed(&s.name))
        })
        .await;
        rig
    }
}

impl Rig {
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    pub(super) fn picture(&self) -> Arc<Picture> {
        self.desk.picture()
    }

    /// Lets time pass until something is so.
    pub(super) async fn until(&mut self, is: impl Fn(&Rig) -> bool) {
        let end = Instant::now() + LONG;
        while !is(self) {
            assert!(Instant::now() < end, "it never comes: {:#?}", self.picture());
            pass(20).await;
        }
    }

    /// Hands an alert in.
    pub(super) async fn report(&self, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        self.desk.report(Actor("source scanner".to_owned()), alert).await
    }

    /// Hands a person's wish in and waits for the answer.
    pub(super) async fn ask(
        &self,
        id: &IncidentId,
        wish: Wish,
        why: &str,
    ) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        let (actor, incident) = (Actor("alice".to_owned()), id.clone());
        self.desk.ask(Ask { actor, incident, wish, reason: why.to_owned(), reply })?;
        answer.await.unwrap()
    }

    /// Sends the engine a command, as a person does.
    pub(super) async fn command(&self, command: Command) -> Result<Done, Refusal> {
        let (reply, answer) = oneshot::channel();
        let actor = Actor("alice".to_owned());
        self.commands.send(Envelope { actor, command, reply }).await.unwrap();
        answer.await.unwrap()
    }

    /// Takes the lease away, or gives it back under another epoch.
    pub(super) fn lead(&self, epoch: Option<u64>) {
        let leading = epoch.map(|epoch| Leadership {
            epoch: Epoch(epoch),
            until: Steady(u64::MAX),
            destructive_from: Steady::default(),
        });
        self.leadership.send_modify(|known| *known = leading.ok_or(Reason::NoLease));
    }

    /// Ends the process as a crash does.
    pub(super) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// Ends the process in order.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Lets virtual time pass.
pub(super) async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
    // Whatever became due has its turn before anybody looks.
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

fn issuer() -> Capabilities {
    Capabilities {
        value: ValueFrom::Theirs,
        capacity: Some(4),
        old_dies: OldDies::OnRevoke,
        on_lost: OnLost::Sweep,
        remote: true,
        probes: true,
        terminates: false,
        settle: Span::ZERO,
        exclusive: true,
    }
}

fn managed(setup: &Setup) -> Managed {
    let terms = TargetTerms {
        role: Role::Signer,
        place: None,
        propagation: Span::ZERO,
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: false,
        recovery: None,
        observe_every: None,
    };
    let managed_target = |(name, driver): (&TargetName, &Arc<Switched>)| {
        let driver = Arc::clone(driver) as Arc<dyn Target>;
        let lane = format!("{}/{name}", setup.name);
        (name.clone(), ManagedTarget { terms: terms.clone(), driver, lane })
    };
    let policy = Policy {
        overlap: Span::from_secs(3_600),
        on_leak: setup.on_leak,
        max_exposure: Span::from_secs(60),
        probes: 1,
        ..Policy::default()
    };
    Managed {
        name: setup.name.clone(),
        tags: Vec::new(),
        after: Default::default(),
        priority: 0,
        terms: Terms { kind: Kind::ApiKey, capabilities: issuer(), policy },
        cadence: Arc::new(Cadence::default()),
        initial: Initial::Generate,
        issuer: setup.issuer.clone() as Arc<dyn Issuer>,
        issuer_lane: setup.name.to_string(),
        targets: setup.targets.iter().map(managed_target).collect(),
    }
}

/// An issuer's id that anybody may know.
pub(super) fn key_clue(key: &str) -> Clue {
    Clue::KeyId(KeyId(key.to_owned()))
}
