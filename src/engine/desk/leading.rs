//! What the desk does when its instance starts to lead: it reads the incidents and goes on with
//! them.
//!
//! Decides what memory, Vault and the records make of each other then. Nothing that an earlier
//! leader decided or counted is forgotten, and nothing is done to a version that only shares its
//! number with the one an incident is about.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::engine::desk::book::{Entry, Exposure};
use crate::engine::desk::keeping::Keeping;
use crate::engine::desk::run::{Desk, Landed, Standing};
use crate::engine::desk::{away, facts};
use crate::incident::decide::Action;
use crate::incident::guard::Guard;
use crate::incident::record::{Incident, Opening, Sighting, of_taint};
use crate::model::id::IncidentId;
use crate::model::reason::Reason;
use crate::model::time::{Span, Steady};
use crate::store::incident::Incidents;
use crate::store::{Revision, StoreError};

/// Incidents that are read at once: what keeps Vault busy without piling up.
const LOADS_AT_ONCE: usize = 64;

/// Pause between tries at reading the incidents.
const LOAD_PAUSE: Span = Span::from_secs(2);

impl Desk {
    /// Starts or stops working, as the engine leads or not. Whoever led meanwhile may have written
    /// incidents, so each new term begins with reading them.
    pub(super) fn lead(&mut self) {
        let health = self.snapshot().health.clone();
        let epoch = health.epoch.filter(|_| health.loaded);
        let (_, now) = self.now();
        match (self.standing, epoch) {
            (Standing::Standby, None) => {}
            (_, None) => {
                self.standing = Standing::Standby;
                self.turn_away();
            }
            (Standing::Ready(before) | Standing::Loading(before), Some(epoch))
                if before == epoch => {}
            (Standing::LoadAgain(before, at), Some(epoch)) if before == epoch && at > now => {}
            (_, Some(epoch)) => {
                self.standing = Standing::Loading(epoch);
                let store = Arc::clone(&self.parts.store);
                self.tasks.spawn(async move { Landed::Loaded(load(store).await) });
            }
        }
    }

    pub(super) fn loaded(&mut self, loaded: Result<Vec<(Incident, Revision)>, StoreError>) {
        let Standing::Loading(epoch) = self.standing else { return };
        let (_, now) = self.now();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(reason = %error.failure().reason, "incidents: {error}");
                self.standing = Standing::LoadAgain(epoch, now.plus(LOAD_PAUSE));
                return;
            }
        };
        self.keeping = Keeping::default();
        for (incident, revision) in loaded {
            self.take_over(incident, revision, now);
        }
        self.standing = Standing::Ready(epoch);
        self.make_anew();
        // Counted from nothing, because what this process counted itself is among them.
        let incidents = self.book.all().map(|entry| &*entry.incident);
        self.guard = Guard::recalled(self.parts.limits, incidents);
        self.look();
        self.go_on();
        self.book.forget_old();
    }

    /// Takes in an incident as it lies in Vault, whatever memory says of it.
    fn take_over(&mut self, mut incident: Incident, revision: Revision, now: Steady) {
        let id = incident.id.clone();
        let snapshot = self.snapshot();
        if let Some(view) = snapshot.secrets.get(&incident.secret) {
            facts::place(&mut incident, view);
        }
        self.keeping.note(&incident);
        match self.book.get_mut(&id) {
            Some(entry) => {
                entry.revision = revision;
                self.book.change(&id, now, |mine| mine.merge(&incident));
            }
            None => self.book.insert(Entry::new(incident, revision)),
        }
    }

    /// An exposure that names an incident which is not there: its first write got lost.
    fn make_anew(&mut self) {
        let snapshot = self.snapshot();
        let known: BTreeSet<IncidentId> =
            self.book.all().map(|entry| entry.incident.id.clone()).collect();
        for view in snapshot.secrets.values() {
            let Some(rotation) = &view.rotation else { continue };
            for (version, found) in &rotation.versions {
                let Some(taint) = &found.taint else { continue };
                let Some(id) = of_taint(taint).filter(|id| !known.contains(id)) else { continue };
                if found.revoked_at.is_some() {
                    continue;
                }
                tracing::warn!(secret = %view.name, incident = %id, "made anew from the record");
                let incident = Incident::open(Opening {
                    id,
                    secret: view.name.clone(),
                    version: *version,
                    incarnation: view.incarnation.as_deref().map(str::to_owned),
                    stage: found.stage,
                    action: Action::Join,
                    at: taint.at,
                    sighting: Sighting::from_record(taint.at),
                });
                self.book.insert(Entry::new(incident, Revision::default()));
            }
        }
    }

    /// What was decided before a restart and did not come into the record is done now.
    fn go_on(&mut self) {
        let (_, now) = self.now();
        let waiting = |entry: &&Entry| {
            let incident = &entry.incident;
            let decided = !incident.is_waiting() && !incident.is_exposed();
            decided && incident.action != Action::Join && entry.exposure == Exposure::None
        };
        let ids: Vec<IncidentId> =
            self.book.open().filter(waiting).map(|e| e.incident.id.clone()).collect();
        for id in ids {
            if let Some(entry) = self.book.get_mut(&id) {
                let refusal = away(Reason::NoLease);
                entry.exposure = Exposure::Again { at: now, tries: 0, refusal };
            }
        }
    }
}

/// Every incident in Vault; one that cannot be used is left alone and said.
async fn load(store: Arc<dyn Incidents>) -> Result<Vec<(Incident, Revision)>, StoreError> {
    let ids = store.list().await?;
    let reads = ids.into_iter().map(|id| {
        let store = Arc::clone(&store);
        async move { store.load(&id).await }
    });
    let mut reads = futures_util::stream::iter(reads).buffered(LOADS_AT_ONCE);
    let mut loaded = Vec::new();
    while let Some(read) = reads.next().await {
        match read {
            Ok(found) => loaded.extend(found),
            Err(error @ StoreError::Unreadable { .. }) => tracing::error!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(loaded)
}
