//! The audit chain of this process: shared by those who write lines, anchored and examined beside
//! them, and its alarms.
//!
//! An alarm is shown until its cause is gone; for a chain that was meddled with that is a person
//! who says so, since Vault remembers it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::Acknowledge;
use crate::engine::command::{Done, Refusal, RefusalKind};
use crate::engine::snapshot::Alarm;
use crate::model::id::InstanceId;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Span, Steady, Timestamp};
use crate::store::StoreError;
use crate::store::audit::anchor::ANCHOR_EVERY;
use crate::store::audit::breach::Acknowledged;
use crate::store::audit::file::FileAudit;
use crate::store::audit::keeper::{KeepError, Keeper};
use crate::store::audit::{AuditError, AuditSink, Entry, EntryKind, Head, Seq};
use crate::telemetry::metrics::Metrics;

/// How often it is looked whether something is to be done; the anchor itself decides when.
const LOOK: Span = Span::from_secs(1);

/// How often the files are read again from their first line: a second's work for the largest chain.
const EXAMINE_EVERY: Span = Span::from_secs(3_600);

/// How long the anchor may fail before it is an alarm: longer than Vault takes to change leaders.
const ANCHOR_LATE: Span = Span::from_secs(60);

/// The alarms about the chain, for readers and metrics.
#[derive(Clone)]
pub(super) struct Alarms {
    shown: Arc<watch::Sender<Vec<Alarm>>>,
    metrics: Metrics,
}

impl Alarms {
    pub(super) fn new(metrics: Metrics) -> (Alarms, watch::Receiver<Vec<Alarm>>) {
        let (shown, readers) = watch::channel(Vec::new());
        for reason in [Reason::AuditBroken, Reason::AuditUnanchored, Reason::AuditUnwritable] {
            metrics.audit_alarm(reason, false);
        }
        (Alarms { shown: Arc::new(shown), metrics }, readers)
    }

    /// Raises one, or says it anew; the first moment stays.
    fn raise(&self, reason: Reason, text: String, since: Timestamp) {
        self.metrics.audit_alarm(reason, true);
        self.shown.send_modify(|alarms| {
            match alarms.iter_mut().find(|alarm| alarm.reason == reason) {
                Some(alarm) => alarm.text = text,
                None => {
                    tracing::error!(reason = %reason, "audit alarm: {text}");
                    alarms.push(Alarm { reason, since, text });
                }
            }
        });
    }

    fn clear(&self, reason: Reason) {
        if self.stands(reason) {
            self.metrics.audit_alarm(reason, false);
            self.shown.send_modify(|alarms| alarms.retain(|alarm| alarm.reason != reason));
            tracing::info!(reason = %reason, "audit alarm is over");
        }
    }

    fn stands(&self, reason: Reason) -> bool {
        self.shown.borrow().iter().any(|alarm| alarm.reason == reason)
    }
}

/// The chain, shared between the gate, the keeper of the lease and the one that anchors.
#[derive(Clone)]
pub(super) struct Audited {
    log: Arc<Mutex<FileAudit>>,
    /// The last line that is anchored.
    anchored: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    instance: InstanceId,
    alarms: Alarms,
}

impl Audited {
    fn log(&self) -> MutexGuard<'_, FileAudit> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of whether lines can be written. That they could not is a line too.
    fn judge<T>(&self, written: Result<T, AuditError>) -> Result<T, AuditError> {
        match &written {
            Ok(_) => self.alarms.clear(Reason::AuditUnwritable),
            Err(error) => {
                let at = self.clock.now();
                if !self.alarms.stands(Reason::AuditUnwritable) {
                    let line = Entry::new(at, &self.instance, EntryKind::Chain);
                    self.log().owe(line.note(format!("lines could not be written: {error}")));
                }
                let text = format!("{error}; nothing is changed in the world meanwhile");
                self.alarms.raise(Reason::AuditUnwritable, text, at);
            }
        }
        written
    }

    fn counted(&self, kind: EntryKind, head: Seq) {
        let anchored = self.anchored.load(Ordering::Relaxed);
        self.alarms.metrics.audit_written(kind.word(), head.0.saturating_sub(anchored));
    }

    /// Writes what is owed.
    fn settle(&self) -> Result<(), AuditError> {
        let before = self.log().head();
        let settled = self.log().settle();
        match settled.is_err() || self.log().head() != before {
            true => self.judge(settled),
            false => Ok(()),
        }
    }
}

impl AuditSink for Audited {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        let kind = entry.kind;
        let written = self.log().append(entry);
        let seq = self.judge(written)?;
        self.counted(kind, seq);
        Ok(seq)
    }

    fn owe(&mut self, entry: Entry) {
        let kind = entry.kind;
        self.log().owe(entry);
        // An error has its alarm.
        let _ = self.settle();
        self.counted(kind, self.head().seq);
    }

    fn head(&self) -> Head {
        self.log().head()
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.log().durable_head()
    }
}

/// Who anchors and examines the chain, and takes acknowledgements.
pub(super) struct Duty {
    audited: Audited,
    keeper: Keeper,
    /// When the chain was examined last, or that was tried.
    tried: Option<Steady>,
    /// Something says that the chain is not what it should be.
    in_doubt: bool,
    /// Since when the anchor fails.
    failing: Option<(Steady, Timestamp)>,
}

impl Duty {
    /// Takes over a chain that was opened. It was examined then.
    pub(super) fn new(
        log: FileAudit,
        keeper: Keeper,
        clock: Arc<dyn Clock>,
        alarms: Alarms,
    ) -> Duty {
        let anchored = keeper.anchor.anchored().map_or(0, |anchored| anchored.seq.0);
        let audited = Audited {
            log: Arc::new(Mutex::new(log)),
            anchored: Arc::new(AtomicU64::new(anchored)),
            clock,
            instance: keeper.instance().clone(),
            alarms,
        };
        // Vault may not have let us at the head.
        let in_doubt = keeper.anchor.anchored().is_none();
        let tried = (!in_doubt).then(|| audited.clock.steady());
        let duty = Duty { audited, keeper, tried, in_doubt, failing: None };
        duty.show();
        duty
    }

    /// Where lines go.
    pub(super) fn sink(&self) -> Audited {
        self.audited.clone()
    }

    /// Does its part whenever it is due, and anchors a last time at the end.
    pub(super) async fn keep(
        mut self,
        mut asks: mpsc::Receiver<Acknowledge>,
        stop: CancellationToken,
    ) {
        loop {
            let stopping = stop.is_cancelled();
            let now = self.audited.clock.steady();
            if let Err(AuditError::Broken { .. }) = self.audited.settle() {
                self.in_doubt = true;
            }
            let pause = if self.in_doubt { ANCHOR_EVERY } else { EXAMINE_EVERY };
            if !stopping && self.tried.is_none_or(|at| now.since(at) >= pause) {
                self.examine(now).await;
            }
            if stopping || self.keeper.anchor.is_due(self.audited.head(), now) {
                self.anchor(now).await;
            }
            self.show();
            if stopping {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(ask) = asks.recv() => {
                    let answer = self.acknowledge(&ask).await;
                    self.show();
                    let _ = ask.reply.send(answer);
                }
                () = tokio::time::sleep(LOOK.to_std()) => {}
            }
        }
    }

    async fn examine(&mut self, now: Steady) {
        let at = self.audited.clock.now();
        self.tried = Some(now);
        let examined = self.keeper.examine(&self.audited.log, at).await;
        self.in_doubt = examined.is_err();
        match examined {
            Ok(_) => {}
            Err(KeepError::Store(error)) => self.anchor_failed(&error),
            Err(error) => {
                let text = format!("the audit chain cannot be examined: {error}");
                self.audited.alarms.raise(Reason::AuditUnwritable, text, at);
            }
        }
    }

    async fn anchor(&mut self, now: Steady) {
        let head = self.audited.durable_head();
        let head = match self.audited.judge(head) {
            Ok(head) => head,
            Err(AuditError::Broken { .. }) => return self.in_doubt = true,
            Err(_) => return,
        };
        match self.keeper.anchor.put(head, self.audited.clock.now(), now).await {
            Ok(()) => {
                self.audited.anchored.store(head.seq.0, Ordering::Relaxed);
                let written = self.audited.head().seq.0;
                let behind = written.saturating_sub(head.seq.0);
                self.audited.alarms.metrics.audit_unanchored(behind);
                self.audited.alarms.clear(Reason::AuditUnanchored);
                if self.failing.take().is_some() {
                    self.say("anchored again".to_owned());
                }
            }
            Err(error) => {
                if let StoreError::Unreadable { .. } = error {
                    self.in_doubt = true;
                }
                self.anchor_failed(&error);
            }
        }
    }

    /// A line when it begins, an alarm when it lasts or will not pass.
    fn anchor_failed(&mut self, error: &StoreError) {
        let (steady, at) = (self.audited.clock.steady(), self.audited.clock.now());
        tracing::warn!("the audit chain could not be anchored: {error}");
        let failure = error.failure();
        let first = self.failing.is_none();
        let (since, began) = *self.failing.get_or_insert((steady, at));
        if first {
            self.say(format!("the anchor in Vault failed: {}", failure.reason));
        }
        let lasts = steady.since(since) >= ANCHOR_LATE;
        if lasts || matches!(error, StoreError::Unreadable { .. }) {
            let text = format!("the audit chain is not anchored: {error}");
            self.audited.alarms.raise(Reason::AuditUnanchored, text, began);
        }
    }

    fn say(&mut self, note: String) {
        let at = self.audited.clock.now();
        self.audited.owe(self.keeper.about(at).note(note));
    }

    /// Shows the breaks that Vault remembers.
    fn show(&self) {
        let Some(anchored) = self.keeper.anchor.anchored() else { return };
        let Some(first) = anchored.alarms().next() else {
            return self.audited.alarms.clear(Reason::AuditBroken);
        };
        let more = anchored.alarms().count() - 1;
        let and = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let text = format!("{}{and}", first.text());
        self.audited.alarms.raise(Reason::AuditBroken, text, first.at);
    }

    async fn acknowledge(&mut self, ask: &Acknowledge) -> Result<Done, Refusal> {
        let at = self.audited.clock.now();
        let by = ask.actor.0.clone();
        if self.keeper.anchor.anchored().is_some_and(|anchored| anchored.alarms().count() == 0) {
            let text = "no break of the audit chain waits for a person".to_owned();
            return Err(refuse(RefusalKind::Conflict, Reason::AuditBroken, text));
        }
        let line = Entry { actor: by.clone(), kind: EntryKind::Command, ..self.keeper.about(at) };
        let line = line.note(format!("audit acknowledge: {}", ask.reason));
        let unavailable = |reason, text| refuse(RefusalKind::Unavailable, reason, text);
        let written = self.audited.append(line);
        written.map_err(|error| unavailable(error.failure().reason, error.to_string()))?;
        let seen = Acknowledged { by, at, reason: ask.reason.clone() };
        let done = self.keeper.anchor.acknowledge(&seen).await;
        let count = done.map_err(|e| unavailable(e.failure().reason, e.to_string()))?;
        let breaks = if count == 1 { "break" } else { "breaks" };
        let text = format!("{count} {breaks} of the audit chain acknowledged");
        Ok(Done { rotation: None, text })
    }
}

fn refuse(kind: RefusalKind, reason: Reason, text: String) -> Refusal {
    Refusal { kind, reason, possible_at: None, text }
}
