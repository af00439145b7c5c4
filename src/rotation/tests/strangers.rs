//! Keys at the issuer that the record does not know, and those that a person says are not ours.

use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::id::{KeyId, VersionId};
use crate::model::policy::{Kind, Lane};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::rotation::decide::{Next, decide};
use crate::rotation::effect::Effect;
use crate::rotation::event::{Happening, KeySeen, Marked};
use crate::rotation::phase::{AfterUnwind, Phase, Remains, Staging, UnwindReason};
use crate::rotation::tests::toy::{Toy, remote};

const V1: VersionId = VersionId(1);
const V2: VersionId = VersionId(2);

/// A rotation at its preflight, and the issuer's list with one key more than the record knows.
fn restored(marked: Marked) -> (Toy, KeyId, Happening) {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.rotation.terms.capabilities.capacity = None;
    toy.run();
    toy.open_next(Lane::Routine);
    let key = KeyId("newer".to_owned());
    let mine = KeySeen {
        key: KeyId("key-1".to_owned()),
        marked: Marked::Known { version: V1 },
        created_at: None,
    };
    let newer = KeySeen { key: key.clone(), marked, created_at: None };
    (toy, key, Happening::Listed { keys: vec![mine, newer] })
}

#[test]
fn a_key_that_is_newer_than_the_record_is_asked_about_and_never_swept() {
    let ahead = Marked::Known { version: VersionId(9) };
    for marked in [Marked::Unknown, ahead] {
        let (mut toy, key, listed) = restored(marked);
        toy.happen(listed.clone());
        let at_preflight =
            matches!(toy.rotation.phase, Phase::Stage { step: Staging::Preflight, .. });
        assert!(at_preflight, "{}", toy.trace());
        assert_eq!(toy.rotation.trouble.needs_human(), Some(Reason::UnknownKey));
        // The exit: a person says that it is left alone.
        toy.happen(Happening::KeyAccepted { key });
        toy.happen(listed);
        let mints = matches!(toy.rotation.phase, Phase::Stage { step: Staging::Mint { .. }, .. });
        assert!(mints, "{}", toy.trace());
    }
}

#[test]
fn an_emergency_goes_on_beside_a_key_that_the_record_does_not_know() {
    let (mut toy, key, listed) = restored(Marked::Unknown);
    toy.taint(V1);
    toy.happen(listed);
    let Phase::Stage { step: Staging::Mint { before }, .. } = &toy.rotation.phase else {
        panic!("{}", toy.trace())
    };
    assert!(before.contains(&key), "{before:?}");
}

#[test]
fn what_a_lost_mint_left_is_told_from_what_the_record_does_not_know() {
    for (marked, swept) in [(Marked::Known { version: V2 }, true), (Marked::Unknown, false)] {
        let (mut toy, key, listed) = restored(marked);
        let (version, since) = (V2, toy.now - Span::from_secs(600));
        let step = Staging::Lost { before: vec![KeyId("key-1".to_owned())], since, stuck: None };
        toy.rotation.phase = Phase::Stage { version, step };
        toy.rotation.terms.capabilities.exclusive = true;
        toy.happen(listed);
        let sweeps = Staging::Sweep { orphans: vec![key] };
        let stands = toy.rotation.phase == Phase::Stage { version, step: sweeps };
        assert_eq!(stands, swept, "{}", toy.trace());
    }
}

#[test]
fn an_unwinding_reports_a_key_that_the_record_does_not_know() {
    let (mut toy, _, listed) = restored(Marked::Unknown);
    let step = Staging::Mint { before: Vec::new() };
    toy.rotation.phase = Phase::Stage { version: V2, step };
    toy.happen(Happening::Abandoned);
    toy.happen(listed);
    let reported = matches!(toy.rotation.phase, Phase::Unwind { remains: Remains::Unfindable, .. });
    assert!(reported, "{}", toy.trace());
}

#[test]
fn a_key_that_a_person_accepts_is_none_of_what_is_taken_away() {
    let (mine, other) = (KeyId("mine".to_owned()), KeyId("other".to_owned()));
    let (both, one) = (vec![mine.clone(), other.clone()], vec![other.clone()]);
    let (before, since) = (vec![KeyId("key-1".to_owned())], Timestamp::from_seconds(1_800_000_000));
    let staging = |step| Phase::Stage { version: V2, step };
    let unwinding = |remains| {
        let then = AfterUnwind::Close { reason: UnwindReason::Abandoned };
        Phase::Unwind { version: None, remains, then }
    };
    let sweep = |orphans: &[KeyId]| staging(Staging::Sweep { orphans: orphans.to_vec() });
    let left = |orphans: &[KeyId]| unwinding(Remains::Orphans { orphans: orphans.to_vec() });
    let roll = |found: &KeyId| {
        staging(Staging::Roll { found: found.clone(), before: before.clone(), since })
    };
    let lost = staging(Staging::Lost { before: before.clone(), since, stuck: None });
    let cases = [
        (sweep(&both), sweep(&one)),
        (sweep(&both[..1]), staging(Staging::Preflight)),
        (left(&both), left(&one)),
        (left(&both[..1]), unwinding(Remains::Unknown)),
        (roll(&mine), lost),
        (roll(&other), roll(&other)),
    ];
    for (stands, then) in cases {
        let (mut toy, _, _) = restored(Marked::Unknown);
        toy.rotation.phase = stands;
        toy.happen(Happening::KeyAccepted { key: mine.clone() });
        assert_eq!(toy.rotation.phase, then);
        assert!(toy.rotation.known_keys.contains(&mine));
        if let Next::Do(effects) = decide(&toy.rotation, toy.now) {
            let about_it = |effect: &Effect| match effect {
                Effect::Sweep { key } | Effect::Roll { key, .. } => *key == mine,
                _ => false,
            };
            assert!(!effects.iter().any(about_it), "{effects:?}");
        }
    }
}
