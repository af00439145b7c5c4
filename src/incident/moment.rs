//! The steps of an incident's time line.
//!
//! Decides what can happen to an incident; what follows from each step is decided elsewhere.

use serde::{Deserialize, Serialize};

use crate::incident::record::Wait;
use crate::model::id::{RotationId, TargetName, VersionId};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// One step of the time line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What can happen to an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The first alert came in.
    Opened,
    /// The source says that everybody can read it.
    Public,
    /// A person is asked.
    Asked {
        /// Why.
        wait: Wait,
    },
    /// A person agreed.
    Approved {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The version counts as exposed: what follows is an emergency.
    Exposed,
    /// A rotation answers it.
    Rotation {
        /// Which.
        id: RotationId,
    },
    /// A newer version is the one to use.
    Current {
        /// Which.
        version: VersionId,
    },
    /// A target works without the exposed version.
    Left {
        /// Which.
        target: TargetName,
    },
    /// A target that had left the version was seen with it again.
    Returned {
        /// Which.
        target: TargetName,
    },
    /// A target was excused.
    Waived {
        /// Which.
        target: TargetName,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// Every target that counts works without the exposed version.
    Everywhere,
    /// Nobody accepts the exposed version any more.
    Refused,
    /// The exposed version is still accepted past its deadline.
    DeadlinePassed,
    /// The rotation stands and waits for a person.
    NeedsHuman {
        /// Why.
        reason: Reason,
    },
    /// The exposed version is gone for good.
    Revoked,
    /// Everything is settled.
    Done,
    /// A person ended it.
    Closed {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
}

impl What {
    /// Whether it happens once at most and decides what follows: such a step always finds room.
    pub(super) fn is_once(&self) -> bool {
        matches!(
            self,
            What::Exposed
                | What::Everywhere
                // As many as there are reasons.
                | What::NeedsHuman { .. }
                | What::Refused
                | What::DeadlinePassed
                | What::Revoked
                | What::Done
                | What::Closed { .. }
        )
    }
}
