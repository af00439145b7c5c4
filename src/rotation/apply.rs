//! What happened, taken in: the transition table.
//!
//! One `match (phase, event)`. What is not in it is [`IllegalEvent`]: the rotation stays as it
//! was and somebody has a defect. The small functions below the table say what each transition
//! does; none of them decides what comes next in the world, that is `decide`'s.

use thiserror::Error;

use crate::model::time::Timestamp;
use crate::model::version::{IllegalMove, Stage, Version};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening};
use crate::rotation::phase::{Phase, Remains, Staging};
use crate::rotation::retry::Trouble;
use crate::rotation::{Intent, Rotation, lookup, route, targets, wanted};

/// An event that the rotation's phase does not know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IllegalEvent {
    /// The phase has no such transition.
    #[error("phase {phase} does not know the event {event}; it knows {legal}")]
    Unknown {
        /// The phase.
        phase: &'static str,
        /// The event.
        event: &'static str,
        /// The events that the phase has of its own.
        legal: &'static str,
    },
    /// The event names something that the rotation does not have.
    #[error("the event {event} names {what}, which the rotation does not have")]
    Stranger {
        /// The event.
        event: &'static str,
        /// What it names.
        what: String,
    },
    /// A version would make a move that no version may make.
    #[error(transparent)]
    Move(#[from] IllegalMove),
}

/// The rotation after the event.
///
/// # Errors
/// [`IllegalEvent`] if the phase does not know it; the rotation given is then the one to keep.
pub fn apply(mut rotation: Rotation, event: Event) -> Result<Rotation, IllegalEvent> {
    let Event { at, what } = event;
    let ordered_at = rotation.settle_intent(&what);
    let r = &mut rotation;
    match (r.phase.clone(), what) {
        // Stage: from nothing to durable material.
        (Phase::Stage { version, step: Staging::Preflight }, Happening::Listed { keys }) => {
            lookup::preflighted(r, version, &keys, at);
        }
        (Phase::Stage { version, step }, Happening::Swept { key }) => {
            lookup::swept(r, version, step, &key, at)?;
        }
        (Phase::Stage { step: Staging::Lost { .. }, .. }, Happening::Listed { keys }) => {
            lookup::looked_up(r, &keys, at);
        }
        (
            Phase::Stage { version, step },
            Happening::Staged { version: staged, key, fingerprint },
        ) if version == staged && step != Staging::Place => {
            r.versions.insert(version, Version::pending(key, fingerprint, at));
            r.drop_old_tombstones();
            r.staged(version, ordered_at.unwrap_or(at), at)?;
        }
        (Phase::Stage { version, step }, Happening::NumberTaken { version: taken })
            if version == taken && step != Staging::Place =>
        {
            r.phase = Phase::Stage { version: r.next_version, step };
            r.next_version = r.next_version.next();
        }
        (
            Phase::Stage { version, step: Staging::Place },
            Happening::Placed { version: placed, key },
        ) if version == placed => {
            r.placed(version, key)?;
            r.enter(route::after_usable(&r.terms, version, at));
            r.set_issuer_deadline(ordered_at.unwrap_or(at));
        }

        // Probe, Admit, Install, Promote, Switch: from durable to in use.
        (Phase::Probe { incoming, good, .. }, Happening::Probed { version, works })
            if incoming == version =>
        {
            r.probed(incoming, good, works, at);
        }
        (Phase::Probe { incoming, .. }, Happening::Trusted) => {
            r.enter(route::after_trusted(&r.terms, incoming));
        }
        (Phase::Admit { incoming }, Happening::Admitted) => {
            r.enter(route::after_admitted(&r.terms, incoming));
        }
        (Phase::Install { incoming, .. }, Happening::Placed { version, key })
            if incoming == version =>
        {
            r.placed(incoming, key)?;
            r.replaced_die(at);
            r.enter(Phase::Promote { incoming });
        }
        (Phase::Promote { incoming }, Happening::Promoted) => r.promote(incoming, at)?,
        (Phase::Switch { current }, Happening::Switched) => {
            r.set_earliest(at);
            r.enter(Phase::Overlap { current, switched_at: at });
        }

        // Overlap, Retire, Revoke: from in use to gone.
        (Phase::Overlap { current, .. }, Happening::Clear { cleared }) => {
            if route::targets_verify(&r.terms) {
                r.enter(Phase::Retire { current, cleared });
            } else {
                cleared.going().iter().for_each(|going| r.begin_leaving(*going));
                r.enter(Phase::Revoke { current, cleared });
            }
        }
        (Phase::Stage { step: Staging::Preflight, .. }, Happening::Clear { cleared }) => {
            cleared.going().iter().for_each(|going| r.begin_leaving(*going));
            r.trouble = Trouble::default();
        }
        (Phase::Retire { current, cleared }, Happening::Retired) => {
            for going in cleared.going() {
                r.begin_leaving(*going);
                r.retire(*going, at)?;
            }
            r.enter(Phase::Revoke { current, cleared });
        }
        (Phase::Revoke { current, .. }, Happening::Finished) => r.finished(current, at),
        (Phase::Overlap { current, .. }, Happening::Finished) if r.outgoing.is_empty() => {
            r.finished(current, at);
        }

        // Unwind: back to where it was.
        (
            Phase::Unwind { version, remains: Remains::Unknown, then },
            Happening::Listed { keys },
        ) => {
            let remains = lookup::remains(r, &keys);
            r.phase = Phase::Unwind { version, remains, then };
            r.trouble = Trouble::default();
        }
        (
            Phase::Unwind { version, remains: Remains::Orphans { orphans }, then },
            Happening::Swept { key },
        ) => {
            let left = lookup::without(orphans, &key)?;
            let remains = match left.is_empty() {
                true => Remains::Nothing,
                false => Remains::Orphans { orphans: left },
            };
            r.phase = Phase::Unwind { version, remains, then };
            r.trouble = Trouble::default();
        }
        (
            Phase::Unwind {
                remains: remains @ (Remains::Nothing | Remains::Unfindable), then, ..
            },
            Happening::Finished,
        ) => r.unwound(&remains, then, at),

        // In any phase: what targets and leaving versions report, and what people decide.
        (_, Happening::Failed { effect, failure }) => r.failed(effect, failure, ordered_at, at)?,
        (_, what) => return anywhere(rotation, what, at),
    }
    wanted::refresh(&mut rotation);
    Ok(rotation)
}

/// The events that mean the same in every phase.
fn anywhere(
    mut rotation: Rotation,
    what: Happening,
    at: Timestamp,
) -> Result<Rotation, IllegalEvent> {
    let r = &mut rotation;
    let name = what.name();
    match what {
        Happening::Intended { effects } => {
            r.doubt_install();
            r.intent = Some(Intent { at, pending: effects });
        }
        Happening::Seen { target, observation } => targets::seen(r, &target, observation, at)?,
        Happening::Ahead { effect, generation } => targets::ahead(r, &effect, generation, at)?,
        Happening::Purged { target, versions } => targets::purged(r, &target, &versions)?,
        Happening::Revoked { version } => {
            let tries = r.terms.capabilities.probes;
            let ends = r.terms.capabilities.terminates;
            let leaving = r.leaving_mut(version, name)?;
            leaving.revoked = true;
            leaving.refused |= !tries;
            leaving.terminated |= !ends;
            leaving.trouble = Trouble::default();
            r.room_made();
        }
        Happening::Probed { version, works } => r.refuted(version, works, at, name)?,
        Happening::Terminated { version } => {
            let leaving = r.leaving_mut(version, name)?;
            leaving.terminated = true;
            leaving.trouble = Trouble::default();
        }
        Happening::Forgotten { version } => {
            let leaving = r.leaving_mut(version, name)?;
            leaving.forgotten = true;
            leaving.trouble = Trouble::default();
            r.move_version(version, Stage::Revoked, at)?;
        }
        Happening::Cut { forced } => r.cut(forced, at)?,
        Happening::Tainted { version, by } => r.taint(version, by, at)?,
        Happening::Held { hold } => r.held(hold, at),
        Happening::Released => r.hold = None,
        Happening::Abandoned if r.may_unwind() => r.abandon(at),
        Happening::Retried => r.retry(at),
        Happening::Waived { target, by } => {
            targets::find(r, &target, name)?.waived_by = Some(by);
        }
        Happening::KeyAccepted { key } => lookup::accepted(r, key),
        Happening::TermsChanged { terms, targets } => targets::reconfigure(r, terms, targets),
        _ => return Err(r.unknown(name)),
    }
    wanted::refresh(&mut rotation);
    Ok(rotation)
}

/// The events that are a phase's own, for the error and the documentation.
pub fn legal(phase: &Phase) -> &'static str {
    match phase {
        Phase::Stage { step, .. } => match step {
            Staging::Preflight => "listed, clear, staged, number_taken",
            Staging::Sweep { .. } => "swept, staged, number_taken",
            Staging::Make | Staging::Mint { .. } => "staged, number_taken",
            Staging::Lost { .. } => "listed, staged, number_taken",
            Staging::Roll { .. } => "staged, number_taken",
            Staging::Place => "placed",
        },
        Phase::Probe { .. } => "probed, trusted",
        Phase::Admit { .. } => "admitted",
        Phase::Install { .. } => "placed",
        Phase::Promote { .. } => "promoted",
        Phase::Switch { .. } => "switched",
        Phase::Overlap { .. } => "clear, finished",
        Phase::Retire { .. } => "retired",
        Phase::Revoke { .. } => "finished",
        Phase::Unwind { remains, .. } => match remains {
            Remains::Unknown => "listed",
            Remains::Orphans { .. } => "swept",
            Remains::Nothing | Remains::Unfindable => "finished",
        },
        Phase::Closed { .. } => "none of its own",
    }
}

/// Whether the event is the outcome of the effect.
pub(super) fn answers(what: &Happening, effect: &Effect) -> bool {
    match (what, effect) {
        (
            Happening::Failed { effect: failed, .. } | Happening::Ahead { effect: failed, .. },
            effect,
        ) => failed == effect,
        (Happening::Listed { .. }, Effect::List | Effect::LookUp { .. }) => true,
        (
            Happening::Staged { version: staged, .. } | Happening::NumberTaken { version: staged },
            Effect::Make { version }
            | Effect::Mint { version }
            | Effect::LookUp { version }
            | Effect::Roll { version, .. },
        ) => staged == version,
        (Happening::Placed { version: placed, .. }, Effect::Place { version }) => placed == version,
        (Happening::Swept { key: swept }, Effect::Sweep { key }) => swept == key,
        (
            Happening::Probed { version: probed, .. },
            Effect::Probe { version } | Effect::Refute { version },
        ) => probed == version,
        (
            Happening::Seen { target: seen, .. },
            Effect::Push { target } | Effect::Observe { target },
        ) => seen == target,
        (Happening::Revoked { version: gone }, Effect::Revoke { version }) => gone == version,
        (Happening::Terminated { version: gone }, Effect::Terminate { version }) => gone == version,
        (Happening::Purged { target: clean, .. }, Effect::Purge { target }) => clean == target,
        (Happening::Forgotten { version: gone }, Effect::Forget { version }) => gone == version,
        _ => false,
    }
}
