//! `rotord check`: is this config right, and may we do in Vault what it asks of us?

use std::path::Path;

use clap::Args;

use crate::cli::Out;
use crate::cli::exit::{CliError, Exit};
use crate::cli::needs::Needs;
use crate::config::{self, Config};

/// Where systemd shows a unit its credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

const EXAMPLES: &str = "\
Examples:
  rotord check --config rotord.toml         everything that is wrong, with line and remedy
  rotord check --policy | vault policy write rotord -";

/// Check the config without touching anything.
///
/// Everything that is wrong is said at once, and what is allowed but dangerous as a warning. Exits
/// with 78 if the config cannot be used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Print the Vault policy that this config needs, and nothing else.
    #[arg(long)]
    policy: bool,
}

impl Check {
    pub(super) fn act(self, path: &Path, out: Out<'_>) -> Result<Exit, CliError> {
        let credentials = std::env::var_os(CREDENTIALS);
        let config = config::load(path, credentials.as_deref().map(Path::new))
            .map_err(|errors| CliError::Config(errors.to_string()))?;
        if self.policy {
            out.write_all(Needs::of(&config).policy().as_bytes())?;
            return Ok(Exit::Ok);
        }
        report(&config, path, out)?;
        Ok(Exit::Ok)
    }
}

fn report(config: &Config, path: &Path, out: Out<'_>) -> Result<(), CliError> {
    let file = path.display().to_string();
    for warning in &config.warnings {
        writeln!(out, "{}", warning.in_file(&file))?;
    }
    let targets: usize = config.secrets.values().map(|secret| secret.targets.len()).sum();
    let secrets = count(config.secrets.len(), "secret");
    let targets = count(targets, "target");
    let warnings = count(config.warnings.len(), "warning");
    Ok(writeln!(out, "{file}: fine, with {secrets}, {targets} and {warnings}")?)
}

fn count(n: usize, word: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {word}{plural}")
}
