//! `rotord audit acknowledge`: a person has looked at what broke the chain.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};

const EXAMPLES: &str = "\
Examples:
  rotord audit verify                       what broke, and where it lies now
  rotord audit acknowledge --reason 'the state directory was restored, ticket 4711'";

/// Say that you have looked at the breaks of the audit chain; ends the alarm.
///
/// The break, the head that was anchored, your name and your words stay in Vault and in the chain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Acknowledge {
    /// What you found: goes into the audit chain.
    #[arg(long)]
    reason: String,
}

impl Acknowledge {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let done = daemon.acknowledge(&self.reason).await?;
        writeln!(out, "{}", human::clean_lines(&done.text))?;
        Ok(Exit::Ok)
    }
}
