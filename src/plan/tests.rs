//! The order of the rules, and plans followed through time.

mod life;

use chrono::DateTime;

use super::*;
use crate::model::time::Span;
use crate::plan::breaker::{BreakerRule, Went};
use crate::plan::cadence::{Cadence, ScheduledRun};
use crate::plan::facts::{Current, Initial, Open};
use crate::plan::rules::{EMERGENCY_REST, ROOM_RECHECK, ROUTINE_REST};
use crate::plan::schedule::Schedule;
use crate::plan::window::{Freeze, Window};

const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(86_400);
const ROUTINE: Ask = Ask { lane: Lane::Routine, by_hand: false };
const EMERGENCY: Ask = Ask { lane: Lane::Emergency, by_hand: false };

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text}")).to_utc().into()
}

/// A Sunday, nine hours after the run of [`daily`].
fn noon() -> Timestamp {
    at("2026-11-22T12:00:00Z")
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn cadence(schedule: &str) -> Cadence {
    let schedule = Schedule::parse(schedule, "UTC").unwrap_or_else(|error| panic!("{error}"));
    Cadence { schedule: Some(schedule), ..Cadence::default() }
}

fn daily() -> Cadence {
    cadence("0 3 * * *")
}

/// A secret with a version and nothing against it, whose runs are settled until a moment.
fn facts<'a>(name: &'a SecretName, cadence: &'a Cadence, settled: Timestamp) -> Facts<'a> {
    Facts {
        last_scheduled: Some(settled),
        current: Some(Current { promoted_at: settled, tainted_at: None }),
        ..Facts::new(name, cadence)
    }
}

fn tripped(at: Timestamp) -> Breaker {
    let mut breaker = Breaker::new(BreakerRule { failed_at_least: 1, out_of: 4, rest: HOUR });
    breaker.note(Went { opened_at: at - HOUR, known_at: at, well: false });
    breaker
}

fn full() -> Budget {
    Budget { moving_max: 2, emergency_reserve: 1, routine_moving: 1, emergency_moving: 1 }
}

fn started(plan: &Plan) -> Vec<&str> {
    plan.start.iter().map(|start| start.name.as_str()).collect()
}

#[test]
fn the_first_reason_to_be_due_decides() {
    let (name, now) = (name("billing"), noon());
    let cadence = Cadence { max_age: Some(DAY), ..daily() };
    let mut facts = facts(&name, &cadence, now - DAY);
    let scheduled = DueBecause::Scheduled { instant: at("2026-11-22T03:00:00Z") };
    facts.current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now - HOUR) });

    let trigger = |facts: &Facts<'_>| {
        let plan = plan(std::slice::from_ref(facts), &Limits::default(), now);
        plan.start.first().map(|start| (start.trigger, start.lane, start.id.0.clone()))
    };
    let leaked = (DueBecause::Leaked, Lane::Emergency, "20261122T110000Z-leaked".to_owned());
    assert_eq!(trigger(&facts), Some(leaked));
    facts.current = None;
    facts.initial = Initial::Generate;
    let initial = (DueBecause::NeverIssued, Lane::Routine, "initial".to_owned());
    assert_eq!(trigger(&facts), Some(initial));
    facts.current = Some(Current { promoted_at: now - DAY, tainted_at: None });
    let too_old = (DueBecause::TooOld, Lane::Routine, "20261122T120000Z-max-age".to_owned());
    assert_eq!(trigger(&facts), Some(too_old));
    facts.current = Some(Current { promoted_at: now - DAY + Span(1), tainted_at: None });
    let run = (scheduled, Lane::Routine, "20261122T030000Z-scheduled".to_owned());
    assert_eq!(trigger(&facts), Some(run));
    facts.last_scheduled = Some(at("2026-11-22T03:00:00Z"));
    assert_eq!(trigger(&facts), None);
}

#[test]
fn the_first_rule_against_a_start_decides() {
    let (name, now) = (name("billing"), noon());
    let mut cadence = Cadence {
        windows: vec![Window::parse("mon 09:00-17:00", "UTC").unwrap()],
        freezes: vec![Freeze { name: "sale".into(), from: now - HOUR, until: now + HOUR }],
        ..daily()
    };
    let mut limits = Limits { budget: full(), breaker: tripped(now) };
    let bad = Facts {
        unmanaged: true,
        reconcile_required: true,
        unwound_at: Some(now),
        full: true,
        ..Facts::new(&name, &cadence)
    };
    let monday = at("2026-11-23T09:00:00Z");
    let refusal = |facts: &Facts<'_>, limits: &Limits| {
        may_start(facts, ROUTINE, limits, now).map_err(|refusal| (refusal.reason, refusal.until))
    };

    let mut facts = bad.clone();
    assert_eq!(refusal(&facts, &limits), Err((Reason::Unmanaged, None)));
    facts.unmanaged = false;
    assert_eq!(refusal(&facts, &limits), Err((Reason::ReconcileRequired, None)));
    facts.reconcile_required = false;
    assert_eq!(refusal(&facts, &limits), Err((Reason::NotAdopted, None)));
    facts.open = Some(Open { promoted: true, possible_at: Some(now + DAY), ..Open::default() });
    assert_eq!(refusal(&facts, &limits), Err((Reason::RotationOpen, Some(now + DAY))));
    facts.open = None;
    facts.initial = Initial::Generate;
    assert_eq!(refusal(&facts, &limits), Err((Reason::TooManyVersions, None)));
    facts.full = false;
    // The rest ends in an hour, and then no window is open.
    assert_eq!(refusal(&facts, &limits), Err((Reason::Resting, Some(monday))));
    facts.unwound_at = None;
    assert_eq!(refusal(&facts, &limits), Err((Reason::Frozen, Some(monday))));

    cadence.freezes.clear();
    let mut facts = Facts { initial: Initial::Generate, ..Facts::new(&name, &cadence) };
    assert_eq!(refusal(&facts, &limits), Err((Reason::OutsideWindow, Some(monday))));
    let open_now = daily();
    facts.cadence = &open_now;
    assert_eq!(refusal(&facts, &limits), Err((Reason::Busy, Some(now + ROOM_RECHECK))));
    limits.budget = Budget::default();
    assert_eq!(refusal(&facts, &limits), Err((Reason::BreakerOpen, Some(now + HOUR))));
    limits.breaker = Breaker::default();
    assert_eq!(refusal(&facts, &limits), Ok(()));
}

#[test]
fn each_rule_binds_whom_it_should() {
    let (name, now) = (name("billing"), noon());
    let frozen = Cadence {
        freezes: vec![Freeze { name: "sale".into(), from: now, until: now + HOUR }],
        ..Cadence::default()
    };
    let windowed = Cadence {
        windows: vec![Window::parse("mon 09:00-17:00", "UTC").unwrap()],
        ..Cadence::default()
    };
    let none = Cadence::default();
    let good = facts(&name, &none, now - DAY);
    let open = |promoted| Some(Open { promoted, possible_at: None, ..Open::default() });
    let plain = Limits::default();
    let busy = Limits { budget: full(), ..Limits::default() };
    let reserved = Limits {
        budget: Budget { moving_max: 2, emergency_reserve: 1, routine_moving: 1, ..full() },
        ..Limits::default()
    };
    let reserved =
        Limits { budget: Budget { emergency_moving: 0, ..reserved.budget.clone() }, ..reserved };
    let broken = Limits { breaker: tripped(now), ..Limits::default() };
    let unwound = |ago| Facts { unwound_at: Some(now - ago), ..good.clone() };
    // Facts and limits -> whether an emergency, and whether a routine by hand, may start. A
    // routine rotation by itself may not in any row.
    let table = [
        ("unmanaged", Facts { unmanaged: true, ..good.clone() }, &plain, false, false),
        ("reconcile", Facts { reconcile_required: true, ..good.clone() }, &plain, false, false),
        ("not adopted", Facts { current: None, ..good.clone() }, &plain, false, false),
        ("open, promoted", Facts { open: open(true), ..good.clone() }, &plain, true, false),
        ("open, before", Facts { open: open(false), ..good.clone() }, &plain, false, false),
        ("full", Facts { full: true, ..good.clone() }, &plain, false, false),
        ("unwound just now", unwound(Span(1)), &plain, false, true),
        ("unwound a while ago", unwound(EMERGENCY_REST), &plain, true, true),
        ("frozen", Facts { cadence: &frozen, ..good.clone() }, &plain, true, false),
        ("outside", Facts { cadence: &windowed, ..good.clone() }, &plain, true, false),
        ("no room", good.clone(), &busy, false, false),
        ("room in the reserve", good.clone(), &reserved, true, false),
        ("superseding", Facts { open: open(true), ..good.clone() }, &busy, true, false),
        ("breaker", good.clone(), &broken, true, true),
    ];
    for (case, facts, limits, emergency, by_hand) in table {
        let may = |ask| may_start(&facts, ask, limits, now).is_ok();
        assert!(!may(ROUTINE), "{case}");
        assert_eq!(may(EMERGENCY), emergency, "{case}: emergency");
        assert_eq!(may(Ask { lane: Lane::Routine, by_hand: true }), by_hand, "{case}: by hand");
    }
    assert!(may_start(&unwound(ROUTINE_REST), ROUTINE, &plain, now).is_ok());
}

#[test]
fn a_contained_secret_without_a_successor_is_due_as_an_emergency_whatever_began_it() {
    let (name, now) = (name("billing"), noon());
    let daily = daily();
    let facts = Facts { current: None, contained: true, ..facts(&name, &daily, now - DAY) };
    let plan = plan(&[facts], &Limits::default(), now);
    let start = plan.start.first().expect("starts");
    assert_eq!((start.lane, start.trigger), (Lane::Emergency, DueBecause::Leaked));
}

#[test]
fn a_refused_secret_says_why_and_the_plan_wakes_for_it() {
    let (name, now) = (name("billing"), noon());
    let daily = daily();
    let mut facts = facts(&name, &daily, now - DAY);
    facts.open = Some(Open { promoted: true, possible_at: Some(now + HOUR), ..Open::default() });
    let plan_now = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    let trigger = DueBecause::Scheduled { instant: at("2026-11-22T03:00:00Z") };
    let refused = Refused {
        name: name.clone(),
        trigger,
        reason: Reason::RotationOpen,
        until: Some(now + HOUR),
    };
    assert_eq!(plan_now.refused, [refused]);
    assert_eq!(plan_now.start, []);
    assert_eq!(plan_now.wake_at, Some(now + HOUR));
    assert_eq!(next_wake(&facts, &Limits::default(), now), Some(now + HOUR));
    // The guess was wrong: an event will tell, and nothing turns in a circle until then.
    let later = now + HOUR;
    assert_eq!(next_wake(&facts, &Limits::default(), later), None);
    let plan_later = plan(std::slice::from_ref(&facts), &Limits::default(), later);
    assert_eq!((plan_later.refused[0].until, plan_later.wake_at), (None, None));
}

#[test]
fn an_open_rotation_that_brings_a_version_answers_every_need_for_one() {
    let (name, now) = (name("billing"), noon());
    let cadence = Cadence { max_age: Some(DAY), ..Cadence::default() };
    let mut facts = facts(&name, &cadence, now - DAY);
    facts.current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now) });
    facts.open = Some(Open { promoted: false, possible_at: None, ..Open::default() });
    let plan_before = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    assert_eq!(plan_before, Plan::default());
    facts.current = None;
    let plan_initial = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    assert_eq!(plan_initial, Plan::default());
    // Once it has promoted, the version that leaked is the new one.
    facts.current = Some(Current { promoted_at: now, tainted_at: Some(now) });
    facts.open = Some(Open { promoted: true, possible_at: None, ..Open::default() });
    let plan_after = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    assert_eq!(plan_after.start[0].trigger, DueBecause::Leaked);
}

#[test]
fn missed_runs_are_caught_up_once() {
    let (name, cadence) = (name("billing"), cadence("0 * * * *"));
    let down_since = at("2026-11-01T00:30:00Z");
    let mut facts = facts(&name, &cadence, down_since);
    let now = at("2026-11-22T12:20:00Z");
    let plan_up = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    let instant = at("2026-11-22T12:00:00Z");
    assert_eq!(plan_up.start.len(), 1);
    assert_eq!(plan_up.start[0].trigger, DueBecause::Scheduled { instant });
    facts.last_scheduled = Some(instant);
    let plan_next = plan(std::slice::from_ref(&facts), &Limits::default(), now);
    assert_eq!(plan_next.start, []);
    assert_eq!(plan_next.wake_at, Some(at("2026-11-22T13:00:00Z")));
}

#[test]
fn what_is_settled_is_not_caught_up() {
    let (name, daily) = (name("billing"), daily());
    let now = noon();
    let due = |facts: &Facts<'_>| {
        !plan(std::slice::from_ref(facts), &Limits::default(), now).start.is_empty()
    };
    let mut facts = facts(&name, &daily, now - DAY);
    assert!(due(&facts));
    // A newer version came after the instant, in an emergency.
    facts.current = Some(Current { promoted_at: now - HOUR, tainted_at: None });
    assert!(!due(&facts));
    // The schedule is newer than the instant: a reload rotates nothing.
    facts.current = Some(Current { promoted_at: now - DAY, tainted_at: None });
    facts.cadence_since = Some(now - HOUR);
    assert!(!due(&facts));
    assert_eq!(next_wake(&facts, &Limits::default(), now), Some(at("2026-11-23T03:00:00Z")));
    facts.cadence_since = Some(now - DAY - DAY);
    assert!(due(&facts));
    // Without a record nothing was missed.
    facts.last_scheduled = None;
    assert!(!due(&facts));
}

#[test]
fn a_run_begins_after_its_jitter_under_the_name_of_its_instant() {
    let name = name("billing");
    let cadence = Cadence { jitter: HOUR, ..daily() };
    let delay = cadence.delay(&name);
    assert!(delay > Span::from_secs(60));
    let facts = facts(&name, &cadence, at("2026-11-21T12:00:00Z"));
    let instant = at("2026-11-22T03:00:00Z");
    let early = plan(std::slice::from_ref(&facts), &Limits::default(), instant + delay - Span(1));
    assert_eq!((early.start, early.wake_at), (vec![], Some(instant + delay)));
    let in_time = plan(std::slice::from_ref(&facts), &Limits::default(), instant + delay);
    assert_eq!(in_time.start[0].id.0, "20261122T030000Z-scheduled");
    assert_eq!(in_time.start[0].at, instant + delay);
    let run = ScheduledRun { instant, starts_at: instant + delay };
    assert_eq!(cadence.upcoming(&name, instant - HOUR, 1), [run]);
}

#[test]
fn a_rotation_that_failed_is_another_run_when_it_is_tried_again() {
    let (name, now) = (name("billing"), noon());
    let cadence = Cadence { max_age: Some(DAY), ..Cadence::default() };
    let id = |facts: &Facts<'_>| {
        plan(std::slice::from_ref(facts), &Limits::default(), now).start[0].id.0.clone()
    };
    let mut facts = facts(&name, &cadence, now - DAY - DAY);
    assert_eq!(id(&facts), "20261121T120000Z-max-age");
    facts.unwound_at = Some(now - HOUR);
    assert_eq!(id(&facts), "20261122T110000Z-max-age");
    // One that failed before this need arose has nothing to do with it.
    facts.unwound_at = Some(now - DAY - HOUR);
    assert_eq!(id(&facts), "20261121T120000Z-max-age");
    facts.current = None;
    facts.initial = Initial::Generate;
    assert_eq!(id(&facts), "20261121T110000Z-initial");
    // A clock that was put back: the failure lies ahead, and holds nothing up.
    facts.unwound_at = Some(now + DAY);
    assert_eq!(id(&facts), "20261123T120000Z-initial");
}

#[test]
fn room_goes_to_emergencies_then_priority_then_the_longest_due() {
    let now = noon();
    let names: Vec<SecretName> = ["a", "b", "c", "d", "e", "f"].map(name).into();
    let (daily, hourly) = (daily(), cadence("@hourly"));
    let mut all: Vec<Facts<'_>> =
        names.iter().map(|name| facts(name, &hourly, now - DAY)).collect();
    all[2].cadence = &daily;
    all[3].priority = 7;
    all[4].current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now) });
    all[5].current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now - HOUR) });
    let order = ["f", "e", "d", "c", "a", "b"];

    let everything = plan(&all, &Limits::default(), now);
    assert_eq!(started(&everything), order);
    let budget = Budget { moving_max: 5, emergency_reserve: 1, ..Budget::default() };
    let budget = Budget { routine_moving: 0, ..budget };
    let limits = Limits { budget, ..Limits::default() };
    let some = plan(&all, &limits, now);
    assert_eq!(started(&some), order[..4], "two emergencies and two more leave the reserve free");
    let refused: Vec<_> = some.refused.iter().map(|r| (r.name.as_str(), r.reason)).collect();
    assert_eq!(refused, [("a", Reason::Busy), ("b", Reason::Busy)]);
    assert_eq!(some.wake_at, Some(now + ROOM_RECHECK));
    // In whatever order the facts come.
    for _ in 0..all.len() {
        all.rotate_left(1);
        assert_eq!(plan(&all, &limits, now), some);
    }
}

#[test]
fn one_that_supersedes_another_takes_no_room() {
    let (now, daily) = (noon(), daily());
    let names = ["a", "b"].map(name);
    let mut all = [facts(&names[0], &daily, now - DAY), facts(&names[1], &daily, now - DAY)];
    for facts in &mut all {
        facts.current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now) });
    }
    all[0].open = Some(Open { promoted: true, possible_at: None, ..Open::default() });
    let budget = Budget { moving_max: 2, routine_moving: 1, ..Budget::default() };
    let limits = Limits { budget, ..Limits::default() };
    assert_eq!(started(&plan(&all, &limits, now)), ["a", "b"]);
    all[0].open = None;
    assert_eq!(started(&plan(&all, &limits, now)), ["a"]);
}

#[test]
fn a_tripped_breaker_lets_one_routine_rotation_try_and_every_emergency() {
    let now = noon();
    let names: Vec<SecretName> = ["a", "b", "c", "d"].map(name).into();
    let daily = daily();
    let mut all: Vec<Facts<'_>> = names.iter().map(|name| facts(name, &daily, now - DAY)).collect();
    all[1].current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now) });
    all[3].current = Some(Current { promoted_at: now - DAY, tainted_at: Some(now) });
    let mut limits = Limits { breaker: tripped(now - HOUR + Span(1)), ..Limits::default() };
    assert_eq!(started(&plan(&all, &limits, now)), ["b", "d"]);
    assert_eq!(plan(&all, &limits, now).wake_at, Some(now + Span(1)));
    limits.breaker = tripped(now - HOUR);
    let trial = plan(&all, &limits, now);
    assert_eq!(started(&trial), ["b", "d", "a"]);
    assert_eq!(trial.refused[0].reason, Reason::BreakerOpen);
    assert_eq!(trial.refused[0].until, Some(now + HOUR));
}

#[test]
fn a_secret_that_waits_for_a_person_wakes_nobody() {
    let (name, now, daily) = (name("billing"), noon(), daily());
    let new = Facts::new(&name, &daily);
    let unmanaged = Facts { unmanaged: true, ..facts(&name, &daily, now - DAY) };
    let unreadable = Facts { reconcile_required: true, ..Facts::new(&name, &daily) };
    for (facts, reason) in [
        (new, Reason::NotAdopted),
        (unmanaged, Reason::Unmanaged),
        (unreadable, Reason::ReconcileRequired),
    ] {
        assert_eq!(next_wake(&facts, &Limits::default(), now), None, "{reason}");
        let plan = plan(&[facts], &Limits::default(), now);
        assert_eq!((plan.start.len(), plan.wake_at), (0, None), "{reason}");
        assert_eq!(plan.refused[0].reason, reason);
    }
}
