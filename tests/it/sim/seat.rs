//! The places of the replicas: each has a clock and an audit log of its own, and things happen to
//! one of them that the others do not notice.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rotord::model::id::InstanceId;
use rotord::model::time::{Clock, Steady, Timestamp};
use rotord::store::audit::intents::Intents;
use rotord::store::audit::owed::Owed;
use rotord::store::audit::{AuditError, AuditSink, Entry, EntryKind, Head, Line, MemoryAudit, Seq};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::sim::time::SimClock;
use crate::sim::world::World;

/// Replicas at the most.
pub(super) const SEATS: usize = 3;

/// One replica's place.
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) clock: Arc<SeatClock>,
    /// Its process dies.
    pub(super) crashed: Notify,
    /// Its process is to end in an orderly way.
    pub(super) upgraded: Notify,
    fate: Mutex<Fate>,
    audit: Mutex<Audit>,
}

/// What happens to one replica alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// It does not reach Vault.
    pub(super) no_vault_until: Timestamp,
    /// It reaches neither issuers nor targets.
    pub(super) no_services_until: Timestamp,
    /// It stands still, and knows nothing of it.
    pub(super) stopped_until: Option<Instant>,
}

/// The audit log, which outlives the processes that write it.
#[derive(Default)]
pub(super) struct Audit {
    pub(super) chain: MemoryAudit,
    /// The same lines, each with the number of the process that wrote it.
    pub(super) entries: Vec<(u64, Entry)>,
    /// Processes so far.
    pub(super) process: u64,
    /// What the running process could not write yet. It dies with it.
    pub(super) owed: Owed,
    /// Intents that nothing was said of yet.
    pub(super) intents: Intents,
}

impl Seat {
    pub(super) fn new(number: usize, clock: &Arc<SimClock>) -> Arc<Seat> {
        let clock = SeatClock { clock: Arc::clone(clock), ahead_ms: AtomicI64::new(0) };
        Arc::new(Seat {
            number,
            clock: Arc::new(clock),
            crashed: Notify::new(),
            upgraded: Notify::new(),
            fate: Mutex::default(),
            audit: Mutex::default(),
        })
    }

    pub(super) fn instance(&self) -> InstanceId {
        InstanceId(format!("replica-{}", self.number))
    }

    pub(super) fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap()
    }

    pub(super) fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap()
    }

    /// Waits until the process is let go on. What it reads and is told in the meantime, it finds
    /// afterwards.
    pub(super) async fn awake(&self) {
        loop {
            let until = self.fate().stopped_until.filter(|until| *until > Instant::now());
            let Some(until) = until else { return };
            sleep_until(until).await;
        }
    }
}

/// The clock of one machine: that of the world, and as much ahead of it as it was set.
pub(super) struct SeatClock {
    clock: Arc<SimClock>,
    ahead_ms: AtomicI64,
}

impl SeatClock {
    pub(super) fn set_ahead(&self, millis: i64) {
        self.ahead_ms.store(millis, Ordering::Relaxed);
    }

    pub(super) fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SeatClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0 + self.ahead_ms())
    }

    fn steady(&self) -> Steady {
        self.clock.steady()
    }
}

/// The log as one process writes it.
pub(super) struct SimAudit {
    pub(super) world: Arc<World>,
    pub(super) seat: Arc<Seat>,
}

impl SimAudit {
    fn write(&self, entry: Entry) -> Result<Seq, AuditError> {
        if self.world.clock.truly() < self.world.state().audit_full_until {
            return Err(AuditError::Full { path: "sim".to_owned() });
        }
        let mut audit = self.seat.audit();
        let process = audit.process;
        audit.entries.push((process, entry.clone()));
        let seq = audit.chain.append(entry.clone())?;
        audit.intents.take(Line { seq, entry });
        Ok(seq)
    }

    fn settle(&self) -> Result<(), AuditError> {
        let mut owed = std::mem::take(&mut self.seat.audit().owed);
        let paid = owed.pay(|entry| self.write(entry).map(drop));
        self.seat.audit().owed = owed;
        paid
    }
}

impl AuditSink for SimAudit {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        self.settle()?;
        self.write(entry)
    }

    fn owe(&mut self, entry: Entry) {
        if entry.kind == EntryKind::Unknown {
            self.world.reached("audit unknown");
        }
        self.seat.audit().owed.add(entry);
        if self.settle().is_err() {
            self.world.reached("audit owed");
        }
    }

    fn head(&self) -> Head {
        self.seat.audit().chain.head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.settle()?;
        self.seat.audit().chain.durable_head()
    }
}

/// A process has begun: what the one before owed is lost, and what it left open is answered.
pub(super) fn begins(world: &Arc<World>, seat: &Arc<Seat>) {
    world.note(&format!("-- {} starts --", seat.instance()));
    let left: Intents = {
        let mut audit = seat.audit();
        audit.process += 1;
        audit.owed = Owed::default();
        audit.intents.clone()
    };
    let mut audit = SimAudit { world: Arc::clone(world), seat: Arc::clone(seat) };
    left.give_up(&mut audit, &seat.instance(), world.clock.now());
}
