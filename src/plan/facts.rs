//! All that the planner may know about one secret. Who gathers it decides nothing, who decides
//! gathers nothing.
//!
//! Some things are left out on purpose. A hold keeps versions from being taken away, not new ones
//! from being made, so the planner does not see holds; nor does it see issuers and targets, whose
//! answers the rotation itself asks for.

use crate::model::id::SecretName;
use crate::model::time::{Span, Timestamp};
use crate::plan::cadence::Cadence;

/// How a secret without a record gets its first version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// By a person who takes over the value that exists (`rotord adopt`).
    #[default]
    Adopt,
    /// By a rotation that makes the first value.
    Generate,
}

/// The version in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// When it became `current`.
    pub promoted_at: Timestamp,
    /// When we learned that it leaked, if it did.
    pub tainted_at: Option<Timestamp>,
}

/// The rotation that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Its version is `current`: from then on an emergency may supersede it. Before, a leak
    /// hurries it on or turns it back, and no other rotation is needed.
    pub promoted: bool,
    /// When a routine rotation becomes possible again, if that is known.
    pub possible_at: Option<Timestamp>,
    /// If it is not: how long what is still before it takes at the least.
    pub not_within: Option<Span>,
}

/// What is known about one secret at one moment.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Its name.
    pub name: &'a SecretName,
    /// How often it is rotated.
    pub cadence: &'a Cadence,
    /// Since when that has been its cadence, where this differs from the record's beginning. Runs
    /// from before belong to another schedule and are not caught up: a changed config by itself
    /// rotates nothing.
    pub cadence_since: Option<Timestamp>,
    /// The last scheduled instant that was run, or when the record was created; none without a
    /// record.
    pub last_scheduled: Option<Timestamp>,
    /// The version in use, if there is one.
    pub current: Option<Current>,
    /// The rotation that is open, if there is one.
    pub open: Option<Open>,
    /// It had versions and has none in use: a leak was contained and its successor did not come.
    pub contained: bool,
    /// When the last rotation ended without a new version, if it did.
    pub unwound_at: Option<Timestamp>,
    /// As many versions are accepted as may be.
    pub full: bool,
    /// How the first version comes about.
    pub initial: Initial,
    /// There is a record, but the config does not have the secret.
    pub unmanaged: bool,
    /// The record cannot be trusted until a person has looked.
    pub reconcile_required: bool,
    /// Who goes first when there is not room for all: the higher.
    pub priority: u8,
}

impl<'a> Facts<'a> {
    /// A secret about which nothing else is known: without record, version or rotation.
    pub fn new(name: &'a SecretName, cadence: &'a Cadence) -> Facts<'a> {
        Facts {
            name,
            cadence,
            cadence_since: None,
            last_scheduled: None,
            current: None,
            open: None,
            contained: false,
            unwound_at: None,
            full: false,
            initial: Initial::Adopt,
            unmanaged: false,
            reconcile_required: false,
            priority: 0,
        }
    }

    /// Whether an open rotation is about to bring a version in, which answers every need for one.
    pub(super) fn awaits_version(&self) -> bool {
        self.open.is_some_and(|open| !open.promoted)
    }
}
