//! Asking Vault as the daemon does, without it. For `rotord check`: does it answer, does it let us
//! in, and does it let us do what the config asks of us?

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::cli::exit::CliError;
use crate::cli::needs::{Lack, Needs};
use crate::cli::{Out, table};
use crate::config::Config;
use crate::config::daemon::VaultConfig;
use crate::engine::clock::{SystemClock, SystemEntropy};
use crate::model::failure::{Class, Failure};
use crate::vault::auth::{AuthError, Keeper};
use crate::vault::client::Vault;

/// Paths asked about in one request: Vault takes any number, proxies before it do not.
const PATHS_AT_ONCE: usize = 100;

/// Asks Vault, and reports line by line how far it came.
pub(super) async fn check(
    config: &Config,
    credentials: Option<&Path>,
    out: Out<'_>,
) -> Result<(), CliError> {
    let address = &config.vault.address;
    let vault = Arc::new(client(&config.vault)?);
    let health = vault.health().await.map_err(|error| failed(error.failure(), &error))?;
    if health.sealed || !health.initialized {
        return Err(CliError::Unavailable(format!("Vault at {address} is sealed")));
    }
    writeln!(out, "vault  {address} answers (version {})", health.version)?;
    let login = config.vault.auth.login(credentials);
    let login = login.map_err(|error| CliError::Config(error.to_string()))?;
    let kind = format!("{login:?}");
    let mut keeper = Keeper::new(Arc::clone(&vault), login, Arc::new(SystemEntropy::default()));
    keeper.login().await.map_err(|error| not_let_in(&error))?;
    writeln!(out, "login  {kind} is accepted")?;
    let needs = Needs::of(config);
    let lacks = lacks(&vault, &needs).await?;
    if lacks.is_empty() {
        writeln!(out, "token  may do what this config needs, at all {} paths", needs.0.len())?;
        return Ok(());
    }
    show(&needs, &lacks, out)?;
    let text = format!("the token lacks something at {} of {} paths", lacks.len(), needs.0.len());
    Err(CliError::Denied(text))
}

/// Logs in as the daemon does, and says nothing.
pub(super) async fn logged_in(
    config: &Config,
    credentials: Option<&Path>,
) -> Result<Arc<Vault>, CliError> {
    let vault = Arc::new(client(&config.vault)?);
    let login = config.vault.auth.login(credentials);
    let login = login.map_err(|error| CliError::Config(error.to_string()))?;
    let mut keeper = Keeper::new(Arc::clone(&vault), login, Arc::new(SystemEntropy::default()));
    keeper.login().await.map_err(|error| not_let_in(&error))?;
    Ok(vault)
}

/// A client as the daemon has one.
fn client(config: &VaultConfig) -> Result<Vault, CliError> {
    let wrong = |text: String| CliError::Config(text);
    let ca_pem = config.ca_file.as_ref().map(std::fs::read).transpose();
    let ca_pem = ca_pem.map_err(|error| wrong(format!("vault.ca_file: {error}")))?;
    let settings = config.settings(ca_pem);
    Vault::new(&settings, Arc::new(SystemClock)).map_err(|error| wrong(format!("vault: {error}")))
}

async fn lacks(vault: &Vault, needs: &Needs) -> Result<Vec<Lack>, CliError> {
    let paths: Vec<String> = needs.0.keys().cloned().collect();
    let mut held = BTreeMap::new();
    for some in paths.chunks(PATHS_AT_ONCE) {
        let more = vault.capabilities(some).await;
        held.extend(more.map_err(|error| failed(error.failure(), &error))?);
    }
    Ok(needs.lacking(&held))
}

/// Path by path what is needed and what of it is not held, and the policy that mends it.
fn show(needs: &Needs, lacks: &[Lack], out: Out<'_>) -> Result<(), CliError> {
    let rows: Vec<_> = lacks
        .iter()
        .map(|lack| {
            let needed: Vec<&str> = needs.0[&lack.path].iter().copied().collect();
            [lack.path.clone(), needed.join(" "), lack.missing.join(" ")]
        })
        .collect();
    writeln!(out)?;
    for line in table::lines(["PATH", "NEEDED", "LACKING"], &rows) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nA policy that grants it:\n\n{}", needs.only(lacks).policy().trim_end())?;
    Ok(())
}

fn not_let_in(error: &AuthError) -> CliError {
    match error {
        AuthError::File(_) | AuthError::Unfit(_) => CliError::Config(error.to_string()),
        _ => failed(error.failure(), error),
    }
}

pub(super) fn failed(failure: Failure, error: &dyn std::error::Error) -> CliError {
    match failure.class {
        Class::Transient | Class::Throttled(_) => CliError::Unavailable(error.to_string()),
        Class::Refused | Class::Gone | Class::Ambiguous => CliError::Denied(error.to_string()),
    }
}
