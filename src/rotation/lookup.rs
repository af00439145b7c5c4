//! What an issuer's list means: orphans of ours, room for one more, and what became of a mint
//! whose answer was lost.
//!
//! Only keys whose mark the record knows, or that a record names, are ever taken away; a suspect
//! without a mark is, only where the config says that every key of the principal is ours. One with
//! a mark that the record does not know may be newer than it, and in use: a person is asked.

use crate::model::capability::{OldDies, OnLost};
use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, VersionId};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;
use crate::rotation::apply::IllegalEvent;
use crate::rotation::event::{KeySeen, Marked};
use crate::rotation::phase::{Phase, Remains, Staging};
use crate::rotation::{Rotation, route};

/// How far an issuer's clock may be behind ours before a new key looks older than its intent.
const CLOCK_SLACK: Span = Span::from_secs(300);

/// How long an order whose answer was lost may still be on its way. Until then an empty list does
/// not say that it was not carried out, and a second mint could be undone by the first.
pub(super) const STILL_UNDER_WAY: Span = Span::from_secs(30);

/// Before a mint: sweep what is left of ours, see whether there is room, and note what exists.
pub(super) fn preflighted(
    rotation: &mut Rotation,
    version: VersionId,
    keys: &[KeySeen],
    at: Timestamp,
) {
    let orphans = orphans(rotation, keys);
    if !orphans.is_empty() {
        rotation.phase = Phase::Stage { version, step: Staging::Sweep { orphans } };
        rotation.trouble = rotation.trouble.eased();
        return;
    }
    // What is exposed does not wait for a person: the key is left alone, and asked about next time.
    if rotation.lane == Lane::Routine && keys.iter().any(|seen| is_unknown(rotation, seen)) {
        let failure = Failure { class: Class::Refused, reason: Reason::UnknownKey };
        rotation.trouble = rotation.trouble.met(failure, rotation.lane, at);
        return;
    }
    let capabilities = &rotation.terms.capabilities;
    let replaces = capabilities.old_dies == OldDies::OnMint;
    let room =
        capabilities.capacity.is_none_or(|capacity| (keys.len() as u64) < u64::from(capacity));
    if !room && !replaces {
        let failure = Failure { class: Class::Refused, reason: Reason::IssuerFull };
        rotation.trouble = rotation.trouble.met(failure, rotation.lane, at);
        return;
    }
    let step = mint_step(rotation, keys.iter().map(|seen| seen.key.clone()).collect());
    rotation.phase = Phase::Stage { version, step };
    rotation.trouble = rotation.trouble.eased();
}

/// One orphan less. When the last is gone the issuer is asked again: what counts is its list.
pub(super) fn swept(
    rotation: &mut Rotation,
    version: VersionId,
    step: Staging,
    key: &KeyId,
    at: Timestamp,
) -> Result<(), IllegalEvent> {
    let Staging::Sweep { orphans } = step else {
        return Err(IllegalEvent::Unknown {
            phase: "stage",
            event: "swept",
            legal: super::apply::legal(&rotation.phase),
        });
    };
    let left = without(orphans, key)?;
    let last = left.is_empty();
    let step = if last { Staging::Preflight } else { Staging::Sweep { orphans: left } };
    rotation.phase = Phase::Stage { version, step };
    rotation.trouble = rotation.trouble.eased();
    if last {
        // A list may lag behind: what it still shows is swept again, but not in a hot circle.
        let failure = Failure { class: Class::Transient, reason: Reason::StillAccepted };
        rotation.trouble = rotation.trouble.met(failure, rotation.lane, at);
    }
    Ok(())
}

/// A mint or roll was ordered and nobody knows what became of it.
pub(super) fn lost(
    rotation: &mut Rotation,
    reason: Reason,
    ordered_at: Option<Timestamp>,
    at: Timestamp,
) {
    let Phase::Stage { version, step } = rotation.phase.clone() else { return };
    let (Staging::Mint { before } | Staging::Roll { before, .. }) = step else { return };
    let since = ordered_at.unwrap_or(rotation.opened_at).min(at);
    rotation.phase = Phase::Stage { version, step: Staging::Lost { before, since, stuck: None } };
    let failure = Failure { class: Class::Ambiguous, reason };
    rotation.trouble = rotation.trouble.met(failure, rotation.lane, at);
}

/// The issuer's list after a lost mint whose value was not saved.
pub(super) fn looked_up(rotation: &mut Rotation, keys: &[KeySeen], at: Timestamp) {
    let Phase::Stage { version, step: Staging::Lost { before, since, .. } } =
        rotation.phase.clone()
    else {
        return;
    };
    let capabilities = &rotation.terms.capabilities;
    let marked: Vec<KeyId> = orphans(rotation, keys);
    let suspects: Vec<KeyId> = keys
        .iter()
        .filter(|seen| seen.marked == Marked::No && !before.contains(&seen.key))
        .filter(|seen| !names(rotation, &seen.key) && !rotation.known_keys.contains(&seen.key))
        .filter(|seen| seen.created_at.is_none_or(|created| created + CLOCK_SLACK >= since))
        .map(|seen| seen.key.clone())
        .collect();
    let found: Vec<KeyId> = match (marked.is_empty(), capabilities.exclusive) {
        (false, _) => marked,
        (true, true) => suspects,
        (true, false) if suspects.is_empty() || capabilities.on_lost == OnLost::Repeat => {
            Vec::new()
        }
        // Somebody else may have made it at the same moment: a person has to look.
        (true, false) => return stuck(rotation, version, before, since),
    };
    // What was there when it was ordered came of an earlier order.
    let minted = found.iter().any(|key| !before.contains(key));
    let settled_at = since + STILL_UNDER_WAY;
    // A late roll would change the value of the next one, so rolling waits even for what is found.
    let waits = !minted || capabilities.on_lost == OnLost::AdoptThenRoll;
    if waits && at < settled_at {
        rotation.trouble.not_before = Some(settled_at);
        return;
    }
    // Of the keys that appeared since, a person has said whose they are.
    let explained = keys
        .iter()
        .any(|seen| rotation.known_keys.contains(&seen.key) && !before.contains(&seen.key));
    let there = keys.iter().map(|seen| seen.key.clone()).collect();
    let step = match (capabilities.on_lost, found.is_empty()) {
        (OnLost::Manual, true) if explained => mint_step(rotation, there),
        (OnLost::Manual, _) => return stuck(rotation, version, before, since),
        (OnLost::Repeat, _) | (_, true) => mint_step(rotation, there),
        (OnLost::Sweep, false) => Staging::Sweep { orphans: found },
        (OnLost::AdoptThenRoll, false) => Staging::Roll { found: found[0].clone(), before, since },
    };
    if minted {
        // It was minted, and an issuer's clock has been running since.
        rotation.set_issuer_deadline(since);
    }
    rotation.phase = Phase::Stage { version, step };
    rotation.trouble = rotation.trouble.eased();
    if minted && route::mint_is_final(&rotation.terms) {
        rotation.replaced_die(at);
    }
}

/// What an abandoned Stage left at the issuer.
pub(super) fn remains(rotation: &Rotation, keys: &[KeySeen]) -> Remains {
    let orphans = orphans(rotation, keys);
    if !orphans.is_empty() {
        return Remains::Orphans { orphans };
    }
    let unmarked = |seen: &&KeySeen| {
        seen.marked == Marked::No
            && !names(rotation, &seen.key)
            && !rotation.known_keys.contains(&seen.key)
            && seen.created_at.is_none_or(|created| created + CLOCK_SLACK >= rotation.opened_at)
    };
    let unfindable = |seen: &KeySeen| unmarked(&seen) || is_unknown(rotation, seen);
    if keys.iter().any(unfindable) { Remains::Unfindable } else { Remains::Nothing }
}

/// A person says that the key is somebody else's: from here on it is none of what is to be swept or
/// rolled. Where nothing is left of that the issuer is asked again: what counts is its list.
pub(super) fn accepted(rotation: &mut Rotation, key: KeyId) {
    rotation.forget_trouble();
    match &mut rotation.phase {
        Phase::Stage { step, .. } => match step {
            Staging::Sweep { orphans } => {
                orphans.retain(|orphan| *orphan != key);
                if orphans.is_empty() {
                    *step = Staging::Preflight;
                }
            }
            Staging::Roll { found, before, since } if *found == key => {
                let before = std::mem::take(before);
                *step = Staging::Lost { before, since: *since, stuck: None };
            }
            _ => {}
        },
        Phase::Unwind { remains, .. } => {
            if let Remains::Orphans { orphans } = remains {
                orphans.retain(|orphan| *orphan != key);
                if orphans.is_empty() {
                    *remains = Remains::Unknown;
                }
            }
        }
        _ => {}
    }
    rotation.known_keys.insert(key);
}

/// The list without one key that must be on it.
pub(super) fn without(orphans: Vec<KeyId>, key: &KeyId) -> Result<Vec<KeyId>, IllegalEvent> {
    if !orphans.contains(key) {
        return Err(IllegalEvent::Stranger { event: "swept", what: key.to_string() });
    }
    Ok(orphans.into_iter().filter(|orphan| orphan != key).collect())
}

/// Keys that the record ordered, by their marks, and that no live version names. A number that was
/// never given out cannot be the record's own, whatever the mark says.
fn orphans(rotation: &Rotation, keys: &[KeySeen]) -> Vec<KeyId> {
    let given_out = |version: VersionId| version < rotation.next_version;
    let ordered = |seen: &KeySeen| match seen.marked {
        Marked::Known { version } => given_out(version),
        Marked::No | Marked::Unknown => false,
    };
    keys.iter()
        .filter(|seen| ordered(seen) && !names(rotation, &seen.key))
        .filter(|seen| !rotation.known_keys.contains(&seen.key))
        .map(|seen| seen.key.clone())
        .collect()
}

/// Whether the key is for this secret, and nobody knows who ordered it.
fn is_unknown(rotation: &Rotation, seen: &KeySeen) -> bool {
    let strange = match seen.marked {
        Marked::No => false,
        Marked::Known { version } => version >= rotation.next_version,
        Marked::Unknown => true,
    };
    strange && !names(rotation, &seen.key) && !rotation.known_keys.contains(&seen.key)
}

/// Whether a version that is not gone has this key.
fn names(rotation: &Rotation, key: &KeyId) -> bool {
    rotation.versions.values().any(|v| v.stage != Stage::Revoked && v.key_id.as_ref() == Some(key))
}

pub(super) fn mint_step(rotation: &Rotation, before: Vec<KeyId>) -> Staging {
    match rotation.terms.capabilities.value {
        crate::model::capability::ValueFrom::Ours => Staging::Make,
        crate::model::capability::ValueFrom::Theirs => Staging::Mint { before },
    }
}

fn stuck(rotation: &mut Rotation, version: VersionId, before: Vec<KeyId>, since: Timestamp) {
    let step = Staging::Lost { before, since, stuck: Some(Reason::PossibleOrphan) };
    rotation.phase = Phase::Stage { version, step };
}
