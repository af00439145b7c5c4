//! `make bench`: what rotord costs and how fast it is, on a real OpenBao, against the raw ceiling
//! or the tool that people use today. Measures; judges nothing.
//!
//! ```text
//! main        this: which measures, in which order
//! rig         an OpenBao on disk and a rotord, for one measure
//! fleet       the dependent services: they answer pushes, and know when each one came
//! facts       the machine, and what a process uses
//! report      the figures: on the screen, as JSON, on the page
//!
//! alerts      from an alert to the new version everywhere, and to the end of the old one
//! flood       forged alerts, and a real one among them
//! duplicates  the same leak, reported a thousand times at once
//! scan        `rotord scan` against `grep -F`
//! rotations   rotations a second, against the raw ceiling
//! ceiling     the bare client that makes the ceiling
//! idle        what it costs while nothing happens
//! restart     from a crash to all rotations taken up again
//! status      how long readers wait while everything rotates
//! script      the script that people have today
//! roles       the rotation that OpenBao itself has
//! documents   secrets with a document in OpenBao and nothing else
//! ```
//!
//! Ends with 0 if every measure came to an end, whatever its figures are.

mod alerts;
mod ceiling;
mod documents;
mod duplicates;
mod facts;
mod fleet;
mod flood;
mod idle;
#[path = "../shared/material.rs"]
mod material;
#[path = "../shared/processes.rs"]
mod processes;
mod report;
mod restart;
mod rig;
mod roles;
mod rotations;
mod scan;
#[path = "../shared/scanner.rs"]
#[allow(dead_code, reason = "the demo uses more of it")]
mod scanner;
mod script;
#[path = "../shared/openbao.rs"]
mod server;
mod status;

#[path = "../common/mod.rs"]
mod common;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use reqwest::Client;

use crate::facts::Machine;
use crate::report::{Measured, Report};

/// Whatever goes wrong here is told to a person, and ends the run.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Every server is on this machine; some answers are large.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// The measures, in the order in which they are run.
const MEASURES: [&str; 10] = [
    "alerts",
    "flood",
    "duplicates",
    "scan",
    "rotations",
    "script",
    "roles",
    "idle",
    "restart",
    "status",
];

/// Measures rotord.
#[derive(Parser)]
struct Options {
    /// The binary that is measured.
    #[arg(long, default_value = "target/release/rotord")]
    rotord: PathBuf,
    /// Only these measures, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = MEASURES)]
    only: Vec<String>,
    /// Small sizes: shows that the measures work. Nothing is written to the page.
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// The page whose tables are written anew, between the marks of each measure.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// What every measure has to know.
pub(crate) struct Bench {
    /// The binary that is measured.
    pub(crate) rotord: PathBuf,
    /// Whether sizes are small.
    pub(crate) quick: bool,
    pub(crate) http: Client,
}

impl Bench {
    /// A size: the one that counts, or the one that only shows that it works.
    pub(crate) fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "bench: failed: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Fallible<()> {
    let rotord = std::path::absolute(&options.rotord)?;
    if !rotord.exists() {
        return Err(format!("{} is not there: `make bench` builds it", rotord.display()).into());
    }
    let http = Client::builder().no_proxy().timeout(ANSWERED_WITHIN).tls_certs_only([]).build()?;
    let machine = Machine::this(&rotord).await?;
    let bench = Bench { rotord, quick: options.quick, http };
    let mut report = Report::new(machine, options.quick);
    let only = &options.only;
    for name in
        MEASURES.into_iter().filter(|name| only.is_empty() || only.iter().any(|o| o == name))
    {
        say(&format!("{name}: begins"))?;
        let begun = scanner::begin();
        let load = facts::load()?;
        let mut measured = measure(name, &bench).await.map_err(|why| format!("{name}: {why}"))?;
        measured.seconds = begun.elapsed().as_secs_f64();
        measured.load = load;
        say(&measured.table())?;
        report.add(measured);
    }
    report.write_json(&options.json)?;
    if let Some(page) = options.page.as_ref().filter(|_| !options.quick) {
        report.write_page(page)?;
    }
    say(&report.last_line())
}

async fn measure(name: &str, bench: &Bench) -> Fallible<Measured> {
    match name {
        "alerts" => alerts::measure(bench).await,
        "flood" => flood::measure(bench).await,
        "duplicates" => duplicates::measure(bench).await,
        "scan" => scan::measure(bench).await,
        "rotations" => rotations::measure(bench).await,
        "idle" => idle::measure(bench).await,
        "restart" => restart::measure(bench).await,
        "status" => status::measure(bench).await,
        "script" => script::measure(bench).await,
        "roles" => roles::measure(bench).await,
        other => Err(format!("there is no measure called {other}").into()),
    }
}

/// Puts a line on the screen at once.
pub(crate) fn say(line: &str) -> Fallible<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
