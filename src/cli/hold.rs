//! `rotord hold`: take nothing of a secret away for a while.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};
use crate::model::id::SecretName;

const EXAMPLES: &str = "\
Examples:
  rotord hold billing-webhook --until 7d --reason 'quarter end'
  rotord hold billing-webhook --until 2026-12-01 --reason 'audit' --routine-only";

/// Retire and revoke nothing of a secret until a date.
///
/// A hold binds emergencies too, and then raises an alarm, unless it is --routine-only.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Hold {
    /// The secret.
    name: SecretName,
    /// When it ends: a moment (2026-12-01T08:00:00Z), a day (its first instant in UTC) or a span
    /// from now (7d). A year at most.
    #[arg(long, value_name = "WHEN")]
    until: String,
    /// Why: goes into the audit log and the status.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Leave emergencies free.
    #[arg(long)]
    routine_only: bool,
}

impl Hold {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let params = [
            ("until", Some(self.until.as_str())),
            ("reason", Some(self.reason.as_str())),
            ("routine_only", self.routine_only.then_some("true")),
        ];
        let done = daemon.command(self.name.as_str(), "hold", &params).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        Ok(Exit::Ok)
    }
}
