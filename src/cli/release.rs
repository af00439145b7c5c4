//! `rotord release`: end a hold.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};
use crate::model::id::SecretName;

const EXAMPLES: &str = "\
Examples:
  rotord release billing-webhook";

/// End the hold on a secret: what was due meanwhile goes on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Release {
    /// The secret.
    name: SecretName,
}

impl Release {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let done = daemon.command(self.name.as_str(), "release", &[]).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        Ok(Exit::Ok)
    }
}
