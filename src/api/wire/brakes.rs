//! What holds rotations back as a whole, and how many leaks wait for people.

use serde::{Deserialize, Serialize};

/// What holds rotations back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brakes {
    /// Whether too many failures keep routine rotations from starting: only single ones are tried.
    pub breaker_open: bool,
    /// Whether alerts came for so many secrets that each waits for a person.
    pub alert_breaker_open: bool,
    /// The open incidents; none where they have not been read, as by an instance that stands by.
    pub incidents: Option<OpenIncidents>,
}

/// Incidents that are not over, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenIncidents {
    /// All of them.
    pub open: u64,
    /// Those that wait for a person to agree.
    pub waiting: u64,
    /// Those whose version is still accepted past its deadline.
    pub overdue: u64,
}
