//! Stops routine rotations from starting while too many of them fail, because what breaks one
//! after the other is seldom the secrets. Must not know why they failed.
//!
//! Once it has tripped, one routine rotation may start in each `rest`, as a trial. The first trial
//! that succeeds closes the breaker. Emergencies never ask it.

use std::collections::VecDeque;

use crate::model::time::{Span, Timestamp};

/// How the breaker is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// So many failures trip it. Zero is read as one.
    pub failed_at_least: usize,
    /// So many of the last routine rotations are looked at.
    pub out_of: usize,
    /// How long after a failure or a trial the next trial may start.
    pub rest: Span,
}

impl Default for BreakerRule {
    /// A quarter of the last twenty: more than one bad target, less than a bad night. Half an hour
    /// is what a person needs to see it and to look.
    fn default() -> BreakerRule {
        BreakerRule { failed_at_least: 5, out_of: 20, rest: Span::from_secs(1800) }
    }
}

/// How one routine rotation went, as soon as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Went {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was known how it went.
    pub known_at: Timestamp,
    /// Its new version is in use everywhere; otherwise it was unwound or needs a person.
    pub well: bool,
}

/// The breaker: the rule, and what it remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    rule: BreakerRule,
    /// The last ones, oldest first, at most `out_of`.
    went: VecDeque<Went>,
    /// When a routine rotation last started while it was tripped.
    trial_at: Option<Timestamp>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(rule: BreakerRule) -> Breaker {
        Breaker { rule, went: VecDeque::new(), trial_at: None }
    }

    /// Takes note of how a routine rotation went, in whatever order it is learned. After a restart:
    /// of the last ones in the records, oldest first.
    pub fn note(&mut self, went: Went) {
        // One that had begun before things broke proves nothing.
        let trial_went_well = went.well
            && self.newest_failure().is_some_and(|failure| went.opened_at >= failure.known_at);
        if self.is_tripped() && trial_went_well {
            self.went.clear();
            self.trial_at = None;
        }
        let at = self.went.partition_point(|other| other.known_at <= went.known_at);
        self.went.insert(at, went);
        while self.went.len() > self.rule.out_of {
            self.went.pop_front();
        }
    }

    /// Takes note that a routine rotation starts.
    pub fn started(&mut self, at: Timestamp) {
        if self.is_tripped() {
            self.trial_at = self.trial_at.max(Some(at));
        }
    }

    /// Whether too many of the last ones failed.
    pub fn is_tripped(&self) -> bool {
        let failed = self.went.iter().filter(|went| !went.well).count();
        failed >= self.rule.failed_at_least.max(1)
    }

    /// Until when no routine rotation may start; none if one may.
    pub fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_tripped() {
            return None;
        }
        // A moment ahead of the clock is from before the clock was put back, and says nothing.
        let failures = self.went.iter().filter(|went| !went.well).map(|went| went.known_at);
        let last = failures.chain(self.trial_at).filter(|at| *at <= now).max()?;
        Some(last + self.rule.rest).filter(|until| *until > now)
    }

    fn newest_failure(&self) -> Option<&Went> {
        self.went.iter().filter(|went| !went.well).max_by_key(|went| went.known_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule =
        BreakerRule { failed_at_least: 2, out_of: 4, rest: Span::from_secs(100) };

    fn second(at: i64) -> Timestamp {
        Timestamp::from_seconds(at)
    }

    fn went(opened: i64, known: i64, well: bool) -> Went {
        Went { opened_at: second(opened), known_at: second(known), well }
    }

    fn tripped() -> Breaker {
        let mut breaker = Breaker::new(RULE);
        breaker.note(went(0, 10, false));
        breaker.note(went(0, 20, false));
        breaker
    }

    #[test]
    fn enough_failures_among_the_last_trip_it() {
        let table: [(&[bool], bool); 8] = [
            (&[], false),
            (&[false], false),
            (&[false, false], true),
            (&[false, true, true, false], true),
            (&[false, true, true, true, false], false),
            (&[true, true, true, true], false),
            (&[false, true, false], true),
            (&[false, false, true, true, true], false),
        ];
        for (outcomes, trips) in table {
            let mut breaker = Breaker::new(RULE);
            for (at, well) in outcomes.iter().enumerate() {
                // All of them opened at the same time, so that none counts as a trial.
                breaker.note(went(0, 10 + at as i64, *well));
            }
            assert_eq!(breaker.is_tripped(), trips, "{outcomes:?}");
            assert_eq!(breaker.shut_until(second(20)).is_some(), trips, "{outcomes:?}");
        }
    }

    #[test]
    fn a_trial_may_start_after_each_rest() {
        let mut breaker = tripped();
        assert_eq!(breaker.shut_until(second(21)), Some(second(120)));
        assert_eq!(breaker.shut_until(second(119)), Some(second(120)));
        assert_eq!(breaker.shut_until(second(120)), None);
        breaker.started(second(130));
        assert_eq!(breaker.shut_until(second(130)), Some(second(230)));
        assert_eq!(breaker.shut_until(second(230)), None);
        breaker.note(went(130, 240, false));
        assert_eq!(breaker.shut_until(second(240)), Some(second(340)));
    }

    #[test]
    fn only_a_success_that_began_after_the_failures_closes_it() {
        let mut breaker = tripped();
        breaker.note(went(5, 130, true));
        assert!(breaker.is_tripped(), "it began before things broke");
        breaker.started(second(130));
        breaker.note(went(130, 150, true));
        assert!(!breaker.is_tripped());
        assert_eq!(breaker.shut_until(second(150)), None);
        // And it needs as many failures as ever to trip again.
        breaker.note(went(150, 160, false));
        assert!(!breaker.is_tripped());
        breaker.note(went(150, 170, false));
        assert!(breaker.is_tripped());
        assert_eq!(breaker.shut_until(second(170)), Some(second(270)));
    }

    #[test]
    fn what_is_learned_late_counts_from_when_it_was() {
        let mut breaker = Breaker::new(RULE);
        for known_at in [40, 10, 30, 20] {
            breaker.note(went(0, known_at, known_at < 35));
        }
        breaker.note(went(0, 50, false));
        assert!(breaker.is_tripped(), "the oldest went, and it was not one of the failures");
    }

    #[test]
    fn starts_while_it_is_closed_are_no_trials() {
        let mut breaker = Breaker::new(RULE);
        breaker.started(second(5_000));
        breaker.note(went(0, 10, false));
        breaker.note(went(0, 20, false));
        assert_eq!(breaker.shut_until(second(120)), None);
    }

    #[test]
    fn a_clock_that_was_put_back_cannot_keep_it_shut_for_long() {
        let mut breaker = Breaker::new(RULE);
        breaker.note(went(0, 1_000_000, false));
        breaker.note(went(0, 1_000_001, false));
        assert_eq!(breaker.shut_until(second(50)), None);
        breaker.started(second(50));
        assert_eq!(breaker.shut_until(second(60)), Some(second(150)));
        assert_eq!(breaker.shut_until(second(150)), None);
    }
}
