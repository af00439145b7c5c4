//! The command line: the daemon itself, and the hands that drive it over its socket.
//!
//! Decides how a person asks and how an answer reads. It knows the daemon only as `docs/api.md`
//! describes it; the one command that is more is `run`. One file a command, exit codes in
//! [`exit`], and `docs/cli.md` is the reference.

mod adopt;
mod alert;
mod audit;
mod check;
mod client;
mod completions;
mod detail;
mod exit;
mod follow;
mod hold;
mod human;
mod incident;
mod mass;
mod needs;
mod online;
mod plan;
mod provide;
mod release;
mod reload;
mod resolve;
mod rotate;
mod run;
mod scan;
mod status;
mod table;
mod value;

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::config;
use crate::daemon::harden;

/// Where the config is unless told otherwise.
const CONFIG: &str = "/etc/rotord/rotord.toml";

/// Where the daemon listens unless told otherwise; systemd makes the directory.
const SOCKET: &str = "/run/rotord/rotord.sock";

const EXAMPLES: &str = "\
Examples:
  rotord check --config rotord.toml         is this config right?
  rotord status                             all secrets, a line each
  rotord rotate stripe-key --wait           rotate now and watch
  rotord rotate stripe-key --emergency --reason 'in a public repository'

Exit codes:
  0 done  1 failed  2 usage  3 not found  4 refused  5 needs a person
  6 no daemon  7 unavailable  8 denied  9 outcome unknown  10 found (--fail-on-match)
  78 config";

/// Rotates API keys and webhook secrets, and takes the old ones away on evidence.
#[derive(Debug, Parser)]
#[command(name = "rotord", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// The config file.
    #[arg(long, global = true, value_name = "PATH", default_value = CONFIG)]
    config: PathBuf,
    /// The daemon's control socket [default: the config's, or /run/rotord/rotord.sock].
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    #[command(flatten)]
    Asking(Asking),
    Audit(audit::Audit),
    Completions(completions::Completions),
}

/// The commands that are a conversation with the daemon.
#[derive(Debug, Subcommand)]
enum Asking {
    Plan(plan::Plan),
    Status(status::Status),
    Rotate(rotate::Rotate),
    Hold(hold::Hold),
    Release(release::Release),
    Adopt(adopt::Adopt),
    Provide(provide::Provide),
    Resolve(resolve::Resolve),
    Alert(alert::Alert),
    Scan(scan::Scan),
    Reload(reload::Reload),
    Incident(incident::Incident),
}

/// Where a command writes what it was asked for. Errors go to standard error.
type Out<'a> = &'a mut dyn Write;

/// Does what the arguments say.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, mistakes to standard error; if neither can be
            // written, the exit code is all there is to say.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let done = cli.act(&mut io::stdout());
    match done {
        Ok(exit) => exit.into(),
        // `rotord status | head` has seen enough.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok.into(),
        Err(error) => {
            let text = human::clean_lines(&error.to_string());
            let who = if matches!(error, CliError::Config(_)) { "" } else { "rotord: " };
            // If nobody can be told, the exit code is all there is to say.
            let _ = writeln!(io::stderr(), "{who}{text}");
            error.exit().into()
        }
    }
}

impl Cli {
    fn act(self, out: Out<'_>) -> Result<Exit, CliError> {
        match self.command {
            Command::Run(run) => run.act(&self.config),
            Command::Check(check) => check.act(&self.config, out),
            Command::Completions(completions) => completions.act(out),
            Command::Asking(asking) => {
                let client = || client(self.socket, &self.config);
                run(async { asking.act(&client()?, out).await })
            }
            Command::Audit(audit) => {
                let client = || client(self.socket, &self.config);
                run(audit.act(&self.config, client, out))
            }
        }
    }
}

/// Runs a conversation to its end. A value, or a token, may come through this process.
fn run(talk: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::Runtime)?;
    harden();
    let done = runtime.block_on(talk);
    // A read of a stream that stays silent would be waited for.
    runtime.shutdown_background();
    done
}

fn client(socket: Option<PathBuf>, config: &Path) -> Result<Client, CliError> {
    Client::new(socket.unwrap_or_else(|| configured_socket(config)))
}

/// The socket that the config names. Whoever cannot read the config, or finds it broken, may still
/// drive the daemon that runs.
fn configured_socket(config: &Path) -> PathBuf {
    let text = fs::read_to_string(config).ok();
    let named = text.and_then(|text| config::socket_in(&text, &config.display().to_string()));
    named.unwrap_or_else(|| PathBuf::from(SOCKET))
}

impl Asking {
    async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        match self {
            Asking::Plan(plan) => plan.act(daemon, out).await,
            Asking::Status(status) => status.act(daemon, out).await,
            Asking::Rotate(rotate) => rotate.act(daemon, out).await,
            Asking::Hold(hold) => hold.act(daemon, out).await,
            Asking::Release(release) => release.act(daemon, out).await,
            Asking::Adopt(adopt) => adopt.act(daemon, out).await,
            Asking::Provide(provide) => provide.act(daemon, out).await,
            Asking::Resolve(resolve) => resolve.act(daemon, out).await,
            Asking::Alert(alert) => alert.act(daemon, out).await,
            Asking::Scan(scan) => scan.act(daemon, out).await,
            Asking::Reload(reload) => reload.act(daemon, out).await,
            Asking::Incident(incident) => incident.act(daemon, out).await,
        }
    }
}
