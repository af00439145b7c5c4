//! The simulated world: the real engine on a virtual clock, with a simulated Vault, issuers and
//! targets, and a seed that decides everything.
//!
//! A run has two parts. First faults come at every boundary and people ask for things: nothing may
//! ever be unsafe. Then the faults stop: everything must come to rest.
//!
//! One seed again, with its whole trace: `ROTORD_SIM=1234 cargo test --test it sim::the_promises`;
//! a range of them: `ROTORD_SIM=0..100`.

#![expect(clippy::print_stdout, reason = "how much was simulated is what a reader wants to know")]

mod checkers;
mod coverage;
mod exhaustive;
mod faults;
mod fleet;
mod issuer;
mod log;
mod people;
mod planted;
mod process;
mod scanner;
mod scenario;
mod seat;
mod setups;
mod target;
pub(crate) mod time;
mod truth;
mod vault;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use rotord::vault::KvPath;

use crate::sim::planted::Bug;
use crate::sim::scanner::Planned;
use crate::sim::scenario::{Plot, Report};
use crate::sim::vault::SimVault;
use crate::sim::world::World;
use crate::support::kv_contract;

/// Seeds that every run of the tests goes through.
const SEEDS: u64 = 2_000;

/// A planted bug must be found within so many.
const SEEDS_A_BUG: u64 = 1_000;

/// Threads that share the seeds: what the smallest machine of the tests has.
const THREADS: usize = 2;

/// Of a thousand boundaries, so many go wrong. Rotations come through at all of these rates.
const RATES: [u64; 4] = [0, 5, 20, 80];

#[test]
fn the_promises_hold_for_every_seed() {
    let seeds = seeds();
    let reports = run_all(&seeds);
    let boundaries: u64 = reports.iter().map(|(_, report)| report.boundaries).sum();
    let crashes: u64 = reports.iter().map(|(_, report)| report.crashes).sum();
    let broken: Vec<&(u64, Report)> =
        reports.iter().filter(|(_, report)| !report.violations.is_empty()).collect();
    let failed = broken.len();
    println!(
        "sim: seeds={} boundaries={boundaries} crashes={crashes} failed={failed}",
        reports.len()
    );
    for (seed, report) in &broken {
        println!("seed {seed} breaks {}", report.violations[0]);
    }
    if let Some((seed, report)) = broken.first() {
        panic!("seed {seed} breaks {:#?}\n{}", report.violations, report.trace);
    }
    if seeds == (0..SEEDS) {
        coverage::complete(reports.iter().flat_map(|(_, report)| &report.seen));
    }
}

/// Each rule that is broken on purpose is found to be, and by a checker, not by chance.
#[test]
fn every_planted_bug_is_found() {
    let found: Mutex<BTreeMap<usize, (u64, String)>> = Mutex::default();
    let hunt = |thread: usize| {
        for (at, bug) in Bug::ALL.iter().enumerate().skip(thread).step_by(THREADS) {
            let broken = |seed| run_with(seed, Some(*bug)).violations.into_iter().next();
            if let Some(first) = (0..SEEDS_A_BUG).find_map(|seed| Some((seed, broken(seed)?))) {
                found.lock().unwrap().insert(at, first);
            }
        }
    };
    thread::scope(|scope| {
        for at in 0..THREADS {
            scope.spawn(move || hunt(at));
        }
    });
    let found = found.into_inner().unwrap();
    for (bug, (seed, what)) in found.iter().map(|(at, first)| (Bug::ALL[*at], first)) {
        println!("sim: planted={bug:?} seeds={} by={what:?}", seed + 1);
    }
    let missed = |(at, _): &(usize, &Bug)| !found.contains_key(at);
    let missed: Vec<&Bug> = Bug::ALL.iter().enumerate().filter(missed).map(|(_, b)| b).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_A_BUG} seeds: {missed:?}");
}

/// Without faults the simulated Vault is a Vault.
#[tokio::test(start_paused = true)]
async fn the_simulated_vault_keeps_the_contract_of_kv() {
    let vault = || {
        let world = World::over(1, 0, &["kv"]);
        world.stop_faults();
        SimVault { seat: Arc::clone(&world.seats[0]), world }
    };
    kv_contract::all(&vault(), "kv").await;
    let vault = vault();
    let delete = async |at: &KvPath| _ = vault.world.kv.soft_delete(at);
    kv_contract::a_soft_deleted_newest_version_is_not_absent(&vault, "kv", delete).await;
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 17, 202] {
        assert_eq!(run(seed).trace, run(seed).trace, "seed {seed} is not deterministic");
    }
}

fn seeds() -> Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "for people who look into a failing seed")]
    let asked = std::env::var("ROTORD_SIM").unwrap_or_default();
    let number = |text: &str| text.parse::<u64>().ok();
    match asked.split_once("..") {
        Some((from, to)) => number(from).unwrap()..number(to).unwrap(),
        None => number(&asked).map_or(0..SEEDS, |seed| seed..seed + 1),
    }
}

/// Runs the seeds on as many threads as there are, each its own share.
fn run_all(seeds: &Range<u64>) -> Vec<(u64, Report)> {
    let share = |thread: usize| -> Vec<(u64, Report)> {
        seeds.clone().skip(thread).step_by(THREADS).map(|s| (s, brief(run(s)))).collect()
    };
    let mut reports: Vec<(u64, Report)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|at| scope.spawn(move || share(at))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    reports.sort_unstable_by_key(|(seed, _)| *seed);
    reports
}

/// Two thousand traces are more than memory should hold: only those that are read.
fn brief(report: Report) -> Report {
    if report.violations.is_empty() { Report { trace: String::new(), ..report } } else { report }
}

fn run(seed: u64) -> Report {
    run_with(seed, None)
}

fn run_with(seed: u64, bug: Option<Bug>) -> Report {
    let rate = RATES[usize::try_from(seed).unwrap() % RATES.len()];
    scenario::run(Plot {
        seed,
        fault_permille: rate,
        planned: BTreeMap::new(),
        leaks: Planned::new(),
        bug,
        fixed: None,
    })
}
