//! The error of every driver: a class to branch on, a code to keep, a text to show.

use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::reason::Reason;

/// A driver's failure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {text}")]
pub struct DriverError {
    /// What the caller can do.
    pub class: Class,
    /// The stable code.
    pub reason: Reason,
    /// For people: names the place and the remedy. Never holds a secret or an answer's body.
    pub text: String,
}

impl DriverError {
    /// A failure of this class and code.
    pub fn new(class: Class, reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError { class, reason, text: text.into() }
    }

    /// Nothing happened; try again later.
    pub fn transient(reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError::new(Class::Transient, reason, text)
    }

    /// Nothing happened and repeating it will not help.
    pub fn refused(reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError::new(Class::Refused, reason, text)
    }

    /// It may have happened.
    pub fn ambiguous(reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError::new(Class::Ambiguous, reason, text)
    }

    /// What the core is told of it.
    pub fn failure(&self) -> Failure {
        Failure { class: self.class, reason: self.reason }
    }
}
