//! A service that *signs* webhooks with a secret that rotord rotates.
//!
//! ```text
//! POST /rotord   pushes of rotord
//! GET  /stats    how many were sent, by version and answer
//! ```
//!
//! Prints one line of JSON with its address, then sends until it is killed:
//!
//! ```text
//! cargo run --example webhook_sender -- --target orders --environment prod --instance orders-0 \
//!     --covers-all --channel-key-file channel.key --every 50ms --to http://127.0.0.1:8081/webhook
//! ```

pub(crate) mod common;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use common::{Answer, Identity, Keyring};
use rotord::signing::standard::MessageId;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

/// A service that signs webhooks with a rotated secret.
#[derive(Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    identity: Identity,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// How often to send.
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Where to send; may be given several times.
    #[arg(long)]
    to: Vec<String>,
}

/// What happened so far.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Stats {
    /// Webhooks sent, by `version/status`; the status is `lost` if no answer came.
    pub(crate) sent: BTreeMap<String, u64>,
    /// Times at which there was nothing to sign with.
    pub(crate) without_key: u64,
}

/// The service.
pub(crate) struct Sender {
    pub(crate) keyring: Keyring,
    stats: Mutex<Stats>,
    client: reqwest::Client,
}

impl Sender {
    /// A service that knows no secret yet.
    pub(crate) fn new(identity: Identity) -> io::Result<Arc<Sender>> {
        let keyring = Keyring::new(identity)?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(io::Error::other)?;
        Ok(Arc::new(Sender { keyring, stats: Mutex::default(), client }))
    }

    /// Its routes.
    pub(crate) fn routes(self: &Arc<Sender>) -> Router {
        Router::new()
            .route("/rotord", post(push))
            .route("/stats", get(stats))
            .with_state(Arc::clone(self))
    }

    /// Sends webhooks at a steady rate, for ever.
    pub(crate) async fn run(&self, to: &[String], every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0_u64.. {
            ticks.tick().await;
            for url in to {
                self.send(url, number).await;
            }
        }
    }

    /// Sends one webhook, signed with the version in use at this moment.
    pub(crate) async fn send(&self, url: &str, number: u64) {
        let body = format!(r#"{{"type":"order.paid","number":{number}}}"#);
        let Ok(id) = MessageId::new(format!("order_{number}")) else { return };
        let Some((version, headers)) = self.keyring.sign(&id, body.as_bytes()) else {
            self.stats.lock().unwrap_or_else(PoisonError::into_inner).without_key += 1;
            return;
        };
        let request = self.client.post(url).header("content-type", "application/json").body(body);
        let request = headers.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let answer = request
            .send()
            .await
            .map_or_else(|_| "lost".to_owned(), |answer| answer.status().as_u16().to_string());
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        *stats.sent.entry(format!("{version}/{answer}")).or_default() += 1;
    }
}

async fn push(State(app): State<Arc<Sender>>, headers: HeaderMap, body: Bytes) -> Answer {
    app.keyring.receive(&headers, &body)
}

async fn stats(State(app): State<Arc<Sender>>) -> Json<Stats> {
    Json(app.stats.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let options = Options::parse();
    let sender = Sender::new(options.identity)?;
    let listener = TcpListener::bind(options.listen).await?;
    writeln!(io::stdout(), "{}", serde_json::json!({ "address": listener.local_addr()? }))?;
    tokio::select! {
        served = axum::serve(listener, sender.routes()) => served,
        () = sender.run(&options.to, options.every) => Ok(()),
    }
}
