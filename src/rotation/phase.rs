//! The phases. Each variant carries exactly what exists in it, so that a phase whose ground is
//! missing cannot be written down: a [`Phase::Retire`] holds the [`Cleared`] that allowed it.

use serde::{Deserialize, Serialize};

use crate::model::id::{KeyId, VersionId};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::rotation::evidence::Cleared;

/// Where a rotation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// Bringing new material into being, durably.
    Stage {
        /// The number it will have.
        version: VersionId,
        /// How far that is.
        step: Staging,
    },
    /// Trying the new key.
    Probe {
        /// The new version.
        incoming: VersionId,
        /// Good tries in a row so far.
        good: u32,
        /// Not before this moment: the issuer's own settling time.
        not_before: Timestamp,
    },
    /// Every verifier is told to accept the new one too.
    Admit {
        /// The new version.
        incoming: VersionId,
    },
    /// Our value is put at an issuer that drops the old one the moment it takes the new one.
    Install {
        /// The new version.
        incoming: VersionId,
        /// Whether an attempt may have succeeded although nobody saw it: the issuer may hold the
        /// new value already, and the way back is closed.
        doubtful: bool,
    },
    /// One write from being current.
    Promote {
        /// The new version.
        incoming: VersionId,
    },
    /// Every signer is told to use the new one.
    Switch {
        /// The version in use.
        current: VersionId,
    },
    /// Old and new are both accepted; evidence is gathered.
    Overlap {
        /// The version in use.
        current: VersionId,
        /// When the last signer had switched.
        switched_at: Timestamp,
    },
    /// Every target is told to drop the old ones.
    Retire {
        /// The version in use.
        current: VersionId,
        /// What goes, and on which evidence.
        cleared: Cleared,
    },
    /// The old ones end: at the issuer, in Vault, in projections.
    Revoke {
        /// The version in use.
        current: VersionId,
        /// What goes, and on which evidence.
        cleared: Cleared,
    },
    /// Taking the new version back.
    Unwind {
        /// The version to take back, if one came into being.
        version: Option<VersionId>,
        /// What may still be at the issuer without being in a version.
        remains: Remains,
        /// What to do when it is gone.
        then: AfterUnwind,
    },
    /// Nothing is open.
    Closed {
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// How far Stage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Staging {
    /// Ask the issuer which keys there are: orphans of ours, and is there room.
    Preflight,
    /// Revoke keys that carry our mark and are in no record.
    Sweep {
        /// Those still to go.
        orphans: Vec<KeyId>,
    },
    /// Make the value and save it (values of ours).
    Make,
    /// Have it minted and save it (values of theirs).
    Mint {
        /// The keys that existed before: what is not among them afterwards is new.
        before: Vec<KeyId>,
    },
    /// A mint's answer was lost: find out what became of it.
    Lost {
        /// The keys that existed before.
        before: Vec<KeyId>,
        /// When the lost mint was ordered.
        since: Timestamp,
        /// What a look-up found that needs a person, if it found something.
        stuck: Option<Reason>,
    },
    /// Give the key that a lost mint left behind a new value.
    Roll {
        /// That key.
        found: KeyId,
        /// The keys that existed before.
        before: Vec<KeyId>,
        /// When the lost mint was ordered.
        since: Timestamp,
    },
    /// The value is saved; put it at the issuer (values of ours that do not kill the old one).
    Place,
}

/// What a broken-off Stage may have left at the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "remains", rename_all = "snake_case", deny_unknown_fields)]
pub enum Remains {
    /// Nothing that is not in a version.
    Nothing,
    /// Perhaps a key: list them.
    Unknown,
    /// Keys with our mark, still to be revoked.
    Orphans {
        /// Those still to go.
        orphans: Vec<KeyId>,
    },
    /// Perhaps a key that nobody can find: reported, for a person to look.
    Unfindable,
}

/// What follows an unwinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterUnwind {
    /// Nothing more: closed.
    Close {
        /// Why it was unwound.
        reason: UnwindReason,
    },
    /// The pending version leaked: make another.
    StageAnother,
}

/// Why a rotation was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnwindReason {
    /// A person said so.
    Abandoned,
    /// The new key never worked.
    ProbeRefused,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new version is in use and the old ones are gone.
    Done,
    /// The new version was taken back; the old one is still in use.
    Unwound {
        /// Why.
        reason: UnwindReason,
        /// A key that nobody can find may be left at the issuer.
        possible_orphan: bool,
    },
}

impl Outcome {
    /// Its name in metrics and status.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Unwound { .. } => "unwound",
        }
    }
}

impl Phase {
    /// The version that is being brought in, as long as it is not current.
    pub fn incoming(&self) -> Option<VersionId> {
        match self {
            Phase::Probe { incoming, .. }
            | Phase::Admit { incoming }
            | Phase::Install { incoming, .. }
            | Phase::Promote { incoming } => Some(*incoming),
            Phase::Stage { version, step: Staging::Place } => Some(*version),
            _ => None,
        }
    }

    /// Whether the new version is current, and older ones may still be on their way out.
    pub fn has_promoted(&self) -> bool {
        use Phase::{Overlap, Retire, Revoke, Switch};
        matches!(self, Switch { .. } | Overlap { .. } | Retire { .. } | Revoke { .. })
    }

    /// The phase's name as it stands in records, status and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Stage { .. } => "stage",
            Phase::Probe { .. } => "probe",
            Phase::Admit { .. } => "admit",
            Phase::Install { .. } => "install",
            Phase::Promote { .. } => "promote",
            Phase::Switch { .. } => "switch",
            Phase::Overlap { .. } => "overlap",
            Phase::Retire { .. } => "retire",
            Phase::Revoke { .. } => "revoke",
            Phase::Unwind { .. } => "unwind",
            Phase::Closed { .. } => "closed",
        }
    }
}
