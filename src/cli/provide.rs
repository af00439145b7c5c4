//! `rotord provide`: hand over a value that a person got at an issuer without an API.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human, value};
use crate::model::id::SecretName;

const EXAMPLES: &str = "\
Examples:
  rotord provide bank-key                   asks for the value without showing it
  pass show bank/api | rotord provide bank-key --key-id 2026-11";

/// Give an open rotation the new value that its issuer's web page showed you.
///
/// The value comes from standard input, never from the arguments; one line break at its end is
/// taken off.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Provide {
    /// The secret.
    name: SecretName,
    /// The issuer's public id of the new key.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// Keep a line break at the end of the value.
    #[arg(long)]
    exact: bool,
}

impl Provide {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let name = self.name.as_str();
        let value = value::read(name, self.exact)?;
        let params = [("key_id", self.key_id.as_deref())];
        let done = daemon.command_with_value(name, "provide", &params, value).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        Ok(Exit::Ok)
    }
}
