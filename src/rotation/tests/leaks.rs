//! Leaks: of every stage of version, at every step of a rotation, under both policies.

use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::id::VersionId;
use crate::model::policy::{Kind, Lane, OnLeak};
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::retry::Trouble;
use crate::rotation::tests::toy::{Fault, Step, Toy, remote};
use crate::rotation::tests::{check, routes};
use crate::rotation::{Leaving, TOMBSTONES_MAX, Trigger, route};

/// Beyond what a leak's policy allows: propagation, tries in a row and their pauses.
const SLACK: Span = Span::from_secs(10);

/// A rotation with everything in it: v1 and v2 on their way out, v3 being brought in.
fn busy(toy: &mut Toy) {
    toy.rotation.terms.capabilities.capacity = None;
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "overlap");
    toy.open(Lane::Routine, Trigger::Repair { by: "ada".to_owned() }).expect("may supersede");
}

/// Whether somebody still accepts the version.
fn is_exposed(toy: &Toy, version: VersionId) -> bool {
    if route::targets_verify(&toy.rotation.terms) {
        toy.held.values().any(|holding| holding.wanted.accepted.contains(&version))
    } else {
        toy.keys.values().any(|key| key.alive && key.version == version)
    }
}

/// Goes on to the end, and says when the version was no longer accepted.
fn run_out(toy: &mut Toy, version: VersionId) -> Timestamp {
    let mut gone_at = None;
    loop {
        match toy.step(Fault::None) {
            Step::Rests(wait) => {
                check::at_rest(toy, &wait);
                assert_eq!(wait.needs_human, None, "{}", toy.trace());
                return gone_at.unwrap_or(toy.now);
            }
            _ if is_exposed(toy, version) => gone_at = None,
            _ => gone_at = gone_at.or(Some(toy.now)),
        }
    }
}

/// Every place between two steps of a busy rotation, on every route.
fn everywhere(on_leak: OnLeak, mut visit: impl FnMut(&str, Toy)) {
    for (route, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        busy(&mut toy);
        toy.rotation.terms.policy.on_leak = on_leak;
        toy.policy.on_leak = on_leak;
        loop {
            if toy.pending.is_empty() {
                visit(route, toy.clone());
            }
            if let Step::Rests(_) = toy.step(Fault::None) {
                break;
            }
        }
    }
}

/// Every version of that stage that has not leaked yet, everywhere.
fn every(stage: Stage, on_leak: OnLeak, mut leak: impl FnMut(&str, Toy, VersionId)) {
    let mut leaks = 0;
    everywhere(on_leak, |route, toy| {
        let versions: Vec<VersionId> = toy.rotation.at_stage(stage).collect();
        for version in versions {
            leaks += 1;
            let mut toy = toy.clone();
            toy.taint(version);
            leak(route, toy, version);
        }
    });
    assert!(leaks > 30, "only {leaks} leaks of a {stage} version");
}

fn stage_of(toy: &Toy, version: VersionId) -> Option<Stage> {
    toy.rotation.versions.get(&version).map(|version| version.stage)
}

#[test]
fn a_leaked_current_version_is_replaced_and_gone_in_time() {
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        every(Stage::Current, on_leak, |route, mut toy, version| {
            let dies_alone = route::kills_on_mint(&toy.rotation.terms);
            let began = toy.now;
            let gone_at = run_out(&mut toy, version);
            assert_eq!(stage_of(&toy, version), Some(Stage::Revoked), "{route}\n{}", toy.trace());
            let current = toy.rotation.current().expect("a new one is in use");
            assert!(!toy.rotation.is_tainted(current), "{route}\n{}", toy.trace());
            let allowed = match on_leak {
                // Only the next one ends it, and that one has to be brought in first.
                OnLeak::Contain if !dies_alone => Span::ZERO,
                _ => toy.policy.max_exposure,
            };
            let took = gone_at.since(began);
            assert!(took <= allowed.plus(SLACK), "{route}: {took}\n{}", toy.trace());
        });
    }
}

#[test]
fn a_leaked_previous_version_goes_and_nothing_is_rotated_for_it() {
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        every(Stage::Previous, on_leak, |route, mut toy, version| {
            let next = toy.rotation.next_version;
            let began = toy.now;
            let took = run_out(&mut toy, version).since(began);
            assert_eq!(stage_of(&toy, version), Some(Stage::Revoked), "{route}\n{}", toy.trace());
            assert_eq!(toy.rotation.next_version, next, "{route}\n{}", toy.trace());
            let allowed = toy.policy.max_exposure.plus(SLACK);
            assert!(took <= allowed, "{route}: {took}\n{}", toy.trace());
        });
    }
}

#[test]
fn a_leaked_pending_version_is_dropped_and_another_one_made() {
    every(Stage::Pending, OnLeak::KeepServing, |route, mut toy, version| {
        let was_dropped = toy.rotation.incoming() != Some(version);
        run_out(&mut toy, version);
        let state = &toy.rotation.versions[&version];
        assert_eq!(state.stage, Stage::Revoked, "{route}\n{}", toy.trace());
        // Where there was no way back it came into use, and was replaced at once.
        assert_eq!(state.promoted_at.is_none(), was_dropped, "{route}\n{}", toy.trace());
        assert!(toy.rotation.current() > Some(version), "{route}\n{}", toy.trace());
    });
}

/// Signers that were told to use nothing any more show by that that they use no older version.
#[test]
fn what_was_leaving_goes_although_nothing_is_in_use_any_more() {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "revoke");
    toy.policy.on_leak = OnLeak::Contain;
    let current = toy.rotation.current().expect("one is in use");
    toy.open_next(Lane::Emergency);
    toy.taint(current);
    toy.run_until(|toy| toy.rotation.is_forced(current));
    toy.step_through();
    toy.happen(Happening::Abandoned);
    let wait = toy.run();
    check::at_rest(&toy, &wait);
    assert_eq!(wait.needs_human, None, "{}", toy.trace());
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert_eq!(toy.alive_keys(), 0, "{}", toy.trace());
}

#[test]
fn a_leaked_revoked_version_changes_nothing() {
    let mut seen = 0;
    everywhere(OnLeak::Contain, |route, toy| {
        let revoked: Vec<VersionId> = toy.rotation.at_stage(Stage::Revoked).collect();
        for version in revoked {
            let mut after = toy.clone();
            after.taint(version);
            assert_eq!(after.rotation, toy.rotation, "{route}");
            seen += 1;
        }
    });
    assert!(seen > 20, "only {seen} leaks of a revoked version");
}

#[test]
fn a_second_report_of_the_same_leak_changes_nothing() {
    every(Stage::Previous, OnLeak::KeepServing, |route, mut toy, version| {
        toy.now = toy.now + Span::from_secs(5);
        let before = toy.rotation.clone();
        toy.taint(version);
        assert_eq!(toy.rotation, before, "{route}");
    });
}

#[test]
fn a_leak_puts_the_back_off_to_its_beginning() {
    let (_, kind, capabilities) = routes().swap_remove(2);
    let mut toy = Toy::new(kind, capabilities);
    toy.run();
    toy.open_next(Lane::Routine);
    while toy.rotation.trouble.attempts < 4 {
        let probes = matches!(toy.next_effect(), Some(Effect::Probe { .. }));
        toy.step(if probes { Fault::Refused } else { Fault::None });
    }
    assert!(!toy.rotation.trouble.allows(toy.now), "{}", toy.trace());
    toy.taint(toy.rotation.current().expect("one is in use"));
    assert!(toy.rotation.trouble.allows(toy.now), "{}", toy.trace());
    assert_eq!(toy.rotation.lane, Lane::Emergency);
}

#[test]
fn a_rotation_that_comes_to_no_end_keeps_so_many_revoked_versions_and_no_more() {
    let (_, kind, capabilities) = routes().swap_remove(0);
    let mut toy = Toy::new(kind, capabilities);
    toy.run();
    let mut revoked = toy.rotation.versions[&VersionId(1)].clone();
    revoked.stage = Stage::Revoked;
    let past = (2..100).map(|id| (VersionId(id), revoked.clone()));
    toy.rotation.versions.extend(past);
    // A target that is dead keeps what has left from being closed.
    let gone = Leaving {
        revoked: true,
        refused: true,
        terminated: true,
        forgotten: true,
        trouble: Trouble::default(),
    };
    toy.rotation.leaving.extend((2..100).map(|id| (VersionId(id), gone.clone())));
    toy.rotation.next_version = VersionId(100);
    toy.open_next(Lane::Emergency);
    toy.run_until(|toy| toy.rotation.phase.name() == "admit");
    let kept: Vec<VersionId> = toy.rotation.at_stage(Stage::Revoked).collect();
    assert_eq!(kept.len(), TOMBSTONES_MAX);
    assert_eq!(kept.last(), Some(&VersionId(99)), "the oldest go first");
    let known = |version: &VersionId| toy.rotation.versions.contains_key(version);
    assert!(toy.rotation.leaving.keys().all(known), "what is not known cannot be leaving");
}
