//! Many secrets at once, as they stand on the wire.

use serde::{Deserialize, Serialize};

use crate::api::wire::Why;
use crate::model::time::{Span, Timestamp};

/// `GET /v1/scope`: what a rotation of many secrets would do, in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The daemon's wall time when it answered: what a later `--resume` names.
    pub now: Timestamp,
    /// The secrets in their order.
    pub members: Vec<Member>,
    /// From the first command until every new version is in use, if nothing stands in the way.
    pub about: Span,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// How many come one after the other until it is its turn, itself included: from 1.
    pub wave: usize,
    /// Its priority.
    pub priority: u8,
    /// The secrets that it comes after.
    pub after: Vec<String>,
    /// The version that is in use, and since when.
    pub current: Option<u64>,
    /// When that one came into use.
    pub since: Option<Timestamp>,
    /// Why a command for it would be refused.
    pub refused: Option<Why>,
    /// What will break, or stand in the way, in words.
    pub warnings: Vec<String>,
}
