//! The versions on their way out: how far each is, and which targets keep it from going further.

use crate::api::view::{attempts, why};
use crate::api::wire;
use crate::model::id::{TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::phase::Phase;
use crate::rotation::{Leaving, Outgoing, Rotation, TargetState, evidence};

/// Those that wait for their dates, and those whose end has begun.
pub(super) fn outgoing(rotation: &Rotation, now: Timestamp) -> Vec<wire::Outgoing> {
    let still_here = |version: &VersionId| {
        rotation.versions.get(version).is_some_and(|v| v.stage != Stage::Revoked)
    };
    let shown = rotation.outgoing.iter().filter(|out| still_here(&out.version));
    shown.map(|out| one(rotation, out, now)).collect()
}

fn one(rotation: &Rotation, out: &Outgoing, now: Timestamp) -> wire::Outgoing {
    let leaving = rotation.leaving.get(&out.version);
    let lacking = match leaving {
        // Its end has begun: what the targets show does not matter to it any more.
        Some(_) => Vec::new(),
        None => lacking(rotation, out, now),
    };
    wire::Outgoing {
        version: out.version.0,
        earliest: out.earliest,
        latest: out.latest,
        progress: progress(rotation, out, lacking.is_empty(), now).into(),
        lacking,
        trouble: leaving.and_then(|leaving| attempts(&leaving.trouble)),
    }
}

fn progress(rotation: &Rotation, out: &Outgoing, evidence: bool, now: Timestamp) -> &'static str {
    let held = rotation.hold.as_ref().is_some_and(|hold| hold.binds(rotation.lane, now));
    match rotation.leaving.get(&out.version) {
        Some(Leaving { forgotten: true, .. }) => "forgotten",
        Some(Leaving { terminated: true, refused: true, .. }) => "terminated",
        Some(Leaving { refused: true, .. }) => "refused",
        Some(Leaving { revoked: true, .. }) => "revoked",
        Some(_) if held => "held",
        Some(_) => "revoking",
        None if is_retiring(rotation, out.version) => "retiring",
        None if out.earliest.is_none() => "switching",
        None if !out.is_over(now) => "overlap",
        None if held => "held",
        None if !evidence => "evidence",
        None => "ready",
    }
}

fn is_retiring(rotation: &Rotation, version: VersionId) -> bool {
    matches!(&rotation.phase, Phase::Retire { cleared, .. } if cleared.going().contains(&version))
}

/// The targets that have not shown that they can do without the version.
fn lacking(rotation: &Rotation, out: &Outgoing, now: Timestamp) -> Vec<wire::Lacking> {
    let targets = rotation.bound_targets();
    targets.filter_map(|(name, target)| lacks(rotation, out, (name, target), now)).collect()
}

fn lacks(
    rotation: &Rotation,
    out: &Outgoing,
    (name, target): (&TargetName, &TargetState),
    now: Timestamp,
) -> Option<wire::Lacking> {
    let settles_at = evidence::settles_at(target).filter(|at| now < *at);
    let oldest = rotation.terms.policy.evidence_max_age;
    let seen = target.evidence.as_ref();
    let plain =
        |code: &str, text: &str| Some(wire::Why { code: code.to_owned(), text: text.to_owned() });
    let what = if target.removed {
        Some(why(Reason::TargetRemoved))
    } else if let Some(failure) = target.trouble.last {
        Some(why(failure.reason))
    } else if !evidence::is_reached(target) {
        plain("behind", "It was not seen to hold what it must, as well attested as it must be")
    } else if settles_at.is_some() {
        plain("propagating", "What reads it may still use what it read before")
    } else if !evidence::has_left(target, out.version) {
        plain("still_used", "It was seen using this version, or nothing newer")
    } else if out.is_over(now) && !evidence::is_fresh(target, oldest, now) {
        plain("stale", "What it showed is too long ago: it is asked again")
    } else {
        None
    };
    let wire::Why { code, text } = what?;
    Some(wire::Lacking {
        target: name.to_string(),
        code,
        text,
        level: seen.map(|evidence| evidence.seen.level.to_string()),
        needs: target.terms.needs.to_string(),
        since: target.trouble.since.or_else(|| seen.map(|evidence| evidence.at)),
        until: settles_at,
    })
}
