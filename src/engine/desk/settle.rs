//! What is on its way, and who waits for it: exposures at the engine, writes in Vault, answers to
//! sources and people.
//!
//! Decides when an alert counts as durable: the version is marked in its record and the incident's
//! write was tried; or, where a person is asked, the incident is written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;

use crate::engine::command::{Actor, Command, Done, Envelope, Refusal, RefusalKind};
use crate::engine::desk::book::{self, Book, Entry, Exposure};
use crate::engine::desk::run::{Desk, Landed};
use crate::engine::desk::{Verdict, away};
use crate::incident::decide::{Action, Doubt};
use crate::incident::progress::News;
use crate::incident::record::{Incident, State, Wait, taint_by};
use crate::model::id::IncidentId;
use crate::model::reason::Reason;
use crate::rotation::deadline;
use crate::store::incident::Incidents;
use crate::store::{Revision, StoreError};

/// How long the engine's answer to a command is waited for: one or two requests to Vault and
/// whatever is queued before. What comes later shows in its snapshot.
const ENGINE_WITHIN: Duration = Duration::from_secs(10);

/// What an alert's audit line calls the one who exposes.
pub(super) const DESK: &str = "desk";

/// An alert that waits for its answer.
pub(super) struct Waiter {
    pub(super) verdicts: Vec<Verdict>,
    /// The incidents that are not known to be durable yet.
    pub(super) missing: Vec<IncidentId>,
    pub(super) reply: oneshot::Sender<Result<Vec<Verdict>, Refusal>>,
}

impl Desk {
    // ------------------------------------------------------------ exposures

    /// Has the version marked as exposed, for the first time.
    pub(super) fn start(&mut self, id: &IncidentId, by_alert: bool) {
        let (at, _) = self.now();
        let Some(entry) = self.book.get_mut(id) else { return };
        let Incident { secret, stage, .. } = &*entry.incident;
        self.guard.exposed(secret, *stage, by_alert, at);
        self.expose(id);
    }

    /// Asks the engine; its answer comes back as [`Landed::Exposed`].
    pub(super) fn expose(&mut self, id: &IncidentId) {
        let Some(entry) = self.book.get_mut(id) else { return };
        let tries = match &entry.exposure {
            Exposure::Again { tries, .. } => *tries,
            _ => 0,
        };
        entry.exposure = Exposure::Running { tries };
        let first = entry.incident.sightings.first();
        let place = first.and_then(|s| s.found_at.as_ref()).map_or("", |place| place.as_str());
        let source = first.map_or("", |sighting| sighting.source.as_str());
        let command = Command::Expose {
            name: entry.incident.secret.clone(),
            version: entry.incident.version,
            incarnation: entry.incident.incarnation.clone(),
            by: taint_by(id),
            reason: format!("{source} {place}").trim().to_owned(),
        };
        let (commands, id) = (self.parts.commands.clone(), id.clone());
        self.tasks.spawn(async move {
            let answer = ask_engine(&commands, Actor(DESK.to_owned()), command).await;
            Landed::Exposed(id, answer)
        });
    }

    fn exposed(&mut self, id: &IncidentId, answer: Result<Done, Refusal>) {
        let (at, now) = self.now();
        let Some(entry) = self.book.get_mut(id) else { return };
        let Exposure::Running { tries } = entry.exposure else { return };
        let approvers = std::mem::take(&mut entry.approvers);
        match answer {
            Ok(done) => {
                entry.exposure = Exposure::None;
                entry.rotation = done.rotation.clone();
                entry.people.extend(approvers.into_iter().map(|reply| (reply, done.clone())));
                let deadline = self.deadline(id).unwrap_or(at);
                self.change(id, |incident| incident.expose(at, deadline));
            }
            Err(refusal) if refusal.kind == RefusalKind::Unavailable => {
                let reason = refusal.reason;
                tracing::warn!(incident = %id, %reason, "not exposed yet: {refusal}");
                let again = now.plus(book::pause(tries));
                for reply in approvers {
                    let text = format!("approved, and tried again by itself: {}", refusal.text);
                    let _ = reply.send(Err(Refusal { text, ..refusal.clone() }));
                }
                entry.exposure = Exposure::Again { at: again, tries: tries + 1, refusal };
                if let Some(deadline) = self.deadline(id) {
                    self.change(id, |incident| incident.be_due(deadline));
                }
            }
            Err(refusal) => {
                entry.exposure = Exposure::None;
                let reason = refusal.reason;
                approvers.into_iter().for_each(|reply| drop(reply.send(Err(refusal.clone()))));
                // What was revoked meanwhile shows in the next picture, and ends the incident.
                if reason != Reason::AlreadyRevoked {
                    tracing::error!(incident = %id, %reason, "cannot be exposed: {refusal}");
                    self.change(id, |incident| incident.ask(Wait::Refused(reason), at));
                    self.tell(id, News::Waiting);
                }
            }
        }
        self.answer(id);
    }

    /// Until when the version of an incident must be gone, if it is exposed at this moment.
    fn deadline(&self, id: &IncidentId) -> Option<crate::model::time::Timestamp> {
        let (at, _) = self.now();
        let snapshot = self.snapshot();
        let view = snapshot.secrets.get(&self.book.get(id)?.incident.secret)?;
        let rotation = view.rotation.as_deref()?;
        Some(deadline::for_taint(&rotation.terms, at))
    }

    // ------------------------------------------------------------ writes

    /// Writes an incident as it stands. What changes from here on goes with the next write.
    pub(super) fn write(&mut self, id: &IncidentId) {
        let Some(entry) = self.book.get_mut(id).filter(|entry| !entry.writing) else { return };
        entry.writing = true;
        entry.dirty = false;
        entry.riding = std::mem::take(&mut entry.people);
        let (incident, over) = (Arc::clone(&entry.incident), entry.revision);
        self.book.writing += 1;
        let (store, id) = (Arc::clone(&self.parts.store), id.clone());
        self.tasks.spawn(async move { Landed::Written(id, store.save(&incident, over).await) });
    }

    fn written(&mut self, id: &IncidentId, written: Result<Revision, StoreError>) {
        let (_, now) = self.now();
        self.book.writing = self.book.writing.saturating_sub(1);
        let Some(entry) = self.book.get_mut(id) else { return };
        entry.writing = false;
        let riding = std::mem::take(&mut entry.riding);
        match written {
            Ok(revision) => {
                self.parts.metrics.incident_written("ok");
                Book::written(entry, revision, now);
                if !entry.dirty {
                    self.keeping.note(&entry.incident);
                }
                riding.into_iter().for_each(|(reply, done)| drop(reply.send(Ok(done))));
                if !entry.people.is_empty() {
                    entry.write_from = now;
                }
            }
            Err(StoreError::Changed { .. }) => {
                self.parts.metrics.incident_written("conflict");
                entry.people.extend(riding);
                entry.writing = true;
                let (store, id) = (Arc::clone(&self.parts.store), id.clone());
                self.book.writing += 1;
                self.tasks.spawn(reread(store, id));
                return;
            }
            Err(error) => {
                self.parts.metrics.incident_written("failed");
                tracing::warn!(incident = %id, "the incident could not be written: {error}");
                Book::failed(entry, now);
                let failure = error.failure();
                for (reply, _) in riding {
                    let text = format!("not written yet, tried again by itself: {error}");
                    let (kind, reason) = (RefusalKind::Unavailable, failure.reason);
                    let _ = reply.send(Err(Refusal { kind, reason, possible_at: None, text }));
                }
            }
        }
        self.answer(id);
    }

    /// Another writer's copy is taken in before it is written over.
    fn reread(&mut self, id: &IncidentId, read: Result<Option<(Incident, Revision)>, StoreError>) {
        let (_, now) = self.now();
        self.book.writing = self.book.writing.saturating_sub(1);
        let Some(entry) = self.book.get_mut(id) else { return };
        entry.writing = false;
        match read {
            Ok(Some((theirs, _))) if theirs.secret != entry.incident.secret => {
                // Another one has the id. Ours stays in memory, and in the record that names it.
                tracing::error!(incident = %id, "the id is taken in Vault: not written");
                entry.dirty = false;
            }
            Ok(found) => {
                entry.dirty = true;
                entry.write_from = now;
                entry.revision = found.as_ref().map_or_else(Revision::default, |(_, at)| *at);
                if let Some((theirs, _)) = found {
                    self.change(id, |mine| mine.merge(&theirs));
                }
            }
            Err(error) => {
                tracing::warn!(incident = %id, "the incident could not be read: {error}");
                Book::failed(entry, now);
            }
        }
        self.answer(id);
    }

    // ------------------------------------------------------------ answers

    /// Keeps an alert until everything it waits for is durable.
    pub(super) fn wait(&mut self, mut waiter: Waiter) {
        let number = self.waiters_so_far;
        self.waiters_so_far += 1;
        waiter.missing.sort_unstable();
        waiter.missing.dedup();
        let ids = waiter.missing.clone();
        for id in &ids {
            if let Some(entry) = self.book.get_mut(id) {
                entry.waiters.push(number);
            }
        }
        self.waiters.insert(number, waiter);
        if ids.is_empty() {
            self.finish(number, None);
        }
        ids.iter().for_each(|id| self.answer(id));
    }

    /// Answers whoever waits for an incident, if it is known now what became of it.
    pub(super) fn answer(&mut self, id: &IncidentId) {
        let rotation = self.rotation(id, &self.snapshot());
        let Some(entry) = self.book.get_mut(id) else { return };
        let Some(outcome) = durable(entry) else { return };
        let waiting = std::mem::take(&mut entry.waiters);
        let state = entry.incident.state;
        for number in waiting {
            if let Err(refusal) = &outcome {
                self.finish(number, Some(refusal.clone()));
                continue;
            }
            let Some(waiter) = self.waiters.get_mut(&number) else { continue };
            waiter.missing.retain(|missing| missing != id);
            let judged = waiter.verdicts.iter_mut().flat_map(|verdict| &mut verdict.ours);
            for judged in judged.filter(|judged| judged.incident.as_ref() == Some(id)) {
                // Another one may have taken over since the alert was judged.
                judged.rotation = rotation.clone().or_else(|| judged.rotation.take());
                if matches!(state, State::Waiting(Wait::Refused(_))) && judged.action.exposes() {
                    judged.action = Action::Ask(Doubt::Unmanaged);
                }
            }
            if waiter.missing.is_empty() {
                self.finish(number, None);
            }
        }
    }

    fn finish(&mut self, number: u64, refusal: Option<Refusal>) {
        let Some(Waiter { verdicts, reply, .. }) = self.waiters.remove(&number) else { return };
        // Whoever went away meanwhile sends again.
        let _ = reply.send(refusal.map_or(Ok(verdicts), Err));
    }

    /// Another instance leads from here on: everybody asks there.
    pub(super) fn turn_away(&mut self) {
        for (_, waiter) in std::mem::take(&mut self.waiters) {
            let _ = waiter.reply.send(Err(away(Reason::NoLease)));
        }
    }

    /// A task came back.
    pub(super) fn landed(&mut self, landed: Result<Landed, JoinError>) {
        match landed {
            Ok(Landed::Loaded(loaded)) => self.loaded(loaded),
            Ok(Landed::Exposed(id, answer)) => self.exposed(&id, answer),
            Ok(Landed::Written(id, written)) => self.written(&id, written),
            Ok(Landed::Reread(id, read)) => self.reread(&id, read),
            Ok(Landed::Deleted(deleted)) => self.deleted(deleted),
            Ok(Landed::Waived(ask, answer)) => self.waived(ask, answer),
            Err(error) => {
                tracing::error!("a task of the desk broke off, please report it: {error}");
                let (_, now) = self.now();
                self.book.nothing_under_way(now);
                self.keeping.nothing_under_way();
            }
        }
    }
}

/// What became of an incident: `None` as long as nobody knows.
fn durable(entry: &Entry) -> Option<Result<(), Refusal>> {
    let written = entry.revision > Revision::default();
    if entry.incident.is_waiting() {
        let failed = (entry.failures > 0).then(|| Err(away(Reason::VaultUnreachable)));
        return if written { Some(Ok(())) } else { failed };
    }
    match &entry.exposure {
        Exposure::Running { .. } => None,
        Exposure::Again { refusal, .. } => Some(Err(away(refusal.reason))),
        // Without its own write it is made anew from the record, which names it.
        Exposure::None => (written || entry.failures > 0).then_some(Ok(())),
    }
}

async fn reread(store: Arc<dyn Incidents>, id: IncidentId) -> Landed {
    let read = store.load(&id).await;
    Landed::Reread(id, read)
}

/// Hands the engine a command and waits for its answer, within bounds.
pub(super) async fn ask_engine(
    commands: &mpsc::Sender<Envelope>,
    actor: Actor,
    command: Command,
) -> Result<Done, Refusal> {
    let (reply, answer) = oneshot::channel();
    let envelope = Envelope { actor, command, reply };
    let asked = async {
        commands.send(envelope).await.map_err(|_| away(Reason::NoLease))?;
        answer.await.unwrap_or_else(|_| Err(away(Reason::NoLease)))
    };
    let answered = tokio::time::timeout(ENGINE_WITHIN, asked).await;
    answered.unwrap_or_else(|_| Err(away(Reason::TimedOut)))
}
