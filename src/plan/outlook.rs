//! What comes for a secret if nothing else happens: for people who look ahead. Decides nothing
//! that is acted on; every answer follows from the same rules that [`plan`](super::plan) goes by.

use crate::model::policy::Lane;
use crate::model::time::Timestamp;
use crate::plan::facts::Facts;
use crate::plan::{Ask, DueBecause, Limits, Refusal, may_start, rules};

/// How a secret stands with its plan at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Why it is due, and since when; none if it is not.
    pub due: Option<(DueBecause, Timestamp)>,
    /// What keeps a rotation from starting: the one that is due, or a run of the schedule.
    pub refusal: Option<Refusal>,
    /// The next runs, the one that is due now among them if its start can be foretold.
    pub runs: Vec<Run>,
}

/// A run that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What asks for it.
    pub because: DueBecause,
    /// When it starts: jitter, windows and freezes added.
    pub at: Timestamp,
}

/// Looks ahead, over at most `n` runs. Each run is taken to go well, so that the age of the
/// current version begins anew with it.
pub fn outlook(facts: &Facts<'_>, limits: &Limits, now: Timestamp, n: usize) -> Outlook {
    let due = rules::due(facts, now);
    let lane = due.map_or(Lane::Routine, |due| due.because.lane());
    let refusal = may_start(facts, Ask { lane, by_hand: false }, limits, now).err();
    let starts_at = match refusal {
        None => Some(now),
        Some(refusal) => refusal.until,
    };
    let first = due.zip(starts_at).map(|(due, at)| Run { because: due.because, at });
    let begun = facts.current.is_some() || facts.open.is_some() || first.is_some();
    let ahead = Ahead {
        facts,
        // What is due and cannot be foretold says nothing about the age of what follows it.
        born_at: match (first, facts.current) {
            (Some(first), _) => Some(first.at),
            (None, _) if facts.awaits_version() => Some(now),
            (None, current) => current.map(|c| c.promoted_at).filter(|_| due.is_none()),
        },
        // What is open now keeps the next run waiting, whatever the schedule says.
        not_before: starts_at.unwrap_or(now),
        after: first.map_or(now, |first| first.at),
    };
    // A secret that has not begun has no runs, and none are to be sought to the end of the years.
    let ahead = begun.then_some(ahead).into_iter().flatten();
    let runs = first.into_iter().chain(ahead).take(n).collect();
    Outlook { due: due.map(|due| (due.because, due.since)), refusal, runs }
}

/// The runs after a moment, one after the other.
struct Ahead<'a> {
    facts: &'a Facts<'a>,
    born_at: Option<Timestamp>,
    not_before: Timestamp,
    after: Timestamp,
}

impl Iterator for Ahead<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let Facts { name, cadence, .. } = self.facts;
        let scheduled = cadence.upcoming(name, self.after, 1).first().map(|run| Run {
            because: DueBecause::Scheduled { instant: run.instant },
            at: run.starts_at,
        });
        let too_old_at = self.born_at.zip(cadence.max_age).map(|(born_at, age)| born_at + age);
        let too_old_at = too_old_at.and_then(|at| cadence.earliest_start(at));
        let too_old = too_old_at.map(|at| Run { because: DueBecause::TooOld, at });
        let mut run = too_old.into_iter().chain(scheduled).min_by_key(|run| run.at)?;
        if run.at < self.not_before {
            run.at = self.not_before;
        }
        self.after = run.at;
        self.born_at = Some(run.at);
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::model::id::SecretName;
    use crate::model::reason::Reason;
    use crate::model::time::Span;
    use crate::plan::breaker::{Breaker, BreakerRule, Went};
    use crate::plan::budget::Budget;
    use crate::plan::cadence::Cadence;
    use crate::plan::facts::{Current, Initial, Open};
    use crate::plan::schedule::Schedule;
    use crate::plan::window::{Freeze, Window};

    const HOUR: Span = Span::from_secs(3600);
    const DAY: Span = Span::from_secs(86_400);

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc().into()
    }

    /// A Sunday.
    fn noon() -> Timestamp {
        at("2026-11-22T12:00:00Z")
    }

    fn weekly() -> Cadence {
        let schedule = Some(Schedule::parse("0 3 * * sun", "UTC").unwrap());
        Cadence { schedule, ..Cadence::default() }
    }

    fn name() -> Arc<SecretName> {
        Arc::new(SecretName::new("billing").unwrap())
    }

    fn known<'a>(name: &'a SecretName, cadence: &'a Cadence) -> Facts<'a> {
        let promoted_at = noon() - HOUR;
        Facts {
            last_scheduled: Some(promoted_at),
            current: Some(Current { promoted_at, tainted_at: None }),
            ..Facts::new(name, cadence)
        }
    }

    fn look(facts: &Facts<'_>, limits: &Limits) -> Outlook {
        outlook(facts, limits, noon(), 5)
    }

    fn because(runs: &[Run]) -> Vec<&'static str> {
        let word = |run: &Run| match run.because {
            DueBecause::Scheduled { .. } => "scheduled",
            DueBecause::TooOld => "max_age",
            DueBecause::Leaked => "leaked",
            DueBecause::NeverIssued => "initial",
        };
        runs.iter().map(word).collect()
    }

    #[test]
    fn the_greatest_age_is_a_run_between_those_of_the_schedule() {
        let (name, both) = (name(), Cadence { max_age: Some(DAY.times(5)), ..weekly() });
        let found = look(&known(&name, &both), &Limits::default());
        assert_eq!((found.due, found.refusal), (None, None));
        let words = ["max_age", "scheduled", "max_age", "scheduled", "max_age"];
        assert_eq!(because(&found.runs), words);
        assert_eq!(found.runs[0].at, noon() - HOUR + DAY.times(5));
        assert_eq!(found.runs[1].at, at("2026-11-29T03:00:00Z"));
        assert_eq!(found.runs[2].at, at("2026-12-04T03:00:00Z"));
        let only_age = Cadence { max_age: Some(DAY), ..Cadence::default() };
        let found = look(&known(&name, &only_age), &Limits::default());
        assert_eq!(found.runs[4].at, noon() - HOUR + DAY.times(5));
        let never = Cadence::default();
        assert_eq!(look(&known(&name, &never), &Limits::default()).runs, []);
    }

    #[test]
    fn what_has_not_begun_has_no_runs_and_none_are_sought() {
        let (name, minutely) = (name(), Schedule::parse("* * * * *", "UTC").unwrap());
        // Its greatest age would come again and again without an end.
        let max_age = Some(DAY);
        let cadence = Cadence { schedule: Some(minutely), max_age, ..Cadence::default() };
        let facts = Facts { initial: Initial::Adopt, ..Facts::new(&name, &cadence) };
        assert_eq!(look(&facts, &Limits::default()).runs, []);
    }

    #[test]
    fn a_leak_is_due_now_and_comes_first() {
        let (name, weekly) = (name(), weekly());
        let mut facts = known(&name, &weekly);
        facts.current = Some(Current { promoted_at: noon() - DAY, tainted_at: Some(noon()) });
        let found = look(&facts, &Limits::default());
        assert_eq!(found.due, Some((DueBecause::Leaked, noon())));
        assert_eq!(found.runs[0], Run { because: DueBecause::Leaked, at: noon() });
        assert_eq!(because(&found.runs)[1], "scheduled");
    }

    #[test]
    fn a_refusal_says_when_and_that_is_inside_a_window() {
        let name = name();
        let windowed = Cadence {
            windows: vec![Window::parse("mon 09:00-17:00", "UTC").unwrap()],
            freezes: vec![Freeze {
                name: "sale".into(),
                from: at("2026-11-23T00:00:00Z"),
                until: at("2026-11-24T00:00:00Z"),
            }],
            max_age: Some(HOUR),
            ..Cadence::default()
        };
        let second_monday = at("2026-11-30T09:00:00Z");
        let mut facts = known(&name, &windowed);
        let found = look(&facts, &Limits::default());
        let refusal = found.refusal.unwrap();
        assert_eq!((refusal.reason, refusal.until), (Reason::OutsideWindow, Some(second_monday)));
        assert_eq!(found.runs[0], Run { because: DueBecause::TooOld, at: second_monday });
        // What ends while no window is open lets nothing start.
        let possible_at = Some(at("2026-11-25T00:00:00Z"));
        facts.open = Some(Open { promoted: true, possible_at, ..Open::default() });
        let refusal = look(&facts, &Limits::default()).refusal.unwrap();
        assert_eq!((refusal.reason, refusal.until), (Reason::RotationOpen, Some(second_monday)));
    }

    #[test]
    fn budget_and_breaker_refuse_with_a_time() {
        let (name, aged) = (name(), Cadence { max_age: Some(HOUR), ..Cadence::default() });
        let facts = known(&name, &aged);
        let full = Budget { moving_max: 1, routine_moving: 1, ..Budget::default() };
        let busy = look(&facts, &Limits { budget: full, ..Limits::default() }).refusal.unwrap();
        assert_eq!(busy.reason, Reason::Busy);
        assert!(busy.until.is_some_and(|until| until > noon()));
        let mut breaker = Breaker::new(BreakerRule { failed_at_least: 1, out_of: 4, rest: HOUR });
        breaker.note(Went { opened_at: noon() - DAY, known_at: noon(), well: false });
        let shut = look(&facts, &Limits { breaker, ..Limits::default() }).refusal.unwrap();
        assert_eq!((shut.reason, shut.until), (Reason::BreakerOpen, Some(noon() + HOUR)));
    }

    #[test]
    fn what_was_never_begun_has_no_runs_and_an_open_rotation_holds_up_the_next() {
        let (name, hourly) = (
            name(),
            Cadence {
                schedule: Some(Schedule::parse("30 * * * *", "UTC").unwrap()),
                ..Cadence::default()
            },
        );
        let found = look(&Facts::new(&name, &hourly), &Limits::default());
        assert_eq!(found.refusal.unwrap().reason, Reason::NotAdopted);
        assert_eq!(found.runs, []);
        let open = Open { not_within: Some(HOUR.times(3)), ..Open::default() };
        let facts = Facts { open: Some(open), ..known(&name, &hourly) };
        let found = look(&facts, &Limits::default());
        assert_eq!(found.refusal.unwrap().until, Some(noon() + HOUR.times(3)));
        assert_eq!(found.runs[0].at, noon() + HOUR.times(3));
        assert_eq!(found.runs[1].at, noon() + HOUR.times(3) + Span::from_secs(1800));
    }
}
