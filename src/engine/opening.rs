//! How a rotation comes into a record: identities, the first record, and the one after; and what
//! an open one means for whoever would open the next.

use std::sync::Arc;

use crate::engine::managed::Managed;
use crate::engine::world::World;
use crate::model::id::{Epoch, RotationId, VersionId, WriteId};
use crate::model::policy::Lane;
use crate::model::target::TargetTerms;
use crate::model::time::{Span, Timestamp};
use crate::plan::facts::{Current, Facts, Open};
use crate::plan::{DueBecause, Start};
use crate::rotation::open::{CannotOpen, Opening};
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::{ACCEPTED_MAX, Rotation, Trigger, route};
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
        recognition: Arc::default(),
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

/// When the open rotation can be over at the earliest, as far as its dates are set: the last
/// overlap's end, and that of a hold which keeps the old versions for longer.
pub(super) fn possible_at(rotation: &Rotation) -> Option<Timestamp> {
    let overlap = rotation.outgoing.iter().filter_map(|outgoing| outgoing.earliest).max()?;
    let hold = rotation.hold.as_ref().filter(|hold| hold.binds(rotation.lane, overlap));
    Some(hold.map_or(overlap, |hold| hold.until))
}

/// How long the open rotation takes at the least, while none of its dates are set: the
/// propagation that is still before it, and its overlap. None if it is being taken back.
pub(super) fn not_within(rotation: &Rotation) -> Option<Span> {
    let longest = |counts: &dyn Fn(&TargetTerms) -> bool| {
        let counted = rotation.bound_targets().map(|(_, t)| &t.terms).filter(|t| counts(t));
        counted.map(|terms| terms.propagation).max().unwrap_or_default()
    };
    let terms = &rotation.terms;
    let switch = longest(&|target| target.role.signs()).plus(terms.policy.overlap);
    match rotation.phase {
        Phase::Stage { .. }
        | Phase::Probe { .. }
        | Phase::Admit { .. }
        | Phase::Install { .. }
        | Phase::Promote { .. } => Some(longest(&|t| route::admits(terms, t)).plus(switch)),
        Phase::Switch { .. } => Some(switch),
        _ => None,
    }
}

/// When another rotation can be opened after the one that is open, as far as that is known.
pub(super) fn possible_from(rotation: &Rotation, now: Timestamp) -> Option<Timestamp> {
    possible_at(rotation).or_else(|| Some(now + not_within(rotation)?)).filter(|at| *at > now)
}

/// The version that an open rotation brings in.
pub(super) fn staging_version(rotation: &Rotation) -> VersionId {
    match &rotation.phase {
        Phase::Stage { version, .. } => *version,
        phase => phase.incoming().unwrap_or(rotation.next_version),
    }
}

/// What the planner has to know of a rotation.
pub(super) fn tell_planner(facts: &mut Facts<'_>, rotation: &Rotation) {
    let current = rotation.current().and_then(|id| rotation.versions.get(&id));
    facts.current = current.map(|version| Current {
        promoted_at: version.promoted_at.unwrap_or(version.staged_at),
        tainted_at: version.taint.as_ref().map(|taint| taint.at),
    });
    facts.open = (!rotation.is_closed()).then(|| Open {
        promoted: rotation.phase.has_promoted(),
        possible_at: possible_at(rotation),
        not_within: not_within(rotation),
    });
    facts.unwound_at = match &rotation.phase {
        Phase::Closed { outcome: Outcome::Unwound { .. }, at } => Some(*at),
        _ => None,
    };
    facts.contained = facts.current.is_none() && !rotation.versions.is_empty();
    facts.full = rotation.outgoing.len() + 1 >= ACCEPTED_MAX;
}
