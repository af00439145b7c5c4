//! What a reload would change, and whether it may.
//!
//! Decides which differences take effect at once, which need a restart, and which are refused: a
//! reload that takes secrets out of management is far more often a broken merge than a wish.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::config::Config;
use crate::intake::registry::{PollSpec, SourceSpec};
use crate::model::id::{SecretName, SourceName};

/// The differences between two configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Secrets that come under management.
    pub added: BTreeSet<SecretName>,
    /// Secrets that leave it: their records stay, nothing acts on them.
    pub removed: BTreeSet<SecretName>,
    /// Secrets whose settings differ. An open rotation keeps the terms it was opened under.
    pub changed: BTreeSet<SecretName>,
    /// Whether the channels differ.
    pub channels: bool,
    /// Whether the sources of alerts differ.
    pub sources: bool,
    /// Tables that differ and are only read at start.
    pub restart: BTreeSet<&'static str>,
}

/// A reload that would take secrets out of management without saying so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the new config no longer has {}: nothing was changed. Put the tables back, or name them in \
     [daemon] allow_removal", list(.removed)
)]
pub struct Shrunk {
    /// The secrets that are missing.
    pub removed: BTreeSet<SecretName>,
}

fn list(names: &BTreeSet<SecretName>) -> String {
    names.iter().map(SecretName::as_str).collect::<Vec<_>>().join(", ")
}

/// What is different in `new`.
///
/// # Errors
/// [`Shrunk`] if a secret is missing that `new` does not allow to be removed.
pub fn diff(old: &Config, new: &Config) -> Result<Changes, Shrunk> {
    let names = |config: &Config| config.secrets.keys().cloned().collect::<BTreeSet<_>>();
    let (before, after) = (names(old), names(new));
    let removed: BTreeSet<_> = before.difference(&after).cloned().collect();
    let unasked: BTreeSet<_> = removed.difference(&new.daemon.allow_removal).cloned().collect();
    if !unasked.is_empty() {
        return Err(Shrunk { removed: unasked });
    }
    let changed = before.intersection(&after);
    let changed = changed.filter(|name| old.secrets[*name] != new.secrets[*name]);
    Ok(Changes {
        added: after.difference(&before).cloned().collect(),
        changed: changed.cloned().collect(),
        removed,
        channels: old.channels != new.channels,
        sources: sources(old) != sources(new),
        restart: restart(old, new),
    })
}

fn sources(config: &Config) -> Option<(Sources<'_>, Polls<'_>)> {
    config.alerts.as_ref().map(|alerts| (&alerts.sources, &alerts.polls))
}

type Sources<'a> = &'a BTreeMap<SourceName, SourceSpec>;
type Polls<'a> = &'a BTreeMap<SourceName, PollSpec>;

/// Whether what is different about alerts can be taken over by a running daemon.
fn alerts_reload(old: &Config, new: &Config) -> bool {
    match (&old.alerts, &new.alerts) {
        (None, None) => true,
        (Some(old), Some(new)) => old.reloads_to(new),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn restart(old: &Config, new: &Config) -> BTreeSet<&'static str> {
    let differs = [
        ("vault", old.vault != new.vault),
        ("daemon", !old.daemon.reloads_to(&new.daemon)),
        ("limits", old.limits != new.limits),
        ("alerts", !alerts_reload(old, new)),
        ("incidents", old.incidents != new.incidents),
        ("notify", old.notify != new.notify),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(table, _)| table).collect()
}
