//! The rules, as two ordered lists: what makes a secret due, and what keeps it from starting. In
//! each the first that matches decides. Nothing outside these lists decides either.

use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::plan::facts::{Facts, Initial};
use crate::plan::{Ask, DueBecause, Limits, Refusal};

/// How long a routine rotation waits after one that ended without a new version. That one had its
/// retries; what else could help is a person, and people take an hour.
pub(super) const ROUTINE_REST: Span = Span::from_secs(3600);

/// The same for an emergency: often enough to catch the first good moment, and no hot circle.
pub(super) const EMERGENCY_REST: Span = Span::from_secs(60);

/// When to ask again for room. It comes when another rotation stops moving, which nobody can
/// foretell; the engine sees one stop and asks earlier.
pub(super) const ROOM_RECHECK: Span = Span::from_secs(10);

/// Why a secret is due, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) because: DueBecause,
    pub(super) since: Timestamp,
}

type DueRule = fn(&Facts<'_>, Timestamp) -> Option<Due>;

/// What makes a secret due, in order.
pub(super) const DUE: [DueRule; 4] = [
    // Somebody else may have the value: nothing is more urgent.
    leaked,
    // Nobody has a value yet.
    never_issued,
    // A limit that is already broken comes before a plan.
    too_old,
    // The schedule, runs that were missed included.
    scheduled,
];

type StartRule = fn(&Facts<'_>, Ask, &Limits, Timestamp) -> Option<Refusal>;

/// What keeps a secret from starting, in order: first what a person must settle, then what time
/// settles by itself, then what depends on the others.
pub(super) const MAY_START: [StartRule; 10] = [
    // The config does not have it: it is not ours to touch.
    unmanaged,
    // What we know about it may be wrong.
    reconcile_required,
    // A value exists somewhere, and a person must hand it over first.
    not_adopted,
    // One at a time; an emergency may supersede one that has promoted.
    rotation_open,
    // Each accepted version is one more that can leak.
    too_many_versions,
    // It has only just failed.
    resting,
    // People said: not now.
    frozen,
    // People said: not at this time of the week.
    outside_window,
    // Too many are on the move; emergencies have room of their own.
    no_room,
    // Too many of the others have failed.
    breaker_open,
];

/// Whether the secret is due now, and why.
pub(super) fn due(facts: &Facts<'_>, now: Timestamp) -> Option<Due> {
    DUE.iter().find_map(|rule| rule(facts, now))
}

/// What keeps the secret from starting now.
pub(super) fn refusal(
    facts: &Facts<'_>,
    ask: Ask,
    limits: &Limits,
    now: Timestamp,
) -> Option<Refusal> {
    MAY_START.iter().find_map(|rule| rule(facts, ask, limits, now))
}

/// When a secret that is not due now will be, if nothing else happens.
pub(super) fn next_due(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    let too_old_at = too_old_at(facts).filter(|at| *at > now);
    next_scheduled(facts, now).into_iter().chain(too_old_at).min()
}

fn leaked(facts: &Facts<'_>, _: Timestamp) -> Option<Due> {
    // What was contained and has no successor is as urgent as the leak was.
    let contained = facts.last_scheduled.filter(|_| facts.contained);
    let since = facts.current.and_then(|current| current.tainted_at).or(contained)?;
    (!facts.awaits_version()).then_some(Due { because: DueBecause::Leaked, since })
}

fn never_issued(facts: &Facts<'_>, _: Timestamp) -> Option<Due> {
    let since = facts.last_scheduled.unwrap_or_default();
    let wanted = facts.current.is_none() && !facts.awaits_version();
    wanted.then_some(Due { because: DueBecause::NeverIssued, since })
}

fn too_old(facts: &Facts<'_>, now: Timestamp) -> Option<Due> {
    let since = too_old_at(facts).filter(|since| *since <= now)?;
    (!facts.awaits_version()).then_some(Due { because: DueBecause::TooOld, since })
}

fn scheduled(facts: &Facts<'_>, now: Timestamp) -> Option<Due> {
    let schedule = facts.cadence.schedule.as_ref()?;
    let delay = facts.cadence.delay(facts.name);
    // Of several missed runs this is the last: they are caught up once.
    let instant = schedule.last_at_or_before(now - delay)?;
    let since = instant + delay;
    (instant > settled_until(facts)?)
        .then_some(Due { because: DueBecause::Scheduled { instant }, since })
}

fn too_old_at(facts: &Facts<'_>) -> Option<Timestamp> {
    Some(facts.current?.promoted_at + facts.cadence.max_age?)
}

fn next_scheduled(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    let schedule = facts.cadence.schedule.as_ref()?;
    let delay = facts.cadence.delay(facts.name);
    let instant = schedule.next_after(settled_until(facts)?.max(now - delay))?;
    Some(instant + delay)
}

/// Scheduled instants up to this one ask for nothing any more: they were run, they are from
/// before there was this schedule, or a newer version has come since. It only ever grows, so that
/// neither a restart nor a clock that is set runs an instant twice. None while the secret has no
/// version that a schedule could replace.
fn settled_until(facts: &Facts<'_>) -> Option<Timestamp> {
    let settled = facts.last_scheduled?.max(facts.current?.promoted_at);
    Some(settled).max(facts.cadence_since)
}

fn unmanaged(facts: &Facts<'_>, _: Ask, _: &Limits, _: Timestamp) -> Option<Refusal> {
    facts.unmanaged.then_some(Refusal { reason: Reason::Unmanaged, until: None })
}

fn reconcile_required(facts: &Facts<'_>, _: Ask, _: &Limits, _: Timestamp) -> Option<Refusal> {
    let refusal = Refusal { reason: Reason::ReconcileRequired, until: None };
    facts.reconcile_required.then_some(refusal)
}

fn not_adopted(facts: &Facts<'_>, _: Ask, _: &Limits, _: Timestamp) -> Option<Refusal> {
    let begun = facts.current.is_some() || facts.contained || facts.open.is_some();
    let needs_person = !begun && facts.initial == Initial::Adopt;
    needs_person.then_some(Refusal { reason: Reason::NotAdopted, until: None })
}

fn rotation_open(facts: &Facts<'_>, ask: Ask, _: &Limits, now: Timestamp) -> Option<Refusal> {
    let open = facts.open?;
    let until = match ask.lane {
        Lane::Emergency if open.promoted => return None,
        Lane::Emergency => None,
        // A moment that has passed was a guess, and is not told.
        Lane::Routine => {
            open.possible_at.or_else(|| Some(now + open.not_within?)).filter(|at| *at > now)
        }
    };
    Some(Refusal { reason: Reason::RotationOpen, until })
}

fn too_many_versions(facts: &Facts<'_>, _: Ask, _: &Limits, _: Timestamp) -> Option<Refusal> {
    facts.full.then_some(Refusal { reason: Reason::TooManyVersions, until: None })
}

fn resting(facts: &Facts<'_>, ask: Ask, _: &Limits, now: Timestamp) -> Option<Refusal> {
    // A moment ahead of the clock is from before the clock was put back, and says nothing.
    let unwound_at = facts.unwound_at.filter(|at| *at <= now && !ask.by_hand)?;
    let until = unwound_at
        + match ask.lane {
            Lane::Routine => ROUTINE_REST,
            Lane::Emergency => EMERGENCY_REST,
        };
    (now < until).then_some(Refusal { reason: Reason::Resting, until: Some(until) })
}

fn frozen(facts: &Facts<'_>, ask: Ask, _: &Limits, now: Timestamp) -> Option<Refusal> {
    facts.cadence.freeze(now).filter(|_| ask.lane == Lane::Routine)?;
    Some(Refusal { reason: Reason::Frozen, until: facts.cadence.earliest_start(now) })
}

fn outside_window(facts: &Facts<'_>, ask: Ask, _: &Limits, now: Timestamp) -> Option<Refusal> {
    let until = facts.cadence.earliest_start(now);
    let waits = ask.lane == Lane::Routine && until != Some(now);
    waits.then_some(Refusal { reason: Reason::OutsideWindow, until })
}

fn no_room(facts: &Facts<'_>, ask: Ask, limits: &Limits, now: Timestamp) -> Option<Refusal> {
    // One that supersedes another takes its place.
    let has_room = facts.open.is_some() || limits.budget.has_room(ask.lane);
    (!has_room).then_some(Refusal { reason: Reason::Busy, until: Some(now + ROOM_RECHECK) })
}

fn breaker_open(_: &Facts<'_>, ask: Ask, limits: &Limits, now: Timestamp) -> Option<Refusal> {
    let until = limits.breaker.shut_until(now)?;
    let waits = ask.lane == Lane::Routine && !ask.by_hand;
    waits.then_some(Refusal { reason: Reason::BreakerOpen, until: Some(until) })
}
