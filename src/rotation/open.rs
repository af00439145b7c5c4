//! How a rotation begins: the first of a secret, one that takes over an existing value, the next
//! one, and one that supersedes an open one.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::model::capability::{OldDies, ValueFrom};
use crate::model::fingerprint::Fingerprint;
use crate::model::id::{Generation, KeyId, RotationId, TargetName, VersionId};
use crate::model::policy::Lane;
use crate::model::target::{TargetTerms, Wanted};
use crate::model::time::Timestamp;
use crate::model::version::{Stage, Version};
use crate::rotation::phase::{Phase, Staging};
use crate::rotation::retry::Trouble;
use crate::rotation::{ACCEPTED_MAX, Outgoing, Rotation, TargetState, Terms, Trigger, wanted};

/// Everything that a rotation is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its identity.
    pub id: RotationId,
    /// What set it off.
    pub trigger: Trigger,
    /// How urgent it is.
    pub lane: Lane,
    /// The moment.
    pub at: Timestamp,
    /// What it is opened under.
    pub terms: Terms,
    /// The targets that the config has.
    pub targets: BTreeMap<TargetName, TargetTerms>,
}

/// A value that existed before rotord: durable in Vault as version 1, and in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The issuer's id, where there is one.
    pub key: Option<KeyId>,
    /// What recognises it.
    pub fingerprint: Fingerprint,
}

/// Why a rotation cannot be opened now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotOpen {
    /// One is open; a routine rotation waits for it.
    #[error("rotation {0} is open: wait for it, or use --emergency if a version leaked")]
    Open(RotationId),
    /// The new version is not in use yet: an emergency hurries the open one instead.
    #[error("rotation {0} has not promoted its version yet: abandon it, or let it go on")]
    NotPromoted(RotationId),
    /// One more would be more than receivers have to try.
    #[error("{ACCEPTED_MAX} versions are accepted already: let one of them go first")]
    TooManyVersions,
}
