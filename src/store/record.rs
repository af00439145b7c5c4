//! The record: the durable state of one secret, one document in Vault.
//!
//! It holds no secret bytes. Every write of it is by check-and-set.

use serde::{Deserialize, Serialize};

use crate::model::id::{Epoch, RotationId, SecretName, WriteId};
use crate::model::time::Timestamp;
use crate::rotation::phase::Outcome;
use crate::rotation::{Forced, Rotation, Trigger};

/// The schema this program writes. A record with a newer one is left alone.
pub const SCHEMA: u32 = 1;

/// Closed rotations that stay in the record.
pub const HISTORY_MAX: usize = 10;

/// The durable state of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The shape of this document.
    pub schema: u32,
    /// Drawn when the record was created: a record that was deleted and made anew differs here,
    /// though its KV counter started again.
    pub incarnation: String,
    /// The fencing number of the last writer.
    pub epoch: Epoch,
    /// The mark of this very write.
    pub write_id: WriteId,
    /// Which fingerprint key the versions were recognised with.
    pub fingerprint_key: String,
    /// The secret.
    pub name: SecretName,
    /// The last scheduled instant that was run, or when the record was created: what makes each
    /// scheduled run happen at most once.
    pub last_scheduled: Timestamp,
    /// The open rotation, or the last one.
    pub rotation: Rotation,
    /// Rotations before it, newest first.
    pub history: Vec<Past>,
}

/// A rotation that is history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// Its identity.
    pub id: RotationId,
    /// What had set it off.
    pub trigger: Trigger,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Timestamp,
    /// How; absent if another one superseded it.
    pub outcome: Option<Outcome>,
    /// The exceptions that were made.
    pub forced: Vec<Forced>,
}
