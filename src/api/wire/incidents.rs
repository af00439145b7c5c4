//! Incidents as they stand on the wire.

use serde::{Deserialize, Serialize};

use crate::api::wire::Why;
use crate::model::time::{Span, Timestamp};

/// `GET /v1/incidents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// The daemon's wall time when it answered.
    pub now: Timestamp,
    /// What holds alerts back.
    pub guard: Guard,
    /// The open ones and the last that are over, newest first.
    pub incidents: Vec<Incident>,
    /// How telling people goes.
    pub notify: Vec<Recipient>,
}

/// `GET /v1/incidents/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentDetail {
    /// The daemon's wall time when it answered.
    pub now: Timestamp,
    /// The incident.
    pub incident: Incident,
    /// Where the version was seen.
    pub sightings: Vec<Sighting>,
    /// Reports of other places than those.
    pub more_sightings: u64,
    /// The targets that have to leave the version.
    pub targets: Vec<Leaving>,
    /// What happened, in order.
    pub timeline: Vec<Step>,
    /// What is still to come, as lines for people.
    pub missing: Vec<String>,
}

/// What holds alerts back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// How long a secret has peace after it was rotated for an alert.
    pub floor: Span,
    /// Versions that alerts had marked as exposed within the window.
    pub exposures: u32,
    /// At so many of them the breaker opens.
    pub breaker: u32,
    /// The breaker's window.
    pub breaker_window: Span,
    /// Whether alerts wait for a person now.
    pub breaker_open: bool,
}

/// One incident in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// The version that was found.
    pub version: u64,
    /// Where the version stood when it was found.
    pub stage: String,
    /// `waiting`, `acting`, `done` or `closed`.
    pub state: String,
    /// What a person is asked, while one is.
    pub waits: Option<Why>,
    /// What was decided.
    pub action: Why,
    /// When the first alert was accepted.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Since when nobody accepts the version.
    pub refused_at: Option<Timestamp>,
    /// How long the version was accepted after we learned of it; until now, if it still is.
    pub exposure: Span,
    /// Until when the version must be gone.
    pub deadline: Option<Timestamp>,
    /// Whether it is still accepted past that.
    pub overdue: bool,
    /// How often it was reported.
    pub reports: u64,
}

/// One place where the version was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Who reported it.
    pub source: String,
    /// The source's own id of the first report.
    pub id: String,
    /// The source's word for the kind of value.
    pub label: String,
    /// The place.
    pub found_at: Option<String>,
    /// `leaked`, `public` or `withdrawn`.
    pub claim: String,
    /// Whether the report showed knowledge of the value.
    pub proved: bool,
    /// When it was reported first.
    pub at: Timestamp,
    /// When it was reported last.
    pub last_at: Timestamp,
    /// How often.
    pub times: u64,
}

/// How far one target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its name.
    pub name: String,
    /// Since when it works without the version.
    pub left_at: Option<Timestamp>,
    /// Who excused it.
    pub waived_by: Option<String>,
}

/// One step of the time line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// What, as a line for people.
    pub text: String,
}

/// How telling one recipient goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Its name in the config.
    pub name: String,
    /// Notices that wait.
    pub waiting: u64,
    /// Notices that arrived.
    pub delivered: u64,
    /// Notices that were given up.
    pub undelivered: u64,
    /// Why the last attempt failed, if it did.
    pub failure: Option<String>,
}
