//! What a target is told, and what shows where it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::{Generation, TargetName, VersionId};
use crate::model::time::{Span, Timestamp};

/// What a target does with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accepts what others sign or present.
    Verifier,
    /// Signs or presents.
    Signer,
    /// Does both, or is read by programs of both sides.
    Both,
}

impl Role {
    /// Whether it checks what others present.
    pub fn verifies(self) -> bool {
        matches!(self, Role::Verifier | Role::Both)
    }

    /// Whether it presents.
    pub fn signs(self) -> bool {
        matches!(self, Role::Signer | Role::Both)
    }
}

/// The evidence ladder: how well it is known that a target stands where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Bytes left us, no error.
    Sent,
    /// Read back equal, or the store's own version moved and is ours.
    Stored,
    /// The consumer's supervisor did its part: reload done, rollout complete.
    Applied,
    /// The service itself says so.
    Acknowledged,
    /// The service computed what only a holder of the new secret can.
    Proved,
    /// The issuer or a verifier saw the new one used and the old one quiet.
    Observed,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Sent => "sent",
            Level::Stored => "stored",
            Level::Applied => "applied",
            Level::Acknowledged => "acknowledged",
            Level::Proved => "proved",
            Level::Observed => "observed",
        })
    }
}

/// What a target must hold. Every change of it has a higher generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Monotone per target.
    pub generation: Generation,
    /// The versions to accept, newest first.
    pub accepted: Vec<VersionId>,
    /// The version to use; none while a contained secret has no successor yet.
    pub current: Option<VersionId>,
}

/// What a target was seen to hold, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The generation it has taken in.
    pub generation: Generation,
    /// The versions it accepts.
    pub accepted: Vec<VersionId>,
    /// The version it uses, if it says.
    pub current: Option<VersionId>,
    /// How well this is known.
    pub level: Level,
    /// Who said so: an instance name, `ack document`, `read back`.
    pub by: String,
}

/// How a rotation deals with one target. Frozen when the rotation opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetTerms {
    /// What it does with the secret.
    pub role: Role,
    /// The longest time a consumer may still use what it read before.
    pub propagation: Span,
    /// The level of evidence without which it has not moved.
    pub needs: Level,
    /// Evidence below [`Level::Acknowledged`] is taken because the config says so; shown as
    /// `assumed` wherever it counts.
    pub unattested: bool,
    /// Whether what it stores keeps a history that must be purged of revoked values.
    pub keeps_history: bool,
    /// How often a target that stands where it should is asked again: what finds a service that
    /// restarted empty, or an overwritten document. Absent: only when evidence is needed.
    pub observe_every: Option<Span>,
    /// A digest of where the config says it is. Not frozen: what was seen at one place says nothing
    /// of another. Absent in records of programs that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Present if the target is pushed to over a channel that this very secret signs: what happens
    /// while the version in use may not carry another one. Not frozen: it goes with the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
}

/// How a new version of a channel's key comes to a target that is reached over that channel, once
/// the key in use leaked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Over this target of the same secret, which ends at the same service.
    Over(TargetName),
    /// By a person.
    ByHand,
}

/// An observation that became part of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was seen last.
    pub seen: Observation,
    /// When it was seen last: how fresh the evidence is.
    pub at: Timestamp,
    /// Since when it has been seen without a break: what propagation is counted from.
    pub since: Timestamp,
}
