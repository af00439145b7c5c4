//! The client of one Vault: [`Kv`] and the few questions beside it.
//!
//! Decides how many requests are in flight, how long each may take, and what a failure means. It
//! never retries: who ordered a write must know whether to read it back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::model::material::SecretBytes;
use crate::model::time::{Clock, Span, Timestamp};
use crate::vault::answer::{Answer, Settled};
use crate::vault::document::{Document, Malformed};
use crate::vault::error::VaultError;
use crate::vault::order::{Order, Verb};
use crate::vault::wire::{Lost, Token, Wire};
use crate::vault::{Kv, KvPath, Metadata, Read, VersionMetadata};

/// Longest a request takes unless the config says otherwise: a hundred times what a busy cluster
/// needs, and a fraction of the lease.
pub const TIMEOUT_DEFAULT: Span = Span::from_secs(10);

/// Longest a connection takes to be made: three tries of a lost SYN, and shorter than a request.
pub const CONNECT_TIMEOUT_DEFAULT: Span = Span::from_secs(5);

/// Most requests in flight: 32 to 64 fill the log of a Raft cluster, more only wait there.
const IN_FLIGHT_MAX: usize = 64;

/// Longest mount and path together; Vault's storages refuse keys from 32 KiB (Raft) on down to
/// some hundred bytes (others).
const PATH_MAX: usize = 512;

/// Which Vault, and how it is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, port, and a prefix of paths if a proxy adds one.
    pub address: Url,
    /// Lets the token travel in clear text beyond this machine. Loopback needs no permission.
    pub allow_http: bool,
    /// The namespace, without slashes at either end.
    pub namespace: Option<String>,
    /// The only authorities to trust, in PEM; without it the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest time for a request, waiting for its turn included.
    pub timeout: Span,
    /// Longest time until a connection stands; shorter than `timeout`.
    pub connect_timeout: Span,
    /// Hosts that a standby may point to, as `host` (the port of `address`) or `host:port`.
    pub redirect_hosts: Vec<String>,
}

impl Settings {
    /// The defaults for an address.
    pub fn new(address: Url) -> Settings {
        Settings {
            address,
            allow_http: false,
            namespace: None,
            ca_pem: None,
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            redirect_hosts: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), SetupError> {
        let loopback = match self.address.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(SetupError::Address),
        };
        match self.address.scheme() {
            "https" => {}
            "http" if self.allow_http || loopback => {}
            "http" => return Err(SetupError::PlainHttp),
            _ => return Err(SetupError::Address),
        }
        let bare = self.address.username().is_empty()
            && self.address.password().is_none()
            && self.address.query().is_none()
            && self.address.fragment().is_none();
        if !bare {
            return Err(SetupError::Address);
        }
        if self.connect_timeout >= self.timeout || self.connect_timeout == Span::ZERO {
            return Err(SetupError::Timeouts);
        }
        Ok(())
    }
}

/// Why a client cannot be made of its settings.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not an address of a Vault.
    #[error("the address of Vault must be https://host:port, without user, query or fragment")]
    Address,
    /// Clear text over a network.
    #[error("the token would travel in clear text: use https, or allow_http = true to insist")]
    PlainHttp,
    /// The two time-outs contradict each other.
    #[error("the time-out for connecting must be above zero and shorter than the whole time-out")]
    Timeouts,
    /// Not the PEM of a certificate.
    #[error("Vault's CA file holds no certificate in PEM")]
    Ca,
    /// A namespace with control characters.
    #[error("the namespace has characters that cannot be sent")]
    Namespace,
    /// The TLS set-up failed.
    #[error("TLS cannot be set up: {cause}; if the system has no CA certificates, name a CA file")]
    Tls {
        /// What the TLS library says of its configuration.
        cause: String,
    },
}

/// A token that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the token is empty or has characters that cannot be sent")]
pub struct UnfitToken;

/// Whether a node serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// Whether the cluster has keys at all.
    pub initialized: bool,
    /// Whether the node is sealed.
    pub sealed: bool,
    /// Whether another node is the active one.
    pub standby: bool,
    /// The server's version.
    pub version: String,
}

/// Where a node stands with its keys.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SealStatus {
    /// Whether the cluster has keys at all.
    pub initialized: bool,
    /// Whether the node is sealed.
    pub sealed: bool,
    /// How many key shares unseal it.
    #[serde(rename = "t")]
    pub threshold: u64,
    /// How many of them it was given so far.
    pub progress: u64,
}

/// The server's clock as last seen, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTime {
    /// What the server's clock said.
    pub server: Timestamp,
    /// What ours said when the answer came.
    pub ours: Timestamp,
}

impl ServerTime {
    /// How far the two clocks differ, whichever is ahead. A second of it may be rounding.
    pub fn skew(&self) -> Span {
        if self.server > self.ours {
            self.server.since(self.ours)
        } else {
            self.ours.since(self.server)
        }
    }
}

/// The client.
///
/// Cheap to share: one per process behind an `Arc`. Its token is set by
/// [`Keeper`](crate::vault::auth::Keeper); without one every request that needs it ends as
/// [`VaultError::Unauthenticated`].
pub struct Vault {
    wire: Wire,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    in_flight: Semaphore,
    token: ArcSwapOption<Token>,
    token_died: Notify,
    server_time: ArcSwapOption<ServerTime>,
    requests: [AtomicU64; Verb::ALL.len()],
}

impl Vault {
    /// A client as the settings say. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SetupError`] if the settings contradict themselves or would send the token in the clear.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Vault, SetupError> {
        settings.check()?;
        Ok(Vault {
            wire: Wire::new(settings)?,
            clock,
            timeout: settings.timeout.to_std(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            token: ArcSwapOption::empty(),
            token_died: Notify::new(),
            server_time: ArcSwapOption::empty(),
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Uses this token from the next request on.
    ///
    /// # Errors
    /// [`UnfitToken`] if no header can carry it; the former token stays.
    pub fn set_token(&self, token: SecretBytes) -> Result<(), UnfitToken> {
        let token = Token::new(token).ok_or(UnfitToken)?;
        self.token.store(Some(Arc::new(token)));
        Ok(())
    }

    /// What the token may do at each of these API paths, e.g. `rotord/data/state/*`.
    ///
    /// # Errors
    /// As any request.
    pub async fn capabilities(
        &self,
        paths: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, VaultError> {
        let order = Order::Capabilities { paths };
        let answer = self.done(&order).await?;
        let envelope: Envelope<BTreeMap<String, Vec<String>>> = decode(&order, &answer)?;
        let mut granted = envelope.data;
        granted.retain(|path, _| paths.contains(path));
        Ok(granted)
    }

    /// Whether the node serves; a standby and a sealed node answer too.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`] if nobody answers.
    pub async fn health(&self) -> Result<Health, VaultError> {
        let answer = self.turn(&Order::Health, None).await?;
        decode(&Order::Health, &answer)
    }

    /// Whether the node is sealed, and how far unsealing has come.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`] if nobody answers.
    pub async fn seal_status(&self) -> Result<SealStatus, VaultError> {
        let answer = self.done(&Order::SealStatus).await?;
        decode(&Order::SealStatus, &answer)
    }

    /// The server's clock as last seen; none before the first answer.
    pub fn server_time(&self) -> Option<ServerTime> {
        self.server_time.load().as_deref().copied()
    }

    /// How many requests were sent so far, by kind.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = Verb::ALL.iter().zip(&self.requests);
        counts.map(|(verb, count)| (verb.label(), count.load(Ordering::Relaxed)))
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Waits until Vault does not know the token any more. Told once for each death that anybody
    /// ran into, also if nobody was waiting.
    pub(super) async fn token_died(&self) {
        self.token_died.notified().await;
    }

    /// An answer to an order that cannot be about nothing.
    pub(super) async fn done(&self, order: &Order<'_>) -> Result<Answer, VaultError> {
        match self.ask(order).await? {
            Settled::Done(answer) => Ok(answer),
            Settled::Absent => {
                Err(VaultError::Refused { path: order.place(), what: "404".to_owned() })
            }
        }
    }

    /// Sends an order with a token of its own, e.g. one that is being tried.
    pub(super) async fn ask_as(
        &self,
        token: SecretBytes,
        order: &Order<'_>,
    ) -> Result<Answer, VaultError> {
        let token = Token::new(token).ok_or(VaultError::Unauthenticated)?;
        let answer = self.turn(order, Some(&token)).await?;
        if answer.status == 403 && !answer.denied_by_policy() {
            return Err(VaultError::Unauthenticated);
        }
        match answer.settle(order)? {
            Settled::Done(answer) => Ok(answer),
            Settled::Absent => Err(VaultError::NoMount { path: order.place() }),
        }
    }

    async fn ask(&self, order: &Order<'_>) -> Result<Settled, VaultError> {
        let token = match order.needs_token() {
            true => Some(self.token.load_full().ok_or(VaultError::Unauthenticated)?),
            false => None,
        };
        let settled = self.turn(order, token.as_deref()).await?.settle(order);
        match (settled, token) {
            (Err(VaultError::Denied { path }), Some(token)) => {
                Err(self.why_denied(path, &token).await)
            }
            (settled, _) => settled,
        }
    }

    /// Tells a token that is dead from one whose policies do not allow a path. Both are 403.
    async fn why_denied(&self, path: String, token: &Arc<Token>) -> VaultError {
        match self.turn(&Order::LookupSelf, Some(token)).await {
            Ok(answer) if answer.status == 403 && !answer.denied_by_policy() => {
                let current = self.token.load_full();
                if current.is_some_and(|current| Arc::ptr_eq(&current, token)) {
                    self.token_died.notify_one();
                }
                VaultError::Unauthenticated
            }
            _ => VaultError::Denied { path },
        }
    }

    /// Waits for a turn, sends, and reads the answer, all within the time-out.
    async fn turn(&self, order: &Order<'_>, token: Option<&Token>) -> Result<Answer, VaultError> {
        let deadline = Instant::now() + self.timeout;
        let turn = timeout_at(deadline, self.in_flight.acquire()).await;
        let Ok(Ok(_permit)) = turn else {
            let what = format!("{IN_FLIGHT_MAX} requests are in flight already");
            return Err(VaultError::Unavailable { what });
        };
        self.requests[order.verb() as usize].fetch_add(1, Ordering::Relaxed);
        let sent = timeout_at(deadline, self.wire.send(order, token)).await;
        let answer = sent
            .unwrap_or(Err(Lost::Unknown("no answer in time")))
            .map_err(|lost| explain(order, lost))?;
        if let Some(server) = answer.date {
            let seen = ServerTime { server, ours: self.clock.now() };
            self.server_time.store(Some(Arc::new(seen)));
        }
        Ok(answer)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("wire", &self.wire).finish_non_exhaustive()
    }
}

#[async_trait]
impl Kv for Vault {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        check(at)?;
        let order = Order::Read { at, version: None };
        match self.ask(&order).await? {
            Settled::Done(answer) => content(&order, &answer).map(Some),
            Settled::Absent => Ok(None),
        }
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        check(at)?;
        // Vault takes version 0 for the newest.
        if version == 0 {
            return Ok(None);
        }
        let order = Order::Read { at, version: Some(version) };
        match self.ask(&order).await {
            Ok(Settled::Done(answer)) => content(&order, &answer).map(Some),
            Ok(Settled::Absent) | Err(VaultError::Deleted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError> {
        check(at)?;
        let order = Order::Write { at, document, cas };
        written(&order, &self.done(&order).await?)
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        check(at)?;
        let order = Order::Patch { at, patch, cas };
        written(&order, &self.done(&order).await?)
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        check_segments(&at.mount, at)?;
        if !at.path.is_empty() {
            check(at)?;
        }
        let order = Order::List { at };
        match self.ask(&order).await? {
            Settled::Done(answer) => {
                let envelope: Envelope<Names> = decode(&order, &answer)?;
                Ok(envelope.data.keys)
            }
            Settled::Absent => Ok(Vec::new()),
        }
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        check(at)?;
        let order = Order::Metadata { at };
        match self.ask(&order).await? {
            Settled::Done(answer) => {
                // By the server's clock, which its `Date` gives in whole seconds, rounded down.
                let date = answer.date.map(|date| date + Span(999));
                let now = date.unwrap_or_else(|| self.clock.now());
                let envelope: Envelope<History> = decode(&order, &answer)?;
                envelope.data.metadata(now).map(Some).ok_or_else(|| VaultError::BadAnswer {
                    path: order.place(),
                    what: "a moment that is not one".to_owned(),
                })
            }
            Settled::Absent => Ok(None),
        }
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        check(at)?;
        if versions.is_empty() {
            return Ok(());
        }
        self.ask(&Order::Destroy { at, versions }).await.map(|_| ())
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        check(at)?;
        self.ask(&Order::DeleteMetadata { at }).await.map(|_| ())
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Written,
}

#[derive(Deserialize)]
struct Written {
    version: u64,
}

#[derive(Deserialize)]
struct Names {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct History {
    current_version: u64,
    versions: BTreeMap<u64, Fate>,
}

#[derive(Deserialize)]
struct Fate {
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

impl History {
    /// A deletion time that lies ahead is an appointment (`delete_version_after`), not a fact.
    fn metadata(self, now: Timestamp) -> Option<Metadata> {
        let moment = |text: &str| {
            let date = DateTime::parse_from_rfc3339(text).ok()?;
            Some(Timestamp(date.timestamp_millis()))
        };
        let version = |(number, fate): (u64, Fate)| {
            let deleted = match fate.deletion_time.as_str() {
                "" => false,
                text => moment(text)? <= now,
            };
            let created_at = moment(&fate.created_time)?;
            Some((number, VersionMetadata { created_at, deleted, destroyed: fate.destroyed }))
        };
        let versions = self.versions.into_iter().map(version).collect::<Option<_>>()?;
        Some(Metadata { current_version: self.current_version, versions })
    }
}

fn content(order: &Order<'_>, answer: &Answer) -> Result<Read, VaultError> {
    let envelope: Envelope<Content<'_>> = decode(order, answer)?;
    let version = envelope.data.metadata.version;
    let Some(data) = envelope.data.data else {
        return Err(VaultError::Deleted { path: order.place(), version });
    };
    Ok(Read { version, document: Document::from_json(data.get().as_bytes().to_vec()) })
}

/// The version that a write made. An answer without one leaves the write in doubt.
fn written(order: &Order<'_>, answer: &Answer) -> Result<u64, VaultError> {
    let envelope: Result<Envelope<Written>, Malformed> = answer.decode();
    envelope.map(|envelope| envelope.data.version).map_err(|_| VaultError::Ambiguous {
        path: order.place(),
        what: format!("{} without a version; is the mount KV version 2?", answer.status),
    })
}

fn decode<'a, T: Deserialize<'a>>(order: &Order<'_>, answer: &'a Answer) -> Result<T, VaultError> {
    answer.decode().map_err(|error| VaultError::BadAnswer {
        path: order.place(),
        what: format!("{}: {error}", answer.status),
    })
}

fn explain(order: &Order<'_>, lost: Lost) -> VaultError {
    match lost {
        Lost::NotSent(what) => VaultError::Unavailable { what },
        Lost::Unfit(what) => {
            VaultError::Refused { path: order.place(), what: format!("not sent: {what}") }
        }
        Lost::Unknown(what) if order.changes() => {
            VaultError::Ambiguous { path: order.place(), what: what.to_owned() }
        }
        Lost::Unknown(what) => VaultError::Unavailable { what: what.to_owned() },
    }
}

/// Refuses what would be sent as another path than it reads: `.` and `..` are dropped by URL
/// parsers, empty segments by Vault.
fn check(at: &KvPath) -> Result<(), VaultError> {
    check_segments(&at.mount, at)?;
    check_segments(&at.path, at)
}

fn check_segments(text: &str, at: &KvPath) -> Result<(), VaultError> {
    let unfit = |what: &str| {
        let path = at.to_string().escape_debug().to_string();
        Err(VaultError::Refused { path, what: format!("not sent: {what}") })
    };
    if text.len() > PATH_MAX {
        return unfit("the path is too long");
    }
    if text.chars().any(char::is_control) {
        return unfit("the path has a control character");
    }
    if text.split('/').any(str::is_empty) {
        return unfit("the path has an empty segment, or a slash at an end");
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return unfit("the path has a segment '.' or '..'");
    }
    Ok(())
}
