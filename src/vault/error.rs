//! The errors of Vault, classified once. Never prints a body: they hold secrets.

use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::reason::Reason;
use crate::model::time::Span;

/// Why a request to Vault did not succeed. Texts name the path, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VaultError {
    /// The check-and-set parameter did not match: nothing was written.
    #[error("{path} was changed by someone else since it was read")]
    Conflict {
        /// The path of the request.
        path: String,
    },
    /// The newest version is soft-deleted or destroyed: it is not absent.
    #[error(
        "the newest version of {path} was deleted (version {version}); undelete it or remove its \
         metadata"
    )]
    Deleted {
        /// The path of the request.
        path: String,
        /// The newest version, whose content is gone.
        version: u64,
    },
    /// The token lacks a capability.
    #[error("Vault denies {path}: the token's policies do not allow it")]
    Denied {
        /// The path of the request.
        path: String,
    },
    /// The token itself is not valid any more.
    #[error("Vault does not know the token any more")]
    Unauthenticated,
    /// No mount at this place, or no such namespace.
    #[error("Vault has nothing mounted for {path}: check mount and namespace")]
    NoMount {
        /// The path of the request.
        path: String,
    },
    /// Sealed or not initialised.
    #[error("Vault is sealed or not initialised")]
    Sealed,
    /// A rate-limit quota, or a standby that lags behind.
    #[error("Vault asks for a pause of {after}")]
    Throttled {
        /// How long to wait.
        after: Span,
    },
    /// No connection, no leader, or a 5xx before anything was done.
    #[error("Vault does not answer at the moment ({what})")]
    Unavailable {
        /// What was seen, without any body: a status, `connect`, `tls`.
        what: String,
    },
    /// A write whose answer was lost: read back to settle it.
    #[error("no answer to a write of {path} ({what}): it may have been done")]
    Ambiguous {
        /// The path of the request.
        path: String,
        /// What was seen.
        what: String,
    },
    /// The answer or a stored document is not what it must be.
    #[error("Vault's answer for {path} cannot be used: {what}")]
    BadAnswer {
        /// The path of the request.
        path: String,
        /// What is wrong with it, without any of its content.
        what: String,
    },
    /// Refused for another reason.
    #[error("Vault refuses {path} ({what})")]
    Refused {
        /// The path of the request.
        path: String,
        /// The status and a known reason; never the body.
        what: String,
    },
}

impl VaultError {
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        let (class, reason) = match self {
            VaultError::Conflict { .. } => (Class::Transient, Reason::Conflict),
            VaultError::Deleted { .. } => (Class::Gone, Reason::Gone),
            VaultError::Denied { .. } => (Class::Refused, Reason::VaultDenied),
            // Nothing was done, and the keeper of the login is getting another token.
            VaultError::Unauthenticated => (Class::Transient, Reason::VaultDenied),
            VaultError::NoMount { .. } => (Class::Refused, Reason::Misconfigured),
            VaultError::Sealed => (Class::Transient, Reason::VaultSealed),
            VaultError::Throttled { after } => (Class::Throttled(*after), Reason::Throttled),
            VaultError::Unavailable { .. } => (Class::Transient, Reason::VaultUnreachable),
            VaultError::Ambiguous { .. } => (Class::Ambiguous, Reason::Ambiguous),
            VaultError::BadAnswer { .. } => (Class::Refused, Reason::BadAnswer),
            VaultError::Refused { .. } => (Class::Refused, Reason::Refused),
        };
        Failure { class, reason }
    }
}
