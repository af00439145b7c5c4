//! What a failed effect means for the one who ordered it.

use serde::{Deserialize, Serialize};

use crate::model::reason::Reason;
use crate::model::time::Span;

/// What can be done about a failure. Five classes, because exactly five things are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing happened; the same may work later.
    Transient,
    /// Nothing happened; not before this much time has passed.
    Throttled(Span),
    /// Nothing happened, and nothing will until something else changes.
    Refused,
    /// The thing is not there any more.
    Gone,
    /// It may or may not have happened.
    Ambiguous,
}

impl Class {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::Throttled(_) => "throttled",
            Class::Refused => "refused",
            Class::Gone => "gone",
            Class::Ambiguous => "ambiguous",
        }
    }
}

/// A failure as the core sees it: no text, nothing that differs from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What can be done.
    pub class: Class,
    /// The stable code.
    pub reason: Reason,
}
