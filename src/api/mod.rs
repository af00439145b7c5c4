//! Status, control, health and metrics over HTTP.
//!
//! Decides which path means which question or command, and which status code an answer has. It
//! reads the engine's [`Snapshot`] and sends it commands; it must not know how either comes about,
//! and nothing that is asked with GET can change anything. `docs/api.md` is the reference.

pub mod error;
pub mod wire;

mod alerts;
mod command;
mod health;
mod incidents;
mod params;
mod scope;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tokio::sync::{mpsc, oneshot, watch};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::ApiError;
use crate::engine::command::{Actor, Command, Done, Envelope, Refusal, RefusalKind};
use crate::engine::desk::DeskHandle;
use crate::engine::recognition::Recogniser;
use crate::engine::scan::Scanner;
use crate::engine::snapshot::{Alarm, Health, Snapshot};
use crate::http::peer::{OPERATOR_HEADER, Peer};
use crate::model::id::SecretName;
use crate::model::time::Clock;
use crate::telemetry::metrics::Metrics;
use crate::vault::auth::Status as Login;

/// How long a command's answer is waited for: the engine answers when the record is written, which
/// takes one or two requests to Vault and whatever is queued before.
pub const REPLY_WITHIN: Duration = Duration::from_secs(30);

/// How long a reader who asked for a newer picture waits for one before getting the one there is.
pub const NEWER_WITHIN: Duration = Duration::from_secs(10);

/// The two ends of the engine that everybody outside it uses.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where commands go.
    pub commands: mpsc::Sender<Envelope>,
    /// Where the picture comes from.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// A request to read the config again.
#[derive(Debug)]
pub struct Reload {
    /// Who asks.
    pub actor: Actor,
    /// Where the answer goes: what changed, or why the old config stays.
    pub reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// A person's word that they have looked at the breaks of the audit chain.
#[derive(Debug)]
pub struct Acknowledge {
    /// Who.
    pub actor: Actor,
    /// What they found.
    pub reason: String,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// The audit chain, as others see it.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The alarms that stand.
    pub alarms: watch::Receiver<Vec<Alarm>>,
    /// Where acknowledgements go.
    pub acknowledge: mpsc::Sender<Acknowledge>,
}

/// Everything that the paths are answered from.
#[derive(Clone)]
pub struct Api {
    /// The engine.
    pub handle: Handle,
    /// Where alerts go.
    pub desk: DeskHandle,
    /// What recognises values.
    pub recogniser: Recogniser,
    /// What looks for values in text.
    pub scanner: Arc<Scanner>,
    /// Whoever reads the config; a queue of one is enough.
    pub reload: mpsc::Sender<Reload>,
    /// What stands until a person acts, and whoever is told that one has looked.
    pub audit: Audit,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// For ages, dates and liveness.
    pub clock: Arc<dyn Clock>,
    /// How the daemon stands with Vault.
    pub login: watch::Receiver<Login>,
}

/// The whole API, for the Unix socket: every request must carry a [`Peer`] that is allowed.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(status::all))
        .route("/v1/status/{name}", get(status::one))
        .route("/v1/plan", get(status::plan))
        .route("/v1/secrets/{name}/rotate", post(command::rotate))
        .route("/v1/secrets/{name}/hold", post(command::hold))
        .route("/v1/secrets/{name}/release", post(command::release))
        .route("/v1/secrets/{name}/adopt", post(command::adopt))
        .route("/v1/secrets/{name}/provide", post(command::provide))
        .route("/v1/secrets/{name}/resolve", post(command::resolve))
        .route("/v1/scope", get(scope::scope))
        .route("/v1/alerts", post(alerts::report))
        .route("/v1/scans", post(alerts::begin))
        .route("/v1/scans/{scan}/pieces", post(alerts::piece))
        .route("/v1/scans/{scan}/report", post(alerts::report_scan))
        .route("/v1/scans/{scan}/end", post(alerts::end))
        .route("/v1/incidents", get(incidents::list))
        .route("/v1/incidents/{id}", get(incidents::show))
        .route("/v1/incidents/{id}/report", get(incidents::report))
        .route("/v1/incidents/{id}/approve", post(incidents::approve))
        .route("/v1/incidents/{id}/waive", post(incidents::waive))
        .route("/v1/incidents/{id}/close", post(incidents::close))
        .route("/v1/reload", post(command::reload))
        .route("/v1/audit/acknowledge", post(command::acknowledge))
        .route("/v1/health/live", get(health::live))
        .route("/v1/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(|| async { ApiError::no_such_path() })
        .method_not_allowed_fallback(|| async { ApiError::wrong_method() })
        .layer(CatchPanicLayer::custom(|_| ApiError::defect().into_response()))
        .layer(middleware::from_fn(admit))
        .with_state(api)
}

/// Lets nobody in whom the socket's policy does not name.
async fn admit(peer: Option<Extension<Peer>>, mut request: Request, next: Next) -> Response {
    let Some(Extension(mut peer)) = peer else {
        return ApiError::denied("a caller without a name").into_response();
    };
    if let Some(says) = request.headers().get(OPERATOR_HEADER).and_then(|h| h.to_str().ok()) {
        peer = peer.saying(says);
    }
    if !peer.allowed {
        let Actor(who) = peer.actor();
        tracing::warn!(%who, "refused at the control socket");
        return ApiError::denied(&who).into_response();
    }
    request.extensions_mut().insert(peer);
    next.run(request).await
}

impl Api {
    /// Hands a command about a secret to the engine and waits for the answer.
    async fn ask(
        &self,
        actor: Actor,
        name: &SecretName,
        command: Command,
    ) -> Result<Done, ApiError> {
        self.refuse_before_the_start()?;
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope { actor, command, reply };
        self.handle.commands.try_send(envelope).map_err(ApiError::not_queued)?;
        settle(answer, &format!("rotord status {name}")).await?.map_err(|refusal| {
            let known = Arc::clone(&self.handle.snapshots.borrow().secrets);
            match refusal.kind {
                RefusalKind::NotFound if !known.contains_key(name) => {
                    ApiError::no_such_secret(name.as_str(), known.keys())
                }
                _ => refusal.into(),
            }
        })
    }

    /// Before the records are read nobody takes commands: whoever gave one would wait for Vault
    /// without knowing it.
    fn refuse_before_the_start(&self) -> Result<(), ApiError> {
        let Health { loaded, trouble, .. } = &self.handle.snapshots.borrow().health;
        match trouble {
            _ if *loaded => Ok(()),
            None => Err(ApiError::starting()),
            Some((reason, _)) => Err(ApiError::not_started(*reason)),
        }
    }

    /// The same for the config's reader.
    async fn ask_reload(&self, actor: Actor) -> Result<Done, ApiError> {
        self.refuse_before_the_start()?;
        let (reply, answer) = oneshot::channel();
        self.reload.try_send(Reload { actor, reply }).map_err(ApiError::not_queued)?;
        Ok(settle(answer, "journalctl -u rotord").await??)
    }

    /// The same for the keeper of the audit chain.
    async fn ask_acknowledge(&self, actor: Actor, reason: String) -> Result<Done, ApiError> {
        let (reply, answer) = oneshot::channel();
        let ask = Acknowledge { actor, reason, reply };
        self.audit.acknowledge.try_send(ask).map_err(ApiError::not_queued)?;
        Ok(settle(answer, "rotord status").await??)
    }
}

/// Waits within the bound. What comes after it is unknown, and said to be; `look` is the command
/// that shows it.
async fn settle(
    answer: oneshot::Receiver<Result<Done, Refusal>>,
    look: &str,
) -> Result<Result<Done, Refusal>, ApiError> {
    match tokio::time::timeout(REPLY_WITHIN, answer).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) | Err(_) => Err(ApiError::outcome_unknown(look)),
    }
}

/// The state of every handler.
type Shared = State<Api>;
