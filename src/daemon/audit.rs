//! The audit chain of this process: shared by those who write lines, anchored and examined beside
//! them, and its alarms.
//!
//! An alarm is shown until its cause is gone, and not until something else of the chain goes well;
//! for a chain that was meddled with that is a person who says so, since Vault remembers it.

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

/// What fails. Several of them can be behind one alarm, and each ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Lines cannot be written.
    Writing,
    /// What is written cannot be made durable.
    Syncing,
    /// The files cannot be read again.
    Examining,
    /// The head in Vault cannot be read.
    Recalling,
    /// The head cannot be written to Vault.
    Anchoring,
    /// The chain was meddled with.
    Meddled,
}

impl Cause {
    /// The alarm that it is behind.
    fn reason(self) -> Reason {
        match self {
            Cause::Writing | Cause::Syncing | Cause::Examining => Reason::AuditUnwritable,
            Cause::Recalling | Cause::Anchoring => Reason::AuditUnanchored,
            Cause::Meddled => Reason::AuditBroken,
        }
    }
}

/// The alarms about the chain, for readers and metrics.
/// What there is an alarm for.
const ALARMS: [Reason; 3] = [Reason::AuditBroken, Reason::AuditUnanchored, Reason::AuditUnwritable];

#[derive(Clone)]
pub(super) struct Alarms {
    standing: Arc<Mutex<Vec<(Cause, Alarm)>>>,
    shown: Arc<watch::Sender<Vec<Alarm>>>,
    metrics: Metrics,
}

impl Alarms {
    pub(super) fn new(metrics: Metrics) -> (Alarms, watch::Receiver<Vec<Alarm>>) {
        let (shown, readers) = watch::channel(Vec::new());
        for reason in ALARMS {
            metrics.audit_alarm(reason, false);
        }
        let standing = Arc::default();
        (Alarms { standing, shown: Arc::new(shown), metrics }, readers)
    }

    /// Raises one, or says it anew; the first moment stays.
    fn raise(&self, cause: Cause, text: String, since: Timestamp) {
        let reason = cause.reason();
        let mut standing = self.standing();
        match standing.iter_mut().find(|(other, _)| *other == cause) {
            Some((_, alarm)) => alarm.text = text,
            None => {
                tracing::error!(reason = %reason, "audit alarm: {text}");
                standing.push((cause, Alarm { reason, since, text }));
            }
        }
        self.show(&standing);
    }

    fn clear(&self, cause: Cause) {
        let mut standing = self.standing();
        let before = standing.len();
        standing.retain(|(other, _)| *other != cause);
        if standing.len() < before {
            self.show(&standing);
            tracing::info!(reason = %cause.reason(), "a cause of an audit alarm is over");
        }
    }

    fn stands(&self, cause: Cause) -> bool {
        self.standing().iter().any(|(other, _)| *other == cause)
    }

    /// One alarm for each reason: that of the cause that has stood the longest.
    fn show(&self, standing: &[(Cause, Alarm)]) {
        let mut shown: Vec<Alarm> = Vec::new();
        for (_, alarm) in standing {
            if !shown.iter().any(|other| other.reason == alarm.reason) {
                shown.push(alarm.clone());
            }
        }
        for reason in ALARMS {
            let stands = shown.iter().any(|alarm| alarm.reason == reason);
            self.metrics.audit_alarm(reason, stands);
        }
        self.shown.send_if_modified(|before| {
            let changes = *before != shown;
            *before = shown;
            changes
        });
    }

    fn standing(&self) -> MutexGuard<'_, Vec<(Cause, Alarm)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn judge<T>(&self, cause: Cause, written: Result<T, AuditError>) -> Result<T, AuditError> {
        match &written {
            Ok(_) => self.alarms.clear(cause),
            Err(error) => {
                let at = self.clock.now();
                if !self.alarms.stands(cause) {
                    let line = Entry::new(at, &self.instance, EntryKind::Chain);
                    self.log().owe(line.note(format!("lines could not be written: {error}")));
                }
                let text = format!("{error}; nothing is changed in the world meanwhile");
                self.alarms.raise(cause, text, at);
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
            true => self.judge(Cause::Writing, settled),
            false => Ok(()),
        }
    }
}

impl AuditSink for Audited {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        let kind = entry.kind;
        let written = self.log().append(entry);
        let seq = self.judge(Cause::Writing, written)?;
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
    /// Since when the head in Vault cannot be read.
    unread: Option<(Steady, Timestamp)>,
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
        let duty = Duty { audited, keeper, tried, in_doubt, failing: None, unread: None };
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
        let alarms = self.audited.alarms.clone();
        match examined {
            Ok(_) => {
                self.unread = None;
                alarms.clear(Cause::Recalling);
                alarms.clear(Cause::Examining);
            }
            Err(KeepError::Store(error)) => {
                tracing::warn!("the audit chain's head in Vault could not be read: {error}");
                let (since, began) = *self.unread.get_or_insert((now, at));
                if lasts(since, now, &error) {
                    let text = format!("the audit chain cannot be held against Vault: {error}");
                    alarms.raise(Cause::Recalling, text, began);
                }
            }
            Err(error) => {
                let text = format!("the audit chain cannot be examined: {error}");
                alarms.raise(Cause::Examining, text, at);
            }
        }
    }

    async fn anchor(&mut self, now: Steady) {
        let head = self.audited.durable_head();
        let head = match self.audited.judge(Cause::Syncing, head) {
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
                self.audited.alarms.clear(Cause::Anchoring);
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
        if lasts(since, steady, error) {
            let text = format!("the audit chain is not anchored: {error}");
            self.audited.alarms.raise(Cause::Anchoring, text, began);
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
            return self.audited.alarms.clear(Cause::Meddled);
        };
        let more = anchored.alarms().count() - 1;
        let and = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let text = format!("{}{and}", first.text());
        self.audited.alarms.raise(Cause::Meddled, text, first.at);
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

/// Whether what Vault answers to the anchor is an alarm by now: it has lasted, or will not pass.
fn lasts(since: Steady, now: Steady, error: &StoreError) -> bool {
    now.since(since) >= ANCHOR_LATE || matches!(error, StoreError::Unreadable { .. })
}

fn refuse(kind: RefusalKind, reason: Reason, text: String) -> Refusal {
    Refusal { kind, reason, possible_at: None, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_stands_until_its_last_cause_is_over() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let (alarms, mut shown) = Alarms::new(Metrics::new("test", at));
        alarms.raise(Cause::Examining, "a file cannot be read".to_owned(), at);
        shown.mark_unchanged();
        // A line that can be written says nothing of files that cannot be read.
        alarms.clear(Cause::Writing);
        alarms.raise(Cause::Examining, "a file cannot be read".to_owned(), at);
        assert!(!shown.has_changed().unwrap(), "it neither ends nor begins anew");
        alarms.raise(Cause::Writing, "no room".to_owned(), at + Span::from_secs(5));
        let texts = |shown: &watch::Receiver<Vec<Alarm>>| {
            shown.borrow().iter().map(|alarm| (alarm.reason, alarm.text.clone())).collect()
        };
        let expected: Vec<_> = vec![(Reason::AuditUnwritable, "a file cannot be read".to_owned())];
        let found: Vec<_> = texts(&shown);
        assert_eq!(found, expected);
        alarms.clear(Cause::Examining);
        let found: Vec<_> = texts(&shown);
        assert_eq!(found, vec![(Reason::AuditUnwritable, "no room".to_owned())]);
        alarms.clear(Cause::Writing);
        assert!(shown.borrow().is_empty());
    }
}
