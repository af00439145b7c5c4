//! Reading the config again, without ending anything that is under way.
//!
//! A config that is wrong, or would lose secrets unasked, changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::Reload;
use crate::config::diff::{Changes, diff};
use crate::config::locate::locate;
use crate::config::{self, Config};
use crate::daemon::alerts::Alerts;
use crate::daemon::build;
use crate::driver::registry::{Channels, Context};
use crate::engine::command::{Done, Refusal, RefusalKind};
use crate::engine::managed::Managed;
use crate::model::reason::Reason;
use crate::telemetry::logs::Logs;
use crate::telemetry::metrics::Metrics;

/// What a reload needs.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) credentials: Option<PathBuf>,
    pub(super) config: Config,
    pub(super) logs: Logs,
    pub(super) metrics: Metrics,
    pub(super) context: Context,
    pub(super) reloads: mpsc::Sender<Vec<Managed>>,
    pub(super) channels: watch::Sender<Channels>,
    pub(super) alerts: Alerts,
}

impl Reloader {
    /// Has alerts begin, and then reloads whenever somebody asks: over the socket, or by SIGHUP.
    pub(super) async fn serve(
        mut self,
        mut asks: mpsc::Receiver<Reload>,
        hangup: Arc<Notify>,
        stop: CancellationToken,
    ) {
        self.alerts.begin();
        loop {
            let ask = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ask) = asks.recv() => Some(ask),
                () = hangup.notified() => None,
            };
            let result = self.reload().await;
            let word = if result.is_ok() { "ok" } else { "refused" };
            self.metrics.config_reloaded(word);
            match &result {
                Ok(done) => tracing::info!("config reloaded: {}", done.text),
                Err(refusal) => {
                    tracing::error!("config not reloaded, the old one stays: {refusal}")
                }
            }
            if let Some(ask) = ask {
                let _ = ask.reply.send(result);
            }
        }
    }

    async fn reload(&mut self) -> Result<Done, Refusal> {
        let new = config::load(&self.path, self.credentials.as_deref()).map_err(refuse)?;
        let changes = diff(&self.config, &new).map_err(refuse)?;
        let channels = self.context.channels.renewed(&new.channels).map_err(refuse)?;
        channels.fetch(&self.context.secrets).await.map_err(refuse)?;
        let context = Context { channels, ..self.context.clone() };
        let built = build::all(&new, &context);
        let built = built.map_err(|faults| refuse(locate(&self.path, faults)))?;
        let renewed = self.alerts.renew(&new, &context.secrets).await;
        renewed.map_err(|faults| refuse(locate(&self.path, faults)))?;
        self.logs.set_filter(&new.daemon.log_level).map_err(refuse)?;
        if self.reloads.send(built.managed).await.is_err() {
            return Err(refuse("the engine has stopped"));
        }
        // Whoever keeps the keys fresh goes on with the channels that there are now.
        self.channels.send_replace(context.channels.clone());
        self.context = context;
        self.config = new;
        Ok(Done { rotation: None, text: summary(&changes) })
    }
}

fn refuse(why: impl std::fmt::Display) -> Refusal {
    Refusal {
        kind: RefusalKind::Invalid,
        reason: Reason::Misconfigured,
        possible_at: None,
        text: why.to_string(),
    }
}

fn summary(changes: &Changes) -> String {
    let mut text = format!(
        "{} added, {} changed, {} removed",
        changes.added.len(),
        changes.changed.len(),
        changes.removed.len()
    );
    if changes.sources {
        text.push_str("; other sources of alerts");
    }
    if !changes.restart.is_empty() {
        let tables: Vec<&str> = changes.restart.iter().copied().collect();
        text.push_str(&format!("; a change of [{}] needs a restart", tables.join("], [")));
    }
    text
}
