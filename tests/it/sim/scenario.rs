//! One seed, one story: some secrets, some services, people who ask for things, and faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rotord::engine::command::{Command, Resolution};
use rotord::model::capability::{Capabilities, OldDies, OnLost, ValueFrom};
use rotord::model::id::{SecretName, TargetName};
use rotord::model::policy::{Hold, Kind, OnLeak, Policy, WhenFull};
use rotord::model::target::{Level, Role, TargetTerms};
use rotord::model::time::{Clock as _, Span};
use rotord::plan::cadence::Cadence;
use rotord::plan::schedule::Schedule;
use rotord::rotation::Terms;

use crate::sim::checkers;
use crate::sim::faults::Fault;
use crate::sim::process::{Process, Setup};
use crate::sim::world::{Service, Truth, World};

/// How long faults go on: several scheduled rotations.
const TROUBLED: Duration = Duration::from_secs(12 * 3600);

/// How long everything has to come to rest afterwards.
const CALM: Duration = Duration::from_secs(20 * 3600);

/// What a run leaves behind.
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) trace: String,
    pub(super) boundaries: u64,
    pub(super) crashes: u64,
    pub(super) closed: usize,
}

/// Runs one seed to its end.
pub(super) fn run(seed: u64, faults_permille: u64, planned: BTreeMap<u64, Fault>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let world = World::new(seed, faults_permille);
        world.state().planned = planned;
        let setups = setups(&world);
        for setup in &setups {
            introduce(&world, setup);
        }
        troubled(&world, &setups).await;
        world.stop_faults();
        let calm: Vec<Setup> = setups.iter().map(Setup::without_schedule).collect();
        let process = Process::start(&world, &calm).await;
        tokio::time::sleep(CALM).await;
        at_rest(&world, &process);
        process.kill().await;
        let trace = world.trace();
        let state = world.state();
        Report {
            violations: state.violations.clone(),
            trace,
            boundaries: state.boundaries,
            crashes: state.crashes,
            closed: setups.len(),
        }
    })
}

/// Faults, crashes and people, for a while.
async fn troubled(world: &Arc<World>, setups: &[Setup]) {
    let end = tokio::time::Instant::now() + TROUBLED;
    while tokio::time::Instant::now() < end {
        let process = tokio::select! {
            biased;
            () = world.crashed.notified() => { pause_after_crash(world).await; continue; }
            process = Process::start(world, setups) => process,
        };
        loop {
            let pause = Duration::from_secs(60) + world.chance.millis(5_400_000);
            tokio::select! {
                biased;
                () = world.crashed.notified() => break,
                () = tokio::time::sleep_until(end) => break,
                () = tokio::time::sleep(pause) => {}
            }
            let setup = world.chance.pick(setups).clone();
            let command = command(world, &setup.name);
            world.note(&format!("asks: {command:?}"));
            tokio::select! {
                biased;
                () = world.crashed.notified() => break,
                answer = process.ask(command) => {
                    let answer = answer.map(|a| a.map(|d| d.text).map_err(|r| r.text));
                    world.note(&format!("answer: {answer:?}"));
                }
            }
        }
        process.kill().await;
        pause_after_crash(world).await;
    }
}

async fn pause_after_crash(world: &World) {
    tokio::time::sleep(Duration::from_secs(1) + world.chance.millis(60_000)).await;
}

/// What a person asks for next.
fn command(world: &World, name: &SecretName) -> Command {
    let name = name.clone();
    let reason = "sim".to_owned();
    match world.chance.below(10) {
        0..=2 => Command::Rotate { name, emergency: false, reason },
        3..=4 => Command::Rotate { name, emergency: true, reason },
        5 => {
            let at = world.clock.now();
            let until = at + Span::from_secs(60 + world.chance.below(7_200));
            let by = "sim".to_owned();
            let routine_only = world.chance.permille(500);
            Command::Hold { name, hold: Hold { by, reason, at, until, routine_only } }
        }
        6 => Command::Release { name },
        7 => Command::Resolve { name, how: Resolution::Abandon },
        8 => Command::Resolve { name, how: Resolution::Supersede },
        _ => Command::Resolve { name, how: Resolution::Retry },
    }
}

fn at_rest(world: &World, process: &Process) {
    let snapshot = process.snapshot();
    checkers::live::at_rest(world, &snapshot);
    checkers::orphan::at_rest(world);
    checkers::bounded::at_rest(world);
    checkers::audited::at_rest(world);
    let shown: Vec<String> = snapshot.secrets.values().map(|view| format!("{view:?}")).collect();
    let audit: Vec<String> = world.audit().lines().to_vec();
    let records = world.kv.contents_under("rotord", "state/");
    let texts = (shown.iter().map(|t| ("status", t.as_str())))
        .chain(audit.iter().map(|t| ("an audit line", t.as_str())))
        .chain(records.iter().map(|t| ("a record", t.as_str())));
    checkers::secretless::none_in(world, texts);
}

// ---------------------------------------------------------------- what the seed sets up

fn setups(world: &World) -> Vec<Setup> {
    let names = ["billing-webhook", "stripe-key", "partner-key"];
    let count = usize::try_from(1 + world.chance.below(2)).unwrap();
    names[..count].iter().map(|name| setup(world, name)).collect()
}

fn setup(world: &World, name: &str) -> Setup {
    let kind = *world.chance.pick(&[Kind::WebhookHmac, Kind::ApiKey, Kind::ApiKey]);
    let capabilities = capabilities(world, kind);
    let targets_verify = kind == Kind::WebhookHmac || !capabilities.remote;
    let contain = world.chance.permille(200);
    let policy = Policy {
        overlap: Span::from_secs(600 + world.chance.below(3_600)),
        evidence_max_age: Span::from_secs(60 + world.chance.below(300)),
        on_leak: if contain { OnLeak::Contain } else { OnLeak::KeepServing },
        max_exposure: Span::from_secs(600 + world.chance.below(1_800)),
        when_full: *world.chance.pick(&[WhenFull::Ask, WhenFull::Contain]),
        probes: 2,
    };
    let roles: &[Role] = match targets_verify {
        true => &[Role::Verifier, Role::Signer, Role::Both],
        false => &[Role::Signer, Role::Both, Role::Signer],
    };
    let count = usize::try_from(2 + world.chance.below(2)).unwrap();
    let targets = roles[..count].iter().enumerate().map(|(at, role)| {
        let name = TargetName::new(format!("t{at}")).unwrap();
        (name, target(world, *role))
    });
    let schedule = Schedule::parse("0 */5 * * *", "UTC").unwrap();
    Setup {
        name: SecretName::new(name).unwrap(),
        terms: Terms { kind, capabilities, policy },
        targets: targets.collect(),
        cadence: Cadence { schedule: Some(schedule), ..Cadence::default() },
    }
}

fn target(world: &World, role: Role) -> TargetTerms {
    let propagation = *world.chance.pick(&[0, 0, 30, 120]);
    TargetTerms {
        role,
        propagation: Span::from_secs(propagation),
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: world.chance.permille(300),
        observe_every: world.chance.permille(300).then_some(Span::from_secs(1_800)),
    }
}

fn capabilities(world: &World, kind: Kind) -> Capabilities {
    if kind == Kind::WebhookHmac || world.chance.permille(200) {
        return Capabilities::local();
    }
    let value = *world.chance.pick(&[ValueFrom::Ours, ValueFrom::Theirs, ValueFrom::Theirs]);
    let grace = Span::from_secs(7_200);
    let old_dies = *world.chance.pick(&[
        OldDies::OnRevoke,
        OldDies::OnRevoke,
        OldDies::OnMint,
        OldDies::IssuerClock { grace },
    ]);
    let on_lost = match value {
        ValueFrom::Ours => OnLost::Repeat,
        ValueFrom::Theirs if old_dies == OldDies::OnMint => OnLost::Repeat,
        ValueFrom::Theirs => *world.chance.pick(&[OnLost::Sweep, OnLost::AdoptThenRoll]),
    };
    Capabilities {
        value,
        capacity: *world.chance.pick(&[None, Some(2), Some(3)]),
        old_dies,
        on_lost,
        remote: true,
        probes: world.chance.permille(700),
        terminates: false,
        settle: Span::from_secs(world.chance.below(10)),
        exclusive: false,
    }
}

fn introduce(world: &World, setup: &Setup) {
    let services = setup
        .targets
        .iter()
        .map(|(name, terms)| (name.clone(), Service::new(terms.role, terms.propagation)));
    let truth = Truth {
        kind: setup.terms.kind,
        has_issuer: setup.terms.capabilities.remote,
        dies_on_mint: setup.terms.capabilities.old_dies == OldDies::OnMint,
        keys: BTreeMap::new(),
        services: services.collect(),
    };
    world.note(&format!("{setup:?}"));
    world.state().secrets.insert(setup.name.clone(), truth);
}
