//! `rotord reload`: have the daemon read its config again.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};

const EXAMPLES: &str = "\
Examples:
  rotord check && rotord reload";

/// Have the daemon read its config again.
///
/// A wrong config is refused and the old one stays. Nothing is rotated by it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {}

impl Reload {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let done = daemon.reload().await?;
        writeln!(out, "{}", human::clean_lines(&done.text))?;
        Ok(Exit::Ok)
    }
}
