//! The client of one Vault: how a request is sent, and the few questions beside the verbs of `Kv`.
//!
//! Decides how many requests are in flight, whose goes first, how long each may take, and what a
//! failure means. It never retries: who ordered a write must know whether to read it back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::model::material::SecretBytes;
use crate::model::time::{Clock, Span, Timestamp};
use crate::vault::answer::{Answer, Settled};
use crate::vault::error::VaultError;
use crate::vault::order::{Order, Verb};
use crate::vault::settings::{Settings, SetupError};
use crate::vault::turns::{self, Room, Turns, Urgency};
use crate::vault::wire::{Lost, Token, Wire};

/// Most requests in flight: 32 to 64 fill the log of a Raft cluster, more only wait there.
const IN_FLIGHT_MAX: usize = 64;

/// Of these, kept for the lease and the token: one request each, one more while its answer is
/// waited for, and room for both to be doubled.
const LEASE_RESERVE: usize = 4;

/// Of these, kept free for emergencies: a quarter, which is what a handful of rotations side by
/// side have under way.
const EMERGENCY_RESERVE: usize = 16;

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

/// The token in use, numbered so that a death is told of the right one.
struct Held {
    token: Token,
    number: u64,
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
    in_flight: Turns,
    token: ArcSwapOption<Held>,
    /// The number of the last token that was found dead.
    dead: watch::Sender<u64>,
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
            in_flight: Turns::new(Room {
                all: IN_FLIGHT_MAX,
                for_emergencies: EMERGENCY_RESERVE,
                for_lease: LEASE_RESERVE,
            }),
            token: ArcSwapOption::empty(),
            dead: watch::Sender::new(0),
            server_time: ArcSwapOption::empty(),
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Uses this token from the next request on.
    ///
    /// # Errors
    /// [`UnfitToken`] if no header can carry it; the former token stays.
    pub fn set_token(&self, token: SecretBytes) -> Result<(), UnfitToken> {
        self.use_token(Token::new(token).ok_or(UnfitToken)?);
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
        let answer = self.turn(&Order::Health, None, self.deadline()).await?;
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

    pub(super) fn use_token(&self, token: Token) {
        self.token.rcu(|before| {
            let number = before.as_ref().map_or(0, |held| held.number) + 1;
            Some(Arc::new(Held { token: token.clone(), number }))
        });
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.load().is_some()
    }

    /// Waits until somebody finds that Vault does not know the token in use any more.
    pub(super) async fn token_died(&self) {
        let mut dead = self.dead.subscribe();
        let is_ours = |dead: &u64| self.token.load().as_ref().is_some_and(|t| t.number == *dead);
        // The sender lives as long as `self`, so waiting cannot fail.
        dead.wait_for(is_ours).await.map(|_| ()).unwrap_or_default();
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

    /// Sends an order with a token that is being tried.
    pub(super) async fn ask_as(
        &self,
        token: &Token,
        order: &Order<'_>,
    ) -> Result<Answer, VaultError> {
        let answer = self.turn(order, Some(token), self.deadline()).await?;
        if answer.status == 403 && !answer.denied_by_policy() {
            return Err(VaultError::Unauthenticated);
        }
        match answer.settle(order)? {
            Settled::Done(answer) => Ok(answer),
            Settled::Absent => Err(VaultError::NoMount { path: order.place() }),
        }
    }

    /// Sends an order with the token in use.
    pub(super) async fn ask(&self, order: &Order<'_>) -> Result<Settled, VaultError> {
        let held = match order.needs_token() {
            true => Some(self.token.load_full().ok_or(VaultError::Unauthenticated)?),
            false => None,
        };
        let token = held.as_deref().map(|held| &held.token);
        let deadline = self.deadline();
        match (self.turn(order, token, deadline).await?.settle(order), held) {
            (Err(VaultError::Denied { path }), Some(held)) => {
                Err(self.why_denied(path, &held, deadline).await)
            }
            (settled, _) => settled,
        }
    }

    /// Tells a token that is dead from one whose policies do not allow a path. Both are 403.
    async fn why_denied(&self, path: String, held: &Held, deadline: Instant) -> VaultError {
        match self.turn(&Order::LookupSelf, Some(&held.token), deadline).await {
            Ok(answer) if answer.status == 403 && !answer.denied_by_policy() => {
                self.dead.send_if_modified(|last| {
                    let news = held.number > *last;
                    *last = held.number.max(*last);
                    news
                });
                VaultError::Unauthenticated
            }
            _ => VaultError::Denied { path },
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Waits for a turn, sends, and reads the answer, all before the deadline.
    async fn turn(
        &self,
        order: &Order<'_>,
        token: Option<&Token>,
        deadline: Instant,
    ) -> Result<Answer, VaultError> {
        // Without a token nothing goes, whoever asks.
        let urgency = if order.is_about_token() { Urgency::Lease } else { turns::asking() };
        let turn = timeout_at(deadline, self.in_flight.take(urgency)).await;
        // A turn that comes with the time-out comes too late: what is sent must have time.
        let (Ok(_turn), true) = (turn, Instant::now() < deadline) else {
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

/// What Vault puts around every answer.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) data: T,
}

pub(super) fn decode<'a, T: Deserialize<'a>>(
    order: &Order<'_>,
    answer: &'a Answer,
) -> Result<T, VaultError> {
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
