//! The desk's own loop: what it waits for, what it does by itself, and what it shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::command::{Done, Envelope, Refusal, RefusalKind};
use crate::engine::desk::book::{Book, Entry, Exposure};
use crate::engine::desk::keeping::{Deleted, Keeping};
use crate::engine::desk::settle::Waiter;
use crate::engine::desk::{DeskEnds, GuardView, NOTICES_LEN, Notice, Picture, facts};
use crate::engine::recognition::{Hit, Recogniser};
use crate::engine::snapshot::Snapshot;
use crate::incident::guard::{Guard, Limits};
use crate::incident::progress::{News, Urgency};
use crate::incident::record::{Incident, What};
use crate::model::clue::Clue;
use crate::model::id::{Epoch, IncidentId, InstanceId};
use crate::model::reason::Reason;
use crate::model::time::{Clock, Entropy, Span, Steady, Timestamp};
use crate::store::audit::{AuditSink, Entry as AuditEntry, EntryKind};
use crate::store::incident::Incidents;
use crate::store::{Revision, StoreError};
use crate::telemetry::metrics::{IncidentCount, Metrics};

/// Places among the notices that wait which are kept for what asks for a person: a burst of mere
/// news does not displace it.
const NOTICES_RESERVE: usize = NOTICES_LEN / 4;

/// The longest the desk sleeps: a clock that was set is noticed within this time.
const TURN_MAX: Span = Span::from_secs(5);

/// Whatever finds versions by clues.
pub trait Recognise: Send + Sync {
    /// The versions that a clue fits.
    fn find(&self, clue: &Clue) -> Vec<Hit>;
}

impl Recognise for Recogniser {
    fn find(&self, clue: &Clue) -> Vec<Hit> {
        Recogniser::find(self, clue)
    }
}

/// What the desk is made of.
pub struct Parts {
    /// Where incidents lie.
    pub store: Arc<dyn Incidents>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The generator.
    pub entropy: Arc<dyn Entropy>,
    /// Where audit lines go.
    pub audit: Box<dyn AuditSink>,
    /// This process.
    pub instance: InstanceId,
    /// What finds versions.
    pub recogniser: Arc<dyn Recognise>,
    /// Where the engine takes commands.
    pub commands: mpsc::Sender<Envelope>,
    /// What the engine shows.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What holds alerts back.
    pub limits: Limits,
    /// How long incidents that are over stay in Vault.
    pub keep: Span,
    /// Where news for people go.
    pub notices: mpsc::Sender<Notice>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The desk and all that it owns.
pub struct Desk {
    pub(super) parts: Parts,
    pub(super) ends: DeskEnds,
    pub(super) book: Book,
    pub(super) guard: Guard,
    pub(super) keeping: Keeping,
    pub(super) tasks: JoinSet<Landed>,
    pub(super) waiters: BTreeMap<u64, Waiter>,
    pub(super) waiters_so_far: u64,
    pub(super) standing: Standing,
    shown: (bool, GuardView),
}

/// Whether the desk may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Another instance leads, or nobody does.
    Standby,
    /// The incidents are being read, under this epoch.
    Loading(Epoch),
    /// They could not be read: again at this moment.
    LoadAgain(Epoch, Steady),
    /// At work.
    Ready(Epoch),
}

/// A task of the desk that came back.
pub(super) enum Landed {
    /// The incidents as they lie in Vault.
    Loaded(Result<Vec<(Incident, Revision)>, StoreError>),
    /// The engine has answered.
    Exposed(IncidentId, Result<Done, Refusal>),
    /// A write was answered.
    Written(IncidentId, Result<Revision, StoreError>),
    /// What another writer left.
    Reread(IncidentId, Result<Option<(Incident, Revision)>, StoreError>),
    /// Some incidents whose time is over were deleted.
    Deleted(Deleted),
    /// The engine has answered a person's waiver.
    Waived(super::Ask, Result<Done, Refusal>),
}

impl Desk {
    /// A desk that has not read anything yet.
    pub fn new(parts: Parts, ends: DeskEnds) -> Desk {
        let guard = Guard::new(parts.limits);
        Desk {
            parts,
            ends,
            book: Book::default(),
            guard,
            keeping: Keeping::default(),
            tasks: JoinSet::new(),
            waiters: BTreeMap::new(),
            waiters_so_far: 0,
            standing: Standing::Standby,
            shown: (false, GuardView::default()),
        }
    }

    /// Works until told to stop; then lets what is on its way come to its end.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.lead();
            self.wake();
            self.publish();
            let pause = self.pause();
            let takes = !matches!(self.standing, Standing::Loading(_) | Standing::LoadAgain(..));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(landed) = self.tasks.join_next() => self.landed(landed),
                Ok(()) = self.parts.snapshots.changed() => self.look(),
                Some(ask) = self.ends.asks.recv() => self.asked(ask),
                Some(report) = self.ends.reports.recv(), if takes => self.reported(report),
                () = tokio::time::sleep(pause.to_std()) => {}
            }
        }
        while let Some(landed) = self.tasks.join_next().await {
            self.landed(landed);
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.standing, Standing::Ready(_))
    }

    pub(super) fn now(&self) -> (Timestamp, Steady) {
        (self.parts.clock.now(), self.parts.clock.steady())
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.parts.snapshots.borrow())
    }

    /// What somebody is told while this instance may not act.
    pub(super) fn not_here(&self) -> Refusal {
        let text = "this instance does not hold the lease: ask the one that does";
        Refusal {
            kind: RefusalKind::Unavailable,
            reason: Reason::NoLease,
            possible_at: None,
            text: text.to_owned(),
        }
    }

    // ------------------------------------------------------------ one turn

    /// Follows what the engine shows: every open incident whose secret has changed.
    pub(super) fn look(&mut self) {
        if !self.is_ready() {
            return;
        }
        let snapshot = self.snapshot();
        let (at, now) = self.now();
        let overdue = |incident: &Incident| incident.is_overdue(at);
        let mut ids = Vec::new();
        for entry in self.book.open() {
            let Some(view) = snapshot.secrets.get(&entry.incident.secret) else { continue };
            let same = entry.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, view));
            if !same || overdue(&entry.incident) {
                ids.push((entry.incident.id.clone(), Arc::clone(view)));
            }
        }
        for (id, view) in ids {
            let Some(entry) = self.book.get_mut(&id) else { continue };
            entry.seen = Some(Arc::clone(&view));
            let news = if facts::is_of_another(&entry.incident, &view) {
                if let Exposure::Again { .. } = entry.exposure {
                    entry.exposure = Exposure::None;
                }
                let news = self.book.change(&id, now, |incident| incident.vanish(at));
                news.flatten().into_iter().collect()
            } else {
                let version = entry.incident.version;
                let Some(facts) = facts::facts(&view, version, at) else { continue };
                if let Some((rotation, _)) = &facts.rotation {
                    entry.rotation = Some(rotation.clone());
                }
                let news = self.book.change(&id, now, |incident| incident.follow(&facts));
                news.unwrap_or_default()
            };
            for news in news {
                self.tell(&id, news);
            }
            self.answer(&id);
        }
        self.book.forget_old();
    }

    /// Does what is due by itself: writes, exposures once more, deadlines.
    fn wake(&mut self) {
        if !self.is_ready() {
            return;
        }
        let (at, now) = self.now();
        let late = |entry: &Entry| {
            let incident = &entry.incident;
            let told = incident.first(|w| *w == What::DeadlinePassed);
            incident.is_overdue(at) && told.is_none()
        };
        if self.book.open().any(late) {
            self.look();
        }
        for id in self.book.to_expose(now) {
            self.expose(&id);
        }
        for id in self.book.to_write(now) {
            self.write(&id);
        }
        self.clear_out();
    }

    fn pause(&self) -> Span {
        let (at, now) = self.now();
        let load = match self.standing {
            Standing::LoadAgain(_, at) => Some(at),
            _ => None,
        };
        let due = self.book.next_due().filter(|_| self.is_ready());
        let soonest = due.into_iter().chain(load).min().map(|due| due.since(now));
        let deadlines = self.book.open().filter_map(|entry| entry.incident.deadline);
        let deadline = deadlines.filter(|deadline| *deadline >= at).min();
        let deadline = deadline.map(|deadline| deadline.since(at).plus(Span(1)));
        let all = soonest.into_iter().chain(deadline);
        all.min().unwrap_or(TURN_MAX).min(TURN_MAX).max(Span(1))
    }

    fn publish(&mut self) {
        let (at, _) = self.now();
        let guard = GuardView {
            limits: self.guard.limits(),
            exposures: self.guard.count(at),
            open: self.guard.is_open(at),
        };
        let (incidents, news) = self.book.shown();
        let shown = (self.is_ready(), guard);
        if news || shown != self.shown {
            self.shown = shown;
            self.parts.metrics.incidents_stand(&self.count(at));
            let picture = Picture { at, ready: shown.0, incidents, guard };
            self.ends.picture.send_replace(Arc::new(picture));
        }
    }

    /// Incidents by their state, and those past their deadline.
    fn count(&self, at: Timestamp) -> IncidentCount {
        let mut count = IncidentCount::default();
        for entry in self.book.open() {
            match entry.incident.is_waiting() {
                true => count.waiting += 1,
                false => count.acting += 1,
            }
            count.overdue += u64::from(entry.incident.is_overdue(at));
        }
        count.exposures = u64::from(self.guard.count(at));
        count.breaker_open = self.guard.is_open(at);
        count
    }

    // ------------------------------------------------------------ what goes out

    /// Says it in the log, and to those who tell people. Nobody waits for them.
    pub(super) fn tell(&mut self, id: &IncidentId, news: News) {
        let Some(entry) = self.book.get(id) else { return };
        let incident = Arc::clone(&entry.incident);
        let Incident { secret, version, .. } = &*incident;
        match news {
            News::DeadlinePassed => {
                self.parts.metrics.exposure_overdue();
                tracing::error!(
                    %secret, %version, incident = %id,
                    "the exposed version is still accepted past its deadline"
                );
            }
            News::Waiting | News::NeedsHuman => {
                tracing::warn!(%secret, %version, incident = %id, "incident: {}", news.code());
            }
            _ => tracing::info!(%secret, %version, incident = %id, "incident: {}", news.code()),
        }
        let room = self.parts.notices.capacity() > NOTICES_RESERVE;
        let may = room || news.urgency() >= Urgency::Asks;
        if !may || self.parts.notices.try_send(Notice { news, incident }).is_err() {
            self.parts.metrics.notice("dropped");
            tracing::warn!(incident = %id, "people could not be told: too much waits already");
        }
    }

    /// Writes a line about what has happened already: at once, or as soon as it can be.
    pub(super) fn owe(&mut self, kind: EntryKind, actor: &str, note: &str) {
        let line = self.line(kind, actor, note);
        self.parts.audit.owe(line);
    }

    /// Writes a line about what is going to be done.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot be written: what a person asks for must not be done then.
    pub(super) fn audit(
        &mut self,
        kind: EntryKind,
        actor: &str,
        note: &str,
    ) -> Result<(), Refusal> {
        let line = self.line(kind, actor, note);
        self.parts.audit.append(line).map(drop).map_err(|error| {
            tracing::error!("an audit line of the desk could not be written: {error}");
            Refusal {
                kind: RefusalKind::Unavailable,
                reason: Reason::AuditUnwritable,
                possible_at: None,
                text: error.to_string(),
            }
        })
    }

    fn line(&self, kind: EntryKind, actor: &str, note: &str) -> AuditEntry {
        let (at, _) = self.now();
        let entry = AuditEntry::new(at, &self.parts.instance, kind).note(note);
        AuditEntry { actor: actor.to_owned(), ..entry }
    }
}
