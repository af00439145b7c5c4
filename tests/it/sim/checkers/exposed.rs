//! What a leak does to a secret, from one write of its record to the next: a previous version
//! rotates nothing, a pending one never comes into use, a revoked one changes nothing, a current
//! one is replaced once and not once a report.

use std::collections::{BTreeMap, BTreeSet};

use rotord::model::capability::{OldDies, ValueFrom};
use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::OnLeak;
use rotord::model::time::Clock as _;
use rotord::model::version::Stage;
use rotord::rotation::phase::Phase;
use rotord::rotation::{Rotation, Trigger};
use rotord::store::record::Record;

use crate::sim::world::World;

/// What has become known about the leaks of one secret.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Exposures {
    /// The versions whose value was seen.
    pub(in crate::sim) leaked: BTreeSet<VersionId>,
    /// Versions that leaked before anybody used them.
    never: BTreeSet<VersionId>,
    /// Emergency rotations opened over each version.
    emergencies: BTreeMap<VersionId, u64>,
    /// Emergency rotations that were taken back.
    unwound: BTreeMap<VersionId, u64>,
    /// New versions that the leaks ask for: what an exhaustive test counts by.
    pub(in crate::sim) successors: u64,
}

/// After a write of a secret's record over what was there before.
pub(in crate::sim) fn after_write(world: &World, before: &Record, after: &Record) {
    let name = &after.name;
    let (old, new) = (&before.rotation, &after.rotation);
    let leaked = |(id, version): (&VersionId, &rotord::model::version::Version)| {
        (version.taint.is_some() && !old.is_tainted(*id)).then_some(*id)
    };
    for version in new.versions.iter().filter_map(leaked) {
        came_out(world, before, after, version);
    }
    let mut wrong: Vec<String> = Vec::new();
    {
        let mut state = world.state();
        let Some(book) = state.exposures.get_mut(name) else { return };
        for version in &book.never {
            let stage = new.versions.get(version).map(|version| version.stage);
            if !matches!(stage, None | Some(Stage::Pending | Stage::Revoked)) {
                wrong.push(format!("{version} leaked while it was pending and is {stage:?}"));
            }
        }
        wrong.extend(opened(book, old, new));
        wrong.extend(given_time(old, new));
    }
    for what in wrong {
        world.violate("exposure", &format!("{name}: {what}"));
    }
}

/// A version has just come to count as exposed.
fn came_out(world: &World, before: &Record, after: &Record, version: VersionId) {
    let (old, new) = (&before.rotation, &after.rotation);
    let name = &after.name;
    let Some(stage) = old.versions.get(&version).map(|version| version.stage) else {
        return world.violate("exposure", &format!("{name}: {version} is new and exposed"));
    };
    cover(world, before, stage);
    let wrong = |what: &str| world.violate("exposure", &format!("{name}: {version}, {what}"));
    match stage {
        Stage::Revoked => wrong("revoked before, counts as exposed"),
        Stage::Previous | Stage::Retired => {
            if (&new.id, new.next_version) != (&old.id, old.next_version) {
                wrong("previous, and something is rotated for it");
            }
        }
        Stage::Pending if old.may_unwind() => {
            if new.incoming() == Some(version) || !new.leaving.contains_key(&version) {
                wrong("pending, and it is not dropped");
            }
            count(world, name, |book| {
                book.never.insert(version);
                book.successors += 1;
            });
        }
        // It is being taken back already.
        Stage::Pending if old.leaving.contains_key(&version) => {}
        Stage::Pending => {
            let capabilities = &old.terms.capabilities;
            let final_ = capabilities.old_dies == OldDies::OnMint;
            if !final_ || capabilities.value != ValueFrom::Ours {
                wrong("pending with a way back, and it is kept");
            }
            world.reached("exposed pending past the way back");
            count(world, name, |book| book.successors += 1);
        }
        Stage::Current => {
            if old.is_closed() || old.phase.has_promoted() {
                count(world, name, |book| book.successors += 1);
            }
        }
    }
}

/// Every version that has a deadline, and has more time than before.
fn given_time(old: &Rotation, new: &Rotation) -> Vec<String> {
    let mut wrong = Vec::new();
    for before in &old.outgoing {
        let after = new.outgoing.iter().find(|after| after.version == before.version);
        let Some((after, latest)) = after.zip(before.latest) else { continue };
        if after.latest.is_none_or(|later| later > latest) {
            let (version, later) = (before.version, after.latest);
            wrong.push(format!("{version} was to go at {latest}, and may stay until {later:?}"));
        }
    }
    wrong
}

/// What is wrong with the rotation that was just opened, if one was.
fn opened(book: &mut Exposures, old: &Rotation, new: &Rotation) -> Option<String> {
    let taken_back = matches!(old.phase, Phase::Unwind { .. })
        && !matches!(new.phase, Phase::Unwind { .. } | Phase::Stage { .. });
    let current = old.current()?;
    if taken_back {
        *book.unwound.entry(current).or_default() += 1;
    }
    if old.id == new.id || !matches!(new.trigger, Trigger::Emergency { .. }) {
        return None;
    }
    let opened = book.emergencies.entry(current).or_default();
    *opened += 1;
    let unwound = book.unwound.get(&current).copied().unwrap_or_default();
    if !new.is_tainted(current) {
        return Some(format!("an emergency, and {current} did not leak"));
    }
    (*opened > 1 + unwound).then(|| format!("{opened} emergencies for one leak of {current}"))
}

fn count(world: &World, name: &SecretName, act: impl FnOnce(&mut Exposures)) {
    if let Some(book) = world.state().exposures.get_mut(name) {
        act(book);
    }
}

/// Notes in what situation the leak came to be known.
fn cover(world: &World, before: &Record, stage: Stage) {
    let rotation = &before.rotation;
    let policy = &rotation.terms.policy;
    let on_leak = match policy.on_leak {
        OnLeak::Contain => "contain",
        OnLeak::KeepServing | OnLeak::Ask => "keep_serving",
    };
    world.reached(format!("exposed {stage} {on_leak}"));
    world.reached(format!("exposed in {}", rotation.phase.name()));
    world.reached(format!("exposed when_full {:?}", policy.when_full));
    if let Some(hold) = rotation.hold.as_ref().filter(|hold| world.clock.now() < hold.until) {
        let kind = if hold.routine_only { "a routine hold" } else { "a hold" };
        world.reached(format!("exposed under {kind}"));
    }
}
