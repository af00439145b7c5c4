//! What now? Answers from the rotation and the moment alone, and the same when asked again.
//!
//! The order of the questions is the specification:
//! 1. an effect that must not be repeated has no outcome -> it counts as lost,
//! 2. a deadline has passed -> cut,
//! 3. the phase has what it needs -> the next phase,
//! 4. something is to be done and may be tried now -> do it,
//! 5. otherwise wait, and say for what.

use crate::model::failure::{Class, Failure};
use crate::model::id::{Generation, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::deadline::{self, Deadline};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening};
use crate::rotation::evidence::{self, clear, is_fresh, is_reached, is_settled};
use crate::rotation::phase::{Phase, Remains, Staging};
use crate::rotation::retry::ATTEMPTS_BEFORE_HUMAN;
use crate::rotation::{Leaving, Rotation, TargetState, carried, route};

/// The answer of [`decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Take this step into the record and ask again.
    Record(Event),
    /// Record the intent, do these, and bring back one outcome for each.
    Do(Vec<Effect>),
    /// Nothing now.
    Wait(Wait),
}

/// What there is to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Look again at this moment; absent if only an event can change anything.
    pub until: Option<Timestamp>,
    /// What is being waited for.
    pub why: Why,
    /// A person is needed, and this is the code.
    pub needs_human: Option<Reason>,
}

/// What a rotation can wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing: it is closed and its targets stand where they should.
    Closed,
    /// The end of the overlap.
    Overlap,
    /// Propagation of what targets were told.
    Propagation,
    /// The next try of something that failed.
    Retry {
        /// What it met.
        reason: Reason,
    },
    /// Evidence of these targets.
    Evidence {
        /// Their names.
        targets: Vec<TargetName>,
    },
    /// The end of a hold.
    Held,
    /// The issuer's own settling time.
    Settling,
    /// A person.
    Human,
}

/// What is to be done with this rotation now.
pub fn decide(rotation: &Rotation, now: Timestamp) -> Next {
    if let Some(effect) = lost_effect(rotation) {
        let failure = Failure { class: Class::Ambiguous, reason: Reason::Ambiguous };
        return record(Happening::Failed { effect, failure }, now);
    }
    let due = deadline::due(rotation, now);
    if let Some(Deadline::Cut(forced)) = due {
        return record(Happening::Cut { forced }, now);
    }
    if let Some(step) = advance(rotation, now) {
        return record(step, now);
    }
    let effects = effects(rotation, due.as_ref(), now);
    if effects.is_empty() {
        Next::Wait(wait(rotation, due.as_ref(), now))
    } else {
        Next::Do(effects)
    }
}

/// What a person is asked for, if the rotation waits at this moment.
pub fn asks(rotation: &Rotation, now: Timestamp) -> Option<Reason> {
    wait(rotation, deadline::due(rotation, now).as_ref(), now).needs_human
}

fn record(what: Happening, at: Timestamp) -> Next {
    Next::Record(Event { at, what })
}

/// An effect that was ordered, has no outcome, and must not simply be ordered again. All others
/// are harmless twice: the rest of the questions orders them anew.
fn lost_effect(rotation: &Rotation) -> Option<Effect> {
    let intent = rotation.intent.as_ref()?;
    let once = |effect: &&Effect| matches!(effect, Effect::Mint { .. } | Effect::Roll { .. });
    intent.pending.iter().find(once).cloned()
}

// ---------------------------------------------------------------- 3: the next phase

/// The step that the phase has earned.
fn advance(rotation: &Rotation, now: Timestamp) -> Option<Happening> {
    match &rotation.phase {
        Phase::Stage { step, .. } => advance_stage(rotation, step, now),
        Phase::Probe { good, .. } => {
            (*good >= rotation.terms.policy.probes).then_some(Happening::Trusted)
        }
        Phase::Admit { .. } => {
            let admits = |t: &TargetState| route::admits(&rotation.terms, &t.terms);
            all_settled(rotation, now, admits).then_some(Happening::Admitted)
        }
        Phase::Install { .. } => None,
        Phase::Promote { .. } => Some(Happening::Promoted),
        Phase::Switch { .. } => all_settled(rotation, now, |_| true).then_some(Happening::Switched),
        Phase::Overlap { .. } => advance_overlap(rotation, now),
        Phase::Retire { cleared, .. } => {
            let cut = cleared.going().iter().all(|v| rotation.leaving.contains_key(v));
            (cut || all_reached(rotation)).then_some(Happening::Retired)
        }
        Phase::Revoke { .. } => is_swept_clean(rotation).then_some(Happening::Finished),
        Phase::Unwind { remains, .. } => {
            let nothing = matches!(remains, Remains::Nothing | Remains::Unfindable);
            (nothing && is_taken_back(rotation)).then_some(Happening::Finished)
        }
        Phase::Closed { .. } => None,
    }
}

fn advance_overlap(rotation: &Rotation, now: Timestamp) -> Option<Happening> {
    let going = may_go(rotation, now);
    if going.is_empty() {
        let nothing_left = rotation.outgoing.is_empty() && is_swept_clean(rotation);
        return nothing_left.then_some(Happening::Finished);
    }
    if deadline::is_held(rotation, now) {
        return None;
    }
    Some(Happening::Clear { cleared: clear(rotation, going, now)? })
}

/// At a full issuer room is made: by an older version whose time has come, which a rotation that
/// was superseded has left on its way out; in an emergency by any that nobody uses any more; then,
/// if the policy says so, by the exposed one itself.
fn advance_stage(rotation: &Rotation, step: &Staging, now: Timestamp) -> Option<Happening> {
    use crate::model::policy::{Lane, WhenFull};
    use crate::rotation::ForcedRule;

    let full = *step == Staging::Preflight
        && rotation.trouble.last.is_some_and(|f| f.reason == Reason::IssuerFull);
    if !full || deadline::is_held(rotation, now) {
        return None;
    }
    let emergency = rotation.lane == Lane::Emergency;
    if rotation.leaving.values().any(|leaving| !leaving.refused) {
        return None; // room is being made already
    }
    let current = rotation.current();
    let stays = |version: VersionId| rotation.leaving.contains_key(&version);
    let mut candidates = rotation
        .outgoing
        .iter()
        .filter(|outgoing| emergency || outgoing.is_over(now))
        .map(|outgoing| outgoing.version)
        .filter(|version| !stays(*version));
    let evidenced = candidates
        .clone()
        .filter(|version| Some(*version) != current)
        .find_map(|version| clear(rotation, vec![version], now));
    if let Some(cleared) = evidenced {
        return Some(Happening::Clear { cleared });
    }
    let exposed = candidates.find(|v| emergency && rotation.is_tainted(*v))?;
    (rotation.terms.policy.when_full == WhenFull::Contain).then(|| Happening::Cut {
        forced: deadline::forced(rotation, exposed, ForcedRule::Contain, now),
    })
}

/// The outgoing versions whose overlap is over.
fn may_go(rotation: &Rotation, now: Timestamp) -> Vec<VersionId> {
    rotation
        .outgoing
        .iter()
        .filter(|outgoing| outgoing.is_over(now))
        .map(|outgoing| outgoing.version)
        .filter(|version| !rotation.leaving.contains_key(version))
        .collect()
}

fn all_settled(rotation: &Rotation, now: Timestamp, counts: impl Fn(&TargetState) -> bool) -> bool {
    let settled = |target: &TargetState| is_settled(target, now);
    rotation
        .bound_targets()
        .filter(|(_, target)| counts(target))
        .all(|(_, target)| !target.removed && carried::passes(rotation, target, settled))
}

fn all_reached(rotation: &Rotation) -> bool {
    rotation.bound_targets().all(|(_, target)| !target.removed && is_owed_nothing(target))
}

fn is_owed_nothing(target: &TargetState) -> bool {
    is_untold(target) || is_reached(target)
}

/// Whether the target was never told anything, and so can be owed nothing.
fn is_untold(target: &TargetState) -> bool {
    target.wanted.generation == Generation::default()
}

/// Whether every version on its way out is gone, and no bound target is owed anything.
fn is_swept_clean(rotation: &Rotation) -> bool {
    let forgotten = rotation.leaving.values().all(|leaving| leaving.forgotten);
    let purged = rotation.bound_targets().all(|(_, target)| target.to_purge.is_empty());
    forgotten && purged && all_reached(rotation)
}

/// The same for an unwinding, which cannot wait for what only the next new version ends.
fn is_taken_back(rotation: &Rotation) -> bool {
    let waits = |version: &VersionId| rotation.awaits_successor(*version);
    let gone = rotation.leaving.iter().all(|(v, leaving)| leaving.forgotten || waits(v));
    // A history is purged of all at once, so what must wait keeps the others waiting.
    let purged =
        |target: &TargetState| target.to_purge.is_empty() || target.to_purge.iter().any(waits);
    let back = |t: &TargetState| !t.removed && carried::passes(rotation, t, is_owed_nothing);
    gone && rotation.bound_targets().all(|(_, target)| purged(target) && back(target))
}

// ---------------------------------------------------------------- 4: what to do

/// Everything that is to be done and may be tried now. Targets come first: what they answer is
/// about the wish as it stands, and the outcomes of the others may change it.
fn effects(rotation: &Rotation, due: Option<&Deadline>, now: Timestamp) -> Vec<Effect> {
    let mut effects = target_effects(rotation, due, now);
    effects.extend(leaving_effects(rotation, now));
    effects.extend(phase_effect(rotation, now));
    effects
}

fn phase_effect(rotation: &Rotation, now: Timestamp) -> Vec<Effect> {
    if !rotation.trouble.allows(now) {
        return Vec::new();
    }
    match &rotation.phase {
        Phase::Stage { version, step } => stage_effect(rotation, *version, step, now),
        Phase::Probe { incoming, not_before, .. } if *not_before <= now => {
            vec![Effect::Probe { version: *incoming }]
        }
        Phase::Install { incoming, .. } => install_effect(rotation, *incoming, now),
        Phase::Unwind { remains, .. } => match remains {
            Remains::Unknown => vec![Effect::List],
            Remains::Orphans { orphans } => sweep(orphans),
            Remains::Nothing | Remains::Unfindable => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn stage_effect(
    rotation: &Rotation,
    version: VersionId,
    step: &Staging,
    now: Timestamp,
) -> Vec<Effect> {
    match step {
        Staging::Preflight => vec![Effect::List],
        Staging::Sweep { orphans } => sweep(orphans),
        Staging::Make => vec![Effect::Make { version }],
        // Minting ends the old key: only when every target that was ever told has just answered.
        Staging::Mint { .. } if route::mint_is_final(&rotation.terms) => {
            if ends_a_held_version(rotation, now) {
                return Vec::new();
            }
            let oldest = rotation.terms.policy.evidence_max_age;
            let mut told = rotation.bound_targets().filter(|(_, t)| t.wanted.generation.0 > 0);
            let ready = told.all(|(_, t)| is_fresh(t, oldest, now));
            if ready { vec![Effect::Mint { version }] } else { Vec::new() }
        }
        Staging::Mint { .. } => vec![Effect::Mint { version }],
        Staging::Lost { stuck: Some(_), .. } => Vec::new(),
        Staging::Lost { stuck: None, .. } => vec![Effect::LookUp { version }],
        Staging::Roll { found, .. } => vec![Effect::Roll { key: found.clone(), version }],
        Staging::Place => vec![Effect::Place { version }],
    }
}

/// Our value goes to the issuer once every target that must hold it does, those included that
/// joined on the way.
fn install_effect(rotation: &Rotation, incoming: VersionId, now: Timestamp) -> Vec<Effect> {
    let admits = |target: &TargetState| route::admits(&rotation.terms, &target.terms);
    let ready = all_settled(rotation, now, admits) && !ends_a_held_version(rotation, now);
    if ready { vec![Effect::Place { version: incoming }] } else { Vec::new() }
}

/// Whether bringing the new version to the issuer would end an old one that is held.
fn ends_a_held_version(rotation: &Rotation, now: Timestamp) -> bool {
    let ends = route::replaced_are_dead(&rotation.terms) && !rotation.outgoing.is_empty();
    ends && deadline::is_held(rotation, now)
}

fn sweep(orphans: &[crate::model::id::KeyId]) -> Vec<Effect> {
    orphans.iter().map(|key| Effect::Sweep { key: key.clone() }).collect()
}

/// The next step of every version on its way out. All of them are destructive, so a hold stops
/// them all.
fn leaving_effects(rotation: &Rotation, now: Timestamp) -> Vec<Effect> {
    if deadline::is_held(rotation, now) {
        return Vec::new();
    }
    let steps = rotation.leaving.iter().filter(|(_, leaving)| leaving.trouble.allows(now));
    let mut effects: Vec<Effect> = steps
        .filter_map(|(version, leaving)| {
            let version = *version;
            match (leaving.revoked, leaving.refused, leaving.terminated, leaving.forgotten) {
                (false, ..) if !may_revoke(rotation, version, now) => None,
                (false, ..) => Some(Effect::Revoke { version }),
                // What cannot be tried is awaited.
                (true, false, ..) => {
                    rotation.terms.capabilities.probes.then_some(Effect::Refute { version })
                }
                (true, true, false, _) => Some(Effect::Terminate { version }),
                (true, true, true, false) => Some(Effect::Forget { version }),
                (true, true, true, true) => None,
            }
        })
        .collect();
    let dead = |v: &VersionId| {
        let gone = rotation.versions.get(v).is_none_or(|version| version.stage == Stage::Revoked);
        gone || rotation.leaving.get(v).is_some_and(|leaving| leaving.refused)
    };
    for (name, target) in &rotation.targets {
        let due = !target.removed
            && !target.to_purge.is_empty()
            && target.to_purge.iter().all(dead)
            && target.trouble.allows(now)
            && is_reached(target);
        if due {
            effects.push(Effect::Purge { target: name.clone() });
        }
    }
    effects
}

/// Pushes and questions. A target that differs from what it must hold is pushed to whether or not
/// anything is open; one that does not is asked when its evidence is needed fresh.
fn target_effects(rotation: &Rotation, due: Option<&Deadline>, now: Timestamp) -> Vec<Effect> {
    let ask_first: &[TargetName] = match due {
        Some(Deadline::AskFirst(names)) => names,
        _ => &[],
    };
    let fresh_needed = needs_fresh_evidence(rotation, now);
    let oldest = rotation.terms.policy.evidence_max_age;
    let mut effects = Vec::new();
    for (name, target) in rotation.targets.iter().filter(|(_, target)| !target.removed) {
        let target_name = name.clone();
        let urged = ask_first.contains(name);
        if is_untold(target) || !(urged || target.trouble.allows(now)) {
            continue;
        }
        if is_reached(target) {
            let stale = fresh_needed && !is_fresh(target, oldest, now);
            let routine = next_look(target, now).is_some_and(|at| at <= now);
            if urged || stale || routine {
                effects.push(Effect::Observe { target: target_name });
            }
        } else if awaits_confirmation(target) {
            effects.push(Effect::Observe { target: target_name });
        } else if !carried::is_cut_off(rotation, target) {
            effects.push(Effect::Push { target: target_name });
        }
    }
    effects
}

/// Whether the target took the wish in and only its confirmation is missing: asking is enough,
/// until it has taken so long that the wish may have got lost there.
fn awaits_confirmation(target: &TargetState) -> bool {
    let taken = |failure: Failure| failure.reason == Reason::NotYetApplied;
    target.trouble.last.is_some_and(taken) && target.trouble.attempts < ATTEMPTS_BEFORE_HUMAN
}

/// Whether a version may be revoked at this moment. What was judged when its end began may be long
/// ago by now: unless it was forced, or was never shown to anybody, the evidence must still hold.
pub(super) fn may_revoke(rotation: &Rotation, version: VersionId, now: Timestamp) -> bool {
    !awaits_evidence(rotation, version) || clear(rotation, vec![version], now).is_some()
}

fn awaits_evidence(rotation: &Rotation, version: VersionId) -> bool {
    let pending = rotation.versions.get(&version).is_none_or(|v| v.stage == Stage::Pending);
    !pending && !rotation.is_forced(version)
}

fn needs_fresh_evidence(rotation: &Rotation, now: Timestamp) -> bool {
    let unrevoked = |(version, leaving): (&VersionId, &Leaving)| {
        !leaving.revoked && awaits_evidence(rotation, *version)
    };
    if rotation.leaving.iter().any(unrevoked) {
        return true;
    }
    match &rotation.phase {
        Phase::Overlap { .. } => !may_go(rotation, now).is_empty(),
        Phase::Stage { step: Staging::Mint { .. }, .. } => route::mint_is_final(&rotation.terms),
        Phase::Stage { step: Staging::Preflight, .. } => rotation.trouble.last.is_some(),
        _ => false,
    }
}

/// A target asked in the future is asked now: the clock was set back since.
fn next_look(target: &TargetState, now: Timestamp) -> Option<Timestamp> {
    let (asked, every) = (target.asked_at?, target.terms.observe_every?);
    Some(if asked > now { now } else { asked + every })
}

// ---------------------------------------------------------------- 5: what to wait for

fn wait(rotation: &Rotation, due: Option<&Deadline>, now: Timestamp) -> Wait {
    let until = next_moment(rotation, now);
    if due == Some(&Deadline::Held) {
        let needs_human = Some(Reason::HeldWhileExposed);
        return Wait { until, why: Why::Held, needs_human };
    }
    if let Phase::Stage { step: Staging::Lost { stuck: Some(reason), .. }, .. } = rotation.phase {
        return Wait { until, why: Why::Human, needs_human: Some(reason) };
    }
    let needs_human = first_complaint(rotation);
    Wait { until, why: why(rotation, now), needs_human }
}

fn why(rotation: &Rotation, now: Timestamp) -> Why {
    if let Some(failure) = rotation.trouble.last {
        return Why::Retry { reason: failure.reason };
    }
    let missing: Vec<TargetName> = rotation
        .bound_targets()
        .filter(|(_, target)| target.removed || !(is_untold(target) || is_reached(target)))
        .map(|(name, _)| name.clone())
        .collect();
    if !missing.is_empty() {
        return Why::Evidence { targets: missing };
    }
    if let Some(failure) = rotation.leaving.values().find_map(|leaving| leaving.trouble.last) {
        return Why::Retry { reason: failure.reason };
    }
    match &rotation.phase {
        Phase::Closed { .. } => Why::Closed,
        Phase::Probe { .. } => Why::Settling,
        Phase::Overlap { .. } if may_go(rotation, now).is_empty() => Why::Overlap,
        _ if deadline::is_held(rotation, now) => Why::Held,
        _ => Why::Propagation,
    }
}

/// The code to show a person, if something has failed for long enough or cannot be cured. What
/// waits for a person alone stands before what may yet cure itself.
fn first_complaint(rotation: &Rotation) -> Option<Reason> {
    let removed = rotation.bound_targets().any(|(_, target)| target.removed);
    let left_out = (removed && !rotation.is_closed()).then_some(Reason::TargetRemoved);
    let mut leaving = rotation.leaving.iter().filter(|(v, _)| !rotation.awaits_successor(**v));
    let mut targets = rotation.bound_targets().filter(|(_, target)| !target.removed);
    rotation
        .trouble
        .needs_human()
        .or(left_out)
        .or_else(|| carried::complaint(rotation))
        .or_else(|| leaving.find_map(|(_, leaving)| leaving.trouble.needs_human()))
        .or_else(|| targets.find_map(|(_, target)| target.trouble.needs_human()))
}

/// The next moment at which the answer can be another one without anything having happened.
fn next_moment(rotation: &Rotation, now: Timestamp) -> Option<Timestamp> {
    let mut moments: Vec<Timestamp> = Vec::new();
    moments.extend(rotation.trouble.not_before);
    moments.extend(deadline::next(rotation, now));
    moments.extend(rotation.leaving.values().filter_map(|leaving| leaving.trouble.not_before));
    moments.extend(rotation.outgoing.iter().filter_map(|outgoing| outgoing.earliest));
    if let Phase::Probe { not_before, .. } = &rotation.phase {
        moments.push(*not_before);
    }
    if !rotation.is_closed() {
        moments.extend(rotation.hold.as_ref().map(|hold| hold.until));
    }
    for target in rotation.targets.values().filter(|target| !target.removed) {
        moments.extend(target.trouble.not_before);
        moments.extend(evidence::settles_at(target));
        moments.extend(next_look(target, now));
    }
    moments.into_iter().filter(|moment| *moment > now).min()
}
