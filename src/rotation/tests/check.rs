//! The promises, looked at from outside: against what is really there, not what the rotation
//! believes.

use std::collections::BTreeSet;

use crate::model::id::{TargetName, VersionId};
use crate::model::policy::{Kind, Lane};
use crate::model::target::TargetTerms;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::decide::{Wait, Why};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::evidence::{has_left, is_settled};
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::tests::toy::{Holding, Toy};
use crate::rotation::{ACCEPTED_MAX, Rotation, TargetState, deadline, route};

/// An effect is ordered at most this often at one instant: probes in a row are the longest
/// honest series, and a series of failures has pauses.
const ORDERED_MAX: u32 = 4;

/// What holds after every effect.
pub(super) fn always(toy: &mut Toy) {
    join(toy);
    note_use(toy);
    continuity(toy);
}

/// A target counts from when it first stood where it should.
fn join(toy: &mut Toy) {
    let now = toy.now;
    let stands = |name: &TargetName, target: &TargetState| {
        let held = toy.held.get(name).map(|holding| holding.wanted.generation);
        is_settled(target, now) && held == Some(target.wanted.generation)
    };
    let settled = toy.rotation.bound_targets().filter(|(name, target)| stands(name, target));
    let settled: Vec<TargetName> = settled.map(|(name, _)| name.clone()).collect();
    toy.joined.extend(settled);
}

/// The targets whose consumers must not notice anything.
fn counted(toy: &Toy) -> impl Iterator<Item = (&TargetName, &TargetTerms)> {
    let bound = toy.rotation.bound_targets().filter(|(name, _)| toy.joined.contains(*name));
    bound.map(|(name, target)| (name, &target.terms))
}

/// The versions that consumers of a target may be using at this moment.
fn used(toy: &Toy, name: &TargetName) -> BTreeSet<VersionId> {
    let Some(holding) = toy.held.get(name) else { return BTreeSet::new() };
    let before = holding.before.iter().filter(|(_, ends)| *ends > toy.now);
    before.map(|(wanted, _)| wanted).chain([&holding.wanted]).filter_map(|w| w.current).collect()
}

/// Whether every consumer of a target has this version at this moment.
fn has_everywhere(toy: &Toy, name: &TargetName, version: VersionId) -> bool {
    let Some(holding) = toy.held.get(name) else { return false };
    let mut before = holding.before.iter().filter(|(_, ends)| *ends > toy.now);
    before.all(|(wanted, _)| wanted.accepted.contains(&version))
        && holding.wanted.accepted.contains(&version)
}

/// Notes until when signers that nobody ever excused use what they use: up to this moment.
pub(super) fn note_use(toy: &mut Toy) {
    let signs = |name: &TargetName| {
        let target = toy.rotation.targets.get(name).filter(|_| !toy.excused.contains(name));
        target.is_some_and(|target| target.terms.role.signs())
    };
    let mut uses = Vec::new();
    for (name, Holding { wanted, before }) in toy.held.iter().filter(|(name, _)| signs(name)) {
        let until = |ends: &Timestamp| (*ends).min(toy.now);
        let before = before.iter().map(|(wanted, ends)| (wanted.current, until(ends)));
        let all = before.chain([(wanted.current, toy.now)]);
        uses.extend(all.filter_map(|(version, until)| Some(((version?, name.clone()), until))));
    }
    for (use_of, until) in uses {
        let last = toy.used_until.entry(use_of).or_insert(until);
        *last = until.max(*last);
    }
}

/// When the last signer used the version, if one did that nobody has excused.
pub(super) fn last_use(toy: &Toy, version: VersionId) -> Option<Timestamp> {
    let bound = toy.rotation.bound_targets().filter(|(name, _)| !toy.excused.contains(*name));
    let uses = bound.map(|(name, _)| (version, name.clone()));
    uses.filter_map(|use_of| toy.used_until.get(&use_of).copied()).max()
}

/// The overlap is counted from when the last signer has left a version, however often it came back
/// to it. One that leaked need not wait, and an emergency makes room without waiting.
fn overlapped(toy: &Toy, version: VersionId) {
    let r = &toy.rotation;
    let waits = r.lane == Lane::Routine && !r.is_tainted(version);
    let Some(last) = last_use(toy, version).filter(|_| waits) else { return };
    let over = last + r.terms.policy.overlap;
    assert!(over <= toy.now, "P4: {version} was used a moment ago\n{}", toy.trace());
}

/// P1: what somebody uses is accepted by everybody who checks it.
fn continuity(toy: &Toy) {
    let terms = &toy.rotation.terms;
    let mut presented: BTreeSet<VersionId> = BTreeSet::new();
    for (name, _) in counted(toy).filter(|(_, terms)| terms.role.signs()) {
        presented.extend(used(toy, name));
    }
    if terms.kind == Kind::WebhookHmac && terms.capabilities.remote {
        // Here the issuer is who signs.
        presented.extend(toy.keys.values().filter(|key| key.alive).map(|key| key.version));
    }
    presented.retain(|version| !toy.forced.contains(version));
    for version in presented {
        if route::targets_verify(terms) {
            for (name, _) in counted(toy).filter(|(_, terms)| terms.role.verifies()) {
                let accepts = has_everywhere(toy, name, version);
                assert!(accepts, "P1: {name} does not accept {version}\n{}", toy.trace());
            }
        } else {
            let alive = toy.keys.values().any(|key| key.alive && key.version == version);
            let named = alive || may_be_dead(toy, version);
            assert!(named, "P1: {version} is in use and dead\n{}", toy.trace());
        }
    }
}

/// The issuer ends old versions by its clock or when it mints, and the config says so: with a
/// value of ours every target has the new one already, with one of theirs nobody can.
fn may_be_dead(toy: &Toy, version: VersionId) -> bool {
    let terms = &toy.rotation.terms;
    let ended = |at: Option<Timestamp>| at.is_some_and(|dies_at| dies_at <= toy.now);
    let by_clock = toy.keys.values().any(|key| key.version == version && ended(key.dies_at));
    if by_clock || route::mint_is_final(terms) {
        return true;
    }
    let new = toy.keys.values().filter(|key| key.alive).map(|key| key.version).max();
    route::kills_on_mint(terms)
        && new.is_some_and(|new| {
            new > version && counted(toy).all(|(name, _)| has_everywhere(toy, name, new))
        })
}

/// What must hold at the moment an event is taken in.
pub(super) fn before(toy: &Toy, what: &Happening) {
    let Happening::Clear { cleared } = what else { return };
    let r = &toy.rotation;
    assert!(!deadline::is_held(r, toy.now), "P5: cleared under a hold\n{}", toy.trace());
    for version in cleared.going() {
        assert!(r.current() != Some(*version), "P5: the current goes\n{}", toy.trace());
        overlapped(toy, *version);
        for (name, target) in r.bound_targets() {
            let Some(evidence) = cleared.evidence().get(name) else {
                panic!("P4: nothing from {name}\n{}", toy.trace());
            };
            let fresh = toy.now <= evidence.at + r.terms.policy.evidence_max_age;
            assert!(fresh, "P4: old evidence of {name}\n{}", toy.trace());
            let gone = !target.terms.role.signs() || !used(toy, name).contains(version);
            assert!(gone && has_left(target, *version), "P4: {name} uses it\n{}", toy.trace());
        }
    }
}

/// What holds of every rotation: what the store would refuse to write, and more.
pub(super) fn after(toy: &Toy) {
    let r = &toy.rotation;
    assert!(r.at_stage(Stage::Current).count() <= 1, "two are current\n{}", toy.trace());
    if let Some(incoming) = r.incoming() {
        let stage = r.versions.get(&incoming).map(|v| v.stage);
        assert_eq!(stage, Some(Stage::Pending), "incoming {incoming}\n{}", toy.trace());
    }
    if let Phase::Switch { current }
    | Phase::Overlap { current, .. }
    | Phase::Retire { current, .. }
    | Phase::Revoke { current, .. } = &r.phase
    {
        let stage = r.versions.get(current).map(|v| v.stage);
        let fits = stage == Some(Stage::Current)
            || (stage > Some(Stage::Current) && r.is_tainted(*current));
        assert!(fits, "in use: {current} at {stage:?}\n{}", toy.trace());
    }
    for version in r.leaving.keys().chain(r.outgoing.iter().map(|o| &o.version)) {
        assert!(r.versions.contains_key(version), "who is {version}?\n{}", toy.trace());
    }
    for (name, target) in r.targets.iter().filter(|(_, target)| !target.removed) {
        let accepted = &target.wanted.accepted;
        assert!(accepted.len() <= ACCEPTED_MAX, "{name} must try too many\n{}", toy.trace());
        for version in accepted {
            let stage = r.versions.get(version).map(|v| v.stage);
            let fits = stage.is_some_and(|stage| stage != Stage::Revoked);
            assert!(fits, "{name} is to accept {version}\n{}", toy.trace());
        }
    }
}

/// P3, P5, P6: what must hold when an effect starts.
pub(super) fn may_start(toy: &Toy, effect: &Effect) {
    let r = &toy.rotation;
    let held = deadline::is_held(r, toy.now);
    match effect {
        Effect::Push { target } => may_push(toy, target, held),
        Effect::Place { version } | Effect::Probe { version } => {
            let saved = toy.material.contains_key(version);
            assert!(saved, "P3: {effect} without material\n{}", toy.trace());
        }
        _ => {}
    }
    if matches!(effect, Effect::Mint { .. } | Effect::Place { .. }) {
        let ends = route::replaced_are_dead(&r.terms) && !r.outgoing.is_empty();
        assert!(!(ends && held), "P5: {effect} ends a held version\n{}", toy.trace());
    }
    if effect.is_destructive() && !matches!(effect, Effect::Sweep { .. }) {
        assert!(!held, "P5: {effect} under a hold\n{}", toy.trace());
    }
    if let Effect::Revoke { version } | Effect::Terminate { version } | Effect::Forget { version } =
        effect
    {
        let in_use = r.current() == Some(*version) && !toy.forced.contains(version);
        assert!(!in_use, "P5: {effect} ends the current version\n{}", toy.trace());
    }
    if let Effect::Sweep { key } = effect {
        let named = names(r, key);
        assert!(!named, "P5: {effect} ends a version's key\n{}", toy.trace());
    }
}

fn may_push(toy: &Toy, name: &TargetName, held: bool) {
    let r = &toy.saved;
    let wanted = &r.targets[name].wanted;
    for version in &wanted.accepted {
        let saved = toy.material.contains_key(version);
        assert!(saved, "P3: {version} is pushed without material\n{}", toy.trace());
    }
    let Some(holding) = toy.held.get(name) else { return };
    let forward = holding.wanted.generation < wanted.generation || holding.wanted == *wanted;
    assert!(forward, "P6: {name} is told something else or older\n{}", toy.trace());
    let dropped = holding.wanted.accepted.iter().filter(|v| !wanted.accepted.contains(v));
    for version in dropped.filter(|_| held) {
        let established = r.versions.get(version).is_some_and(|v| v.stage != Stage::Pending);
        let ending = r.leaving.contains_key(version) || toy.forced.contains(version);
        assert!(!established || ending, "P5: {name} drops a held version\n{}", toy.trace());
    }
}

/// P10: nothing is done in a hot circle.
pub(super) fn bounded(toy: &Toy) {
    let hot = toy.ordered.iter().find(|(_, times)| **times > ORDERED_MAX);
    assert!(hot.is_none(), "P10: {hot:?}\n{}", toy.trace());
}

/// P2, P11: how a run may end.
pub(super) fn at_rest(toy: &Toy, wait: &Wait) {
    if wait.needs_human.is_some() {
        return;
    }
    let r = &toy.rotation;
    assert!(r.is_closed(), "P11: waits for nothing: {wait:?}\n{}", toy.trace());
    assert_eq!(wait.why, Why::Closed, "P11\n{}", toy.trace());
    let orphan = toy.keys.iter().find(|(id, key)| key.alive && !names(r, id));
    let reported = matches!(
        r.phase,
        Phase::Closed { outcome: Outcome::Unwound { possible_orphan: true, .. }, .. }
    );
    assert!(orphan.is_none() || reported, "P2: orphan {orphan:?}\n{}", toy.trace());
    if let Some(current) = r.current().filter(|_| r.terms.capabilities.remote) {
        let mut keys = toy.keys.values();
        let lives = keys.any(|key| key.version == current && key.alive && key.dies_at.is_none());
        assert!(lives, "P1: {current} stays in use and dies\n{}", toy.trace());
    }
    assert!(r.outgoing.is_empty() || r.current().is_none(), "P11: overlaps\n{}", toy.trace());
    let unfit = |target: &&TargetName| {
        toy.held.get(*target).is_none_or(|holding| holding.wanted != r.targets[*target].wanted)
    };
    let told = r.targets.iter().filter(|(_, t)| t.wanted.generation.0 > 0 && t.waived_by.is_none());
    let left = told.map(|(name, _)| name).find(unfit);
    assert!(left.is_none(), "P11: {left:?} stands elsewhere\n{}", toy.trace());
}

fn names(r: &Rotation, key: &crate::model::id::KeyId) -> bool {
    r.versions.values().any(|v| v.stage != Stage::Revoked && v.key_id.as_ref() == Some(key))
}
