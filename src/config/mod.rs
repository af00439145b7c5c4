//! From the text of a config file to types that can be acted on.
//!
//! Decides what a config may say, finds everything that is wrong with it at once, and says of each
//! thing where it stands and what to do. A [`Config`] that exists has passed every check that
//! needs no network. Holds no secret: only where secrets are found.
//!
//! [`load`] reads the file, `reader` takes the TOML apart, one module reads each table, and
//! `check` judges what they say together. [`diff`](diff::diff) compares two configs for a reload.

pub mod alerts;
mod check;
pub mod daemon;
pub mod diff;
mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod issuer;
pub mod locate;
pub mod notify;
mod place;
pub mod policy;
pub mod problem;
mod reader;
mod schedule;
pub mod secret;
pub mod target;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::alerts::{AlertsConfig, Around};
use crate::config::check::Periods;
use crate::config::daemon::{DaemonConfig, Limits, VaultConfig};
use crate::config::policy::Defaults;
use crate::config::problem::{ConfigErrors, Place, Problem};
use crate::config::reader::{Entry, Findings, Section, Used};
use crate::config::secret::SecretConfig;
use crate::config::target::Claims;
use crate::driver::registry::{ChannelSpec, IssuerSpec};
use crate::model::id::SecretName;
use crate::notify::Recipient;
use crate::plan::window::Freeze;

/// Largest config in bytes: ten thousand secrets of 1.5 KiB each.
pub const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Everything a config says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where Vault is.
    pub vault: VaultConfig,
    /// The process itself.
    pub daemon: DaemonConfig,
    /// How much at once.
    pub limits: Limits,
    /// What holds alerts back.
    pub incidents: notify::IncidentsConfig,
    /// Who is told of incidents.
    pub notify: Vec<Recipient>,
    /// What pushes are signed with, by name.
    pub channels: BTreeMap<String, ChannelSpec>,
    /// Where leak alerts come from, if anywhere.
    pub alerts: Option<AlertsConfig>,
    /// The managed secrets.
    pub secrets: BTreeMap<SecretName, SecretConfig>,
    /// What is allowed and dangerous, for a person to read; in the order of the file.
    pub warnings: Vec<Problem>,
}

/// What secrets share while they are read.
pub(super) struct Commons<'a> {
    findings: &'a Findings,
    own_mount: &'a str,
    defaults: &'a Defaults,
    freezes: &'a [Freeze],
    /// By name; `None` where one is there and wrong.
    channels: &'a BTreeMap<String, Option<ChannelSpec>>,
    /// By name; `None` where one is there and wrong.
    issuers: &'a BTreeMap<String, Option<IssuerSpec>>,
    claims: &'a Claims,
    periods: &'a Periods,
}

/// Reads a config file, and looks whether the files it names are there and kept from others.
/// `credentials` is the unit's credentials directory, if there is one.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn load(path: &Path, credentials: Option<&Path>) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    let text = read_file(path)
        .map_err(|problem| ConfigErrors { file: file.clone(), problems: vec![problem] })?;
    let parsed = parse_in(&text, &file, folder_of(path));
    let used = parsed.used;
    let missing = files::check(&used, credentials);
    match parsed.result {
        Ok(config) if missing.is_empty() => Ok(config),
        Ok(_) => Err(ConfigErrors { file, problems: missing }),
        Err(mut errors) => {
            errors.problems.extend(missing);
            errors.problems.sort();
            Err(errors)
        }
    }
}

/// Reads a config from its text without looking at any file it names, preset files apart. `file`
/// is what errors call it, and relative paths start in its folder.
///
/// # Errors
/// [`ConfigErrors`] with everything that is wrong.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    parse_in(text, file, folder_of(Path::new(file))).result
}

/// The socket that a config names, whatever else is wrong with it: whoever mends a config has to
/// reach the daemon that still runs on the old one.
pub fn socket_in(text: &str, file: &str) -> Option<PathBuf> {
    let (document, _) = DeTable::parse_recoverable(text);
    let daemon = document.get_ref().get("daemon")?.get_ref().get("socket")?;
    Some(folder_of(Path::new(file)).join(daemon.get_ref().as_str()?))
}

/// Every key that this text made the reader ask for, names replaced by `*`, and whether it was
/// there: what keeps the documentation of the keys complete.
pub fn keys(text: &str) -> BTreeMap<String, bool> {
    parse_in(text, "config", Path::new("")).known
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

struct Parsed {
    result: Result<Config, ConfigErrors>,
    used: Vec<Used>,
    known: BTreeMap<String, bool>,
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let refuse = |what: String, remedy: &str| Problem {
        at: Place::default(),
        what,
        remedy: remedy.to_owned(),
    };
    let metadata = fs::metadata(path)
        .map_err(|e| refuse(format!("cannot be read: {e}"), "name the config with --config"))?;
    if !metadata.is_file() || metadata.len() > FILE_LEN_MAX {
        let what = format!("is no file of at most {FILE_LEN_MAX} bytes");
        return Err(refuse(what, "name the config with --config"));
    }
    fs::read_to_string(path)
        .map_err(|e| refuse(format!("cannot be read: {e}"), "write it as a TOML text in UTF-8"))
}

fn parse_in(text: &str, file: &str, folder: &Path) -> Parsed {
    let findings = Findings::new(text, folder);
    let (document, broken) = DeTable::parse_recoverable(text);
    for error in &broken {
        let line = error.span().map_or(0, |span| findings.line(span.start));
        let at = Place { line, key: String::new() };
        // Only the parser's own words: the line itself may hold anything.
        findings.problem(&at, format!("no TOML: {}", error.message()), "correct the line");
    }
    // What is left of a broken document would only seem to lack things.
    let config = broken
        .is_empty()
        .then(|| findings.read(document.get_ref(), |s| root(s, &findings)))
        .flatten();
    let (used, known) = (findings.used(), findings.known());
    let (problems, warnings) = findings.into_sorted();
    let result = match config {
        Some(config) if problems.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(ConfigErrors { file: file.to_owned(), problems }),
    };
    Parsed { result, used, known }
}

fn root(s: &Section<'_>, findings: &Findings) -> Option<Config> {
    let vault = s
        .require("vault", "a table [vault] with at least `address` and `auth`")
        .and_then(|e| e.section(daemon::vault)?);
    let daemon = s.section("daemon", daemon::daemon).unwrap_or_default();
    let limits = s.section("limits", daemon::limits).unwrap_or_default();
    let incidents = s.section("incidents", notify::incidents).unwrap_or_default();
    let recipients = s.get("notify").and_then(Entry::list).unwrap_or_default();
    let recipients = recipients.into_iter().filter_map(|e| e.section(notify::recipient)?).collect();
    let defaults = s.section("defaults", |t| policy::read(t, &Defaults::default()));
    let defaults = defaults.unwrap_or_default();
    let freezes = s.get("freeze").and_then(Entry::list).unwrap_or_default();
    let freezes: Vec<Freeze> =
        freezes.into_iter().filter_map(|e| e.section(schedule::freeze)?).collect();
    let named = |key| s.get(key).and_then(Entry::named).unwrap_or_default();
    let channels = each(named("channels"), |_, e| e.section(target::channel)?);
    let issuers = each(named("issuers"), |_, e| e.section(issuer::read)?);
    let commons = Commons {
        findings,
        own_mount: vault.as_ref().map_or("", |v| v.mount.as_str()),
        defaults: &defaults,
        freezes: &freezes,
        channels: &channels,
        issuers: &issuers,
        claims: &Claims::default(),
        periods: &Periods::default(),
    };
    let tables = named("secrets");
    let secrets = tables.iter().filter_map(|(name, entry)| {
        let secret = entry.clone().section(|t| secret::read(name, t, &commons))??;
        Some((secret.name.clone(), secret))
    });
    let secrets = secrets.collect();
    check::after(&secrets, |name, what, remedy| {
        s.problem(&format!("secrets.{name}.after"), what, remedy);
    });
    check::channels(
        &channels,
        &secrets,
        |secret| tables.iter().any(|(name, _)| *name == secret.as_str()),
        |name, what, remedy| s.problem(&format!("channels.{name}"), what, remedy),
    );
    let channels = channels.into_iter().filter_map(|(name, spec)| Some((name, spec?))).collect();
    let around = Around { vault: vault.as_ref(), mounts: mounts(&secrets) };
    let alerts = s
        .get("alerts")
        .map_or(Some(None), |e| e.section(|t| alerts::read(t, &around)).flatten().map(Some));
    Some(Config {
        alerts: alerts?,
        vault: vault?,
        daemon,
        limits,
        incidents,
        notify: recipients,
        channels,
        secrets,
        warnings: Vec::new(),
    })
}

/// The mounts in which the values of managed secrets lie.
fn mounts(secrets: &BTreeMap<SecretName, SecretConfig>) -> BTreeSet<String> {
    let targets = secrets.values().flat_map(|secret| secret.targets.values());
    targets.flat_map(|target| target.spec.writes()).map(|at| at.mount.clone()).collect()
}

fn each<'a, T>(
    named: Vec<(&'a str, Entry<'a>)>,
    read: impl Fn(&str, Entry<'a>) -> Option<T>,
) -> BTreeMap<String, Option<T>> {
    named.into_iter().map(|(name, entry)| (name.to_owned(), read(name, entry))).collect()
}
