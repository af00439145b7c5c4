//! What is taken in about targets: observations, purges, and targets that come or go with the
//! config.

use crate::model::failure::{Class, Failure};
use crate::model::id::{Generation, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::target::{Observation, TargetTerms};
use crate::model::time::Timestamp;
use crate::rotation::apply::IllegalEvent;
use crate::rotation::effect::Effect;
use crate::rotation::evidence::{after_seeing, holds, is_reached};
use crate::rotation::retry::Trouble;
use crate::rotation::{Rotation, TargetState, Terms};

/// How far ahead of the record a target can honestly be: a generation each minute for two years.
/// Beyond it the counter itself would be at risk, which is one for all targets of a secret.
const AHEAD_MAX: u64 = 1_000_000;

/// A target said or showed what it holds.
pub(super) fn seen(
    rotation: &mut Rotation,
    name: &TargetName,
    observation: Observation,
    at: Timestamp,
) -> Result<(), IllegalEvent> {
    let lane = rotation.lane;
    let used = observation.current;
    let target = find(rotation, name, "seen")?;
    let used = used.filter(|_| target.terms.role.signs() && target.waived_by.is_none());
    let holds_the_wish = holds(target, &observation);
    target.evidence = Some(after_seeing(target.evidence.as_ref(), observation, at));
    target.asked_at = Some(at);
    target.ahead = None;
    target.trouble = if is_reached(target) {
        Trouble::default()
    } else {
        // It took the wish in but does not show enough yet, or it holds something else.
        let reason = if holds_the_wish { Reason::NotYetApplied } else { Reason::GenerationBehind };
        target.trouble.met(Failure { class: Class::Transient, reason }, lane, at)
    };
    if let Some(used) = used {
        rotation.restart_overlap(used);
    }
    Ok(())
}

/// A target has a higher generation than it was told by this record.
pub(super) fn ahead(
    rotation: &mut Rotation,
    effect: &Effect,
    generation: Generation,
    at: Timestamp,
) -> Result<(), IllegalEvent> {
    let lane = rotation.lane;
    let stranger = || IllegalEvent::Stranger { event: "ahead", what: effect.to_string() };
    let target = find(rotation, effect.target().ok_or_else(stranger)?, "ahead")?;
    target.asked_at = Some(at);
    target.ahead = Some(generation);
    let failure = Failure { class: Class::Refused, reason: Reason::GenerationAhead };
    target.trouble = target.trouble.met(failure, lane, at);
    Ok(())
}

/// A person says that the record counts: a target that is ahead of it is told the same anew, with a
/// generation above the one it has. What nobody could have counted up to is left alone.
pub(super) fn step_over(rotation: &mut Rotation) {
    let highest = Generation(rotation.generation.0.saturating_add(AHEAD_MAX));
    for target in rotation.targets.values_mut().filter(|target| !target.removed) {
        let Some(ahead) = target.ahead.filter(|ahead| *ahead <= highest) else { continue };
        rotation.generation = rotation.generation.max(ahead).next();
        target.wanted.generation = rotation.generation;
        target.ahead = None;
    }
}

/// A target's own history is clean of these versions.
pub(super) fn purged(
    rotation: &mut Rotation,
    name: &TargetName,
    versions: &[VersionId],
) -> Result<(), IllegalEvent> {
    let target = find(rotation, name, "purged")?;
    target.to_purge.retain(|version| !versions.contains(version));
    target.trouble = Trouble::default();
    Ok(())
}

/// The config has new terms. Between rotations all of them count from now on; during one, its own
/// terms stand, targets that are new join it, targets that went are marked, and those that moved
/// are told at their new place.
pub(super) fn reconfigure(
    rotation: &mut Rotation,
    terms: Terms,
    targets: Vec<(TargetName, TargetTerms)>,
) {
    let closed = rotation.is_closed();
    if closed {
        rotation.terms = terms;
    }
    for (name, target) in &mut rotation.targets {
        target.removed = !targets.iter().any(|(kept, _)| kept == name);
    }
    if closed {
        rotation.targets.retain(|_, target| !target.removed);
    }
    for (name, terms) in targets {
        match rotation.targets.get_mut(&name) {
            Some(target) if closed => target.take_terms(terms),
            Some(target) => {
                let TargetTerms { place, recovery, .. } = terms;
                target.take_terms(TargetTerms { place, recovery, ..target.terms.clone() });
            }
            None => {
                rotation.targets.insert(name, TargetState::new(terms));
            }
        }
    }
}

/// The target of that name.
pub(super) fn find<'a>(
    rotation: &'a mut Rotation,
    name: &TargetName,
    event: &'static str,
) -> Result<&'a mut TargetState, IllegalEvent> {
    let stranger = || IllegalEvent::Stranger { event, what: format!("target {name}") };
    rotation.targets.get_mut(name).ok_or_else(stranger)
}
