//! Targets: what counts as evidence, from when, for how long, and for whom; and that dates and
//! numbers only ever go forward.

use std::collections::BTreeMap;

use crate::model::capability::Capabilities;
use crate::model::failure::{Class, Failure};
use crate::model::id::{Generation, TargetName, VersionId};
use crate::model::policy::{Kind, Lane};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation, Role, TargetTerms};
use crate::model::time::{Span, Timestamp};
use crate::rotation::decide::{Next, decide};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::evidence::{clear, is_reached, is_settled, settles_at};
use crate::rotation::open::CannotOpen;
use crate::rotation::retry::{ATTEMPTS_BEFORE_HUMAN, Trouble};
use crate::rotation::tests::toy::{Fault, Toy, failure, name, target};
use crate::rotation::{ACCEPTED_MAX, Trigger};

const V1: VersionId = VersionId(1);
const V2: VersionId = VersionId(2);

fn webhook() -> Toy {
    let mut toy = Toy::new(Kind::WebhookHmac, Capabilities::local());
    toy.run();
    toy
}

/// A webhook key whose successor is in use everywhere, the old one still accepted.
fn overlapping() -> Toy {
    let mut toy = webhook();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "overlap");
    toy
}

/// `worker` shows what it was told to hold, at that level.
fn shows(toy: &Toy, level: Level) -> Happening {
    let wanted = toy.rotation.targets[&name("worker")].wanted.clone();
    Happening::Seen {
        target: name("worker"),
        observation: Observation {
            generation: wanted.generation,
            accepted: wanted.accepted,
            current: wanted.current,
            level,
            by: "worker-1".to_owned(),
        },
    }
}

fn without(toy: &Toy, gone: &str) -> BTreeMap<TargetName, TargetTerms> {
    let mut config = toy.config.clone();
    config.remove(&name(gone)).expect("it was there");
    config
}

// ---------------------------------------------------------------- evidence

#[test]
fn evidence_counts_from_the_level_that_the_target_needs() {
    let levels = [
        Level::Sent,
        Level::Stored,
        Level::Applied,
        Level::Acknowledged,
        Level::Proved,
        Level::Observed,
    ];
    for needs in levels {
        for level in levels {
            let mut toy = overlapping();
            let worker = toy.rotation.targets.get_mut(&name("worker")).expect("a target");
            (worker.terms.needs, worker.evidence) = (needs, None);
            toy.happen(shows(&toy, level));
            let worker = &toy.rotation.targets[&name("worker")];
            assert_eq!(is_reached(worker), level >= needs, "{level} where {needs} is needed");
            let met = worker.trouble.last.map(|failure| failure.reason);
            assert_eq!(met, (level < needs).then_some(Reason::NotYetApplied));
        }
    }
}

#[test]
fn what_only_lacks_confirmation_is_asked_and_not_pushed_again() {
    let mut toy = overlapping();
    toy.rotation.targets.get_mut(&name("worker")).expect("a target").evidence = None;
    toy.happen(shows(&toy, Level::Stored));
    toy.pass(toy.now + Span::from_secs(60));
    let Next::Do(effects) = decide(&toy.rotation, toy.now) else { panic!("{}", toy.trace()) };
    assert!(effects.contains(&Effect::Observe { target: name("worker") }), "{effects:?}");
}

#[test]
fn propagation_is_counted_from_when_it_was_first_seen() {
    let mut toy = overlapping();
    let first = toy.now + Span::from_secs(1_000);
    toy.rotation.targets.get_mut(&name("worker")).expect("a target").evidence = None;
    for (seconds, since) in [(0, 0), (2, 0), (4, 0)] {
        toy.now = first + Span::from_secs(seconds);
        toy.happen(shows(&toy, Level::Proved));
        let worker = &toy.rotation.targets[&name("worker")];
        assert_eq!(settles_at(worker), Some(first + Span::from_secs(since + 5)));
        assert!(!is_settled(worker, first + Span(4_999)));
        assert!(is_settled(worker, first + Span(5_000)));
    }
    // Something else in between: it starts anew.
    let Happening::Seen { target, mut observation } = shows(&toy, Level::Proved) else {
        unreachable!("it is an observation")
    };
    observation.current = Some(V1);
    toy.happen(Happening::Seen { target, observation });
    assert_eq!(settles_at(&toy.rotation.targets[&name("worker")]), None);
    toy.now = first + Span::from_secs(10);
    toy.happen(shows(&toy, Level::Proved));
    let worker = &toy.rotation.targets[&name("worker")];
    assert_eq!(settles_at(worker), Some(first + Span::from_secs(15)));
}

#[test]
fn evidence_grows_old_and_is_gathered_anew_before_anything_goes() {
    let toy = overlapping();
    let seen_at = toy.rotation.targets[&name("worker")].evidence.as_ref().expect("seen").at;
    let api = toy.rotation.targets[&name("api")].evidence.as_ref().expect("seen").at;
    let oldest = seen_at.min(api) + toy.policy.evidence_max_age;
    assert!(clear(&toy.rotation, vec![V1], oldest).is_some());
    assert!(clear(&toy.rotation, vec![V1], oldest + Span(1)).is_none());

    let mut toy = toy;
    let over = toy.rotation.outgoing[0].earliest.expect("the overlap has an end");
    toy.run_until(|toy| toy.now >= over);
    let Next::Do(asked) = decide(&toy.rotation, toy.now) else { panic!("{}", toy.trace()) };
    let all = [name("api"), name("worker")].map(|target| Effect::Observe { target });
    assert_eq!(asked, all, "{}", toy.trace());
}

#[test]
fn nothing_goes_while_a_signer_still_uses_it() {
    let mut toy = overlapping();
    let worker = toy.rotation.targets.get_mut(&name("worker")).expect("a target");
    worker.evidence.as_mut().expect("seen").seen.current = Some(V1);
    assert!(clear(&toy.rotation, vec![V1], toy.now).is_none());
}

#[test]
fn a_signer_that_falls_back_begins_the_overlap_anew() {
    let mut toy = overlapping();
    let first = toy.rotation.outgoing[0].earliest.expect("the overlap has an end");
    let near = toy.now + Span::from_secs(50);
    toy.pass(near);
    assert!(toy.fall_back(&name("worker")), "{}", toy.trace());
    assert_eq!(toy.rotation.phase.name(), "switch", "{}", toy.trace());
    assert_eq!(toy.rotation.outgoing[0].earliest, None);
    toy.run_until(|toy| toy.rotation.phase.name() == "overlap");
    let worker = &toy.rotation.targets[&name("worker")];
    let left_at = worker.evidence.as_ref().expect("seen").since + worker.terms.propagation;
    let second = toy.rotation.outgoing[0].earliest.expect("the overlap has an end");
    assert!(second > first && second >= left_at + toy.policy.overlap, "{}", toy.trace());
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
}

#[test]
fn what_a_signer_falls_back_to_while_it_is_dropped_is_given_back() {
    let mut toy = webhook();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "retire");
    let told = toy.rotation.generation;
    let mut observation = match shows(&toy, Level::Proved) {
        Happening::Seen { observation, .. } => observation,
        other => unreachable!("{other:?}"),
    };
    observation.current = Some(V1);
    toy.happen(Happening::Seen { target: name("worker"), observation });
    assert_eq!(toy.rotation.phase.name(), "switch", "{}", toy.trace());
    for (name, target) in &toy.rotation.targets {
        assert!(target.wanted.accepted.contains(&V1), "{name}");
        assert!(target.wanted.generation > told, "{name}");
    }
}

#[test]
fn only_a_signer_that_counts_begins_the_overlap_anew() {
    let uses_the_old = |toy: &Toy, target: &str| {
        let wanted = toy.rotation.targets[&name(target)].wanted.clone();
        let observation = Observation {
            generation: wanted.generation,
            accepted: wanted.accepted,
            current: Some(V1),
            level: Level::Proved,
            by: target.to_owned(),
        };
        Happening::Seen { target: name(target), observation }
    };
    // A pure verifier signs nothing, whatever it says.
    let mut toy = overlapping();
    toy.happen(uses_the_old(&toy, "api"));
    assert_eq!(toy.rotation.phase.name(), "overlap", "{}", toy.trace());
    // A signer that was excused is not waited for.
    toy.happen(Happening::Waived { target: name("worker"), by: "ada".to_owned() });
    toy.happen(uses_the_old(&toy, "worker"));
    assert_eq!(toy.rotation.phase.name(), "overlap", "{}", toy.trace());
}

/// `worker` was told more than the record knows, and says so.
fn ahead(generation: u64) -> Toy {
    let mut toy = webhook();
    let effect = Effect::Observe { target: name("worker") };
    toy.happen(Happening::Ahead { effect, generation: Generation(generation) });
    toy
}

#[test]
fn a_target_that_is_ahead_waits_for_a_person_and_is_then_told_something_newer() {
    let mut toy = ahead(40);
    let worker = &toy.rotation.targets[&name("worker")];
    assert_eq!(worker.trouble.needs_human(), Some(Reason::GenerationAhead));
    let (told, of_api) = (worker.wanted.clone(), toy.rotation.targets[&name("api")].clone());
    toy.happen(Happening::Retried);
    let worker = &toy.rotation.targets[&name("worker")];
    assert_eq!(worker.wanted.generation, Generation(41));
    assert_eq!((&worker.wanted.accepted, worker.wanted.current), (&told.accepted, told.current));
    assert_eq!(toy.rotation.generation, Generation(41), "the next wish is above it too");
    assert_eq!(toy.rotation.targets[&name("api")], of_api);
    assert!(!is_reached(worker), "what it held before is no evidence of the new wish");
    let push = Effect::Push { target: name("worker") };
    assert_eq!(decide(&toy.rotation, toy.now), Next::Do(vec![push]));
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run();
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
}

#[test]
fn another_version_in_its_place_is_above_what_a_target_that_is_ahead_has() {
    let mut toy = ahead(40);
    toy.open(Lane::Routine, Trigger::Repair { by: "ada".to_owned() }).expect("may open");
    assert_eq!(toy.rotation.targets[&name("worker")].wanted.generation, Generation(41));
    // The schedule is no person: it steps over nobody.
    let mut toy = ahead(40);
    toy.open_next(Lane::Routine);
    assert!(toy.rotation.targets[&name("worker")].wanted.generation < Generation(40));
}

#[test]
fn nobody_is_stepped_over_who_cannot_have_counted_that_far() {
    let mut toy = ahead(u64::MAX);
    let before = toy.rotation.generation;
    toy.happen(Happening::Retried);
    assert_eq!(toy.rotation.generation, before);
}

#[test]
fn what_was_seen_at_another_place_does_not_count() {
    // During a rotation, between two, and when the next one is opened under the new config.
    for closed in [false, true] {
        let mut toy = overlapping();
        if closed {
            toy.run();
        }
        let mut config = toy.config.clone();
        config.get_mut(&name("worker")).expect("a target").place = Some("elsewhere".to_owned());
        let mut opened = toy.clone();
        toy.configure(config.clone());
        let worker = &toy.rotation.targets[&name("worker")];
        assert_eq!(worker.evidence, None, "closed: {closed}");
        assert_eq!(worker.terms.place.as_deref(), Some("elsewhere"));
        assert!(clear(&toy.rotation, vec![V1], toy.now).is_none());
        toy.run_until(|toy| !toy.held.is_empty() && toy.held.contains_key(&name("worker")));
        assert!(toy.rotation.targets[&name("api")].evidence.is_some());
        opened.config = config;
        opened.open(Lane::Emergency, Trigger::MaxAge).expect("may open");
        assert_eq!(opened.rotation.targets[&name("worker")].evidence, None, "closed: {closed}");
    }
}

#[test]
fn a_place_that_an_older_record_did_not_note_is_no_move() {
    let mut toy = overlapping();
    toy.rotation.targets.get_mut(&name("worker")).expect("a target").terms.place = None;
    toy.configure(toy.config.clone());
    let worker = &toy.rotation.targets[&name("worker")];
    assert!(worker.evidence.is_some() && worker.terms.place.is_some());
}

#[test]
fn what_cannot_be_attested_is_assumed_after_its_propagation_and_not_before() {
    let mut toy = webhook();
    let mut config = toy.config.clone();
    let stored = TargetTerms { needs: Level::Stored, unattested: true, ..target(Role::Both) };
    config.insert(name("worker"), stored);
    toy.configure(config);
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "admit");
    toy.run_until(|toy| toy.rotation.targets[&name("api")].evidence.is_some());
    toy.happen(shows(&toy, Level::Stored));
    let worker = &toy.rotation.targets[&name("worker")];
    assert!(is_reached(worker) && !is_settled(worker, toy.now));
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
}

// ---------------------------------------------------------------- targets that come and go

#[test]
fn a_removed_target_keeps_everything_until_it_is_waived_by_name() {
    let mut toy = overlapping();
    toy.configure(without(&toy, "worker"));
    let wait = toy.run();
    assert_eq!(wait.needs_human, Some(Reason::TargetRemoved), "{}", toy.trace());
    assert!(toy.material.contains_key(&V1), "{}", toy.trace());
    toy.happen(Happening::Waived { target: name("worker"), by: "ada".to_owned() });
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert!(!toy.material.contains_key(&V1), "{}", toy.trace());
}

#[test]
fn a_removed_target_that_comes_back_goes_on_where_it_stood() {
    let mut toy = overlapping();
    let all = toy.config.clone();
    let told = toy.rotation.targets[&name("worker")].wanted.generation;
    toy.configure(without(&toy, "worker"));
    toy.run();
    toy.configure(all);
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert!(toy.rotation.targets[&name("worker")].wanted.generation > told, "{}", toy.trace());
}

#[test]
fn a_target_that_went_and_came_back_between_rotations_is_never_told_a_lower_generation() {
    let mut toy = webhook();
    let all = toy.config.clone();
    let told = toy.held[&name("worker")].wanted.generation;
    toy.configure(without(&toy, "worker"));
    toy.run();
    assert!(!toy.rotation.targets.contains_key(&name("worker")));
    toy.configure(all);
    toy.run();
    assert!(toy.held[&name("worker")].wanted.generation > told, "{}", toy.trace());
}

#[test]
fn a_target_that_joins_counts_from_then_on() {
    let mut toy = overlapping();
    let mut config = toy.config.clone();
    config.insert(name("late"), target(Role::Both));
    toy.configure(config);
    // It does not answer: nothing goes.
    for _ in 0..200 {
        let silent = toy.next_effect().and_then(Effect::target) == Some(&name("late"));
        toy.step(if silent { Fault::Refused } else { Fault::None });
    }
    assert!(toy.material.contains_key(&V1), "{}", toy.trace());
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert_eq!(toy.held[&name("late")].wanted.accepted, [V2], "{}", toy.trace());
}

#[test]
fn a_target_that_joins_before_there_is_a_value_is_told_nothing() {
    let mut toy = Toy::new(Kind::WebhookHmac, Capabilities::local());
    let mut config = toy.config.clone();
    config.insert(name("late"), target(Role::Both));
    toy.configure(config);
    assert_eq!(toy.rotation.targets[&name("late")].wanted.generation, Generation(0));
    let Next::Do(effects) = decide(&toy.rotation, toy.now) else { panic!("{}", toy.trace()) };
    assert_eq!(effects, [Effect::Make { version: V1 }]);
}

#[test]
fn a_target_that_lost_everything_is_brought_back_although_nothing_is_open() {
    let mut toy = webhook();
    let mut config = toy.config.clone();
    for terms in config.values_mut() {
        terms.observe_every = Some(Span::from_secs(600));
    }
    toy.configure(config);
    let wanted = toy.held[&name("worker")].wanted.clone();
    let holding = toy.held.get_mut(&name("worker")).expect("it holds something");
    (holding.wanted.generation, holding.wanted.accepted) = (Generation(0), Vec::new());
    // Nobody can promise anything about it before it is back.
    toy.joined.remove(&name("worker"));
    let began = toy.now;
    toy.run_until(|toy| toy.now.since(began) > Span::from_secs(700));
    assert_eq!(toy.held[&name("worker")].wanted, wanted, "{}", toy.trace());
}

#[test]
fn a_waived_target_is_still_told_and_counts_again_next_time() {
    let mut toy = overlapping();
    toy.happen(Happening::Waived { target: name("worker"), by: "ada".to_owned() });
    toy.run();
    assert_eq!(toy.held[&name("worker")].wanted.accepted, [V2], "{}", toy.trace());
    toy.open_next(Lane::Routine);
    assert_eq!(toy.rotation.targets[&name("worker")].waived_by, None);
}

// ---------------------------------------------------------------- dates and numbers

#[test]
fn rotating_again_extends_nothing() {
    let mut toy = overlapping();
    let dates = toy.rotation.outgoing.clone();
    toy.pass(toy.now + Span::from_secs(10));
    toy.open(Lane::Routine, Trigger::Repair { by: "ada".to_owned() }).expect("may supersede");
    assert_eq!(toy.rotation.outgoing[0], dates[0]);
    toy.run_until(|toy| toy.rotation.phase.name() == "overlap");
    assert_eq!(toy.rotation.outgoing[0], dates[0], "{}", toy.trace());
    toy.run_until(|toy| !toy.material.contains_key(&V1));
    let gone_at = toy.now;
    let earliest = dates[0].earliest.expect("the overlap has an end");
    assert!(gone_at.since(earliest) <= Span::from_secs(10), "{}", toy.trace());
}

#[test]
fn a_leak_only_ever_brings_a_date_forward() {
    let mut toy = overlapping();
    let latest = |toy: &Toy| toy.rotation.outgoing[0].latest;
    toy.taint(V1);
    let first = latest(&toy);
    assert_eq!(first, Some(toy.now + toy.policy.max_exposure));
    assert_eq!(toy.rotation.outgoing[0].earliest, Some(toy.now));
    toy.policy.max_exposure = Span::from_secs(9_000);
    toy.pass(toy.now + Span::from_secs(10));
    toy.open(Lane::Emergency, Trigger::MaxAge).expect("may supersede");
    assert_eq!(latest(&toy), first);
}

#[test]
fn at_most_five_versions_are_accepted() {
    let mut toy = webhook();
    toy.open_next(Lane::Routine);
    for _ in 0..ACCEPTED_MAX {
        let accepted = |toy: &Toy| {
            toy.rotation.targets.values().map(|t| t.wanted.accepted.len()).max().unwrap_or(0)
        };
        toy.run_until(|toy| toy.rotation.phase.name() == "switch");
        let before = accepted(&toy);
        match toy.open(Lane::Emergency, Trigger::MaxAge) {
            Ok(()) => assert!(before < ACCEPTED_MAX, "{before} were accepted"),
            Err(refused) => {
                assert_eq!(refused, CannotOpen::TooManyVersions);
                assert_eq!(before, ACCEPTED_MAX);
                toy.run();
                assert_eq!(accepted(&toy), 1, "{}", toy.trace());
                return;
            }
        }
    }
    panic!("never refused\n{}", toy.trace());
}

#[test]
fn the_pauses_are_those_of_the_table() {
    let waits = |class, lane| {
        let mut trouble = Trouble::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            trouble = trouble.met(failure(class), lane, Timestamp(0));
            waits.push(trouble.not_before.expect("a pause").since(Timestamp(0)).0);
        }
        waits
    };
    let throttled = Class::Throttled(Span::from_secs(20));
    let table = [
        (Class::Transient, Lane::Routine, [1, 2, 5, 15, 30, 60, 300, 900, 900]),
        (Class::Ambiguous, Lane::Routine, [1, 2, 5, 15, 30, 60, 300, 900, 900]),
        (throttled, Lane::Routine, [20, 20, 20, 20, 30, 60, 300, 900, 900]),
        (Class::Refused, Lane::Routine, [60, 60, 60, 60, 60, 60, 300, 900, 900]),
        (Class::Gone, Lane::Emergency, [5, 5, 5, 5, 10, 30, 30, 30, 30]),
        (throttled, Lane::Emergency, [20, 20, 20, 20, 20, 30, 30, 30, 30]),
    ];
    for (class, lane, seconds) in table {
        assert_eq!(waits(class, lane), seconds.map(|s| s * 1_000), "{class:?} {lane:?}");
    }
    let quick = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 30_000, 30_000, 30_000];
    assert_eq!(waits(Class::Transient, Lane::Emergency), quick);
}

#[test]
fn a_person_is_told_after_some_failures_or_at_once_where_trying_is_hopeless() {
    let failed = |class, times: u32| {
        let met = Failure { class, reason: Reason::Denied };
        let tried = |trouble: Trouble, _| trouble.met(met, Lane::Routine, Timestamp(0));
        (0..times).fold(Trouble::default(), tried).needs_human()
    };
    for class in [Class::Transient, Class::Ambiguous, Class::Throttled(Span::ZERO)] {
        assert_eq!(failed(class, ATTEMPTS_BEFORE_HUMAN - 1), None, "{class:?}");
        assert_eq!(failed(class, ATTEMPTS_BEFORE_HUMAN), Some(Reason::Denied), "{class:?}");
    }
    for class in [Class::Refused, Class::Gone] {
        assert_eq!(failed(class, 1), Some(Reason::Denied), "{class:?}");
    }
}
