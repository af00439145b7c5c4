//! What goes without waiting for evidence, and why that is allowed.
//!
//! The exceptions to continuity and evidence are all decided here and nowhere else.

use crate::model::capability::OldDies;
use crate::model::id::{TargetName, VersionId};
use crate::model::policy::OnLeak;
use crate::model::time::Timestamp;
use crate::rotation::evidence::{has_left, is_settled};
use crate::rotation::{Forced, ForcedRule, Outgoing, Rotation, TargetState, Terms};

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
    rotation
        .outgoing
        .iter()
        .filter(|outgoing| !rotation.leaving.contains_key(&outgoing.version))
        .filter(|outgoing| outgoing.latest.is_some_and(|latest| latest <= now))
        .find_map(|outgoing| judge(rotation, outgoing, now))
}

/// The next deadline that has not passed.
pub(super) fn next(rotation: &Rotation, now: Timestamp) -> Option<Timestamp> {
    rotation.outgoing.iter().filter_map(|outgoing| outgoing.latest).filter(|t| *t > now).min()
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

fn judge(rotation: &Rotation, outgoing: &Outgoing, now: Timestamp) -> Option<Deadline> {
    let version = outgoing.version;
    let latest = outgoing.latest?;
    let rule = exception_for(rotation, version);
    let ours_to_end = matches!(rule, ForcedRule::Contain | ForcedRule::MaxExposure);
    if ours_to_end && is_held(rotation, now) {
        return Some(Deadline::Held);
    }
    if rule == ForcedRule::MaxExposure {
        let unasked: Vec<TargetName> = lacking(rotation, version, now)
            .into_iter()
            .filter(|name| {
                let target = &rotation.targets[name];
                !target.removed && target.asked_at.is_none_or(|asked| asked < latest)
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

/// The bound targets that have not shown that they can do without the version.
fn lacking(rotation: &Rotation, version: VersionId, now: Timestamp) -> Vec<TargetName> {
    let shown = |target: &TargetState| {
        !target.removed && is_settled(target, now) && has_left(target, version)
    };
    rotation
        .bound_targets()
        .filter(|(_, target)| !shown(target))
        .map(|(name, _)| name.clone())
        .collect()
}
