//! The listener's answers: from a request to the source it is for, to the desk, and back.
//!
//! Decides the order of the questions, cheapest first: size (413), rates (429), path (404), then
//! the body, and only then whatever the source computes: signature (401), moment and content (400).
//! Whatever is refused is refused in one form, in words of ours. Must not know what any
//! source sends, and neither logs nor keeps anything of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Extension, Router};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use tokio::runtime::Handle;
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::command::{Actor, Refusal};
use crate::engine::desk::{DeskHandle, Verdict};
use crate::http::body::{self, BodyError, Gathered, PLACE_BYTES};
use crate::http::limits::Limits;
use crate::http::repeats::{Refused as NotRepeated, Repeats};
use crate::http::room::Room;
use crate::http::tcp::{Caller, Shares};
use crate::incident::alert::Alert;
use crate::intake::guard::{Asker, Guard, RATE_MAX};
use crate::intake::{
    ALERT_BYTES_MAX, Delivery, Message, ODD_NAMED_MAX, Odd, Received, Rejected, Reply, Source,
};
use crate::model::id::SourceName;
use crate::model::time::{Clock, Entropy, Span, Timestamp};
use crate::telemetry::metrics::Metrics;

mod answer;
#[cfg(test)]
mod tests;

use answer::Refused;

/// Where sources are: `/alerts/NAME`, and below it what the source has.
const PREFIX: &str = "/alerts/";

/// Where a balancer in front of several replicas learns which of them takes alerts.
const LEADER: &str = "/leader";

/// From the head to the end of the body: 1 MiB over a slow line.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The same where strangers fill more than half of the room.
const BODY_WITHIN_HURRIED: Duration = Duration::from_secs(2);

/// Requests that are authenticated at once, and how many of these strangers leave free. The
/// signature of the largest body takes about a millisecond; some sources ask elsewhere for a value
/// once they believe a message.
const WORK: (usize, usize) = (64, 16);

/// Bodies from here on are authenticated and read on a thread of their own: six hundred findings
/// with their digests take some milliseconds, and the largest body has ten thousand.
const LARGE_BYTES: usize = 64 * 1024;

/// Large bodies that are read at once, and how many of these strangers leave free: each keeps a
/// processor busy.
const LARGE: (usize, usize) = (3, 1);

/// KiB of large bodies that are held at once, and how many of these strangers leave free.
const BODIES: (usize, usize) = (16 * 1024, 8 * 1024);

/// Requests that are remembered for each source that names them: the largest rate for as long as
/// they are remembered, and its burst.
const REPEATS_MAX: usize = 65_536;

const _: () =
    assert!((RATE_MAX as usize) * (600 + 10) < REPEATS_MAX, "no repeat is forgotten early");

/// When to come again while rotord has not read its records yet, or the desk cannot write.
const LATER: Span = Span::from_secs(5);

/// When to come again if there was no room for a large body: as long as one may take.
const ROOM_LATER: Span = Span::from_secs(10);

/// What a connection may do: as at the control socket, but more of them and larger heads, since
/// platforms and proxies add headers of their own.
pub fn limits(connections: usize) -> Limits {
    Limits {
        connections,
        head_bytes: 16 * 1024,
        answer_within: Duration::from_secs(30),
        ..Limits::default()
    }
}

/// How connections are shared out: a quarter is kept for those who are known, and nobody has more
/// than an eighth.
pub fn shares(connections: usize) -> Shares {
    Shares { connections, reserve: connections / 4, per_caller: connections.div_ceil(8) }
}

/// Whoever judges alerts.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Hands an alert in and waits for what became of it.
    ///
    /// # Errors
    /// [`Refusal`]: nothing is known to have happened, the source should send again.
    async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal>;

    /// Whether it takes alerts now: this instance leads, and knows what was reported before.
    fn leads(&self) -> bool;
}

#[async_trait]
impl Judge for DeskHandle {
    async fn report(&self, actor: Actor, alert: Alert) -> Result<Vec<Verdict>, Refusal> {
        DeskHandle::report(self, actor, alert).await
    }

    fn leads(&self) -> bool {
        self.picture().ready
    }
}

/// A source under its name.
pub struct Named {
    /// The name: part of the path.
    pub name: SourceName,
    /// The type, for metrics and logs.
    pub kind: &'static str,
    /// The source.
    pub source: Arc<dyn Source>,
}

struct Entry {
    named: Named,
    repeats: Arc<Repeats<Reply>>,
}

/// What alerts come in through.
pub struct Intake {
    judge: Arc<dyn Judge>,
    guard: Arc<Guard>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    /// None until Vault was reached.
    sources: ArcSwapOption<BTreeMap<SourceName, Entry>>,
    bodies: Room,
    work: Room,
    large: Room,
}

/// A request that was read, with all that is its own: it may go to another thread and come back.
struct Whole {
    parts: Parts,
    /// What follows the source's own path.
    rest: String,
    body: Gathered,
    at: Timestamp,
}

impl Whole {
    fn delivery(&self) -> Delivery<'_> {
        let Whole { parts: Parts { method, headers, .. }, rest, body, at } = self;
        Delivery { method, rest, headers, body: &body.bytes, at: *at }
    }
}

impl Intake {
    /// Asks everybody to come later, until it is [open](Intake::open).
    pub fn new(
        judge: Arc<dyn Judge>,
        guard: Arc<Guard>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Intake {
        Intake {
            judge,
            guard,
            clock,
            entropy,
            metrics,
            sources: ArcSwapOption::empty(),
            bodies: Room::new(BODIES.0, BODIES.1),
            work: Room::new(WORK.0, WORK.1),
            large: Room::new(LARGE.0, LARGE.1),
        }
    }

    /// Takes alerts of these sources from now on, and of no others. What is remembered of a source
    /// that was there before stays.
    pub fn open(&self, sources: Vec<Named>) {
        let before = self.sources.load_full();
        let entry = |named: Named| {
            let kept = before.as_ref().and_then(|before| before.get(&named.name));
            let repeats = kept.map_or_else(
                || Arc::new(Repeats::new(self.entropy.as_ref(), REPEATS_MAX)),
                |kept| Arc::clone(&kept.repeats),
            );
            (named.name.clone(), Entry { named, repeats })
        };
        self.sources.store(Some(Arc::new(sources.into_iter().map(entry).collect())));
    }

    /// The router: for whoever comes through a [`TcpDoor`](crate::http::tcp::TcpDoor).
    pub fn router(self: &Arc<Intake>) -> Router {
        Router::new()
            .fallback(handle)
            .layer(CatchPanicLayer::custom(|_| Refused::Defect.response()))
            .with_state(Arc::clone(self))
    }

    async fn take(&self, asker: Asker, parts: Parts, body: Body) -> Outcome {
        let mut outcome = Outcome { kind: NO_SOURCE, result: Err(Refused::NotReady(LATER)) };
        let Some(sources) = self.sources.load_full() else { return outcome };
        outcome.result = async {
            if announced(&parts.headers) > ALERT_BYTES_MAX as u64 {
                return Err(Refused::TooLarge);
            }
            self.guard.admit(asker)?;
            if parts.uri.path() == LEADER {
                let reply = Reply { status: StatusCode::OK, body: None };
                let done = Done { reply, word: "leader" };
                return if self.judge.leads() { Ok(done) } else { Err(Refused::NotReady(LATER)) };
            }
            let (name, rest) = split(parts.uri.path()).ok_or(Refused::NoSuchEndpoint)?;
            let named = sources.iter().find(|(known, _)| known.as_str() == name);
            let (_, entry) = named.ok_or(Refused::NoSuchEndpoint)?;
            outcome.kind = entry.named.kind;
            self.guard.may_send(&entry.named.name)?;
            let body = self.read(asker, body).await?;
            let (rest, at) = (rest.to_owned(), self.clock.now());
            let whole = Whole { parts, rest, body, at };
            let (received, whole) = self.receive(asker, &entry.named.source, whole).await?;
            let received = received?;
            self.guard.proved(asker);
            self.guard.sent(&entry.named.name)?;
            self.settle(entry, received, &whole.delivery()).await
        }
        .await;
        outcome
    }

    async fn read(&self, asker: Asker, body: Body) -> Result<Gathered, Refused> {
        let hurried = !asker.is_known && self.bodies.is_crowded();
        let within = if hurried { BODY_WITHIN_HURRIED } else { BODY_WITHIN };
        let gathered = body::gather(body, ALERT_BYTES_MAX, &self.bodies, asker.is_known);
        match tokio::time::timeout(within, gathered).await {
            Ok(Ok(gathered)) => Ok(gathered),
            Ok(Err(BodyError::TooLarge(_))) => Err(Refused::TooLarge),
            Ok(Err(BodyError::Broken)) => Err(Refused::Broken),
            Ok(Err(BodyError::NoRoom)) => {
                let places = ALERT_BYTES_MAX / PLACE_BYTES;
                tracing::debug!(places, "no room for another large body");
                Err(self.guard.held_back(ROOM_LATER, "bodies").into())
            }
            Err(_) => Err(Refused::TooSlow),
        }
    }

    /// Has a source authenticate and read a request: a large one on a thread where blocking is
    /// allowed, so that nobody waits for its parsing and digests.
    async fn receive(
        &self,
        asker: Asker,
        source: &Arc<dyn Source>,
        whole: Whole,
    ) -> Result<(Result<Received, Rejected>, Whole), Refused> {
        if whole.body.bytes.len() < LARGE_BYTES {
            let _place = self.work.enter(asker.is_known).await;
            return Ok((source.receive(&whole.delivery()).await, whole));
        }
        // Whoever waits with a large body takes no place from those with small ones.
        let large = self.large.enter(asker.is_known).await;
        let place = self.work.enter(asker.is_known).await;
        let (source, runtime) = (Arc::clone(source), Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let _places = (place, large);
            let received = runtime.block_on(source.receive(&whole.delivery()));
            (received, whole)
        });
        read.await.map_err(|_| Refused::Defect)
    }

    /// Answers what a source believes.
    async fn settle(
        &self,
        entry: &Entry,
        received: Received,
        delivery: &Delivery<'_>,
    ) -> Result<Done, Refused> {
        let Named { name, kind, .. } = &entry.named;
        let message = match received {
            Received::Alert(message) => message,
            Received::Nothing { event, reply } => {
                tracing::info!(source = %name, kind, event, "an event without an alert");
                return Ok(Done { reply, word: "nothing" });
            }
        };
        let Some(key) = &message.key else {
            let reply = self.report(&entry.named, &message, delivery).await?;
            return Ok(Done { reply, word: "alert" });
        };
        let now = self.clock.steady();
        let place = entry.repeats.place(&[key], delivery.body.expose(), now);
        let place = place.map_err(|refused| match refused {
            NotRepeated::Conflict => Refused::Conflict,
            NotRepeated::Full(after) => self.guard.held_back(after, "repeats").into(),
        })?;
        let came_before = place.initialized();
        let report = || self.report(&entry.named, &message, delivery);
        let reply = place.get_or_try_init(report).await?.clone();
        Ok(Done { reply, word: if came_before { "repeated" } else { "alert" } })
    }

    async fn report(
        &self,
        named: &Named,
        message: &Message,
        delivery: &Delivery<'_>,
    ) -> Result<Reply, Refused> {
        let Named { name, kind, source } = named;
        let alert = Alert {
            source: name.clone(),
            id: message.id.clone(),
            trusted: source.trusted(),
            at: delivery.at,
            findings: message.findings.clone(),
        };
        let findings = alert.findings.len();
        for Odd { at, why } in message.odd.iter().take(ODD_NAMED_MAX) {
            let finding = at + 1;
            tracing::warn!(source = %name, kind, finding, "cannot be read, stepped over: {why}");
        }
        self.metrics.alert_entries_odd("webhook", message.odd.len() as u64);
        let reported = self.judge.report(Actor(format!("source {name}")), alert).await;
        let verdicts = reported.map_err(|refusal| {
            let reason = refusal.reason;
            tracing::warn!(source = %name, kind, %reason, "an alert is to be sent again");
            Refused::NotReady(LATER)
        })?;
        let ours = verdicts.iter().filter(|verdict| !verdict.ours.is_empty()).count();
        let odd = message.odd.len();
        tracing::info!(source = %name, kind, findings, odd, ours, "an alert was taken in");
        Ok(source.answer(message, &verdicts))
    }
}

/// What became of a request.
struct Outcome {
    /// The type of the source.
    kind: &'static str,
    result: Result<Done, Refused>,
}

struct Done {
    reply: Reply,
    /// What it was, for metrics.
    word: &'static str,
}

/// What stands for the type where there is no source.
const NO_SOURCE: &str = "none";

async fn handle(
    State(intake): State<Arc<Intake>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let asker = intake.guard.asker(caller.address.ip(), &parts.headers);
    let Outcome { kind, result } = intake.take(asker, parts, body).await;
    match result {
        Ok(Done { reply, word }) => {
            intake.metrics.alert_requested(kind, word);
            answer::response(&reply)
        }
        Err(refused) => {
            intake.metrics.alert_requested(kind, refused.word());
            tracing::debug!(kind, word = refused.word(), "a request to an alert source is refused");
            if refused.is_the_callers() {
                intake.guard.failed(asker);
            }
            refused.response()
        }
    }
}

/// The length that a request announces; what cannot be read, the protocol's reader refuses.
fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The name of a source and what follows it.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_prefix(PREFIX)?;
    Some(path.find('/').map_or((path, ""), |at| path.split_at(at)))
}
