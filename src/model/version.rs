//! Versions of a secret, their stages and the legal moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::fingerprint::Fingerprint;
use crate::model::id::{KeyId, VersionId};
use crate::model::time::Timestamp;

/// Where a version stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Saved, not yet the one in use.
    Pending,
    /// The one to use.
    Current,
    /// Replaced, still accepted.
    Previous,
    /// No verifier accepts it any more.
    Retired,
    /// Gone: refused at the issuer, its material deleted.
    Revoked,
}

impl Stage {
    /// Whether a version may go from this stage to the next one named.
    pub fn may_become(self, next: Stage) -> bool {
        use Stage::{Current, Pending, Previous, Retired, Revoked};
        matches!(
            (self, next),
            (Pending, Current | Revoked)
                | (Current, Previous | Retired | Revoked)
                | (Previous, Retired | Revoked)
                | (Retired, Revoked)
        )
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Pending => "pending",
            Stage::Current => "current",
            Stage::Previous => "previous",
            Stage::Retired => "retired",
            Stage::Revoked => "revoked",
        })
    }
}

/// A move that no version may make.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{version} cannot go from {from} to {to}")]
pub struct IllegalMove {
    /// The version.
    pub version: VersionId,
    /// Where it stands.
    pub from: Stage,
    /// Where it was told to go.
    pub to: Stage,
}

/// Why a version counts as exposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// When we learned of it.
    pub at: Timestamp,
    /// Who or what said so: a person's name, an alert's id.
    pub by: String,
}

/// One numbered value of a secret, without the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its stage.
    pub stage: Stage,
    /// The issuer's own id, where there is one.
    pub key_id: Option<KeyId>,
    /// What recognises its value in a report.
    pub fingerprint: Fingerprint,
    /// When its material was durable.
    pub staged_at: Timestamp,
    /// When it became `current`.
    pub promoted_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Set if it leaked.
    pub taint: Option<Taint>,
}

impl Version {
    /// A version whose material has just become durable.
    pub fn pending(key_id: Option<KeyId>, fingerprint: Fingerprint, at: Timestamp) -> Version {
        Version {
            stage: Stage::Pending,
            key_id,
            fingerprint,
            staged_at: at,
            promoted_at: None,
            revoked_at: None,
            taint: None,
        }
    }

    /// Moves the version to a later stage and notes when. Moving to the stage it has is no move.
    ///
    /// # Errors
    /// [`IllegalMove`] if the life of a version has no such step.
    pub fn become_stage(
        &mut self,
        id: VersionId,
        to: Stage,
        at: Timestamp,
    ) -> Result<(), IllegalMove> {
        if self.stage == to {
            return Ok(());
        }
        if !self.stage.may_become(to) {
            return Err(IllegalMove { version: id, from: self.stage, to });
        }
        self.stage = to;
        match to {
            Stage::Current => self.promoted_at = Some(at),
            Stage::Revoked => self.revoked_at = Some(at),
            Stage::Pending | Stage::Previous | Stage::Retired => {}
        }
        Ok(())
    }
}
