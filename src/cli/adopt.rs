//! `rotord adopt`: take over a value that is in use already.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human, value};
use crate::model::id::SecretName;

const EXAMPLES: &str = "\
Examples:
  vault kv get -field=key kv/billing | rotord adopt billing-webhook
  rotord adopt stripe-key --key-id rk_1Qx   asks for the value without showing it
  rotord adopt tls-key --exact < key.pem";

/// Take over the value that a secret has today, as its first version.
///
/// The value comes from standard input, never from the arguments; one line break at its end is
/// taken off. Nothing is minted, and nothing is told to anybody who has it already.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Adopt {
    /// The secret.
    name: SecretName,
    /// The issuer's public id of the key, for secrets that have an issuer.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Keep a line break at the end of the value.
    #[arg(long)]
    exact: bool,
}

impl Adopt {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let name = self.name.as_str();
        let value = value::read(name, self.exact)?;
        let params = [("key_id", self.key_id.as_deref())];
        let done = daemon.command_with_value(name, "adopt", &params, value).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        Ok(Exit::Ok)
    }
}
