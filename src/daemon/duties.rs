//! What is done beside the loop: showing metrics, fetching channel keys anew. None of it decides
//! anything about a secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::driver::registry::Channels;
use crate::driver::secret_ref::Secrets;
use crate::engine::snapshot::{SecretView, Snapshot};
use crate::model::time::{Span, Timestamp};
use crate::rotation::evidence;
use crate::telemetry::metrics::{Metrics, Standing};
use crate::vault::client::Vault;

/// How often the standing gauges are set.
const SHOW_EVERY: Span = Span::from_secs(5);

/// How soon a channel key that somebody else changed is used.
const CHANNELS_EVERY: Span = Span::from_secs(60);

/// Sets the gauges from the picture that readers get.
pub(super) async fn show(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Metrics,
    vault: Arc<Vault>,
    stop: CancellationToken,
) {
    let mut counted: BTreeMap<&'static str, u64> = BTreeMap::new();
    while !stop.is_cancelled() {
        let snapshot = Arc::clone(&snapshots.borrow());
        metrics.show(&standing(&snapshot));
        for (verb, total) in vault.requests() {
            let before = counted.insert(verb, total).unwrap_or(0);
            metrics.vault_requested(verb, total.saturating_sub(before));
        }
        pause(SHOW_EVERY, &stop).await;
    }
}

/// Fetches the channel keys that somebody else manages, again and again: of the channels that the
/// config has by then.
pub(super) async fn refresh_channels(
    channels: watch::Receiver<Channels>,
    secrets: Secrets,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        pause(CHANNELS_EVERY, &stop).await;
        let current = channels.borrow().clone();
        if let Err(error) = current.fetch(&secrets).await {
            tracing::warn!("a channel key could not be fetched; the old one is used on: {error}");
        }
    }
}

pub(super) async fn pause(span: Span, stop: &CancellationToken) {
    // Whether it was stopped or the time is over: the caller looks itself.
    let _ = tokio::time::timeout(span.to_std(), stop.cancelled()).await;
}

fn standing(snapshot: &Snapshot) -> Standing {
    let mut standing =
        Standing { breaker_open: snapshot.health.breaker_open, ..Standing::default() };
    for view in snapshot.secrets.values() {
        *standing.secrets.entry(word(view, snapshot.at)).or_default() += 1;
        if let Some(reason) = view.waiting.needs_human {
            *standing.needs_human.entry(reason).or_default() += 1;
        }
        let next = view.planning.as_ref().and_then(|planning| planning.next_run);
        standing.next_due = standing.next_due.into_iter().chain(next).min();
        let Some(rotation) = &view.rotation else { continue };
        if !rotation.is_closed() {
            *standing.open.entry(rotation.lane).or_default() += 1;
        }
        for target in rotation.targets.values() {
            let level = target.evidence.as_ref().map(|evidence| evidence.seen.level);
            *standing.targets.entry(level).or_default() += 1;
            standing.targets_behind += u64::from(!evidence::is_reached(target));
        }
    }
    standing
}

fn word(view: &SecretView, now: Timestamp) -> &'static str {
    let rotation = view.rotation.as_deref();
    let exposed =
        rotation.is_some_and(|r| r.current().is_some_and(|version| r.is_tainted(version)));
    let held = rotation.is_some_and(|r| r.hold.as_ref().is_some_and(|hold| now < hold.until));
    match () {
        () if !view.managed => "unmanaged",
        () if rotation.is_none() => "not_adopted",
        () if exposed => "exposed",
        () if view.waiting.needs_human.is_some() => "needs_human",
        () if held => "held",
        () if rotation.is_some_and(|r| !r.is_closed()) => "rotating",
        () => "idle",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::driver::registry::ChannelSpec;
    use crate::driver::secret_ref::SecretRef;
    use crate::engine::clock::SystemClock;
    use crate::vault::settings::Settings;

    fn put(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn channels(before: &Channels, file: &Path) -> Channels {
        let key = SecretRef::File(file.to_owned());
        let spec = ChannelSpec::Fetched { key, previous_key: None };
        before.renewed(&[("ops".to_owned(), spec)].into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_kept_fresh_of_the_channels_that_a_reload_brought() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        put(&old, "0123456789abcdef0123456789abcdef");
        let settings = Settings::new("http://127.0.0.1:1".parse().unwrap());
        let kv = Arc::new(Vault::new(&settings, Arc::new(SystemClock)).unwrap());
        let secrets = Secrets::new(kv, None);
        let first = channels(&Channels::default(), &old);
        let (reloaded, current) = watch::channel(first.clone());
        let stop = CancellationToken::new();
        let mut duties = tokio::task::JoinSet::new();
        duties.spawn(refresh_channels(current, secrets, stop.clone()));
        let second = channels(&first, &new);
        assert!(!second.get("ops").unwrap().has_keys(), "it has one already");
        put(&new, "fedcba9876543210fedcba9876543210");
        reloaded.send_replace(second.clone());
        pause(CHANNELS_EVERY.times(3), &stop).await;
        assert!(second.get("ops").unwrap().has_keys(), "nobody fetched its key");
        stop.cancel();
        while duties.join_next().await.is_some() {}
    }
}
