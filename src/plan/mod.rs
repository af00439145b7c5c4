//! What is due, and may it start?
//!
//! [`plan`] looks at what is known about the secrets and answers which rotations to open now,
//! which are due and refused, and when to look again. It reads no clock and remembers nothing:
//! the same facts at the same moment give the same plan, on every replica and after every restart.
//!
//! Read in this order: `facts`, `rules`, then `schedule` and `cadence` for the calendar, `budget`
//! and `breaker` for what the secrets share; `outlook` is the same for people who look ahead.

pub mod breaker;
pub mod budget;
pub mod cadence;
pub mod crontab;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod outlook;
mod rules;
pub mod schedule;
pub mod window;
mod zone;

use std::cmp::Reverse;

use crate::model::id::{RotationId, SecretName};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan::breaker::Breaker;
use crate::plan::budget::Budget;
use crate::plan::facts::Facts;
use crate::plan::rules::Due;

/// What the secrets share, as it stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Room for rotations on the move.
    pub budget: Budget,
    /// Whether routine rotations go well at all.
    pub breaker: Breaker,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rotations to open, the most urgent first.
    pub start: Vec<Start>,
    /// The secrets that are due and may not start.
    pub refused: Vec<Refused>,
    /// When to plan again if nothing happens until then. What starts is not counted: its opening
    /// is something that happens.
    pub wake_at: Option<Timestamp>,
}

/// A rotation to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The secret.
    pub name: SecretName,
    /// How urgent it is.
    pub lane: Lane,
    /// Why.
    pub trigger: DueBecause,
    /// Its identity: the same however often it is planned.
    pub id: RotationId,
    /// The moment of the plan.
    pub at: Timestamp,
}

/// A secret that is due and may not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The secret.
    pub name: SecretName,
    /// Why it is due.
    pub trigger: DueBecause,
    /// Why it may not start.
    pub reason: Reason,
    /// When to ask again, if time alone can help.
    pub until: Option<Timestamp>,
}

/// Why a secret is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueBecause {
    /// Its current version leaked.
    Leaked,
    /// It has no version yet.
    NeverIssued,
    /// Its current version has reached `max_age`.
    TooOld,
    /// Its schedule.
    Scheduled {
        /// The instant, before jitter; of several that were missed the last. It becomes the
        /// record's `last_scheduled` when the rotation opens, in the same write.
        instant: Timestamp,
    },
}

impl DueBecause {
    /// How urgent that is.
    pub fn lane(self) -> Lane {
        match self {
            DueBecause::Leaked => Lane::Emergency,
            DueBecause::NeverIssued | DueBecause::TooOld | DueBecause::Scheduled { .. } => {
                Lane::Routine
            }
        }
    }
}

/// Who wants to start a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How urgent it is.
    pub lane: Lane,
    /// A person asks, who has seen what failed: rests and the breaker do not bind them.
    pub by_hand: bool,
}

/// Why a rotation may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// When to ask again, if time alone can help.
    pub until: Option<Timestamp>,
}

/// Decides what to start now, out of these secrets.
///
/// Room goes to emergencies first, then by priority, then to what has been due the longest.
pub fn plan(facts: &[Facts<'_>], limits: &Limits, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut due: Vec<(&Facts<'_>, Due)> = Vec::new();
    for facts in facts {
        match rules::due(facts, now) {
            Some(found) => due.push((facts, found)),
            None => plan.wake_by(rules::next_due(facts, now)),
        }
    }
    due.sort_by_key(|(facts, due)| {
        (Reverse(due.because.lane()), Reverse(facts.priority), due.since, facts.name)
    });
    let mut limits = limits.clone();
    for (facts, due) in due {
        let ask = Ask { lane: due.because.lane(), by_hand: false };
        match rules::refusal(facts, ask, &limits, now) {
            None => {
                limits.take(facts, ask.lane, now);
                plan.start.push(start(facts, due, now));
            }
            Some(refusal) => {
                plan.wake_by(refusal.until);
                plan.refused.push(refused(facts, due, refusal));
            }
        }
    }
    plan
}

/// Whether a rotation may start now, by the same rules: for people who ask.
///
/// # Errors
/// The first rule that is against it, and when to ask again.
pub fn may_start(
    facts: &Facts<'_>,
    ask: Ask,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(refusal) = rules::refusal(facts, ask, limits, now) else { return Ok(()) };
    // What ends by itself while no window is open lets nothing start before the next one.
    let lifted = |until| match ask.lane {
        Lane::Routine => facts.cadence.earliest_start(until),
        Lane::Emergency => Some(until),
    };
    Err(Refusal { until: refusal.until.and_then(lifted), ..refusal })
}

/// When to plan this secret again if nothing happens to it: `now` if it can start at once, never
/// if only an event or a person can change anything.
pub fn next_wake(facts: &Facts<'_>, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
    let Some(due) = rules::due(facts, now) else { return rules::next_due(facts, now) };
    let ask = Ask { lane: due.because.lane(), by_hand: false };
    rules::refusal(facts, ask, limits, now).map_or(Some(now), |refusal| refusal.until)
}

/// The identity of a scheduled run within its secret: `20261122T031200Z-scheduled`.
pub fn rotation_id(instant: Timestamp) -> RotationId {
    stamped(instant, "scheduled")
}

impl Plan {
    fn wake_by(&mut self, at: Option<Timestamp>) {
        self.wake_at = self.wake_at.into_iter().chain(at).min();
    }
}

impl Limits {
    /// Counts a rotation that starts.
    fn take(&mut self, facts: &Facts<'_>, lane: Lane, now: Timestamp) {
        if facts.open.is_none() {
            self.budget.take(lane);
        }
        if lane == Lane::Routine {
            self.breaker.started(now);
        }
    }
}

fn start(facts: &Facts<'_>, due: Due, now: Timestamp) -> Start {
    // What was tried and unwound is another run when it is tried again.
    let asked_since = facts.unwound_at.map_or(due.since, |unwound_at| unwound_at.max(due.since));
    let id = match due.because {
        DueBecause::Leaked => stamped(asked_since, "leaked"),
        DueBecause::NeverIssued => match facts.unwound_at {
            Some(unwound_at) => stamped(unwound_at, "initial"),
            None => RotationId("initial".to_owned()),
        },
        DueBecause::TooOld => stamped(asked_since, "max-age"),
        DueBecause::Scheduled { instant } => rotation_id(instant),
    };
    Start { name: facts.name.clone(), lane: due.because.lane(), trigger: due.because, id, at: now }
}

fn refused(facts: &Facts<'_>, due: Due, refusal: Refusal) -> Refused {
    let Refusal { reason, until } = refusal;
    Refused { name: facts.name.clone(), trigger: due.because, reason, until }
}

fn stamped(at: Timestamp, word: &str) -> RotationId {
    RotationId(format!("{}-{word}", at.to_utc().format("%Y%m%dT%H%M%SZ")))
}

#[cfg(test)]
mod tests;
