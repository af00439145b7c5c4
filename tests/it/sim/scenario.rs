//! One seed, one story: some secrets, some services, people who ask for things, and faults. Then
//! the faults stop, and everything has to come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotord::engine::command::Command;
use rotord::engine::snapshot::SecretView;
use rotord::model::id::SecretName;
use rotord::model::time::Span;
use rotord::store::record::Record;
use tokio::time::{Instant, sleep_until};

use crate::sim::checkers;
use crate::sim::checkers::exposed::Exposures;
use crate::sim::faults::Fault;
use crate::sim::fleet::Fleet;
use crate::sim::people;
use crate::sim::planted::Bug;
use crate::sim::process::Process;
use crate::sim::scanner::{self, Planned};
use crate::sim::seat::Seat;
use crate::sim::setups::{self, Setup, Trials};
use crate::sim::target;
use crate::sim::world::{World, state_of};

/// How long faults go on: several scheduled rotations.
const TROUBLED: Duration = Duration::from_secs(3 * 3600);

/// How long one round of coming to rest may take: longer than any hold, overlap or back-off.
const ROUND: Duration = Duration::from_secs(2 * 3600);

/// The same where clocks were set by up to a day: what was to be over soon is over in a day.
const LONG_ROUND: Duration = Duration::from_secs(26 * 3600);

/// How often people answer what is asked of them before it counts as a dead end.
const ROUNDS: usize = 8;

/// In a fixed story, when somebody first asks for a rotation, and how long it has: its overlap of
/// two minutes, the waits after a crash, and some rest.
const FIRST: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(300);

/// Within this time every target that is looked at regularly was looked at.
const OBSERVED: Duration = Duration::from_secs(1_200);

/// How often somebody looks whether everything rests.
const LOOK: Duration = Duration::from_secs(60);

/// What a run leaves behind.
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) trace: String,
    pub(super) boundaries: u64,
    /// Those of them at which something could go wrong.
    pub(super) troubled: u64,
    pub(super) crashes: u64,
    /// What it came through: faults, phases, ends, questions to people.
    pub(super) seen: BTreeSet<String>,
    /// The records as they are in the end, and what is known of the leaks of each.
    pub(super) records: Vec<(Arc<Record>, Exposures)>,
}

/// What to run.
pub(super) struct Plot {
    pub(super) seed: u64,
    /// Of a thousand boundaries, so many go wrong.
    pub(super) fault_permille: u64,
    /// Faults at given boundaries.
    pub(super) planned: BTreeMap<u64, Fault>,
    /// What leaks at given boundaries.
    pub(super) leaks: Planned,
    /// A rule that is broken on purpose.
    pub(super) bug: Option<Bug>,
    /// A fixed story instead of one that the seed draws.
    pub(super) fixed: Option<Fixed>,
}

/// A story without chance: these secrets, rotated by hand so many times.
#[derive(Clone)]
pub(super) struct Fixed {
    pub(super) setups: Vec<Setup>,
    pub(super) rotations: u32,
}

/// Runs one plot to its end.
pub(super) fn run(plot: Plot) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let world = World::new(plot.seed, plot.fault_permille);
        let _logs = world.log.take_all();
        world.state().planned = plot.planned;
        world.state().planned_leaks = plot.leaks;
        world.state().bug = plot.bug;
        tokio::select! {
            biased;
            () = tell(&world, plot.fixed) => {}
            () = world.log.too_long.notified() => {
                world.violate("P10 bounded", "the log of one run is longer than anybody can read");
            }
            // What else goes wrong in such a world is of no interest.
            () = world.violated.notified(), if plot.bug.is_some() => {}
        }
        report(&world)
    })
}

fn report(world: &World) -> Report {
    let record = |name: &SecretName| {
        let exposures = world.state().exposures.get(name).cloned().unwrap_or_default();
        Some((world.record(name)?, exposures))
    };
    let records = world.names().iter().filter_map(record).collect();
    let trace = world.trace();
    let state = world.state();
    Report {
        violations: state.violations.clone(),
        trace,
        boundaries: state.boundaries,
        troubled: state.boundaries_troubled,
        crashes: state.crashes,
        seen: state.seen.clone(),
        records,
    }
}

async fn tell(world: &Arc<World>, fixed: Option<Fixed>) {
    let (mut setups, replicas) = match fixed {
        Some(fixed) => {
            fixed.setups.iter().for_each(|setup| setups::introduce(world, setup));
            rotate(world, &fixed).await;
            (fixed.setups, 1)
        }
        None => {
            let trials = Trials::drawn(world);
            trials.begin(world);
            let setups = setups::drawn(world, trials);
            setups.iter().for_each(|setup| setups::introduce(world, setup));
            world.note(&format!("{trials:?}"));
            (troubled(world, setups, trials).await, trials.replicas)
        }
    };
    world.stop_faults();
    setups.iter_mut().for_each(|setup| *setup = setup.without_schedule());
    let fleet = Fleet::new(world, replicas, setups);
    tokio::select! {
        biased;
        () = fleet.live() => {}
        () = scanner::watch(world, &fleet) => {}
        () = calm(world, &fleet) => {}
    }
    match fleet.leader() {
        Some(leader) => at_rest(world, &leader),
        None => world.violate("P11 live", "nobody leads"),
    }
    fleet.stop().await;
}

/// Faults, crashes and people, for a while. Answers the config as it is in the end.
async fn troubled(world: &Arc<World>, setups: Vec<Setup>, trials: Trials) -> Vec<Setup> {
    let end = Instant::now() + TROUBLED;
    let fleet = Fleet::new(world, trials.replicas, setups);
    tokio::select! {
        biased;
        () = fleet.live() => {}
        () = scanner::watch(world, &fleet) => {}
        () = happenings(world, &fleet, trials, end) => {}
    }
    fleet.stop().await;
    world.pass(Duration::from_secs(1) + world.chance.millis(60_000)).await;
    fleet.setups()
}

/// One thing after the other happens, until the end.
async fn happenings(world: &Arc<World>, fleet: &Fleet, trials: Trials, end: Instant) {
    loop {
        let pause = Duration::from_secs(5) + world.chance.millis(1_500_000);
        let next = Instant::now() + pause;
        world.pass(next.min(end) - Instant::now()).await;
        if next >= end {
            return;
        }
        let setups = fleet.setups();
        let at = usize::try_from(world.chance.below(setups.len() as u64)).unwrap();
        match world.chance.below(12) {
            0 if trials.outages => {
                outage(world);
                // What leaks, leaks whether or not anybody can take note of it.
                scanner::come_across(world, trials.leaks * 20);
            }
            1 | 2 if trials.unruly => misbehave(world, &setups[at]),
            3 if trials.reloads => reconfigure(world, fleet, at).await,
            4 if trials.clock_set => set_clock(world),
            5..=7 if trials.machines => befall(world, fleet.seat()),
            8 if trials.meddling => delete_record(world, &setups[at].name),
            _ => tokio::select! {
                biased;
                () = ask(world, fleet, &setups[at]) => {}
                () = sleep_until(end) => return,
            },
        }
    }
}

/// Somebody deletes a record by mistake, and brings it back a while later.
fn delete_record(world: &Arc<World>, name: &SecretName) {
    let at = state_of(name);
    if world.kv.peek(&at).is_none() {
        return;
    }
    world.reached("trial record deleted");
    world.note(&format!("somebody deletes the record of {name}"));
    // So that what it said is known as long as it is away.
    let _ = world.record(name);
    let deleted = world.kv.soft_delete(&at);
    let (kv, after) = (Arc::clone(&world.kv), world.chance.millis(1_800_000));
    world.later(after, move || kv.undelete(&at, deleted));
}

/// Something happens to one machine, and the others do not notice.
fn befall(world: &World, seat: &Seat) {
    let lasts = Span::from_secs(1 + world.chance.below(300));
    let (what, until) = (seat.instance(), world.clock.truly() + lasts);
    match world.chance.below(5) {
        0 => {
            world.reached("trial cut off from Vault");
            world.note(&format!("{what} does not reach Vault until {until}"));
            seat.fate().no_vault_until = until;
        }
        1 => {
            world.reached("trial cut off from services");
            world.note(&format!("{what} reaches no service until {until}"));
            seat.fate().no_services_until = until;
        }
        2 => {
            world.reached("trial stopped process");
            world.note(&format!("{what} stands still until {until}"));
            seat.fate().stopped_until = Some(Instant::now() + lasts.to_std());
        }
        3 => {
            world.reached("trial killed");
            world.crash(seat);
        }
        _ => {
            world.note(&format!("{what} is to end"));
            seat.upgraded.notify_one();
        }
    }
}

/// People answer what they are asked, or ask for something.
async fn ask(world: &Arc<World>, fleet: &Fleet, setup: &Setup) {
    let process = fleet.someone().await;
    let snapshot = process.snapshot();
    let view = snapshot.secrets.get(&setup.name).map(AsRef::as_ref);
    let answer = view.and_then(|view| {
        let urgent = people::is_to_adopt(setup, view) || people::is_by_hand(setup);
        let answers = urgent || world.chance.permille(300);
        if answers { people::answer(world, setup, view) } else { None }
    });
    let command = answer.unwrap_or_else(|| people::whim(world, setup));
    people::ask(world, &process, command).await;
}

/// Vault, or the disk, is away for some minutes.
fn outage(world: &World) {
    let until = world.clock.truly() + Span::from_secs(10 + world.chance.below(600));
    if world.chance.permille(600) {
        world.reached("trial sealed");
        world.note(&format!("Vault is sealed until {until}"));
        world.state().sealed_until = until;
    } else {
        world.reached("trial audit full");
        world.note(&format!("no room for audit lines until {until}"));
        world.state().audit_full_until = until;
    }
}

/// A service forgets, goes back, or is dead for a long time.
fn misbehave(world: &World, setup: &Setup) {
    let names: Vec<_> = setup.targets.keys().cloned().collect();
    let name = world.chance.pick(&names);
    match world.chance.below(3) {
        0 => {
            world.reached("trial restarted empty");
            target::restart_empty(world, &setup.name, name);
        }
        1 => {
            world.reached("trial went back");
            target::revert(world, &setup.name, name);
        }
        _ => {
            world.reached("trial dead");
            let until = world.clock.truly() + Span::from_secs(60 + world.chance.below(7_200));
            world.note(&format!("{} {name} is dead until {until}", setup.name));
            let mut state = world.state();
            let truth = state.secrets.get_mut(&setup.name).unwrap();
            truth.services.get_mut(name).unwrap().dead_until = until;
        }
    }
}

/// The last target leaves the config, or comes back into it.
async fn reconfigure(world: &World, fleet: &Fleet, at: usize) {
    let change = |setup: &mut Setup| {
        let name = setups::target_name(2);
        if setup.targets.remove(&name).is_some() {
            world.reached("trial target removed");
            world.note(&format!("{} {name} leaves the config", setup.name));
        } else {
            world.reached("trial target added");
            world.note(&format!("{} {name} comes into the config", setup.name));
            let terms = setup.targets[&setups::target_name(1)].clone();
            target::install(world, &setup.name, &name, &terms);
            setup.targets.insert(name, terms);
        }
    };
    fleet.reconfigure(at, change).await;
}

/// Somebody sets the wall clock forward or back, by a day at the most.
fn set_clock(world: &World) {
    let by = i64::try_from(world.chance.below(172_800_000)).unwrap() - 86_400_000;
    world.reached(if by < 0 { "trial clock set back" } else { "trial clock set forward" });
    world.note(&format!("the clock is set by {by} ms"));
    world.clock.set_by(by);
    world.state().clock_was_set = true;
    if by > 0 {
        world.state().set_forward_at = Some(world.clock.truly());
    }
}

// ---------------------------------------------------------------- the fixed story

/// Faults only where they are planned: a first rotation, and some more by hand.
async fn rotate(world: &Arc<World>, fixed: &Fixed) {
    let begin = Instant::now();
    let asks_at = |nth: u32| begin + FIRST + nth * PERIOD;
    let end = asks_at(fixed.rotations);
    let fleet = Fleet::new(world, 1, fixed.setups.clone());
    tokio::select! {
        biased;
        () = fleet.live() => {}
        () = scanner::watch(world, &fleet) => {}
        () = async {
            for nth in 0..fixed.rotations {
                world.pass(asks_at(nth).saturating_duration_since(Instant::now())).await;
                for setup in &fixed.setups {
                    let process = fleet.someone().await;
                    people::ask(world, &process, rotation_of(&setup.name)).await;
                }
            }
            world.pass(end.saturating_duration_since(Instant::now())).await;
        } => {}
    }
    fleet.stop().await;
    world.pass(Duration::from_secs(1) + world.chance.millis(60_000)).await;
}

fn rotation_of(name: &SecretName) -> Command {
    Command::Rotate { name: name.clone(), emergency: false, reason: "sim".to_owned() }
}

// ---------------------------------------------------------------- the end

/// Everything comes to rest, people helping where they are asked; then each secret is rotated once
/// more, which must be possible from wherever it stands, and comes to rest again.
async fn calm(world: &Arc<World>, fleet: &Fleet) {
    world.pass(LOOK).await;
    settle(world, fleet).await;
    world.pass(OBSERVED).await;
    if settle(world, fleet).await {
        checkers::converged::observed(world);
    }
    while world.on_the_way.load(Ordering::Relaxed) > 0 {
        world.pass(LOOK).await;
    }
    for setup in fleet.setups() {
        people::tidy(world, &setup);
        let process = fleet.leads().await;
        people::ask(world, &process, rotation_of(&setup.name)).await;
    }
    settle(world, fleet).await;
}

async fn settle(world: &Arc<World>, fleet: &Fleet) -> bool {
    for _ in 0..ROUNDS {
        if rest(world, fleet).await {
            return true;
        }
        for setup in fleet.setups() {
            let process = fleet.leads().await;
            let snapshot = process.snapshot();
            let view: &SecretView = &snapshot.secrets[&setup.name];
            if let Some(command) = people::answer(world, &setup, view) {
                people::ask(world, &process, command).await;
            }
        }
    }
    false
}

/// Waits until everything rests; whether it does.
async fn rest(world: &World, fleet: &Fleet) -> bool {
    let set = world.state().clock_was_set;
    let end = Instant::now() + if set { LONG_ROUND } else { ROUND };
    // People answer within some twenty minutes; what time alone will cure gets its time.
    let hurry = if set { 1 } else { 50 };
    let setups = fleet.setups();
    while Instant::now() < end {
        world.pass(LOOK).await;
        let snapshot = fleet.leads().await.snapshot();
        checkers::overdue::check(world, &snapshot, &setups);
        let rests = snapshot.secrets.values().all(|view| checkers::live::rests(view));
        if rests && world.state().leaks.is_empty() {
            return true;
        }
        let stuck =
            |view: &SecretView| checkers::live::rests(view) || view.waiting.needs_human.is_some();
        if snapshot.secrets.values().all(|view| stuck(view)) && world.chance.permille(hurry) {
            return false;
        }
    }
    false
}

fn at_rest(world: &World, process: &Process) {
    let snapshot = process.snapshot();
    checkers::live::at_rest(world, &snapshot);
    scanner::at_rest(world);
    checkers::overdue::at_rest(world);
    checkers::orphan::at_rest(world);
    checkers::converged::at_rest(world);
    checkers::audited::at_rest(world);
    checkers::leftovers::at_rest(world);
    let shown: Vec<String> = snapshot.secrets.values().map(|view| format!("{view:?}")).collect();
    let lines = |seat: &Arc<Seat>| seat.audit().chain.lines().to_vec();
    let audit: Vec<String> = world.seats.iter().flat_map(lines).collect();
    let records = world.kv.contents_under("rotord", "state/");
    let trace = world.trace();
    let texts = (shown.iter().map(|t| ("status", t.as_str())))
        .chain(audit.iter().map(|t| ("an audit line", t.as_str())))
        .chain(records.iter().map(|t| ("a record", t.as_str())))
        .chain([("an answer or an error", trace.as_str())]);
    let log = world.log.text();
    checkers::secretless::none_in(world, texts.chain([("a log line", log.as_str())]));
}
