//! From the engine's picture of a secret to what an incident wants to know of it.

use crate::engine::snapshot::SecretView;
use crate::incident::progress::Facts;
use crate::incident::record::{Incident, Mark};
use crate::model::id::VersionId;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::{Rotation, TargetState, deadline, route};

/// Whether the record of an incident's secret is another one than the incident was opened about:
/// it was deleted, and the secret adopted anew.
pub(super) fn is_of_another(incident: &Incident, view: &SecretView) -> bool {
    !view.unread
        && view.incarnation.is_some()
        && view.incarnation.as_deref() != incident.incarnation.as_deref()
}

/// Says of an incident that was written before incidents knew their record which one it is about:
/// the one there is, unless that one's version of the number is younger than the incident.
pub(super) fn place(incident: &mut Incident, view: &SecretView) {
    let Some(rotation) = view.rotation.as_deref().filter(|_| incident.incarnation.is_none()) else {
        return;
    };
    let is_other = match rotation.versions.get(&incident.version) {
        Some(found) => found.staged_at > incident.opened_at,
        None => rotation.next_version <= incident.version,
    };
    if !is_other {
        incident.incarnation = view.incarnation.as_deref().map(str::to_owned);
    }
}

/// What is known at a moment; none before the secret has a record.
pub(super) fn facts(view: &SecretView, version: VersionId, at: Timestamp) -> Option<Facts> {
    let rotation = view.rotation.as_deref()?;
    let found = rotation.versions.get(&version);
    let taint = found.and_then(|found| found.taint.as_ref());
    let gone = found.is_none_or(|found| found.stage == Stage::Revoked);
    let open = !rotation.is_closed();
    let answers = rotation.answers(version);
    let targets = rotation
        .targets
        .iter()
        .map(|(name, target)| (name.clone(), mark(rotation, target, version)));
    Some(Facts {
        at,
        exposed_at: taint.map(|taint| taint.at),
        deadline: taint.map(|taint| deadline::for_taint(&rotation.terms, taint.at)),
        rotation: answers.then(|| (rotation.id.clone(), rotation.opened_at)),
        successor: successor(rotation, version),
        refused: gone || is_refused(rotation, version),
        revoked_at: gone.then(|| found.and_then(|found| found.revoked_at).unwrap_or(at)),
        needs_human: view.waiting.needs_human.filter(|_| open),
        targets: targets.collect(),
    })
}

fn successor(rotation: &Rotation, version: VersionId) -> Option<(VersionId, Timestamp)> {
    let current = rotation.current().filter(|current| *current > version)?;
    let promoted_at = rotation.versions.get(&current)?.promoted_at?;
    (!rotation.is_tainted(current)).then_some((current, promoted_at))
}

/// Whether nobody accepts the version any more: where an issuer decides that, it was tried there
/// and refused; where the targets do, each of them has shown that it dropped it.
fn is_refused(rotation: &Rotation, version: VersionId) -> bool {
    if route::targets_verify(&rotation.terms) {
        let stage = rotation.versions.get(&version).map(|found| found.stage);
        let mut verifiers =
            rotation.bound_targets().filter(|(_, target)| target.terms.role.verifies());
        return stage >= Some(Stage::Retired)
            && verifiers.all(|(_, target)| has_left(rotation, target, version));
    }
    rotation.leaving.get(&version).is_some_and(|leaving| leaving.refused)
}

fn mark(rotation: &Rotation, target: &TargetState, version: VersionId) -> Mark {
    let since = target.evidence.as_ref().map(|evidence| evidence.since);
    let left_at = since.filter(|_| has_left(rotation, target, version));
    Mark { left_at, waived_by: target.waived_by.clone() }
}

/// Whether a target was last seen without the version: it neither uses it nor, where targets are
/// the ones who accept, accepts it. One that was never seen may have it.
fn has_left(rotation: &Rotation, target: &TargetState, version: VersionId) -> bool {
    let Some(evidence) = &target.evidence else { return false };
    let uses = target.terms.role.signs() && evidence.seen.current == Some(version);
    let checks = route::targets_verify(&rotation.terms) && target.terms.role.verifies();
    let accepts = checks && evidence.seen.accepted.contains(&version);
    !uses && !accepts
}
