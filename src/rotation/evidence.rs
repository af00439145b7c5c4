//! What proves that a target has moved, how fresh that must be, and what may go because of it.
//!
//! Decides when evidence is enough; must not know how it was gathered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::id::{TargetName, VersionId};
use crate::model::target::{Evidence, Observation};
use crate::model::time::{Span, Timestamp};
use crate::rotation::{Rotation, TargetState};

/// The ground on which versions are taken away: the evidence of every bound target. Only [`clear`]
/// makes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleared {
    going: Vec<VersionId>,
    evidence: BTreeMap<TargetName, Evidence>,
    at: Timestamp,
}

impl Cleared {
    /// The versions that go.
    pub fn going(&self) -> &[VersionId] {
        &self.going
    }

    /// What each target had shown.
    pub fn evidence(&self) -> &BTreeMap<TargetName, Evidence> {
        &self.evidence
    }

    /// When it was judged.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Judges whether the versions may go: every bound target has shown, recently enough, that it holds
/// what it must and works with a newer version. `None` if one has not.
pub fn clear(rotation: &Rotation, going: Vec<VersionId>, now: Timestamp) -> Option<Cleared> {
    let oldest = rotation.terms.policy.evidence_max_age;
    let mut evidence = BTreeMap::new();
    for (name, target) in rotation.bound_targets() {
        if !is_settled(target, now) || !is_fresh(target, oldest, now) {
            return None;
        }
        if !going.iter().all(|version| has_left(target, *version)) {
            return None;
        }
        evidence.insert(name.clone(), target.evidence.clone()?);
    }
    Some(Cleared { going, evidence, at: now })
}

/// Whether the target was seen to hold what it must, as well attested as its terms ask.
pub fn is_reached(target: &TargetState) -> bool {
    target.evidence.as_ref().is_some_and(|evidence| fits(target, &evidence.seen))
}

/// Whether it was reached, and long enough ago that no consumer of it still uses what it read
/// before.
pub fn is_settled(target: &TargetState, now: Timestamp) -> bool {
    settles_at(target).is_some_and(|at| at <= now)
}

/// When a reached target's propagation has passed.
pub fn settles_at(target: &TargetState) -> Option<Timestamp> {
    let evidence = target.evidence.as_ref().filter(|e| fits(target, &e.seen))?;
    Some(evidence.since + target.terms.propagation)
}

/// Whether the evidence is young enough to act on. What lies in the future was seen before the
/// clock was set back: nobody can tell how long ago.
pub fn is_fresh(target: &TargetState, max_age: Span, now: Timestamp) -> bool {
    let fresh = |seen: Timestamp| seen <= now && now <= seen + max_age;
    target.evidence.as_ref().is_some_and(|evidence| fresh(evidence.at))
}

/// Whether a target has shown that it works without the version: it presents a newer one, or
/// nothing at all, because that is its role or because there is nothing for it to present.
///
/// A newer one that leaked counts too. Nobody is ever sent back to an older version: what replaces
/// the exposed one is newer still, so keeping the older one alive would help nobody, and at a full
/// issuer it is the one that makes room for the replacement.
pub fn has_left(target: &TargetState, version: VersionId) -> bool {
    let Some(evidence) = &target.evidence else { return false };
    match (target.terms.role.signs(), evidence.seen.current) {
        (false, _) => true,
        (true, Some(used)) => used > version,
        (true, None) => target.wanted.current.is_none(),
    }
}

/// The evidence after one more observation: `since` stands as long as the same is seen.
pub fn after_seeing(before: Option<&Evidence>, seen: Observation, at: Timestamp) -> Evidence {
    let since = match before {
        Some(before) if says_the_same(&before.seen, &seen) => before.since.min(at),
        _ => at,
    };
    Evidence { seen, at, since }
}

fn says_the_same(a: &Observation, b: &Observation) -> bool {
    a.generation == b.generation
        && a.accepted == b.accepted
        && a.current == b.current
        && a.level <= b.level
}

/// Whether what was seen is what the target must hold, however well it is attested.
pub fn holds(target: &TargetState, seen: &Observation) -> bool {
    let wanted = &target.wanted;
    seen.generation == wanted.generation
        && same_set(&seen.accepted, &wanted.accepted)
        && (!target.terms.role.signs() || seen.current == wanted.current)
}

fn fits(target: &TargetState, seen: &Observation) -> bool {
    seen.level >= target.terms.needs && holds(target, seen)
}

fn same_set(a: &[VersionId], b: &[VersionId]) -> bool {
    a.len() == b.len() && a.iter().all(|version| b.contains(version))
}
