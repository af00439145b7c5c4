//! Alerts from outside: one file a source, behind one listener of their own.
//!
//! Decides whom to believe, and turns each source's message into an [`Alert`] without a value in
//! it. Must not know what is done about an alert: it hands it to the desk and answers as the source
//! expects. A body is read once, in memory that is wiped, and is nowhere logged, queued or kept.
//!
//! [`Alert`]: crate::incident::alert::Alert

pub mod aws_health;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod generic;
pub mod gitguardian;
pub mod github;
pub mod github_partner;
pub mod gitlab;
pub mod guard;
pub mod keyring;
pub mod listener;
mod parts;
pub mod poll;
mod reading;
pub mod registry;
pub mod report;
mod signed;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "tests use the rest of it"))]
mod trial;
pub mod trufflehog;
pub mod vault_radar;

use async_trait::async_trait;
use http::{HeaderMap, Method, StatusCode};

use crate::engine::desk::Verdict;
use crate::incident::alert::Finding;
use crate::model::material::SecretBytes;
use crate::model::time::{Span, Timestamp};

/// Largest body of an alert: GitHub's partner programme sends "a large number of matches" at once,
/// and one match is below 1 KiB.
pub const ALERT_BYTES_MAX: usize = 1024 * 1024;

/// One request of a source, as far as it was read.
pub struct Delivery<'a> {
    /// The method.
    pub method: &'a Method,
    /// What follows the source's own path: empty, or `/v1/revoke_tokens` and the like.
    pub rest: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, whole: [`ALERT_BYTES_MAX`] at most. It may hold the leaked value.
    pub body: &'a SecretBytes,
    /// When it came.
    pub at: Timestamp,
}

/// What a believed request asks for.
pub enum Received {
    /// Findings to be judged. The answer is made from the verdicts by [`Source::answer`].
    Alert(Message),
    /// Nothing to do (a ping, a test message, an event that means nothing here): answered at once.
    /// `event` is counted and logged; it is a word of ours or of the source's published list.
    Nothing {
        /// What it was.
        event: &'static str,
        /// The answer.
        reply: Reply,
    },
}

/// The findings of one request.
pub struct Message {
    /// The source's own id of it: for people and for the audit line.
    pub id: String,
    /// What is the same in every copy of this delivery, if the source says so: another body under
    /// the same key is refused, the same body is answered as before.
    pub key: Option<String>,
    /// What was found; may be empty.
    pub findings: Vec<Finding>,
    /// What could not be read beside it, in the order of the message.
    pub odd: Vec<Odd>,
}

/// One of several entries that cannot be read: it is told and stepped over, and never keeps the
/// others from being taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// Its place among all of them, from 0.
    pub at: usize,
    /// What is wrong, without its content.
    pub why: String,
}

/// Odd entries of one message or page that the log names; the others are counted.
const ODD_NAMED_MAX: usize = 5;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body, JSON if there is one. Holds no value and no digest that was not sent to us.
    pub body: Option<serde_json::Value>,
}

/// Why a request is not believed or not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No signature or token of it is right: 401, always with the same body.
    #[error("not authenticated")]
    Unauthenticated,
    /// The signature is right, the moment is not: 400.
    #[error("the timestamp is more than 300 s away from now, or no number of seconds")]
    Stale,
    /// It cannot be read: 400. The text names the place and the rule, never the content.
    #[error("{0}")]
    Malformed(String),
    /// Not a path or method of this source: 404 or 405.
    #[error("no such endpoint")]
    NoSuchEndpoint,
    /// Asked too often: 429.
    #[error("too many requests")]
    TooMany {
        /// When to come back.
        after: Span,
    },
    /// It could not be checked now (a key that cannot be fetched): 503, to be sent again.
    #[error("cannot be checked at the moment")]
    Unavailable,
}

/// One source of alerts.
///
/// # Contract
/// - `receive` authenticates first and reads afterwards. It changes nothing and may be repeated.
/// - Unknown members are ignored, unknown events of a believed sender are [`Received::Nothing`].
/// - Of several findings those that can be read are taken; the others are [`Message::odd`].
/// - No value leaves `receive` but as [`crate::model::clue::Clue`]s.
#[async_trait]
pub trait Source: Send + Sync {
    /// Authenticates and reads a request.
    ///
    /// # Errors
    /// [`Rejected`]; nothing happened.
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected>;

    /// The answer to an alert, from what became of each finding.
    fn answer(&self, message: &Message, verdicts: &[Verdict]) -> Reply;

    /// How the source counts an alert without proof of knowledge.
    fn trusted(&self) -> bool;
}
