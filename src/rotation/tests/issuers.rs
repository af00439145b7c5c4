//! What an issuer can do to a rotation: be full, and lose the answer to a mint.

use crate::model::capability::{OldDies, OnLost, ValueFrom};
use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, VersionId};
use crate::model::policy::{Kind, Lane, Policy, WhenFull};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::rotation::decide::Wait;
use crate::rotation::effect::Effect;
use crate::rotation::event::{Happening, KeySeen, Marked};
use crate::rotation::phase::{Outcome, Phase, Staging};
use crate::rotation::tests::replica::Landing;
use crate::rotation::tests::toy::{Fault, Key, Toy, policy, remote};
use crate::rotation::tests::world::staged;
use crate::rotation::{ForcedRule, Trigger};

const V1: VersionId = VersionId(1);
const V2: VersionId = VersionId(2);

// ---------------------------------------------------------------- full

/// Two versions at an issuer with room for two: v1 overlaps, v2 is in use, and every target has
/// switched to it.
fn full(when_full: WhenFull) -> Toy {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::with(Kind::ApiKey, capabilities, Policy { when_full, ..policy() });
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "overlap");
    toy
}

/// A key that is somebody else's takes the second place.
fn crowded(when_full: WhenFull) -> Toy {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::with(Kind::ApiKey, capabilities, Policy { when_full, ..policy() });
    toy.run();
    let key =
        Key { version: VersionId(0), alive: true, dies_at: None, marked: false, created_at: None };
    toy.keys.insert(foreign(), key);
    toy
}

fn foreign() -> KeyId {
    KeyId("foreign".to_owned())
}

#[track_caller]
fn asks_for_room(wait: &Wait, toy: &Toy) {
    assert_eq!(wait.needs_human, Some(Reason::IssuerFull), "{}", toy.trace());
    assert!(matches!(toy.rotation.phase, Phase::Stage { .. }), "{}", toy.trace());
}

#[test]
fn a_full_issuer_refuses_a_routine_rotation_until_somebody_makes_room() {
    let mut toy = crowded(WhenFull::Contain);
    toy.open_next(Lane::Routine);
    let wait = toy.run();
    asks_for_room(&wait, &toy);
    assert_eq!(toy.alive_keys(), 2, "{}", toy.trace());
    toy.kill(&foreign());
    toy.happen(Happening::Retried);
    toy.run();
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
}

#[test]
fn an_emergency_makes_room_with_an_older_version_that_nobody_uses() {
    let mut toy = full(WhenFull::Ask);
    toy.taint(V2);
    toy.run_until(|toy| toy.rotation.phase.name() == "probe");
    assert!(toy.keys.values().all(|key| !key.alive || key.version != V1), "{}", toy.trace());
    assert!(toy.keys.values().any(|key| key.alive && key.version == V2), "{}", toy.trace());
    assert_eq!(toy.rotation.forced, [], "it went on evidence\n{}", toy.trace());
    toy.run();
    assert_eq!(toy.rotation.current(), Some(VersionId(3)), "{}", toy.trace());
    assert_eq!(toy.alive_keys(), 1, "{}", toy.trace());
}

#[test]
fn an_emergency_at_a_full_issuer_ends_the_exposed_key_if_the_policy_says_so() {
    let mut toy = crowded(WhenFull::Contain);
    toy.taint(V1);
    toy.run();
    assert_eq!(toy.rotation.forced[0].rule, ForcedRule::Contain, "{}", toy.trace());
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
    assert!(toy.keys[&foreign()].alive, "what is not ours stays\n{}", toy.trace());
}

#[test]
fn an_emergency_at_a_full_issuer_asks_if_the_policy_says_so_and_the_deadline_still_acts() {
    let mut toy = crowded(WhenFull::Ask);
    toy.taint(V1);
    let began = toy.now;
    toy.run_until(|toy| toy.now.since(began) >= Span::from_secs(20));
    assert_eq!(toy.rotation.trouble.needs_human(), Some(Reason::IssuerFull), "{}", toy.trace());
    assert!(toy.keys.values().any(|key| key.alive && key.version == V1), "{}", toy.trace());
    toy.run();
    assert_eq!(toy.rotation.forced[0].rule, ForcedRule::MaxExposure, "{}", toy.trace());
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
}

#[test]
fn a_held_version_makes_no_room() {
    let mut toy = full(WhenFull::Contain);
    let hold = crate::model::policy::Hold {
        by: "ada".to_owned(),
        reason: "an audit".to_owned(),
        at: toy.now,
        until: toy.now + Span::from_secs(600),
        routine_only: false,
    };
    toy.happen(Happening::Held { hold });
    toy.taint(V2);
    let began = toy.now;
    toy.run_until(|toy| toy.now.since(began) >= Span::from_secs(500));
    assert_eq!(toy.alive_keys(), 2, "{}", toy.trace());
}

// ---------------------------------------------------------------- lost

/// What a look-up finds after a mint whose answer was lost.
#[derive(Clone, Copy, Debug)]
enum Finds {
    Saved,
    Nothing,
    Marked,
    Suspect,
    /// An unmarked key that is older than the mint.
    Older,
    /// An unmarked key that was there before the mint.
    Before,
    /// An unmarked key that a person called somebody else's.
    Accepted,
}

/// A mint was ordered, and nobody knows what became of it.
fn lost(on_lost: OnLost, exclusive: bool) -> Toy {
    let mut capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, on_lost);
    capabilities.exclusive = exclusive;
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.run();
    // Long after the rotation was opened: what counts is when the mint was ordered.
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.next_effect().is_none() && is_at_mint(toy));
    let later = toy.now + Span::from_secs(3600);
    toy.pass(later);
    toy.step(Fault::None);
    toy.step(Fault::CrashBefore);
    toy.run_until(|toy| {
        matches!(toy.rotation.phase, Phase::Stage { step: Staging::Lost { .. }, .. })
    });
    toy
}

fn is_at_mint(toy: &Toy) -> bool {
    matches!(toy.rotation.phase, Phase::Stage { step: Staging::Mint { .. }, .. })
}

fn seen(marked: Option<VersionId>, created_at: Option<Timestamp>) -> KeySeen {
    let marked = marked.map_or(Marked::No, |version| Marked::Known { version });
    KeySeen { key: KeyId("new".to_owned()), marked, created_at }
}

/// Where the rotation stands after a look-up that comes when nothing can be on its way any more.
fn after(toy: &Toy, finds: Finds) -> String {
    let mut toy = toy.clone();
    let hour = Span::from_secs(3600);
    toy.pass(toy.now + Span::from_secs(60));
    let old = KeySeen {
        key: KeyId("key-1".to_owned()),
        marked: Marked::Known { version: V1 },
        created_at: None,
    };
    let found = match finds {
        Finds::Saved => {
            toy.happen(staged(V2, Some(KeyId("new".to_owned()))));
            return toy.rotation.phase.name().to_owned();
        }
        Finds::Nothing => None,
        Finds::Marked => Some(seen(Some(V2), None)),
        Finds::Suspect => Some(seen(None, Some(toy.now))),
        Finds::Older => Some(seen(None, Some(toy.now - hour))),
        Finds::Before => {
            Some(KeySeen { key: KeyId("key-1".to_owned()), marked: Marked::No, created_at: None })
        }
        Finds::Accepted => {
            toy.happen(Happening::KeyAccepted { key: KeyId("new".to_owned()) });
            Some(seen(None, Some(toy.now)))
        }
    };
    toy.happen(Happening::Listed { keys: [old].into_iter().chain(found).collect() });
    match &toy.rotation.phase {
        Phase::Stage { step: Staging::Lost { stuck: Some(reason), .. }, .. } => reason.to_string(),
        Phase::Stage { step: Staging::Lost { .. }, .. } => "lost".to_owned(),
        Phase::Stage { step: Staging::Mint { .. }, .. } => "mint".to_owned(),
        Phase::Stage { step: Staging::Sweep { orphans }, .. } => format!("sweep {orphans:?}"),
        Phase::Stage { step: Staging::Roll { found, .. }, .. } => format!("roll {found}"),
        phase => phase.name().to_owned(),
    }
}

#[test]
fn a_lost_mint_is_looked_up_and_what_follows_depends_on_what_is_found() {
    use Finds::{Accepted, Before, Marked, Nothing, Older, Saved, Suspect};
    let table = [
        // What the issuer declares, whether all its keys are ours, what is found, what follows.
        (OnLost::Sweep, false, Saved, "probe"),
        (OnLost::Sweep, false, Nothing, "mint"),
        (OnLost::Sweep, false, Marked, "sweep [new]"),
        (OnLost::Sweep, false, Suspect, "possible_orphan"),
        (OnLost::Sweep, false, Older, "mint"),
        (OnLost::Sweep, false, Before, "mint"),
        (OnLost::Sweep, false, Accepted, "mint"),
        (OnLost::Sweep, true, Suspect, "sweep [new]"),
        (OnLost::Sweep, true, Older, "mint"),
        (OnLost::AdoptThenRoll, false, Saved, "probe"),
        (OnLost::AdoptThenRoll, false, Nothing, "mint"),
        (OnLost::AdoptThenRoll, false, Marked, "roll new"),
        (OnLost::AdoptThenRoll, false, Suspect, "possible_orphan"),
        (OnLost::AdoptThenRoll, true, Suspect, "roll new"),
        (OnLost::Repeat, false, Saved, "probe"),
        (OnLost::Repeat, false, Nothing, "mint"),
        (OnLost::Repeat, false, Marked, "mint"),
        (OnLost::Repeat, false, Suspect, "mint"),
        (OnLost::Manual, false, Saved, "probe"),
        (OnLost::Manual, false, Nothing, "possible_orphan"),
        (OnLost::Manual, true, Suspect, "possible_orphan"),
    ];
    for (on_lost, exclusive, finds, expected) in table {
        let found = after(&lost(on_lost, exclusive), finds);
        assert_eq!(found, expected, "{on_lost:?}, exclusive {exclusive}, {finds:?}");
    }
}

#[test]
fn what_is_not_there_yet_may_still_come() {
    let mut toy = lost(OnLost::Sweep, false);
    let Phase::Stage { step: Staging::Lost { since, .. }, .. } = toy.rotation.phase else {
        panic!("{}", toy.trace())
    };
    toy.run_until(is_at_mint);
    assert_eq!(toy.now.since(since), Span::from_secs(30), "{}", toy.trace());
    // It lands in between: what is found is dealt with at once.
    let mut toy = lost(OnLost::Sweep, false);
    toy.step(Fault::None);
    toy.happen(Happening::Listed { keys: vec![seen(Some(V2), None)] });
    let sweeps = matches!(toy.rotation.phase, Phase::Stage { step: Staging::Sweep { .. }, .. });
    assert!(sweeps && toy.rotation.trouble.allows(toy.now), "{}", toy.trace());
}

#[test]
fn a_person_who_has_looked_says_so_with_retry_or_with_the_key() {
    let mut toy = lost(OnLost::Manual, false);
    toy.pass(toy.now + Span::from_secs(30));
    toy.happen(Happening::Listed { keys: Vec::new() });
    let mut retried = toy.clone();
    retried.happen(Happening::Retried);
    assert!(is_at_mint(&retried), "{:?}", retried.rotation.phase);
    assert_eq!(after(&toy, Finds::Accepted), "mint");
}

#[test]
fn a_mint_that_may_have_happened_is_never_just_ordered_again() {
    for fault in [Fault::Lied, Fault::Half, Fault::CrashBefore, Fault::CrashAfter] {
        let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
        let mut toy = Toy::new(Kind::ApiKey, capabilities);
        toy.run_until(is_at_mint);
        toy.step(Fault::None);
        assert!(matches!(toy.next_effect(), Some(Effect::Mint { .. })));
        toy.step(fault);
        while toy.next_effect().is_none() {
            toy.step(Fault::None);
        }
        let next = toy.next_effect();
        assert!(matches!(next, Some(Effect::LookUp { .. })), "{fault:?}: {next:?}");
    }
}

#[test]
fn what_an_earlier_order_left_says_nothing_of_one_that_is_under_way() {
    let mut toy =
        Toy::new(Kind::ApiKey, remote(ValueFrom::Theirs, OldDies::OnMint, OnLost::Repeat));
    toy.run();
    toy.open_next(Lane::Routine);
    for fault in [Fault::Half, Fault::TakenOver] {
        while !matches!(toy.next_effect(), Some(Effect::Mint { .. })) {
            toy.step(Fault::None);
        }
        toy.step(fault);
    }
    let listed = |toy: &Toy| toy.rotation.trouble.not_before.is_some_and(|until| until > toy.now);
    while !listed(&toy) {
        toy.step(Fault::None);
    }
    toy.land(0, Landing::Answered);
    toy.run();
    let current = toy.rotation.current().expect("closed with a current version");
    let lives = toy.keys.values().any(|key| key.alive && key.version == current);
    assert!(toy.rotation.is_closed() && lives, "{}", toy.trace());
    assert_eq!(toy.alive_keys(), 1, "{}", toy.trace());
    assert_eq!(toy.minted, 3, "the one under way is not made again\n{}", toy.trace());
}

#[test]
fn a_possible_orphan_stops_until_a_person_says_whose_it_is() {
    let mut toy = lost(OnLost::Sweep, false);
    toy.dates = true;
    let key = Key { version: V2, alive: true, dies_at: None, marked: false, created_at: None };
    toy.keys.insert(KeyId("new".to_owned()), key);
    toy.rotation.terms.capabilities.capacity = None;
    let wait = toy.run();
    assert_eq!(wait.needs_human, Some(Reason::PossibleOrphan), "{}", toy.trace());
    assert_eq!(wait.until, None, "no look-up will tell\n{}", toy.trace());

    let mut abandoned = toy.clone();
    abandoned.happen(Happening::Abandoned);
    abandoned.run();
    let expected = matches!(
        abandoned.rotation.phase,
        Phase::Closed { outcome: Outcome::Unwound { possible_orphan: true, .. }, .. }
    );
    assert!(expected, "{}", abandoned.trace());

    toy.happen(Happening::KeyAccepted { key: KeyId("new".to_owned()) });
    toy.run_until(|toy| toy.rotation.is_closed());
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
}

#[test]
fn a_list_that_lags_behind_is_swept_again_with_growing_pauses() {
    let capabilities = remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    let orphan = KeyId("orphan".to_owned());
    let listed =
        KeySeen { key: orphan.clone(), marked: Marked::Known { version: V1 }, created_at: None };
    let mut waits = Vec::new();
    for _ in 0..4 {
        toy.happen(Happening::Listed { keys: vec![listed.clone()] });
        toy.happen(Happening::Swept { key: orphan.clone() });
        let until = toy.rotation.trouble.not_before.expect("a pause");
        waits.push(until.since(toy.now));
        toy.pass(until);
    }
    assert_eq!(waits, [1, 2, 5, 15].map(Span::from_secs));
}

#[test]
fn an_issuer_whose_clock_ends_the_old_version_leaves_no_way_back() {
    let clock = OldDies::IssuerClock { grace: Span::from_secs(600) };
    let capabilities = remote(ValueFrom::Theirs, clock, OnLost::AdoptThenRoll);
    let mut toy = Toy::new(Kind::ApiKey, capabilities);
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "probe");
    let ends = toy.rotation.outgoing[0].latest;
    toy.happen(Happening::Abandoned);
    toy.run_until(|toy| toy.rotation.phase.name() == "stage");
    assert_eq!(toy.rotation.outgoing[0].latest, ends, "its date stands\n{}", toy.trace());
    toy.run();
    assert_eq!(toy.rotation.current(), Some(VersionId(3)), "{}", toy.trace());
}

#[test]
fn a_key_that_never_works_is_taken_back_where_there_is_a_way_back() {
    let clock = OldDies::IssuerClock { grace: Span::from_secs(6000) };
    for (old_dies, expected) in [(OldDies::OnRevoke, "closed"), (clock, "probe")] {
        let mut toy = Toy::new(Kind::ApiKey, remote(ValueFrom::Theirs, old_dies, OnLost::Sweep));
        toy.run();
        toy.open_next(Lane::Routine);
        toy.run_until(|toy| toy.rotation.phase.name() == "probe");
        for key in toy.keys.values_mut().filter(|key| key.version == V2) {
            key.alive = false;
        }
        let began = toy.now;
        toy.run_until(|toy| {
            toy.now.since(began) >= Span::from_secs(120) || toy.rotation.is_closed()
        });
        assert_eq!(toy.rotation.phase.name(), expected, "{}", toy.trace());
        if expected == "probe" {
            assert_eq!(toy.rotation.trouble.needs_human(), Some(Reason::ProbeRefused));
        }
    }
}

#[test]
fn a_key_that_works_now_and_then_is_not_trusted_and_a_person_is_told() {
    let mut toy =
        Toy::new(Kind::ApiKey, remote(ValueFrom::Theirs, OldDies::OnRevoke, OnLost::Sweep));
    toy.rotation.terms.policy.probes = 3;
    toy.run_until(|toy| toy.rotation.phase.name() == "probe");
    let mut tries = 0;
    while toy.rotation.phase.name() == "probe" {
        toy.happen(Happening::Probed { version: V1, works: tries % 2 == 0 });
        tries += 1;
        assert!(tries < 20, "{}", toy.trace());
    }
    assert_eq!(toy.rotation.phase.name(), "unwind", "{}", toy.trace());
}

#[test]
fn an_old_key_that_still_works_after_its_end_is_tried_on_and_reported() {
    let mut toy = full(WhenFull::Ask);
    toy.run_until(|toy| toy.rotation.leaving.values().any(|leaving| leaving.revoked));
    for _ in 0..6 {
        toy.happen(Happening::Probed { version: V1, works: true });
    }
    let trouble = toy.rotation.leaving[&V1].trouble;
    assert_eq!(trouble.needs_human(), Some(Reason::StillAccepted));
    assert!(!toy.rotation.leaving[&V1].forgotten, "its material stays until it is refused");
}

#[test]
fn a_place_that_was_refused_can_be_taken_back_and_one_in_doubt_cannot() {
    let failed = |class| Happening::Failed {
        effect: Effect::Place { version: V2 },
        failure: Failure { class, reason: Reason::Denied },
    };
    let mut toy = Toy::new(Kind::ApiKey, remote(ValueFrom::Ours, OldDies::OnMint, OnLost::Repeat));
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "install");
    toy.happen(failed(Class::Refused));
    assert!(toy.rotation.may_unwind());
    let mut taken_back = toy.clone();
    taken_back.happen(Happening::Abandoned);
    taken_back.run();
    assert_eq!(taken_back.rotation.current(), Some(V1), "{}", taken_back.trace());
    assert_eq!(taken_back.saved_versions(), [1], "{}", taken_back.trace());

    toy.happen(failed(Class::Ambiguous));
    toy.happen(failed(Class::Refused));
    assert!(!toy.rotation.may_unwind(), "the first try may have done it");
    assert!(toy.open(Lane::Routine, Trigger::Repair { by: "ada".to_owned() }).is_err());
    toy.run();
    assert_eq!(toy.rotation.current(), Some(V2), "{}", toy.trace());
}
