//! What goes without evidence: when, why, what is asked first, and what a hold does about it.

use crate::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use crate::model::id::VersionId;
use crate::model::policy::{Hold, Kind, Lane, OnLeak};
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::model::version::Stage;
use crate::rotation::decide::{Next, Wait, Why, decide};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::tests::routes;
use crate::rotation::tests::toy::{Fault, Step, Toy, name, remote};
use crate::rotation::{ForcedRule, route};

const V1: VersionId = VersionId(1);

fn hold(toy: &Toy, routine_only: bool) -> Happening {
    Happening::Held {
        hold: Hold {
            by: "ada".to_owned(),
            reason: "an audit".to_owned(),
            at: toy.now,
            until: toy.now + Span::from_secs(3600),
            routine_only,
        },
    }
}

/// A key on an issuer with room for two, in use, and its successor waiting for a target that
/// does not answer any more.
fn stalled(on_leak: OnLeak) -> Toy {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.run();
    toy.policy.on_leak = on_leak;
    toy.taint(V1);
    toy
}

/// Goes on for a while with `worker` out of reach, or until nothing else moves, and says what
/// was waited for last.
fn run_without_worker(toy: &mut Toy, span: Span) -> Option<Wait> {
    let until = toy.now + span;
    let mut last = None;
    while toy.now < until {
        let silent = toy.next_effect().and_then(Effect::target) == Some(&name("worker"));
        let fault = if silent { Fault::Refused } else { Fault::None };
        match toy.step(fault) {
            Step::Moved => {}
            Step::Waited(wait) => last = Some(wait),
            Step::Rests(wait) => return Some(wait),
        }
    }
    last
}

fn forced(toy: &Toy) -> Vec<(VersionId, ForcedRule, Vec<String>)> {
    let plain =
        |names: &[crate::model::id::TargetName]| names.iter().map(|n| n.to_string()).collect();
    let all = toy.rotation.forced.iter();
    all.map(|f| (f.version, f.rule, plain(&f.targets_without_evidence))).collect()
}

#[test]
fn an_exposed_version_goes_at_its_deadline_without_the_evidence_of_a_silent_target() {
    let mut toy = stalled(OnLeak::KeepServing);
    let exposure = toy.policy.max_exposure;
    run_without_worker(&mut toy, exposure);
    assert_eq!(forced(&toy), [], "before the deadline nothing is forced\n{}", toy.trace());
    run_without_worker(&mut toy, Span::from_secs(5));
    let expected = (V1, ForcedRule::MaxExposure, vec!["worker".to_owned()]);
    assert_eq!(forced(&toy), [expected], "{}", toy.trace());
    assert!(toy.keys.values().all(|key| key.version != V1 || !key.alive), "{}", toy.trace());
}

#[test]
fn after_a_downtime_targets_are_asked_before_the_deadline_acts() {
    let mut toy = stalled(OnLeak::KeepServing);
    run_without_worker(&mut toy, Span::from_secs(2));
    toy.run_until(|toy| toy.rotation.phase.name() == "switch");
    // The loop was away past the deadline; back-off does not keep it from asking.
    let away = toy.now + Span::from_secs(500);
    toy.pass(away);
    let Next::Do(first) = decide(&toy.rotation, toy.now) else { panic!("{}", toy.trace()) };
    let asks = |effect: &Effect| effect.target().is_some();
    assert!(first.iter().any(asks) && !first.iter().any(Effect::is_destructive), "{first:?}");
    assert_eq!(forced(&toy), []);
    run_without_worker(&mut toy, Span::from_secs(5));
    let expected = (V1, ForcedRule::MaxExposure, vec!["worker".to_owned()]);
    assert_eq!(forced(&toy), [expected], "{}", toy.trace());
}

#[test]
fn containing_waits_neither_for_evidence_nor_for_a_successor() {
    for (route, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.run();
        toy.policy.on_leak = OnLeak::Contain;
        toy.taint(V1);
        toy.step(Fault::None);
        let Next::Record(event) = decide(&toy.rotation, toy.now) else { panic!("{route}") };
        let Happening::Cut { forced } = event.what else { panic!("{route}: {:?}", event.what) };
        assert_eq!((forced.version, forced.rule), (V1, ForcedRule::Contain), "{route}");
    }
}

#[test]
fn a_hold_beats_every_deadline_of_ours_and_a_person_is_told_at_once() {
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        let mut toy = stalled(on_leak);
        toy.happen(hold(&toy, false));
        let wait = run_without_worker(&mut toy, Span::from_secs(60)).expect("it waits");
        assert_eq!(wait.needs_human, Some(Reason::HeldWhileExposed), "{}", toy.trace());
        assert_eq!(wait.why, Why::Held);
        assert_eq!(forced(&toy), []);
        assert!(toy.keys.values().all(|key| key.alive), "{}", toy.trace());
        toy.happen(Happening::Released);
        run_without_worker(&mut toy, Span::from_secs(10));
        assert_eq!(forced(&toy)[0].0, V1, "{}", toy.trace());
    }
}

#[test]
fn a_hold_for_routine_work_does_not_bind_an_emergency() {
    let mut toy = stalled(OnLeak::Contain);
    toy.happen(hold(&toy, true));
    toy.run();
    assert_eq!(forced(&toy)[0].1, ForcedRule::Contain, "{}", toy.trace());
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
}

#[test]
fn a_hold_ends_by_itself() {
    let mut toy = stalled(OnLeak::Contain);
    toy.happen(hold(&toy, false));
    let began = toy.now;
    toy.run();
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert!(toy.now.since(began) >= Span::from_secs(3600), "{}", toy.trace());
}

#[test]
fn what_the_issuer_ends_by_its_clock_is_recorded_although_it_is_held() {
    let clock = OldDies::IssuerClock { grace: Span::from_secs(40) };
    let capabilities = remote(ValueFrom::Theirs, clock, OnLost::AdoptThenRoll);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.run();
    toy.open_next(Lane::Routine);
    toy.happen(hold(&toy, false));
    run_without_worker(&mut toy, Span::from_secs(39));
    assert_eq!(forced(&toy), [], "{}", toy.trace());
    run_without_worker(&mut toy, Span::from_secs(10));
    let expected = (V1, ForcedRule::IssuerClock, vec!["worker".to_owned()]);
    assert_eq!(forced(&toy), [expected], "{}", toy.trace());
}

#[test]
fn what_a_mint_ends_is_recorded_with_everybody_who_used_it() {
    for value in [ValueFrom::Ours, ValueFrom::Theirs] {
        let capabilities = remote(value, OldDies::OnMint, OnLost::Repeat);
        let mut toy = Toy::new(Kind::ApiKey, capabilities);
        toy.run();
        toy.open_next(Lane::Routine);
        toy.run_until(|toy| !toy.rotation.forced.is_empty());
        let everybody = vec!["api".to_owned(), "worker".to_owned()];
        assert_eq!(forced(&toy), [(V1, ForcedRule::DiesOnMint, everybody)], "{}", toy.trace());
    }
}

#[test]
fn a_hold_keeps_a_mint_that_would_end_the_old_version_from_starting() {
    for value in [ValueFrom::Ours, ValueFrom::Theirs] {
        let capabilities = remote(value, OldDies::OnMint, OnLost::Repeat);
        let mut toy = Toy::new(Kind::ApiKey, capabilities);
        toy.run();
        toy.open_next(Lane::Routine);
        toy.happen(hold(&toy, false));
        let began = toy.now;
        toy.run_until(|toy| toy.now.since(began) >= Span::from_secs(1000));
        let alive: Vec<VersionId> =
            toy.keys.values().filter(|key| key.alive).map(|key| key.version).collect();
        assert_eq!(alive, [V1], "{}", toy.trace());
        toy.run();
        assert_eq!(toy.rotation.current(), Some(VersionId(2)), "{}", toy.trace());
    }
}

#[test]
fn a_hold_gives_back_what_verifiers_were_told_to_drop() {
    for (route, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        if !route::targets_verify(&toy.rotation.terms) {
            continue;
        }
        toy.run();
        toy.open_next(Lane::Routine);
        toy.run_until(|toy| toy.rotation.phase.name() == "retire");
        // One verifier has dropped it already.
        toy.step(Fault::None);
        toy.step(Fault::None);
        let told = toy.rotation.generation;
        toy.pending.clear();
        toy.happen(hold(&toy, false));
        assert_eq!(toy.rotation.phase.name(), "overlap", "{route}");
        let began = toy.now;
        toy.run_until(|toy| toy.now.since(began) >= Span::from_secs(600));
        for (target, holding) in &toy.held {
            assert!(holding.wanted.accepted.contains(&V1), "{route}: {target}\n{}", toy.trace());
            assert!(holding.wanted.generation > told, "{route}: {target}\n{}", toy.trace());
        }
        toy.run();
        assert!(toy.rotation.is_closed(), "{route}\n{}", toy.trace());
        assert!(!toy.material.contains_key(&V1), "{route}\n{}", toy.trace());
    }
}

// ---------------------------------------------------------------- an end that does not go on

/// A key whose end began on good evidence. The issuer could not be told until that was too old, and
/// meanwhile a target has fallen silent.
fn stuck_in_its_end(on_leak: OnLeak) -> Toy {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.rotation.terms.capabilities.capacity = None;
    toy.run();
    toy.policy.on_leak = on_leak;
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.leaving.contains_key(&V1));
    toy.step(Fault::None);
    assert_eq!(toy.next_effect(), Some(&Effect::Revoke { version: V1 }), "{}", toy.trace());
    toy.step(Fault::Refused);
    let too_old = toy.now + toy.policy.evidence_max_age + Span::from_secs(1);
    toy.pass(too_old);
    run_without_worker(&mut toy, Span::from_secs(300));
    assert!(!toy.rotation.leaving[&V1].revoked, "{}", toy.trace());
    assert_eq!(forced(&toy), [], "{}", toy.trace());
    toy
}

fn lives(toy: &Toy, version: VersionId) -> bool {
    toy.keys.values().any(|key| key.version == version && key.alive)
}

#[test]
fn an_exposed_version_whose_end_had_begun_is_cut_at_its_deadline() {
    // Containing asks nobody: what the api has shown is too old as well.
    let cases = [
        (OnLeak::Contain, ForcedRule::Contain, vec!["api".to_owned(), "worker".to_owned()]),
        (OnLeak::KeepServing, ForcedRule::MaxExposure, vec!["worker".to_owned()]),
    ];
    for (on_leak, rule, lacking) in cases {
        let mut toy = stuck_in_its_end(on_leak);
        toy.taint(V1);
        let exposure = toy.policy.max_exposure;
        if on_leak == OnLeak::KeepServing {
            run_without_worker(&mut toy, exposure);
            assert_eq!(forced(&toy), [], "before the deadline\n{}", toy.trace());
        }
        run_without_worker(&mut toy, Span::from_secs(5));
        assert_eq!(forced(&toy), [(V1, rule, lacking)], "{}", toy.trace());
        assert!(!lives(&toy, V1), "{}", toy.trace());
    }
}

#[test]
fn what_supersedes_inherits_the_deadline_of_an_end_that_had_begun() {
    let mut toy = stuck_in_its_end(OnLeak::Contain);
    let v2 = VersionId(2);
    toy.taint(v2);
    toy.step(Fault::None);
    assert_eq!(toy.rotation.phase.name(), "stage", "superseded\n{}", toy.trace());
    toy.taint(V1);
    run_without_worker(&mut toy, Span::from_secs(5));
    let all: Vec<_> = forced(&toy).into_iter().map(|(version, rule, _)| (version, rule)).collect();
    let expected = [(v2, ForcedRule::Contain), (V1, ForcedRule::Contain)];
    assert_eq!(all, expected, "{}", toy.trace());
    assert!(!lives(&toy, V1) && !lives(&toy, v2), "{}", toy.trace());
}

#[test]
fn an_end_that_goes_on_by_itself_needs_no_exception() {
    let mut toy = stuck_in_its_end(OnLeak::KeepServing);
    toy.taint(V1);
    // The worker is back: its answer is all that was missing.
    toy.run();
    assert_eq!(forced(&toy), [], "{}", toy.trace());
    assert!(!lives(&toy, V1) && toy.rotation.is_closed(), "{}", toy.trace());
}

#[test]
fn after_a_downtime_an_end_that_had_begun_asks_before_its_deadline_acts() {
    let mut toy = stuck_in_its_end(OnLeak::KeepServing);
    toy.taint(V1);
    let away = toy.now + Span::from_secs(500);
    toy.pass(away);
    toy.run();
    assert_eq!(forced(&toy), [], "{}", toy.trace());
    assert!(!lives(&toy, V1) && toy.rotation.is_closed(), "{}", toy.trace());
}

#[test]
fn a_hold_on_an_exposed_version_whose_end_had_begun_is_told_at_once() {
    for on_leak in [OnLeak::Contain, OnLeak::KeepServing] {
        let mut toy = stuck_in_its_end(on_leak);
        toy.happen(hold(&toy, false));
        toy.taint(V1);
        let wait = run_without_worker(&mut toy, Span::from_secs(60)).expect("it waits");
        assert_eq!(wait.needs_human, Some(Reason::HeldWhileExposed), "{}", toy.trace());
        assert_eq!((wait.why, forced(&toy)), (Why::Held, Vec::new()), "{}", toy.trace());
        assert!(lives(&toy, V1), "{}", toy.trace());
        toy.happen(Happening::Released);
        run_without_worker(&mut toy, Span::from_secs(10));
        assert!(!lives(&toy, V1), "{}", toy.trace());
    }
}

#[test]
fn a_hold_on_a_version_that_was_cut_and_is_not_gone_yet_is_told_at_once() {
    let mut toy = stalled(OnLeak::Contain);
    toy.run_until(|toy| !toy.rotation.forced.is_empty());
    toy.happen(hold(&toy, false));
    let wait = run_without_worker(&mut toy, Span::from_secs(60)).expect("it waits");
    assert_eq!(wait.needs_human, Some(Reason::HeldWhileExposed), "{}", toy.trace());
    assert!(lives(&toy, V1), "{}", toy.trace());
}

#[test]
fn a_version_that_verifiers_have_dropped_and_the_issuer_still_has_is_cut_too() {
    let mut toy = stuck_in_its_end(OnLeak::Contain);
    toy.rotation.versions.get_mut(&V1).expect("it is leaving").stage = Stage::Retired;
    toy.taint(V1);
    run_without_worker(&mut toy, Span::from_secs(5));
    assert_eq!(forced(&toy)[0].1, ForcedRule::Contain, "{}", toy.trace());
    assert!(!lives(&toy, V1), "{}", toy.trace());
}

#[test]
fn a_target_that_was_asked_in_the_future_is_asked_now() {
    let mut toy = Toy::new(Kind::WebhookHmac, Capabilities::local());
    toy.run();
    let observed = toy.rotation.targets.get_mut(&name("worker")).expect("a target");
    observed.terms.observe_every = Some(Span::from_secs(600));
    // The clock was set back by a day.
    observed.asked_at = Some(toy.now + Span::from_secs(86_400));
    let asks = Next::Do(vec![Effect::Observe { target: name("worker") }]);
    assert_eq!(decide(&toy.rotation, toy.now), asks);
}
