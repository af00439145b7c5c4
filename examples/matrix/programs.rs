//! The programs that live on rotated secrets, each a process of its own: the examples, with a
//! journal of what they were told, what they signed and what they answered.
//!
//! Decides nothing about secrets: that is the examples' part, which is what is tried here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use chrono::Utc;
use clap::Subcommand;
use reqwest::{Client, redirect};
use rotord::signing::standard::MessageId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::consumer::{Consumer, Places};
use crate::journal::{EVERY, Journal, digest_of, now};
use crate::keys::{Keys, Mode};
use crate::webhook_receiver::Receiver;
use crate::webhook_receiver::common::{Answer, Identity, Keyring};
use crate::{Fallible, say};

/// More than any push or answer here is long.
const BODY_MAX: usize = 256 * 1024;

/// Longest wait for an answer: every server is on this machine, which may be busy.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// What a process of this program can be.
#[derive(Subcommand)]
pub(crate) enum Program {
    /// Verifies webhooks.
    Receiver {
        #[command(flatten)]
        identity: Identity,
        #[arg(long)]
        journal: PathBuf,
    },
    /// Signs webhooks and sends them.
    Sender {
        #[command(flatten)]
        identity: Identity,
        #[arg(long)]
        journal: PathBuf,
        /// Where to send; may be given several times.
        #[arg(long)]
        to: Vec<String>,
        /// Milliseconds between two rounds.
        #[arg(long)]
        every: u64,
    },
    /// Issues keys, and works for whoever shows one.
    Keys {
        #[arg(long)]
        admin_token_file: PathBuf,
        #[arg(long)]
        journal: PathBuf,
    },
    /// Works with the key in a document.
    Consumer {
        #[arg(long)]
        service: String,
        #[arg(long)]
        vault: String,
        #[arg(long)]
        vault_token_file: PathBuf,
        #[arg(long)]
        mount: String,
        #[arg(long)]
        journal: PathBuf,
        /// Milliseconds between two rounds.
        #[arg(long)]
        every: u64,
    },
}

/// How often a consumer reads its document again; the target's `propagation` is ten times that.
const READS_EVERY: Duration = Duration::from_millis(50);

/// The documents of a consumer: what it reads, and where it says so.
pub(crate) const DOCUMENT: &str = "key";
pub(crate) const ACKNOWLEDGEMENT: &str = "key-ack";

/// Requests in one round of the consumer.
const ROUND: u64 = 2;

/// Plays one program until it is stopped.
pub(crate) async fn play(program: Program) -> Fallible<()> {
    match program {
        Program::Receiver { identity, journal } => {
            let receiver = Receiver::new(identity)?;
            let journal = Journal::create(&journal)?;
            serve(receiver.routes(), journal, "verified").await
        }
        Program::Sender { identity, journal, to, every } => {
            let journal = Journal::create(&journal)?;
            let sender = Arc::new(Sender { keyring: Keyring::new(identity)?, client: client()? });
            let routes = Router::new().route("/rotord", post(push)).with_state(Arc::clone(&sender));
            tokio::select! {
                () = sender.run(&to, Duration::from_millis(every), &journal) => Ok(()),
                served = serve(routes, journal.clone(), "") => served,
            }
        }
        Program::Keys { admin_token_file, journal } => {
            let token = std::fs::read_to_string(admin_token_file)?;
            // Two keys side by side, as the preset says.
            let keys = Keys::new(Mode::Slots, 2, token.trim(), wall);
            serve(keys.router(), Journal::create(&journal)?, "used").await
        }
        Program::Consumer { service, vault, vault_token_file, mount, journal, every } => {
            let token = std::fs::read_to_string(vault_token_file)?.trim().to_owned();
            let consumer = Consumer::new(Places {
                service,
                vault,
                vault_token: token,
                mount,
                path: DOCUMENT.to_owned(),
                ack_path: Some(ACKNOWLEDGEMENT.to_owned()),
            })?;
            let journal = Journal::create(&journal)?;
            consume(consumer, Duration::from_millis(every), &journal).await
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a service of its own, outside rotord's clock")]
fn wall() -> chrono::DateTime<Utc> {
    Utc::now()
}

fn client() -> Fallible<Client> {
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none());
    Ok(client.tls_certs_only([]).timeout(ANSWERED_WITHIN).build()?)
}

/// Serves, with a journal, until it is asked to stop. `traffic` is the word for what it is there
/// for.
async fn serve(routes: Router, journal: Journal, traffic: &'static str) -> Fallible<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&json!({ "address": listener.local_addr()? }).to_string());
    let noted = Noted { journal: journal.clone(), traffic };
    let routes = routes.layer(from_fn_with_state(noted, note));
    let mut stop = signal(SignalKind::terminate())?;
    let mut tick = interval(EVERY);
    let served = async { axum::serve(listener, routes).await };
    tokio::pin!(served);
    loop {
        tokio::select! {
            biased;
            _ = stop.recv() => break,
            _ = tick.tick() => journal.flush(),
            ended = &mut served => return Ok(ended?),
        }
    }
    journal.flush();
    Ok(())
}

#[derive(Clone)]
struct Noted {
    journal: Journal,
    traffic: &'static str,
}

/// The access log: what a web server in front of the program would see.
async fn note(State(noted): State<Noted>, request: Request, next: Next) -> Response {
    let Noted { journal, traffic } = noted;
    let began = now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match (method, path.as_str()) {
        (_, "/webhook" | "/work") => {
            let with = bearer(request.headers()).map(|key| digest_of(key.as_bytes()));
            let answer = next.run(request).await;
            let with = with.unwrap_or_default();
            journal.count(traffic, &with, answer.status().as_u16(), began);
            answer
        }
        (Method::POST, "/rotord") => pushed(journal, began, request, next).await,
        (Method::POST, "/keys") => minted(journal, began, next.run(request).await).await,
        (Method::DELETE, path) => {
            let answer = next.run(request).await;
            if answer.status() == StatusCode::NO_CONTENT {
                let id = path.rsplit('/').next().unwrap_or_default();
                journal.line("ended", json!({ "id": id }));
            }
            answer
        }
        _ => next.run(request).await,
    }
}

/// A push as it came and was answered. The line is written before the answer leaves.
async fn pushed(journal: Journal, began: u64, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let push: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, said) = answer.into_parts();
    let said = to_bytes(said, BODY_MAX).await.unwrap_or_default();
    if parts.status == StatusCode::OK && push["type"] == "rotord.push" {
        let reply: Value = serde_json::from_slice(&said).unwrap_or_default();
        let values: BTreeMap<String, String> = accepted(&push).collect();
        let told = json!({ "at": began, "generation": reply["generation"],
                           "current": reply["current"], "values": values });
        journal.line("told", told);
    }
    Response::from_parts(parts, Body::from(said))
}

/// The versions in a push with what stands for their values.
fn accepted(push: &Value) -> impl Iterator<Item = (String, String)> {
    let accepted = push["accepted"].as_array().into_iter().flatten();
    accepted.filter_map(|one| {
        let value = one["fields"]["value"].as_str()?;
        Some((one["version"].to_string(), digest_of(value.as_bytes())))
    })
}

/// A key as it was made. The line is written before the answer leaves.
async fn minted(journal: Journal, began: u64, answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap_or_default();
    let key: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let (StatusCode::CREATED, Some(value)) = (parts.status, key["key"].as_str()) {
        let value = digest_of(value.as_bytes());
        journal.line("minted", json!({ "at": began, "id": key["id"], "value": value }));
    }
    Response::from_parts(parts, Body::from(body))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

struct Sender {
    keyring: Keyring,
    client: Client,
}

async fn push(State(sender): State<Arc<Sender>>, headers: HeaderMap, body: Bytes) -> Answer {
    sender.keyring.receive(&headers, &body)
}

impl Sender {
    /// Signs with what is in use at that moment, and sends, for ever.
    async fn run(&self, to: &[String], every: Duration, journal: &Journal) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0_u64.. {
            ticks.tick().await;
            for url in to {
                self.send(url, number, journal).await;
            }
        }
    }

    async fn send(&self, url: &str, number: u64, journal: &Journal) {
        let body = format!(r#"{{"type":"order.paid","number":{number}}}"#);
        let Ok(id) = MessageId::new(format!("order_{number}")) else { return };
        let began = now();
        // Nothing to sign with before the first push.
        let Some((version, headers)) = self.keyring.sign(&id, body.as_bytes()) else { return };
        let request = self.client.post(url).body(body);
        let request = headers.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
        journal.count("signed", &version.0.to_string(), status, began);
    }
}

/// Works, and reads its document again now and then, until it is asked to stop.
async fn consume(mut consumer: Consumer, every: Duration, journal: &Journal) -> Fallible<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut read_at, mut flushed_at) = (Instant::now() - READS_EVERY, Instant::now());
    let mut version = 0;
    loop {
        tokio::select! {
            biased;
            _ = stop.recv() => break,
            _ = ticks.tick() => {}
        }
        let mut look = read_at.elapsed() >= READS_EVERY;
        for _ in 0..ROUND {
            let (began, before) = (now(), consumer.counts());
            look |= consumer.work().await;
            let after = consumer.counts();
            let status = match () {
                () if after.accepted > before.accepted => 200,
                () if after.rejected > before.rejected => 401,
                () if after.failed > before.failed => 0,
                () => continue,
            };
            journal.count("worked", &format!("{version}"), status, began);
        }
        if look {
            // Vault may be away for a while: the key in hand is still good.
            version = consumer.reread().await.ok().flatten().unwrap_or(version);
            read_at = Instant::now();
        }
        if flushed_at.elapsed() >= EVERY {
            journal.flush();
            flushed_at = Instant::now();
        }
    }
    journal.flush();
    Ok(())
}
