//! How a command ends: the numbers that scripts branch on, and the errors that lead to them.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use http::StatusCode;
use thiserror::Error;

use crate::api::{error, wire};
use crate::cli::human;

/// The exit codes. They are part of the interface: never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or answered.
    Ok = 0,
    /// It was tried and ended otherwise: the rotation was unwound or superseded, the audit chain
    /// is broken, or a defect.
    Failed = 1,
    /// The arguments, or a value given, are wrong. Nothing happened.
    Usage = 2,
    /// There is no such secret, or no such target of it.
    NotFound = 3,
    /// Not in the state the secret is in. Nothing happened.
    Refused = 4,
    /// The rotation stands, or the audit chain broke, and a person must decide.
    NeedsHuman = 5,
    /// No daemon answers at the socket.
    NoDaemon = 6,
    /// It cannot be made durable at the moment: Vault, lease, queue. Nothing happened.
    Unavailable = 7,
    /// The caller may not.
    Denied = 8,
    /// It may or may not have happened: look before trying again.
    Unknown = 9,
    /// A value of ours was found, and the caller wanted to fail on it.
    Found = 10,
    /// The config is wrong (EX_CONFIG of sysexits.h): starting again does not mend it.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not succeed.
#[derive(Debug, Error)]
pub(super) enum CliError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {}: is it running (systemctl status rotord), and is this its \
         socket (--socket)?", .0.display()
    )]
    NoDaemon(PathBuf),
    /// The socket's mode keeps the caller out.
    #[error(
        "you may not use {}: become root, or a member of its group", .0.display()
    )]
    NotAllowed(PathBuf),
    /// The daemon went away in the middle.
    #[error("the daemon did not answer: it may still have done it, so look at `rotord status`")]
    Lost,
    /// The daemon said no.
    #[error("{}", say(.1))]
    Answer(StatusCode, wire::Error),
    /// Something else than rotord, or another version of it, is at the socket.
    #[error("what answers at the socket is not understood ({0}): is it this version of rotord?")]
    NotUnderstood(String),
    /// Vault does not answer, or is sealed.
    #[error("{0}")]
    Unavailable(String),
    /// Vault does not let us in, or not do what we must.
    #[error("{0}")]
    Denied(String),
    /// What was given on standard input cannot be used.
    #[error("{0}")]
    Input(String),
    /// The config is wrong; the text lists where.
    #[error("{0}")]
    Config(String),
    /// A file of the audit chain cannot be read to its end.
    #[error("{0}")]
    Unreadable(String),
    /// The daemon ended with an error.
    #[error("{0}")]
    Daemon(String),
    /// Standard output is gone.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The system has no room for us.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

impl CliError {
    /// The number this ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            CliError::NoDaemon(_) => Exit::NoDaemon,
            CliError::NotAllowed(_) | CliError::Denied(_) => Exit::Denied,
            CliError::Unavailable(_) => Exit::Unavailable,
            CliError::Lost => Exit::Unknown,
            CliError::Answer(status, body) => of_answer(*status, &body.code),
            CliError::Input(_) => Exit::Usage,
            CliError::Config(_) => Exit::Config,
            CliError::NotUnderstood(_)
            | CliError::Unreadable(_)
            | CliError::Daemon(_)
            | CliError::Output(_)
            | CliError::Runtime(_) => Exit::Failed,
        }
    }
}

fn of_answer(status: StatusCode, code: &str) -> Exit {
    match status {
        // A path, or a scan, is nothing that the caller has named.
        StatusCode::NOT_FOUND if ![error::NO_SUCH_PATH, error::NO_SUCH_SCAN].contains(&code) => {
            Exit::NotFound
        }
        StatusCode::CONFLICT => Exit::Refused,
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => Exit::Usage,
        StatusCode::FORBIDDEN => Exit::Denied,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Exit::Unavailable,
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Exit::Unknown,
        _ => Exit::Failed,
    }
}

fn say(error: &wire::Error) -> String {
    match error.possible_at {
        Some(at) => format!("{} (possible from {} at the earliest)", error.text, human::second(at)),
        None => error.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_caller_named_is_not_found() {
        let of = |code| of_answer(StatusCode::NOT_FOUND, code);
        assert_eq!(of(error::NO_SUCH_SECRET), Exit::NotFound);
        assert_eq!(of(error::NO_SUCH_INCIDENT), Exit::NotFound);
        assert_eq!(of(error::NO_SUCH_PATH), Exit::Failed);
        assert_eq!(of(error::NO_SUCH_SCAN), Exit::Failed);
    }
}
