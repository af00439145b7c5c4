//! The error of every driver: a class to branch on, a code to keep, a text to show.

use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::id::Generation;
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
    /// The generation that a target has, if that is why: higher than it was told.
    pub ahead: Option<Generation>,
}

impl DriverError {
    /// A failure of this class and code.
    pub fn new(class: Class, reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError { class, reason, text: text.into(), ahead: None }
    }

    /// Nothing happened; try again later.
    pub fn transient(reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError::new(Class::Transient, reason, text)
    }

    /// Nothing happened and repeating it will not help.
    pub fn refused(reason: Reason, text: impl Into<String>) -> DriverError {
        DriverError::new(Class::Refused, reason, text)
    }

    /// Nothing happened, because the target has this generation and was told a lower one.
    pub fn ahead(generation: Generation, text: impl Into<String>) -> DriverError {
        let error = DriverError::refused(Reason::GenerationAhead, text);
        DriverError { ahead: Some(generation), ..error }
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
