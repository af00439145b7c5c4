//! What people decide in peace time: lanes, overlap, exposure, holds.

use serde::{Deserialize, Serialize};

use crate::model::time::{Span, Timestamp};

/// What a secret is used for; decides which phases a rotation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A shared key: signers sign with it, verifiers check. Nobody else accepts it.
    WebhookHmac,
    /// A credential that the issuer accepts.
    ApiKey,
}

/// How urgent a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Waits for windows, budgets and the full overlap.
    Routine,
    /// Ignores windows; an exposed version goes as soon as the evidence is in.
    Emergency,
}

/// What happens to a version that leaked while it was `current`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLeak {
    /// Rotate; the old version goes once the evidence is in, at the latest at `max_exposure`.
    KeepServing,
    /// The old version goes at once, even before its successor is there.
    Contain,
    /// Nothing happens until a person agrees; then as `keep_serving`.
    Ask,
}

/// What an emergency does at an issuer that has no room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Revoke the exposed key to make room.
    Contain,
    /// Stop and ask a person.
    Ask,
}

/// How one secret is rotated. A rotation freezes the policy it was opened under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How long old and new are both accepted, counted from the last completed Switch.
    pub overlap: Span,
    /// Oldest evidence on which a version may be taken away.
    pub evidence_max_age: Span,
    /// What a leak of the current version does.
    pub on_leak: OnLeak,
    /// Longest time an exposed version may stay accepted.
    pub max_exposure: Span,
    /// What an emergency does at a full issuer.
    pub when_full: WhenFull,
    /// How many good probes in a row make a new key trusted.
    pub probes: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            overlap: Span::from_secs(24 * 3600),
            evidence_max_age: Span::from_secs(300),
            on_leak: OnLeak::KeepServing,
            max_exposure: Span::from_secs(900),
            when_full: WhenFull::Ask,
            probes: 3,
        }
    }
}

/// Do not retire or revoke anything of this secret, until a date, by a named person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Who placed it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When it was placed.
    pub at: Timestamp,
    /// When it ends by itself: a hold without an end is how keys live for ever.
    pub until: Timestamp,
    /// Whether emergencies are free of it.
    pub routine_only: bool,
}

impl Hold {
    /// Whether the hold binds work in this lane now.
    pub fn binds(&self, lane: Lane, now: Timestamp) -> bool {
        now < self.until && !(self.routine_only && lane == Lane::Emergency)
    }
}
