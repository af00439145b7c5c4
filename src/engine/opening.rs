//! How a rotation comes into a record: identities, the first record, and the one after.

use crate::engine::managed::Managed;
use crate::engine::world::World;
use crate::model::id::{Epoch, RotationId, VersionId, WriteId};
use crate::model::policy::Lane;
use crate::model::time::Timestamp;
use crate::plan::{DueBecause, Start};
use crate::rotation::open::{CannotOpen, Opening};
use crate::rotation::phase::Phase;
use crate::rotation::{Rotation, Trigger};
use crate::store::record::{HISTORY_MAX, Past, Record, SCHEMA};
use crate::store::{Revision, Stored};

/// The identity of a run that no schedule named: `20261122T031200.123Z-manual`.
pub(super) fn rotation_id(at: Timestamp, kind: &str) -> RotationId {
    RotationId(format!("{}-{kind}", at.to_utc().format("%Y%m%dT%H%M%S%.3fZ")))
}

/// Everything that a rotation of this secret is opened with.
pub(super) fn opening(
    managed: &Managed,
    id: RotationId,
    trigger: Trigger,
    lane: Lane,
    at: Timestamp,
) -> Opening {
    let terms = managed.terms.clone();
    Opening { id, trigger, lane, at, terms, targets: managed.target_terms() }
}

/// What the planner's ground becomes in the record, and the scheduled instant it uses up.
pub(super) fn planned_trigger(start: &Start) -> (Trigger, Option<Timestamp>) {
    match &start.trigger {
        DueBecause::Leaked => {
            let reason = "the current version is exposed".to_owned();
            (Trigger::Emergency { by: "rotord".to_owned(), reason }, None)
        }
        DueBecause::NeverIssued => (Trigger::Initial, None),
        DueBecause::TooOld => (Trigger::MaxAge, None),
        DueBecause::Scheduled { instant } => {
            (Trigger::Scheduled { instant: *instant }, Some(*instant))
        }
    }
}

/// The record of a secret that has none.
pub(super) fn first(world: &World, managed: &Managed, opening: Opening) -> Stored {
    let at = opening.at;
    let record = record(world, managed, Rotation::first(opening), at);
    Stored { record, revision: Revision::default() }
}

/// A new record around its first rotation.
pub(super) fn record(
    world: &World,
    managed: &Managed,
    rotation: Rotation,
    at: Timestamp,
) -> Record {
    let mut incarnation = [0; 16];
    world.entropy.fill(&mut incarnation);
    Record {
        schema: SCHEMA,
        incarnation: hex::encode(incarnation),
        epoch: Epoch::default(),
        write_id: WriteId(String::new()),
        fingerprint_key: world.fingerprints.id.clone(),
        name: managed.name.clone(),
        last_scheduled: at,
        rotation,
        history: Vec::new(),
    }
}

/// The record with its next rotation; the last one becomes history.
pub(super) fn next(mut stored: Stored, opening: Opening) -> Result<Stored, CannotOpen> {
    let at = opening.at;
    let next = stored.record.rotation.next(opening)?;
    let last = std::mem::replace(&mut stored.record.rotation, next);
    let (closed_at, outcome) = match &last.phase {
        Phase::Closed { outcome, at } => (*at, Some(*outcome)),
        _ => (at, None),
    };
    let past = Past {
        id: last.id,
        trigger: last.trigger,
        opened_at: last.opened_at,
        closed_at,
        outcome,
        forced: last.forced,
    };
    stored.record.history.insert(0, past);
    stored.record.history.truncate(HISTORY_MAX);
    Ok(stored)
}

/// When the open rotation can be over at the earliest: the last overlap's end.
pub(super) fn possible_at(rotation: &Rotation) -> Option<Timestamp> {
    rotation.outgoing.iter().filter_map(|outgoing| outgoing.earliest).max()
}

/// The version that an open rotation brings in.
pub(super) fn staging_version(rotation: &Rotation) -> VersionId {
    match &rotation.phase {
        Phase::Stage { version, .. } => *version,
        phase => phase.incoming().unwrap_or(rotation.next_version),
    }
}
