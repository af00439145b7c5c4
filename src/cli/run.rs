//! `rotord run`: the daemon.

use std::path::Path;

use clap::Args;

use crate::cli::exit::{CliError, Exit};
use crate::daemon::{self, DaemonError};

const EXAMPLES: &str = "\
Examples:
  rotord run                                as systemd starts it
  rotord run --config demo.toml             in the foreground, logs to standard error";

/// Run the daemon in the foreground until it is told to stop (SIGTERM, SIGINT).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {}

impl Run {
    pub(super) fn act(self, config: &Path) -> Result<Exit, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(CliError::Runtime)?;
        match runtime.block_on(daemon::run(config)) {
            Ok(()) => Ok(Exit::Ok),
            Err(error @ DaemonError::Config(_)) => Err(CliError::Config(error.to_string())),
            Err(error) => Err(CliError::Daemon(error.to_string())),
        }
    }
}
