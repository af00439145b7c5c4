//! The incidents in memory: each with what is under way for it, found by id and by meaning.
//!
//! Decides when an incident is to be written and when its exposure is to be tried again. At most
//! one write of an incident is on its way; what changes meanwhile goes with the next one, and not
//! before a pause, so that a thousand sightings cost a few writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::command::{Done, Refusal};
use crate::engine::desk::OVER_KEPT;
use crate::engine::snapshot::SecretView;
use crate::incident::record::Incident;
use crate::model::id::{IncidentId, RotationId, SecretName, VersionId};
use crate::model::time::{Span, Steady};
use crate::store::Revision;

/// Pause between two writes of the same incident, unless something was decided.
const WRITE_PAUSE: Span = Span::from_secs(1);

/// Writes of incidents on their way at once: enough for a burst, and a quarter of what the engine
/// itself may have on its way.
pub(super) const WRITES_MAX: usize = 16;

/// Waits between tries at a write or an exposure that failed; the last one repeats.
const PAUSES: [Span; 6] = [
    Span(250),
    Span(500),
    Span::from_secs(1),
    Span::from_secs(2),
    Span::from_secs(5),
    Span::from_secs(15),
];

/// What an incident is about. The numbers of versions start again with each record that is made
/// for a secret, so the record counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Meaning {
    pub(super) secret: SecretName,
    pub(super) version: VersionId,
    pub(super) incarnation: Option<String>,
}

/// An answer that a person waits for.
pub(super) type Person = (oneshot::Sender<Result<Done, Refusal>>, Done);

/// One incident with what is under way for it.
pub(super) struct Entry {
    pub(super) incident: Arc<Incident>,
    /// The revision it was last read or written at.
    pub(super) revision: Revision,
    /// Memory is ahead of Vault.
    pub(super) dirty: bool,
    /// A write is on its way.
    pub(super) writing: bool,
    /// Not written before this moment.
    pub(super) write_from: Steady,
    /// Writes that failed in a row.
    pub(super) failures: usize,
    pub(super) exposure: Exposure,
    /// The rotation that the engine named for it.
    pub(super) rotation: Option<RotationId>,
    /// Alerts that are answered once it is durable.
    pub(super) waiters: Vec<u64>,
    /// People who are answered by the next write.
    pub(super) people: Vec<Person>,
    /// People who are answered by the write that is on its way.
    pub(super) riding: Vec<Person>,
    /// People who wait for the engine first.
    pub(super) approvers: Vec<oneshot::Sender<Result<Done, Refusal>>>,
    /// The picture of the secret that was looked at last.
    pub(super) seen: Option<Arc<SecretView>>,
}

/// How far the exposure of the version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Not asked for: a person decides, or the version is marked already.
    None,
    /// The engine was asked.
    Running {
        /// How often it was asked in vain before.
        tries: usize,
    },
    /// The engine could not do it; it is asked again.
    Again {
        /// When.
        at: Steady,
        /// How often it was asked in vain.
        tries: usize,
        /// What it said.
        refusal: Refusal,
    },
}

/// All incidents.
#[derive(Default)]
pub(super) struct Book {
    entries: BTreeMap<IncidentId, Entry>,
    by_meaning: BTreeMap<Meaning, IncidentId>,
    /// What changed since readers were shown a picture.
    changed: BTreeSet<IncidentId>,
    shown: Arc<BTreeMap<IncidentId, Arc<Incident>>>,
    pub(super) writing: usize,
}

impl Entry {
    pub(super) fn new(incident: Incident, revision: Revision) -> Entry {
        Entry {
            incident: Arc::new(incident),
            revision,
            dirty: revision == Revision::default(),
            writing: false,
            write_from: Steady::default(),
            failures: 0,
            exposure: Exposure::None,
            rotation: None,
            waiters: Vec::new(),
            people: Vec::new(),
            riding: Vec::new(),
            approvers: Vec::new(),
            seen: None,
        }
    }

    pub(super) fn meaning(&self) -> Meaning {
        let Incident { secret, version, incarnation, .. } = &*self.incident;
        let (secret, incarnation) = (secret.clone(), incarnation.clone());
        Meaning { secret, version: *version, incarnation }
    }

    /// Whether Vault is to hear of it: of a change, or because a person waits for a write.
    fn is_behind(&self) -> bool {
        !self.writing && (self.dirty || !self.people.is_empty())
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.is_behind() && !self.writing && self.exposure == Exposure::None
    }

    /// When something is to be done for it by itself.
    fn due(&self) -> Option<Steady> {
        let write = self.is_behind().then_some(self.write_from);
        let expose = match &self.exposure {
            Exposure::Again { at, .. } => Some(*at),
            _ => None,
        };
        write.into_iter().chain(expose).min()
    }
}

impl Book {
    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.incident.id.clone();
        let meaning = entry.meaning();
        // The newest one of a version is the one that others join.
        let newer = self.by_meaning.get(&meaning).is_none_or(|known| *known <= id);
        if newer {
            self.by_meaning.insert(meaning, id.clone());
        }
        self.changed.insert(id.clone());
        self.entries.insert(id, entry);
    }

    pub(super) fn get(&self, id: &IncidentId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &IncidentId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// The newest incident about a version, open or not.
    pub(super) fn about(&self, meaning: &Meaning) -> Option<&Entry> {
        self.entries.get(self.by_meaning.get(meaning)?)
    }

    /// The incidents on which something is still to come.
    pub(super) fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.incident.is_open())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Changes an incident. What is changed is written: at once if somebody decided something,
    /// after a pause otherwise.
    pub(super) fn change<T>(
        &mut self,
        id: &IncidentId,
        now: Steady,
        act: impl FnOnce(&mut Incident) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(id)?;
        let before = Arc::clone(&entry.incident);
        let result = act(Arc::make_mut(&mut entry.incident));
        if *before != *entry.incident {
            entry.dirty = true;
            if before.state != entry.incident.state && entry.failures == 0 {
                entry.write_from = now;
            }
            self.changed.insert(id.clone());
        }
        Some(result)
    }

    /// The incidents that may be written now.
    pub(super) fn to_write(&self, now: Steady) -> Vec<IncidentId> {
        let room = WRITES_MAX.saturating_sub(self.writing);
        let ready = |entry: &&Entry| entry.is_behind() && entry.write_from <= now;
        let ready = self.entries.values().filter(ready).take(room);
        ready.map(|entry| entry.incident.id.clone()).collect()
    }

    /// The exposures that are to be tried again now.
    pub(super) fn to_expose(&self, now: Steady) -> Vec<IncidentId> {
        let ready =
            |entry: &&Entry| matches!(&entry.exposure, Exposure::Again { at, .. } if *at <= now);
        self.entries.values().filter(ready).map(|entry| entry.incident.id.clone()).collect()
    }

    /// When something is to be done by itself.
    pub(super) fn next_due(&self) -> Option<Steady> {
        let full = self.writing >= WRITES_MAX;
        self.entries
            .values()
            .filter(|e| !full || e.exposure != Exposure::None)
            .filter_map(Entry::due)
            .min()
    }

    /// A write was answered.
    pub(super) fn written(entry: &mut Entry, revision: Revision, now: Steady) {
        entry.revision = revision;
        entry.failures = 0;
        entry.write_from = now.plus(WRITE_PAUSE);
    }

    /// A write failed.
    pub(super) fn failed(entry: &mut Entry, now: Steady) {
        entry.dirty = true;
        entry.write_from = now.plus(pause(entry.failures));
        entry.failures = entry.failures.saturating_add(1);
    }

    /// What readers see, and whether it is news.
    pub(super) fn shown(&mut self) -> (Arc<BTreeMap<IncidentId, Arc<Incident>>>, bool) {
        let changed = std::mem::take(&mut self.changed);
        let news = !changed.is_empty();
        if news {
            let shown = Arc::make_mut(&mut self.shown);
            for id in changed {
                match self.entries.get(&id) {
                    Some(entry) => drop(shown.insert(id, Arc::clone(&entry.incident))),
                    None => drop(shown.remove(&id)),
                }
            }
        }
        (Arc::clone(&self.shown), news)
    }

    /// Lets go of the oldest ones that are over: Vault keeps them.
    pub(super) fn forget_old(&mut self) {
        let over = |entry: &&Entry| !entry.incident.is_open() && entry.is_idle();
        let over: Vec<IncidentId> =
            self.entries.values().filter(over).map(|e| e.incident.id.clone()).collect();
        for id in over.iter().take(over.len().saturating_sub(OVER_KEPT)) {
            self.remove(id);
        }
    }

    /// Lets go of an incident.
    pub(super) fn remove(&mut self, id: &IncidentId) {
        let Some(entry) = self.entries.remove(id) else { return };
        if self.by_meaning.get(&entry.meaning()) == Some(id) {
            self.by_meaning.remove(&entry.meaning());
        }
        self.changed.insert(id.clone());
    }

    /// Nothing is under way any more, as far as anybody knows.
    pub(super) fn nothing_under_way(&mut self, now: Steady) {
        self.writing = 0;
        for entry in self.entries.values_mut() {
            if std::mem::take(&mut entry.writing) {
                Book::failed(entry, now);
            }
        }
    }
}

/// The wait after so many failures before.
pub(super) fn pause(failures: usize) -> Span {
    PAUSES[failures.min(PAUSES.len() - 1)]
}
