//! Secrets that are planned over and over, through nights, zones, clock jumps and restarts.

use std::collections::BTreeSet;

use super::*;

/// A secret that is planned over and over, with what its record would remember.
struct Life<'a> {
    name: &'a SecretName,
    cadence: &'a Cadence,
    last_scheduled: Timestamp,
    promoted_at: Timestamp,
    instants: Vec<Timestamp>,
}

impl<'a> Life<'a> {
    fn new(name: &'a SecretName, cadence: &'a Cadence, born: Timestamp) -> Life<'a> {
        Life { name, cadence, last_scheduled: born, promoted_at: born, instants: Vec::new() }
    }

    fn facts(&self) -> Facts<'a> {
        let current = Current { promoted_at: self.promoted_at, tainted_at: None };
        Facts {
            last_scheduled: Some(self.last_scheduled),
            current: Some(current),
            ..Facts::new(self.name, self.cadence)
        }
    }

    /// Plans once, and lets what starts succeed at once. Returns when to look again.
    fn turn(&mut self, now: Timestamp) -> Option<Timestamp> {
        let plan = plan(&[self.facts()], &Limits::default(), now);
        for start in &plan.start {
            let DueBecause::Scheduled { instant } = start.trigger else { panic!("{start:?}") };
            assert!(instant + self.cadence.delay(self.name) <= now, "{instant} too early at {now}");
            assert_eq!(start.id, rotation_id(instant));
            self.instants.push(instant);
            self.last_scheduled = instant;
            self.promoted_at = now;
        }
        plan.wake_at
    }
}

#[test]
fn who_sleeps_until_the_plan_says_misses_nothing_and_never_turns_hot() {
    let name = name("billing");
    let born = at("2026-10-24T00:00:10Z");
    for (text, zone) in [
        ("*/20 * * * *", "Europe/Berlin"),
        ("30 2 * * *", "Australia/Lord_Howe"),
        ("0 0 1 * sat", "Africa/Cairo"),
    ] {
        let schedule = Schedule::parse(text, zone).unwrap();
        let jitter = Span::from_secs(900);
        let cadence = Cadence { schedule: Some(schedule.clone()), jitter, ..Cadence::default() };
        let mut life = Life::new(&name, &cadence, born);
        let (mut now, end) = (born, born + DAY.times(40));
        let mut turns = 0;
        while now < end {
            turns += 1;
            let wake_at = life.turn(now).unwrap_or(now);
            let next = life.facts();
            let wake_at = if wake_at > now {
                wake_at
            } else {
                // It has just started: the next plan says when.
                next_wake(&next, &Limits::default(), now).unwrap()
            };
            assert!(wake_at > now, "{text}: woken at once at {now}");
            now = wake_at;
        }
        let delay = cadence.delay(&name);
        let expected = schedule.upcoming(born, 5_000);
        let expected: Vec<_> =
            expected.into_iter().take_while(|instant| *instant + delay < end).collect();
        assert_eq!(life.instants, expected, "{text} in {zone}");
        assert_eq!(turns, expected.len() + 1, "{text} in {zone}: a turn for each run");
    }
}

#[test]
fn each_instant_runs_at_most_once_whatever_clocks_and_restarts_do() {
    let name = name("billing");
    let mut seed: u64 = 11;
    let mut draw = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (seed >> 33) % n
    };
    for _ in 0..60 {
        let text = ["*/10 * * * *", "@hourly", "0 3 * * *", "15 2 * * sun"][draw(4) as usize];
        let zone = ["Europe/Berlin", "Africa/Cairo", "Asia/Tehran", "UTC"][draw(4) as usize];
        let cadence = Cadence {
            schedule: Some(Schedule::parse(text, zone).unwrap()),
            jitter: Span::from_secs(draw(3) * 300),
            windows: match draw(2) {
                0 => vec![],
                _ => vec![Window::parse("mon-sat 22:00-06:00", zone).unwrap()],
            },
            ..Cadence::default()
        };
        let mut now = at("2026-03-20T00:00:00Z") + DAY.times(draw(300));
        let mut life = Life::new(&name, &cadence, now);
        for _ in 0..400 {
            let before = life.instants.len();
            life.turn(now);
            let twice = life.instants.len();
            // A restart, or another replica: the same question again at the same moment.
            life.turn(now);
            assert_eq!(life.instants.len(), twice, "{text}: run again at {now}");
            assert!(twice - before <= 1, "{text}: more than one run at {now}");
            now = match draw(10) {
                0 => now - Span(draw(DAY.times(3).0)),
                1 => now + Span(draw(DAY.times(9).0)),
                _ => now + Span(draw(HOUR.times(2).0)),
            };
        }
        let distinct: BTreeSet<Timestamp> = life.instants.iter().copied().collect();
        assert_eq!(distinct.len(), life.instants.len(), "{text}: an instant ran twice");
        assert!(life.instants.is_sorted(), "{text}: runs went backwards");
        assert!(!life.instants.is_empty(), "{text}: nothing ever ran");
    }
}
