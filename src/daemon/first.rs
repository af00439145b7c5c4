//! Before the engine: what has to come from Vault first, and what is shown meanwhile.

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::daemon::{Running, notify};
use crate::engine::snapshot::{Health, Snapshot};
use crate::model::fingerprint::FingerprintKey;
use crate::model::id::InstanceId;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Span};
use crate::plan::Limits;
use crate::store::Store;
use crate::store::audit::anchor::Anchor;
use crate::store::audit::file::FileAudit;
use crate::store::audit::keeper::Keeper as AuditKeeper;
use crate::store::kv::KvStore;
use crate::vault::auth::Status as Login;

/// Pause between tries while Vault is away at the start.
const START_PAUSE: Span = Span::from_secs(2);

/// What is read from Vault before the engine can run. Tries after the first login, and then until
/// it has it, and says meanwhile what is in the way.
pub(super) async fn first_contact(
    store: &KvStore,
    parts: &Running,
    snapshots: &watch::Sender<Arc<Snapshot>>,
) -> (FingerprintKey, FileAudit, AuditKeeper) {
    let mut login = parts.standing.clone();
    // Its keeper outlives this, and whether it went well shows in what follows.
    let _ = login.wait_for(|standing| *standing != Login::Starting).await.is_ok();
    let (config, id) = (&parts.config, parts.instance.id());
    let anchor = Anchor::new(Arc::clone(&parts.context.kv), &config.vault.mount, id);
    let mut keeper = AuditKeeper::new(&config.daemon.state_directory, id, anchor);
    loop {
        let key = config.daemon.fingerprint_key.as_str();
        let trouble = match store.fingerprint_key(key).await {
            Ok(key) => match keeper.open(parts.clock.now()).await {
                Ok(log) => {
                    parts.fetch_channels().await;
                    return (key, log, keeper);
                }
                Err(error) => (error.failure().reason, error.to_string()),
            },
            Err(error) => (error.failure().reason, error.to_string()),
        };
        let (reason, text): (Reason, String) = trouble;
        tracing::warn!(reason = %reason, "not ready: {text}");
        let now = parts.clock.now();
        snapshots.send_modify(|snapshot| {
            let mut health = snapshot.health.clone();
            let since = health.trouble.filter(|(r, _)| *r == reason).map_or(now, |(_, at)| at);
            health.trouble = Some((reason, since));
            health.turned_at = now;
            let (limits, secrets) = (snapshot.limits.clone(), Arc::clone(&snapshot.secrets));
            *snapshot = Arc::new(Snapshot { at: now, health, limits, secrets });
        });
        notify(&[NotifyState::Watchdog]);
        // Over early if the login stands otherwise now.
        let _ = tokio::time::timeout(START_PAUSE.to_std(), login.changed()).await.is_ok();
    }
}

/// The picture before anything was read.
pub(super) fn nothing_yet(clock: &Arc<dyn Clock>, instance: &InstanceId) -> Arc<Snapshot> {
    let at = clock.now();
    let health = Health {
        instance: instance.clone(),
        started_at: at,
        turned_at: at,
        epoch: None,
        leader: None,
        lease_until: None,
        destructive_from: None,
        trouble: Some((Reason::VaultUnreachable, at)),
        loaded: false,
        unread: 0,
        breaker_open: false,
    };
    Arc::new(Snapshot { at, health, limits: Limits::default(), secrets: Arc::default() })
}
