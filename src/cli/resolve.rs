//! `rotord resolve`: the exits of a rotation that needs a person.

use clap::{Args, Subcommand};

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};
use crate::model::id::{SecretName, TargetName};

const EXAMPLES: &str = "\
Examples:
  rotord status stripe-key                  says what is in the way and which exit helps
  rotord resolve stripe-key retry
  rotord resolve stripe-key waive old-worker
  rotord resolve stripe-key accept-key AKIA7EXAMPLE";

/// Help a rotation that needs a person.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Resolve {
    /// The secret.
    name: SecretName,
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    /// Try again now, with the back-off begun anew.
    #[command(after_help = "Example:\n  rotord resolve stripe-key retry")]
    Retry,
    /// Take the new version back. Only before it came into use.
    #[command(after_help = "Example:\n  rotord resolve stripe-key abandon")]
    Abandon,
    /// Open another rotation over this one; what is on its way out keeps its dates.
    #[command(after_help = "Example:\n  rotord resolve stripe-key supersede")]
    Supersede,
    /// Do without the evidence of a target. What it may still use is taken away all the same.
    #[command(after_help = "Example:\n  rotord resolve stripe-key waive old-worker")]
    Waive {
        /// The target.
        target: TargetName,
    },
    /// A key at the issuer that is in no version is known, and somebody else's.
    #[command(after_help = "Example:\n  rotord resolve stripe-key accept-key AKIA7EXAMPLE")]
    AcceptKey {
        /// The issuer's public id of the key.
        #[arg(value_name = "ID")]
        key: String,
    },
}

impl Resolve {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let (how, target, key_id) = match &self.how {
            How::Retry => ("retry", None, None),
            How::Abandon => ("abandon", None, None),
            How::Supersede => ("supersede", None, None),
            How::Waive { target } => ("waive", Some(target.as_str()), None),
            How::AcceptKey { key } => ("accept_key", None, Some(key.as_str())),
        };
        let params = [("how", Some(how)), ("target", target), ("key_id", key_id)];
        let done = daemon.command(self.name.as_str(), "resolve", &params).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        Ok(Exit::Ok)
    }
}
