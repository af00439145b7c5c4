//! The simulated world: the real engine on a virtual clock, with a simulated Vault, issuers and
//! targets, and a seed that decides everything.
//!
//! A run has two parts. First faults come at every boundary and people ask for things: nothing may
//! ever be unsafe. Then the faults stop: everything must come to rest.

mod checkers;
mod faults;
mod issuer;
mod process;
mod scenario;
mod target;
mod time;
mod vault;
mod world;

use std::collections::BTreeMap;

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 40;

/// Of a thousand boundaries, so many go wrong. Rotations come through at all of these rates.
const RATES: [u64; 4] = [0, 5, 20, 80];

#[test]
fn the_promises_hold_for_every_seed() {
    let mut boundaries = 0;
    let mut crashes = 0;
    for seed in 0..SEEDS {
        let report = run(seed);
        boundaries += report.boundaries;
        crashes += report.crashes;
        assert!(
            report.violations.is_empty(),
            "seed {seed} breaks {:?}\n{}",
            report.violations,
            report.trace
        );
    }
    println!("sim: seeds={SEEDS} boundaries={boundaries} crashes={crashes} violations=0");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 17, 202] {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed} is not deterministic");
    }
}

fn run(seed: u64) -> scenario::Report {
    let rate = RATES[usize::try_from(seed).unwrap() % RATES.len()];
    scenario::run(seed, rate, BTreeMap::new())
}
