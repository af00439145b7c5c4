//! A channel's own key that leaked: nothing new goes to a target over that channel, and the
//! rotation comes to its end all the same, another way or by a person.

use crate::model::capability::Capabilities;
use crate::model::id::VersionId;
use crate::model::policy::{Kind, Lane, OnLeak};
use crate::model::reason::Reason;
use crate::model::target::Recovery;
use crate::model::version::Stage;
use crate::rotation::carried::{is_cut_off, needs_hand};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::evidence::is_reached;
use crate::rotation::tests::toy::{Fault, Step, Toy, name};

const V1: VersionId = VersionId(1);
const V2: VersionId = VersionId(2);

/// A webhook key in use. `api` is reached over the channel that it signs; `worker`, which ends at
/// the same service, is not.
fn channel(recovery: Recovery) -> Toy {
    let mut toy = Toy::new(Kind::WebhookHmac, Capabilities::local());
    toy.run();
    hang(&mut toy, recovery);
    toy
}

fn hang(toy: &mut Toy, recovery: Recovery) {
    toy.config.get_mut(&name("api")).expect("a target").recovery = Some(recovery);
    toy.configure(toy.config.clone());
}

fn over_worker() -> Recovery {
    Recovery::Over(name("worker"))
}

/// Whether the key in use is one that may sign.
fn may_sign(toy: &Toy) -> bool {
    let r = &toy.rotation;
    r.current().is_some_and(|v| !r.is_tainted(v) && !r.is_dropped(v))
}

/// Goes on until nothing moves without a person; answers what that one is asked for. Nothing is
/// ever pushed to `api` under a key that leaked.
fn run(toy: &mut Toy) -> Option<Reason> {
    loop {
        if toy.next_effect() == Some(&Effect::Push { target: name("api") }) {
            assert!(may_sign(toy), "carried by a key that leaked\n{}", toy.trace());
        }
        match toy.step(Fault::None) {
            Step::Rests(wait) => return wait.needs_human,
            Step::Waited(wait) if wait.needs_human.is_some() => return wait.needs_human,
            _ => {}
        }
    }
}

fn ends_with(toy: &Toy, version: VersionId) {
    assert!(toy.rotation.is_closed(), "{}", toy.trace());
    assert_eq!(toy.rotation.current(), Some(version), "{}", toy.trace());
    assert_eq!(toy.saved_versions(), [version.0], "{}", toy.trace());
    let api = &toy.rotation.targets[&name("api")];
    assert!(is_reached(api) && api.wanted.accepted == [version], "{}", toy.trace());
}

#[test]
fn a_successor_goes_over_the_recovery_target_and_the_rest_over_the_new_key() {
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        let mut toy = channel(over_worker());
        (toy.policy.on_leak, toy.rotation.terms.policy.on_leak) = (on_leak, on_leak);
        toy.taint(V1);
        assert_eq!(run(&mut toy), None, "{on_leak:?}\n{}", toy.trace());
        ends_with(&toy, V2);
    }
}

#[test]
fn a_leak_at_any_step_of_a_rotation_cuts_the_target_off() {
    let mut steps = 0;
    let mut toy = channel(over_worker());
    toy.open_next(Lane::Routine);
    while !toy.rotation.is_closed() {
        if toy.pending.is_empty() {
            for stage in [Stage::Current, Stage::Pending, Stage::Previous] {
                for version in toy.rotation.at_stage(stage).collect::<Vec<_>>() {
                    let mut toy = toy.clone();
                    toy.taint(version);
                    assert_eq!(run(&mut toy), None, "{version} {stage}\n{}", toy.trace());
                    assert!(toy.rotation.is_closed(), "{version} {stage}\n{}", toy.trace());
                    steps += 1;
                }
            }
        }
        toy.step(Fault::None);
    }
    assert!(steps > 20, "only {steps} leaks");
}

#[test]
fn both_the_key_in_use_and_its_successor_may_leak() {
    let mut toy = channel(over_worker());
    toy.taint(V1);
    toy.run_until(|toy| toy.rotation.phase.name() == "admit");
    toy.taint(V2);
    assert_eq!(run(&mut toy), None, "{}", toy.trace());
    ends_with(&toy, VersionId(3));
}

#[test]
fn without_another_way_a_person_brings_it() {
    let mut toy = channel(Recovery::ByHand);
    toy.taint(V1);
    assert_eq!(run(&mut toy), Some(Reason::ChannelLeaked), "{}", toy.trace());
    assert_eq!(needs_hand(&toy.rotation), Some(&name("api")));
    assert_eq!(toy.rotation.phase.name(), "admit");
    toy.happen(Happening::Waived { target: name("api"), by: "ada".to_owned() });
    assert_eq!(run(&mut toy), None, "{}", toy.trace());
    ends_with(&toy, V2);
}

#[test]
fn a_recovery_target_that_shows_nothing_stands_in_for_nobody() {
    let excused = |toy: &mut Toy| {
        toy.happen(Happening::Waived { target: name("worker"), by: "ada".to_owned() });
    };
    let hangs_too = |toy: &mut Toy| {
        let mut config = toy.config.clone();
        config.get_mut(&name("worker")).expect("a target").recovery = Some(Recovery::ByHand);
        toy.configure(config);
    };
    let elsewhere = |toy: &mut Toy| hang(toy, Recovery::Over(name("nobody")));
    let spoil: [&dyn Fn(&mut Toy); 3] = [&excused, &hangs_too, &elsewhere];
    for spoil in spoil {
        let mut toy = channel(over_worker());
        toy.taint(V1);
        toy.run_until(|toy| toy.rotation.phase.name() == "stage");
        spoil(&mut toy);
        assert_eq!(run(&mut toy), Some(Reason::ChannelLeaked), "{}", toy.trace());
        assert_eq!(toy.rotation.phase.name(), "admit", "{}", toy.trace());
    }
}

#[test]
fn only_a_target_that_hangs_on_the_key_is_cut_off_and_only_while_the_key_is_not_fit() {
    let mut toy = channel(over_worker());
    let cut =
        |toy: &Toy, target: &str| is_cut_off(&toy.rotation, &toy.rotation.targets[&name(target)]);
    assert!(!cut(&toy, "api") && !cut(&toy, "worker"));
    toy.taint(V1);
    assert!(cut(&toy, "api") && !cut(&toy, "worker"));
    toy.run_until(|toy| toy.rotation.current() == Some(V2));
    assert!(!cut(&toy, "api"), "the next key is fit");
}

#[test]
fn before_there_is_a_first_key_nothing_is_carried() {
    let mut toy = Toy::new(Kind::WebhookHmac, Capabilities::local());
    hang(&mut toy, over_worker());
    assert_eq!(run(&mut toy), None, "{}", toy.trace());
    ends_with(&toy, V1);
}
