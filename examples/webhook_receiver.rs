//! A service that *verifies* webhooks with a secret that rotord rotates.
//!
//! ```text
//! POST /rotord    pushes of rotord
//! POST /webhook   webhooks: 204 if an accepted version signed them
//! GET  /stats     how many were accepted, by version, and how many refused
//! GET  /last      the last accepted one
//! ```
//!
//! Prints one line of JSON with its address, then serves until it is killed:
//!
//! ```text
//! cargo run --example webhook_receiver -- --target billing-api --environment prod \
//!     --instance billing-api-0 --covers-all --channel-key-file channel.key
//! ```

pub(crate) mod common;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use common::{Answer, Identity, Keyring, status_of};
use rotord::model::id::VersionId;
use serde::Serialize;
use tokio::net::TcpListener;

/// A service that verifies webhooks with a rotated secret.
#[derive(Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    identity: Identity,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

/// What happened so far.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Stats {
    /// Webhooks accepted, by the version that signed them.
    pub(crate) accepted: BTreeMap<VersionId, u64>,
    /// Webhooks refused, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
}

/// The last accepted webhook.
#[derive(Clone, Serialize)]
pub(crate) struct Last {
    id: String,
    version: VersionId,
    body: String,
}

/// The service.
pub(crate) struct Receiver {
    pub(crate) keyring: Keyring,
    stats: Mutex<Stats>,
    last: Mutex<Option<Last>>,
}

impl Receiver {
    /// A service that knows no secret yet.
    pub(crate) fn new(identity: Identity) -> io::Result<Arc<Receiver>> {
        let keyring = Keyring::new(identity)?;
        Ok(Arc::new(Receiver { keyring, stats: Mutex::default(), last: Mutex::default() }))
    }

    /// Its routes.
    pub(crate) fn routes(self: &Arc<Receiver>) -> Router {
        Router::new()
            .route("/rotord", post(push))
            .route("/webhook", post(webhook))
            .route("/stats", get(stats))
            .route("/last", get(last))
            .with_state(Arc::clone(self))
    }
}

async fn push(State(app): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> Answer {
    app.keyring.receive(&headers, &body)
}

async fn webhook(State(app): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let verified = app.keyring.verify(&headers, &body);
    let mut stats = app.stats.lock().unwrap_or_else(PoisonError::into_inner);
    match verified {
        Ok(version) => {
            *stats.accepted.entry(version).or_default() += 1;
            let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            let last = Last { id: id.to_owned(), version, body };
            *app.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            StatusCode::NO_CONTENT
        }
        Err(refusal) => {
            let status = status_of(refusal);
            *stats.refused.entry(status.as_u16()).or_default() += 1;
            status
        }
    }
}

async fn stats(State(app): State<Arc<Receiver>>) -> Json<Stats> {
    Json(app.stats.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn last(State(app): State<Arc<Receiver>>) -> Json<Option<Last>> {
    Json(app.last.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let receiver = Receiver::new(options.identity)?;
    let listener = TcpListener::bind(options.listen).await?;
    writeln!(io::stdout(), "{}", serde_json::json!({ "address": listener.local_addr()? }))?;
    axum::serve(listener, receiver.routes()).await
}
