//! `rotord check`: is this config right, and may we do in Vault what it asks of us?

use std::path::Path;

use clap::Args;

use crate::cli::exit::{CliError, Exit};
use crate::cli::needs::Needs;
use crate::cli::{Out, human, online};
use crate::config::{self, Config};

/// Where systemd shows a unit its credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

const EXAMPLES: &str = "\
Examples:
  rotord check --config rotord.toml         everything that is wrong, with line and remedy
  rotord check --policy | vault policy write rotord -
  CREDENTIALS_DIRECTORY=/etc/rotord/credentials rotord check --online";

/// Check the config without touching anything.
///
/// Everything that is wrong is said at once, and what is allowed but dangerous as a warning. Exits
/// with 78 if the config cannot be used. With --online, Vault is asked as well: whether it answers,
/// whether it accepts the login, and which capabilities the token lacks (nothing is written there).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Log in to Vault and compare what the token may do with what the config needs.
    #[arg(long)]
    online: bool,
    /// Print the Vault policy that this config needs, and nothing else.
    #[arg(long, conflicts_with = "online")]
    policy: bool,
}

impl Check {
    pub(super) fn act(self, path: &Path, out: Out<'_>) -> Result<Exit, CliError> {
        let credentials = std::env::var_os(CREDENTIALS);
        let credentials = credentials.as_deref().map(Path::new);
        let config = config::load(path, credentials)
            .map_err(|errors| CliError::Config(errors.to_string()))?;
        if self.policy {
            out.write_all(Needs::of(&config).policy().as_bytes())?;
            return Ok(Exit::Ok);
        }
        report(&config, path, out)?;
        if self.online {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(CliError::Runtime)?;
            runtime.block_on(online::check(&config, credentials, out))?;
        }
        Ok(Exit::Ok)
    }
}

fn report(config: &Config, path: &Path, out: Out<'_>) -> Result<(), CliError> {
    let file = path.display().to_string();
    for warning in &config.warnings {
        writeln!(out, "{}", warning.in_file(&file))?;
    }
    let targets: usize = config.secrets.values().map(|secret| secret.targets.len()).sum();
    let secrets = human::count(config.secrets.len(), "secret");
    let targets = human::count(targets, "target");
    let warnings = human::count(config.warnings.len(), "warning");
    Ok(writeln!(out, "{file}: fine, with {secrets}, {targets} and {warnings}")?)
}
