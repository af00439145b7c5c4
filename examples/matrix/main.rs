//! `make matrix`: real processes, killed, stopped, lied to and left alone at every request of a
//! rotation, while clients sign requests without a pause. Leaves nothing running.
//!
//! ```text
//! main        this: the order of things, and the exit code
//! cells       which faults there are, and where each is tried
//! lane        one secret: a rotation ordered, followed, struck
//! stage       what a lane is made of, and rotord's config
//! proxy       the wire between rotord and the world: counts requests, and holds one
//! programs    the services and clients, each a process of its own
//! journal     what they write down
//! check       the checker, which reads that and nothing else
//! cas         writers that race for records
//! report      the figures
//! ```
//!
//! Exit codes: 0 if everything held; 1 otherwise; 130 if it was interrupted.

mod cas;
mod cells;
mod check;
#[path = "../shared/consumer.rs"]
mod consumer;
#[path = "../shared/daemon.rs"]
mod daemon;
mod journal;
#[path = "../shared/keys.rs"]
mod keys;
mod lane;
#[path = "../shared/processes.rs"]
mod processes;
mod programs;
mod proxy;
mod report;
#[path = "../shared/openbao.rs"]
mod server;
mod stage;
#[path = "../webhook_receiver.rs"]
#[allow(dead_code, reason = "a program of its own as well")]
mod webhook_receiver;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use reqwest::Client;
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::cas::Race;
use crate::cells::{CALM, CELLS, Cell, Met, World};
use crate::check::Figures;
use crate::lane::{Kind, Lane};
use crate::processes::House;
use crate::programs::Program;
use crate::report::{Report, Row, say};
use crate::server::{Audit, Server};
use crate::stage::Common;

/// Whatever goes wrong here is told to a person, and ends the matrix.
type Fallible<T> = Result<T, Box<dyn Error>>;

/// Half an hour on two cores; on a machine that is busy with other things more.
const DONE_WITHIN: Duration = Duration::from_secs(3600);

/// Every server is on this machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Every how many-th request is taken by the quick selection.
const QUICK_STRIDE: usize = 13;

#[derive(Parser)]
#[command(about = "Every fault at every request of a rotation, under load")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// rotord's binary.
    #[arg(long, default_value = "target/release/rotord")]
    rotord: PathBuf,
    /// Only cells whose name contains this; `cas` for the race.
    #[arg(long, default_value = "")]
    only: String,
    /// How often each request meets each fault.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Secrets of each kind, side by side.
    #[arg(long, default_value_t = 4)]
    lanes: usize,
    /// Milliseconds between two rounds of a client, of two requests each.
    #[arg(long, default_value_t = 4)]
    every: u64,
    /// Goes on until so many requests were signed.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Increments of the race.
    #[arg(long, default_value_t = 100_000)]
    increments: u64,
    /// A selection that takes less than a minute.
    #[arg(long)]
    quick: bool,
    /// Where the figures are written.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Task {
    /// Plays one of the programs that depend on a secret.
    Play {
        #[command(subcommand)]
        program: Program,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(Task::Play { program }) = arguments.task.take() {
        return match programs::play(program).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => failed(&why.to_string()),
        };
    }
    if arguments.quick {
        (arguments.runs, arguments.lanes, arguments.requests) = (1, 1, 0);
        arguments.increments = 1_000;
    }
    let mut report = Report::default();
    let began = Instant::now();
    let done = tokio::select! {
        biased;
        _ = ctrl_c() => {
            say("interrupted");
            return ExitCode::from(130);
        }
        done = timeout(DONE_WITHIN, matrix(&arguments, &mut report)) => done,
    };
    report.seconds = began.elapsed().as_secs();
    if let Err(why) = done.unwrap_or_else(|_| Err("it takes too long".into())) {
        report.faults.push(why.to_string());
    }
    report.show();
    if let Some(Err(why)) = arguments.json.as_deref().map(|path| report.write(path)) {
        return failed(&why.to_string());
    }
    if report.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(why: &str) -> ExitCode {
    say(&format!("matrix: failed: {why}"));
    ExitCode::FAILURE
}

async fn matrix(arguments: &Arguments, report: &mut Report) -> Fallible<()> {
    let wanted = |name: &str| name.contains(&arguments.only);
    let http = Client::builder().no_proxy().timeout(ANSWERED_WITHIN).tls_certs_only([]).build()?;
    if wanted("cas") {
        report.race = Some(race(arguments, http.clone()).await?);
    }
    let quick = |cell: &Cell| !arguments.quick || cell.is_quick();
    let cells = CELLS.iter().copied().filter(|cell| wanted(cell.name) && quick(cell));
    let cells: Vec<Cell> = cells.collect();
    if cells.is_empty() && !wanted(CALM.name) {
        return Ok(());
    }
    let mut world = build(arguments, http).await?;
    let played = play(&mut world, &cells, arguments, report).await;
    let keep = played.is_err() || !report.faults.is_empty();
    for lane in world.lanes {
        if let Some(kept) = lane.close(keep).await? {
            say(&format!("  kept: {}", kept.display()));
        }
    }
    if let Some(kept) = world.house.into_inner().close(keep).await? {
        say(&format!("  kept: {}", kept.display()));
    }
    played
}

/// The race, on a server of its own.
async fn race(arguments: &Arguments, http: Client) -> Fallible<Race> {
    let mut house = House::open("rotord-matrix-")?;
    let server = Server::on_disk(&mut house, http, Audit::Off).await?;
    let wanted =
        Race { writers: 100, records: 100, increments: arguments.increments, ..Race::default() };
    let race = cas::run(&server, wanted).await?;
    say(&format!("  cas {race:?}"));
    house.close(false).await?;
    Ok(race)
}

async fn build(arguments: &Arguments, http: Client) -> Fallible<World> {
    let mut house = House::open("rotord-matrix-")?;
    let audit = house.path("audit.log");
    let server = Server::on_disk(&mut house, http, Audit::Raw(&audit)).await?;
    let rotord = std::path::absolute(&arguments.rotord)?;
    let common = Common { server: &server, audit: &audit, rotord: &rotord, every: arguments.every };
    let mut lanes = Vec::new();
    for number in 0..2 * arguments.lanes {
        let kind = [Kind::Webhook, Kind::Key][number % 2];
        lanes.push(Lane::start(kind, number, &common).await?);
    }
    let stride = if arguments.quick { QUICK_STRIDE } else { 1 };
    let boundaries = BTreeMap::new();
    let house = Mutex::new(house);
    let mut world = World { server, house, lanes, boundaries, runs: arguments.runs, stride };
    world.learn().await?;
    Ok(world)
}

async fn play(
    world: &mut World,
    cells: &[Cell],
    arguments: &Arguments,
    report: &mut Report,
) -> Fallible<()> {
    for (kind, requests) in &world.boundaries {
        report.boundaries[kind.name()] = json!(requests);
        say(&format!("  a rotation of a {} has {} requests", kind.name(), requests.len()));
    }
    for cell in cells {
        play_cell(world, *cell, report).await?;
    }
    loop {
        play_cell(world, CALM, report).await?;
        if report.total().1.requests >= arguments.requests {
            break;
        }
    }
    let mut rest = BTreeMap::new();
    for lane in &mut world.lanes {
        let (figures, mut faults) = lane.finish().await?;
        *rest.entry(lane.kind).or_insert_with(Figures::default) += figures;
        report.faults.append(&mut faults);
    }
    for (kind, figures) in rest {
        let row = report.rows.iter_mut().rev().find(|row| row.secret == kind.name());
        row.ok_or("no rows")?.figures += figures;
    }
    Ok(())
}

async fn play_cell(world: &mut World, cell: Cell, report: &mut Report) -> Fallible<()> {
    let began = Instant::now();
    let mut met = world.play(cell).await?;
    let mut all: BTreeMap<Kind, (Figures, usize)> = BTreeMap::new();
    for lane in &mut world.lanes {
        let (figures, faults) = lane.check().await?;
        let (sum, humans) = all.entry(lane.kind).or_default();
        *sum += figures;
        *humans += lane.humans.len();
        let said =
            faults.into_iter().chain(lane.humans.drain(..).map(|why| format!("human: {why}")));
        report.faults.extend(said.map(|words| format!("{}: {words}", cell.name)));
    }
    for (kind, (figures, humans)) in all {
        // A cell that is not about this kind has only the traffic meanwhile.
        let Met { runs, places } = met.remove(&kind).unwrap_or_default();
        report.add(Row {
            cell: cell.name,
            secret: kind.name(),
            places: places.len(),
            runs,
            figures,
            humans,
            seconds: began.elapsed().as_secs(),
        });
    }
    Ok(())
}
