//! `rotord rotate`: bring in a new version now.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::{Goal, follow};
use crate::cli::{Out, human};
use crate::model::id::SecretName;

const EXAMPLES: &str = "\
Examples:
  rotord rotate billing-webhook --reason 'leaver'
  rotord rotate billing-webhook --wait      watch it to its end (the overlap included)
  rotord rotate stripe-key --emergency --reason 'found in a log' --wait=switched";

/// Rotate a secret now.
///
/// A routine rotation keeps the full overlap and is refused while another one is open. With
/// --emergency the current version counts as leaked: windows are ignored, and the old version goes
/// as soon as the evidence is in, at the latest when its policy's max_exposure has passed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rotate {
    /// The secret.
    name: SecretName,
    /// The current version leaked.
    #[arg(long)]
    emergency: bool,
    /// Why: goes into the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Watch it, until it is closed or until every target uses the new version. Interrupting the
    /// watching does not stop the rotation.
    #[arg(
        long,
        value_name = "GOAL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "closed"
    )]
    wait: Option<Goal>,
}

impl Rotate {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let emergency = self.emergency.then_some("true");
        let params = [("emergency", emergency), ("reason", self.reason.as_deref())];
        let done = daemon.command(self.name.as_str(), "rotate", &params).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        match (self.wait, done.rotation) {
            (Some(goal), Some(id)) => follow(daemon, self.name.as_str(), &id, goal, out).await,
            _ => Ok(Exit::Ok),
        }
    }
}
