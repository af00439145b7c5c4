//! What each target must hold, from where the rotation stands.
//!
//! A wish only ever changes forward: any difference gets a new, higher generation, taking
//! something back included.

use crate::model::id::{TargetName, VersionId};
use crate::model::target::{TargetTerms, Wanted};
use crate::model::version::Stage;
use crate::rotation::phase::Phase;
use crate::rotation::{Rotation, route};

/// Brings every target's wish up to date with the rotation.
pub(super) fn refresh(rotation: &mut Rotation) {
    let names: Vec<TargetName> = rotation.targets.keys().cloned().collect();
    for name in names {
        refresh_one(rotation, &name);
    }
}

fn refresh_one(rotation: &mut Rotation, name: &TargetName) {
    let Some(target) = rotation.targets.get(name) else { return };
    if target.removed {
        return;
    }
    let accepted = accepted(rotation, &target.terms);
    let current = in_use(rotation);
    let same_accepted = accepted == target.wanted.accepted;
    // A pure verifier has no use for the change of `current` alone: one push saved.
    if same_accepted && (current == target.wanted.current || !target.terms.role.signs()) {
        return;
    }
    let generation = rotation.generation.next();
    let Some(target) = rotation.targets.get_mut(name) else { return };
    if target.terms.keeps_history {
        let dropped = target.wanted.accepted.iter().filter(|v| !accepted.contains(v));
        target.to_purge.extend(dropped);
        target.to_purge.retain(|version| !accepted.contains(version));
    }
    target.wanted = Wanted { generation, accepted, current };
    // The wish is new: what the old one met says nothing about it.
    target.trouble = super::retry::Trouble::default();
    rotation.generation = generation;
}

/// The version to use, unless it was taken away.
pub(super) fn in_use(rotation: &Rotation) -> Option<VersionId> {
    rotation.current().filter(|version| !rotation.is_dropped(*version))
}

/// The versions to accept, newest first.
fn accepted(rotation: &Rotation, terms: &TargetTerms) -> Vec<VersionId> {
    let established = rotation.versions.iter().rev().filter(|(id, version)| {
        matches!(version.stage, Stage::Current | Stage::Previous) && !rotation.is_dropped(**id)
    });
    let incoming = admitted(rotation).filter(|_| route::admits(&rotation.terms, terms));
    let mut accepted: Vec<VersionId> = incoming.into_iter().collect();
    accepted.extend(established.map(|(id, _)| *id));
    accepted
}

/// The new version, in the phases where it is shown to those who must accept it.
fn admitted(rotation: &Rotation) -> Option<VersionId> {
    match &rotation.phase {
        Phase::Admit { incoming }
        | Phase::Install { incoming, .. }
        | Phase::Promote { incoming } => Some(*incoming),
        _ => None,
    }
}
