//! How long incidents that are over stay in Vault.
//!
//! Decides which are deleted and when: those that were over for longer than the config says, the
//! oldest first, a few at a time, by whoever leads. Never one that is open, and never one that a
//! version which is still there names as the reason why it counts as exposed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::desk::run::{Desk, Landed};
use crate::engine::snapshot::Snapshot;
use crate::incident::record::{Incident, of_taint};
use crate::model::id::IncidentId;
use crate::model::time::{Span, Steady, Timestamp};
use crate::store::StoreError;
use crate::store::audit::EntryKind;
use crate::store::incident::Incidents;

/// Incidents that are deleted in one go, two requests each: nothing that anybody notices.
const PORTION: usize = 8;

/// Pause between two portions.
const PORTION_PAUSE: Span = Span::from_secs(5);

/// Pause after a deletion that failed: what helps is Vault's return, or a person who allows it.
const FAILED_PAUSE: Span = Span::from_secs(3_600);

/// When an incident was over, and which.
type Over = (Timestamp, IncidentId);

/// The incidents that are over, those included that memory let go of.
#[derive(Default)]
pub(super) struct Keeping {
    over: BTreeSet<Over>,
    /// A portion is on its way.
    deleting: bool,
    /// Nothing is deleted before this moment.
    from: Steady,
}

/// What came of one portion.
pub(super) struct Deleted {
    /// Those that are not to be looked at again: deleted, or not over after all.
    settled: Vec<Over>,
    /// Those of them that are not in Vault any more.
    gone: Vec<IncidentId>,
    failure: Option<StoreError>,
}

impl Keeping {
    /// Takes in how an incident lies in Vault.
    pub(super) fn note(&mut self, incident: &Incident) {
        if let Some(at) = incident.closed_at.filter(|_| !incident.is_open()) {
            self.over.insert((at, incident.id.clone()));
        }
    }

    /// Nothing is on its way any more, as far as anybody knows.
    pub(super) fn nothing_under_way(&mut self) {
        self.deleting = false;
    }
}

impl Desk {
    /// Deletes the next few incidents whose time is over.
    pub(super) fn clear_out(&mut self) {
        let (at, now) = self.now();
        let keep = self.parts.keep;
        if self.keeping.deleting || self.keeping.from > now {
            return;
        }
        if self.keeping.over.first().is_none_or(|(over, _)| *over + keep > at) {
            return;
        }
        let named = named(&self.snapshot());
        let due = self.keeping.over.iter().take_while(|(over, _)| *over + keep <= at);
        let free = |id: &IncidentId| {
            let idle = self.book.get(id).is_none_or(|entry| entry.is_idle());
            idle && !named.contains(id)
        };
        let portion: Vec<Over> = due.filter(|(_, id)| free(id)).take(PORTION).cloned().collect();
        self.keeping.from = now.plus(PORTION_PAUSE);
        if portion.is_empty() {
            return;
        }
        let ids: Vec<&str> = portion.iter().map(|(_, id)| id.0.as_str()).collect();
        let note = format!("over for {keep}, deleted: incidents {}", ids.join(" "));
        if self.audit(EntryKind::Step, super::settle::DESK, &note).is_err() {
            return;
        }
        self.keeping.deleting = true;
        let store = Arc::clone(&self.parts.store);
        self.tasks.spawn(async move { Landed::Deleted(delete(store, portion, (keep, at)).await) });
    }

    pub(super) fn deleted(&mut self, deleted: Deleted) {
        let (_, now) = self.now();
        self.keeping.deleting = false;
        for over in &deleted.settled {
            self.keeping.over.remove(over);
        }
        for id in &deleted.gone {
            self.parts.metrics.incident_written("deleted");
            self.book.remove(id);
        }
        if let Some(error) = deleted.failure {
            tracing::warn!(
                reason = %error.failure().reason,
                "incidents whose time is over stay in Vault for now: {error}; `rotord check \
                 --policy` prints what the token must be allowed"
            );
            self.keeping.from = now.plus(FAILED_PAUSE);
        }
    }
}

/// The incidents that versions which are still there name: deleted, they would be made anew.
fn named(snapshot: &Snapshot) -> BTreeSet<IncidentId> {
    let rotations = snapshot.secrets.values().filter_map(|view| view.rotation.as_deref());
    let versions = rotations.flat_map(|rotation| rotation.versions.values());
    let live = versions.filter(|version| version.revoked_at.is_none());
    live.filter_map(|version| of_taint(version.taint.as_ref()?)).collect()
}

/// Deletes one after the other what Vault says is over too.
async fn delete(
    store: Arc<dyn Incidents>,
    portion: Vec<Over>,
    (keep, now): (Span, Timestamp),
) -> Deleted {
    let mut deleted = Deleted { settled: Vec::new(), gone: Vec::new(), failure: None };
    for over in portion {
        let id = over.1.clone();
        let done = async {
            let found = store.load(&id).await?;
            let is_over = |incident: &Incident| {
                let closed = incident.closed_at.filter(|_| !incident.is_open());
                closed.is_some_and(|at| at + keep <= now)
            };
            if found.is_some_and(|(incident, _)| !is_over(&incident)) {
                return Ok(false);
            }
            store.delete(&id).await?;
            Ok(true)
        };
        match done.await {
            Ok(gone) => deleted.gone.extend(gone.then_some(id)),
            Err(error @ StoreError::Unreadable { .. }) => tracing::error!("{error}"),
            Err(error) => {
                deleted.failure = Some(error);
                break;
            }
        }
        deleted.settled.push(over);
    }
    deleted
}
