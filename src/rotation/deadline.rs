//! What goes without waiting for evidence, and why that is allowed.
//!
//! The exceptions to continuity and evidence are all decided here and nowhere else.

use crate::model::capability::OldDies;
use crate::model::id::{TargetName, VersionId};
use crate::model::policy::OnLeak;
use crate::model::time::Timestamp;
use crate::rotation::evidence::{has_left, is_fresh, is_settled};
use crate::rotation::{Forced, ForcedRule, Rotation, TargetState, Terms, decide};

/// What a deadline asks for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The version goes.
    Cut(Forced),
    /// Ask these targets once more first: after a downtime the deadline may have passed while
    /// nobody was looking.
    AskFirst(Vec<TargetName>),
    /// A hold stands against it: a person is needed at once.
    Held,
}

/// What the nearest passed deadline asks for, if one has passed.
pub(super) fn due(rotation: &Rotation, now: Timestamp) -> Option<Deadline> {
    let outgoing = rotation
        .outgoing
        .iter()
        .filter(|outgoing| !rotation.leaving.contains_key(&outgoing.version))
        .filter_map(|outgoing| Some((outgoing.version, outgoing.latest?)))
        .filter(|(_, latest)| *latest <= now)
        .find_map(|(version, latest)| judge(rotation, version, latest, now));
    let mut leaving = exposed_leaving(rotation).filter(|(_, latest)| *latest <= now);
    outgoing.or_else(|| leaving.find_map(|(v, latest)| judge_leaving(rotation, v, latest, now)))
}

/// The next deadline that has not passed.
pub(super) fn next(rotation: &Rotation, now: Timestamp) -> Option<Timestamp> {
    let outgoing = rotation.outgoing.iter().filter_map(|outgoing| outgoing.latest);
    let leaving = exposed_leaving(rotation).map(|(_, latest)| latest);
    outgoing.chain(leaving).filter(|latest| *latest > now).min()
}

/// The exposed versions whose end has begun and which the issuer has not been told to end, each
/// with its deadline. What their end was judged on may be too old by now, and nobody left to ask.
pub(super) fn exposed_leaving(rotation: &Rotation) -> impl Iterator<Item = (VersionId, Timestamp)> {
    rotation.leaving.iter().filter(|(_, leaving)| !leaving.revoked).filter_map(|(version, _)| {
        let taint = rotation.taint_of(*version)?;
        Some((*version, for_taint(&rotation.terms, taint.at)))
    })
}

/// When an exposed version has to be gone.
pub fn for_taint(terms: &Terms, tainted_at: Timestamp) -> Timestamp {
    match terms.policy.on_leak {
        OnLeak::Contain => tainted_at,
        OnLeak::KeepServing | OnLeak::Ask => tainted_at + terms.policy.max_exposure,
    }
}

/// The exception as it is recorded.
pub(super) fn forced(
    rotation: &Rotation,
    version: VersionId,
    rule: ForcedRule,
    at: Timestamp,
) -> Forced {
    Forced { version, rule, targets_without_evidence: lacking(rotation, version, at), at }
}

/// A version whose end has begun needs no exception as long as its end goes on without one.
fn judge_leaving(
    rotation: &Rotation,
    version: VersionId,
    latest: Timestamp,
    now: Timestamp,
) -> Option<Deadline> {
    if is_held(rotation, now) {
        return Some(Deadline::Held);
    }
    let stuck = !decide::may_revoke(rotation, version, now);
    if stuck { judge(rotation, version, latest, now) } else { None }
}

fn judge(
    rotation: &Rotation,
    version: VersionId,
    latest: Timestamp,
    now: Timestamp,
) -> Option<Deadline> {
    let rule = exception_for(rotation, version);
    let ours_to_end = matches!(rule, ForcedRule::Contain | ForcedRule::MaxExposure);
    if ours_to_end && is_held(rotation, now) {
        return Some(Deadline::Held);
    }
    if rule == ForcedRule::MaxExposure {
        // One whose end goes on past its deadline is asked about anew whenever evidence gets old.
        let since = match rotation.leaving.contains_key(&version) {
            true => latest.max(now - rotation.terms.policy.evidence_max_age),
            false => latest,
        };
        let unasked: Vec<TargetName> = lacking(rotation, version, now)
            .into_iter()
            .filter(|name| {
                let target = &rotation.targets[name];
                !target.removed && target.asked_at.is_none_or(|asked| asked < since)
            })
            .collect();
        if !unasked.is_empty() {
            return Some(Deadline::AskFirst(unasked));
        }
    }
    Some(Deadline::Cut(forced(rotation, version, rule, now)))
}

/// The exception under which a version goes whose deadline has passed.
fn exception_for(rotation: &Rotation, version: VersionId) -> ForcedRule {
    if rotation.is_tainted(version) {
        return match rotation.terms.policy.on_leak {
            OnLeak::Contain => ForcedRule::Contain,
            OnLeak::KeepServing | OnLeak::Ask => ForcedRule::MaxExposure,
        };
    }
    match rotation.terms.capabilities.old_dies {
        OldDies::IssuerClock { .. } => ForcedRule::IssuerClock,
        OldDies::OnMint | OldDies::OnRevoke => ForcedRule::DiesOnMint,
    }
}

/// Whether a hold forbids taking anything away now.
pub(super) fn is_held(rotation: &Rotation, now: Timestamp) -> bool {
    rotation.hold.as_ref().is_some_and(|hold| hold.binds(rotation.lane, now))
}

/// The bound targets that have not shown that they can do without the version. Of one whose end
/// has begun all had shown it once: what counts is that it is still so.
fn lacking(rotation: &Rotation, version: VersionId, now: Timestamp) -> Vec<TargetName> {
    let oldest = rotation.terms.policy.evidence_max_age;
    let is_leaving = rotation.leaving.contains_key(&version);
    let shown = |target: &TargetState| {
        let recent = !is_leaving || is_fresh(target, oldest, now);
        !target.removed && is_settled(target, now) && has_left(target, version) && recent
    };
    rotation
        .bound_targets()
        .filter(|(_, target)| !shown(target))
        .map(|(name, _)| name.clone())
        .collect()
}
