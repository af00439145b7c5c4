//! Every script of faults over the first effects of a rotation, each once, and then no more
//! faults: the promises hold after every effect, and every run ends.
//!
//! Two scripts that lead to the same state go on as one: what was enumerated behind it once is
//! not enumerated again.

use std::collections::BTreeMap;

use crate::model::policy::{Lane, OnLeak};
use crate::rotation::effect::Effect;
use crate::rotation::phase::Phase;
use crate::rotation::tests::canon::{Canon, canon};
use crate::rotation::tests::toy::{Fault, Step, Toy};
use crate::rotation::tests::{check, routes};

/// Effects that may go wrong, from the first on.
const DEPTH: u32 = 7;

/// States of one route after which the enumeration has no end: the largest honest one has a tenth.
const STATES_MAX: usize = 200_000;

const FAULTS: [Fault; 5] =
    [Fault::None, Fault::Refused, Fault::Lied, Fault::CrashBefore, Fault::CrashAfter];

/// One enumeration.
#[derive(Default)]
struct Scripts {
    /// How many scripts there are behind a state in which so many more effects may go wrong.
    behind: BTreeMap<(Canon, u32), u64>,
}

impl Scripts {
    /// Goes on from a state in which `left` more effects may go wrong, and counts the scripts.
    fn go_on(&mut self, mut toy: Toy, left: u32) -> u64 {
        let mut passed: Vec<(Canon, u32)> = Vec::new();
        let scripts = loop {
            if let Some(effect) = toy.next_effect() {
                let half = matches!(effect, Effect::Mint { .. } | Effect::Roll { .. });
                let state = (canon(&toy, left > 0), left);
                if let Some(known) = self.behind.get(&state) {
                    break *known;
                }
                assert!(!passed.contains(&state), "P11: a circle\n{}", toy.trace());
                passed.push(state);
                if left > 0 {
                    let faults = FAULTS.into_iter().chain(half.then_some(Fault::Half));
                    let branch = |fault| {
                        let mut branch = toy.clone();
                        branch.step(fault);
                        self.go_on(branch, left - 1)
                    };
                    break faults.map(branch).sum();
                }
            }
            if let Step::Rests(wait) = toy.step(Fault::None) {
                check::at_rest(&toy, &wait);
                assert!(wait.needs_human.is_none(), "P11: {wait:?}\n{}", toy.trace());
                break 1;
            }
        };
        assert!(self.behind.len() < STATES_MAX, "P11: no end of states\n{}", toy.trace());
        self.behind.extend(passed.into_iter().map(|state| (state, scripts)));
        scripts
    }
}

/// The number of scripts, over all routes, and of the states they led through.
fn enumerate(start: impl Fn(&mut Toy)) -> (u64, usize) {
    let (mut scripts, mut states) = (0, 0);
    for (_, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.trace = None;
        start(&mut toy);
        let mut all = Scripts::default();
        scripts += all.go_on(toy, DEPTH);
        states += all.behind.len();
    }
    (scripts, states)
}

/// A secret with a version in use, and nothing open.
fn settled(toy: &mut Toy) {
    toy.run();
}

#[track_caller]
fn holds(start: impl Fn(&mut Toy), at_least: u64) {
    let (scripts, states) = enumerate(start);
    assert!(scripts >= at_least, "only {scripts} scripts through {states} states");
}

#[test]
fn every_script_of_faults_on_the_way_in() {
    holds(
        |toy| {
            settled(toy);
            toy.open_next(Lane::Routine);
        },
        300_000,
    );
}

#[test]
fn every_script_of_faults_on_the_way_out() {
    holds(
        |toy| {
            settled(toy);
            toy.open_next(Lane::Routine);
            toy.run_until(|toy| matches!(toy.rotation.phase, Phase::Overlap { .. }));
        },
        300_000,
    );
}

#[test]
fn every_script_of_faults_after_a_leak() {
    for on_leak in [OnLeak::KeepServing, OnLeak::Contain] {
        holds(
            |toy| {
                settled(toy);
                toy.policy.on_leak = on_leak;
                toy.taint(toy.rotation.current().expect("one is in use"));
            },
            100_000,
        );
    }
}
