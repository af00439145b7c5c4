//! `rotord audit`: is the chain of audit lines whole, and what does it say?
//!
//! Decides how the chain is shown. `verify` and `show` read the files themselves, and ask Vault
//! under the config's own login: a daemon's word about its own lines would be worth nothing.

mod acknowledge;
mod show;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::cli::Out;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::config::{self, Config};
use crate::store::audit::verify::{Broken, Fault};

const EXAMPLES: &str = "\
Examples:
  rotord audit verify                       every line, and the head in Vault
  rotord audit show --secret billing --since 7d
  rotord audit acknowledge --reason 'restored from a snapshot, ticket 4711'";

/// Verify and read the audit chain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Verify),
    Show(show::Show),
    Acknowledge(acknowledge::Acknowledge),
}

impl Audit {
    /// `client` is asked for only where the daemon has to be told something.
    pub(super) async fn act(
        self,
        config: &Path,
        client: impl FnOnce() -> Result<Client, CliError>,
        out: Out<'_>,
    ) -> Result<Exit, CliError> {
        match self.command {
            Command::Verify(verify) => verify.act(config, out).await,
            Command::Show(show) => show.act(config, out),
            Command::Acknowledge(acknowledge) => acknowledge.act(&client()?, out).await,
        }
    }
}

/// Where systemd shows a unit its credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The directory that holds systemd's credentials, if there is one.
fn credentials() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS).map(PathBuf::from)
}

fn load(path: &Path) -> Result<Config, CliError> {
    let config = config::load(path, credentials().as_deref());
    config.map_err(|errors| CliError::Config(errors.to_string()))
}

/// The directory named, or the config's.
fn directory(named: Option<PathBuf>, config: &Path) -> Result<PathBuf, CliError> {
    match named {
        Some(directory) => Ok(directory),
        None => Ok(load(config)?.daemon.state_directory),
    }
}

/// A file that may not be read is no broken chain.
fn unread(broken: &Broken) -> Option<CliError> {
    let Fault::Io(error) = &broken.fault else { return None };
    let path = broken.path.display();
    Some(match error.kind() {
        std::io::ErrorKind::PermissionDenied => CliError::Denied(format!(
            "you may not read {path}: become root, or the user of the daemon"
        )),
        _ => CliError::Unreadable(format!("cannot read {path}: {error}")),
    })
}
