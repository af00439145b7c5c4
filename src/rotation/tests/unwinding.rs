//! Taking a new version back: from everywhere before the point of no return, and from nowhere
//! after it.

use std::collections::BTreeSet;

use crate::model::id::VersionId;
use crate::model::policy::Lane;
use crate::rotation::apply::{IllegalEvent, apply};
use crate::rotation::event::{Event, Happening};
use crate::rotation::open::CannotOpen;
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::tests::toy::{Fault, Step, Toy};
use crate::rotation::tests::{check, routes};
use crate::rotation::{Trigger, route};

const V1: VersionId = VersionId(1);

/// Every place between two steps of a routine rotation.
fn everywhere(mut visit: impl FnMut(&str, Toy)) {
    for (route, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.run();
        toy.open_next(Lane::Routine);
        loop {
            visit(route, toy.clone());
            if let Step::Rests(_) = toy.step(Fault::None) {
                break;
            }
        }
    }
}

#[test]
fn what_is_taken_back_leaves_the_old_version_in_use_and_nothing_behind() {
    let mut from = BTreeSet::new();
    everywhere(|route, mut toy| {
        if !toy.rotation.may_unwind() {
            return;
        }
        from.insert((route.to_owned(), toy.rotation.phase.name()));
        // Whoever is at work ends first: a command comes in between.
        toy.step_through();
        if !toy.rotation.may_unwind() {
            return;
        }
        toy.happen(Happening::Abandoned);
        let wait = toy.run();
        check::at_rest(&toy, &wait);
        let Phase::Closed { outcome, .. } = toy.rotation.phase else { panic!("{}", toy.trace()) };
        match outcome {
            Outcome::Unwound { possible_orphan, .. } => {
                assert!(!possible_orphan, "{route}\n{}", toy.trace());
                assert_eq!(toy.rotation.current(), Some(V1), "{route}\n{}", toy.trace());
                assert_eq!(toy.saved_versions(), [1], "{route}\n{}", toy.trace());
                assert_eq!(toy.alive_keys(), usize::from(toy.has_issuer()), "{route}");
            }
            Outcome::Done => {
                let r = &toy.rotation;
                let ending = route::ends_by_clock(&r.terms) || route::mint_is_final(&r.terms);
                assert!(ending, "{route}: went on\n{}", toy.trace());
            }
        }
    });
    let phases: BTreeSet<&str> = from.iter().map(|(_, phase)| *phase).collect();
    let expected = BTreeSet::from(["stage", "probe", "admit", "install", "promote"]);
    assert_eq!(phases, expected);
}

#[test]
fn after_the_point_of_no_return_there_is_no_taking_back() {
    let mut refused = BTreeSet::new();
    everywhere(|route, toy| {
        let new_in_use = toy.rotation.current() > Some(V1);
        let killed =
            route::kills_on_mint(&toy.rotation.terms) && toy.rotation.phase.name() == "promote";
        let no_way_back = new_in_use || killed || toy.rotation.is_closed();
        if toy.pending.is_empty() {
            assert_eq!(toy.rotation.may_unwind(), !no_way_back, "{route}\n{}", toy.trace());
        }
        if new_in_use || killed {
            let event = Event { at: toy.now, what: Happening::Abandoned };
            let answer = apply(toy.rotation.clone(), event);
            assert!(matches!(answer, Err(IllegalEvent::Unknown { .. })), "{route}: {answer:?}");
            refused.insert(toy.rotation.phase.name());
        }
    });
    let expected = BTreeSet::from(["promote", "switch", "overlap", "retire", "revoke", "closed"]);
    assert_eq!(refused, expected);
}

#[test]
fn a_target_that_was_only_tried_is_told_to_take_it_back() {
    let (_, kind, capabilities) = routes().swap_remove(0);
    let mut toy = Toy::new(kind, capabilities);
    toy.run();
    toy.open_next(Lane::Routine);
    toy.run_until(|toy| toy.rotation.phase.name() == "admit");
    toy.step(Fault::None);
    // The push arrives, its answer does not.
    toy.step(Fault::Lied);
    toy.step_through();
    toy.happen(Happening::Abandoned);
    toy.run();
    for (target, holding) in &toy.held {
        assert_eq!(holding.wanted.accepted, [V1], "{target}\n{}", toy.trace());
    }
}

#[test]
fn a_rotation_that_has_not_promoted_cannot_be_superseded() {
    everywhere(|route, mut toy| {
        let open = !toy.rotation.is_closed();
        let promoted = toy.rotation.current() > Some(V1);
        let id = toy.rotation.id.clone();
        let routine = toy.open(Lane::Routine, Trigger::MaxAge);
        if open {
            assert_eq!(routine, Err(CannotOpen::Open(id.clone())), "{route}");
            let emergency = toy.open(Lane::Emergency, Trigger::MaxAge);
            let expected = if promoted { Ok(()) } else { Err(CannotOpen::NotPromoted(id)) };
            assert_eq!(emergency, expected, "{route}");
        } else {
            assert_eq!(routine, Ok(()), "{route}");
        }
    });
}
