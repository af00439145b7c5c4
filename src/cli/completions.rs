//! `rotord completions`: what a shell needs to complete our arguments.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::exit::{CliError, Exit};
use crate::cli::{Cli, Out};

const EXAMPLES: &str = "\
Examples:
  rotord completions bash > /usr/share/bash-completion/completions/rotord
  rotord completions zsh > /usr/share/zsh/site-functions/_rotord";

/// Print a completion script.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// For this shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn act(self, out: Out<'_>) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "rotord", &mut script);
        out.write_all(&script)?;
        Ok(Exit::Ok)
    }
}
