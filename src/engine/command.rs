//! What others may ask of the engine. Every command is answered once, over its own channel.

use thiserror::Error;
use tokio::sync::oneshot;

use crate::model::id::{KeyId, RotationId, SecretName, TargetName, VersionId};
use crate::model::material::Material;
use crate::model::policy::Hold;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// Commands that may wait for the engine at once. More than this many people are not typing, and
/// a program that is gets `busy`.
pub const QUEUE_LEN: usize = 64;

/// Who asks: a name for the audit line, taken from the socket's peer credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

/// A command and where its answer goes.
#[derive(Debug)]
pub struct Envelope {
    /// Who asks.
    pub actor: Actor,
    /// What.
    pub command: Command,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Done, Refusal>>,
}

/// What can be asked.
#[derive(Debug)]
pub enum Command {
    /// Rotate now.
    Rotate {
        /// The secret.
        name: SecretName,
        /// The current version leaked.
        emergency: bool,
        /// Why, in the person's words.
        reason: String,
    },
    /// A version leaked: it counts as exposed from now on, and what follows from that is done.
    Expose {
        /// The secret.
        name: SecretName,
        /// The version.
        version: VersionId,
        /// The mark of the record whose version it is, where the one who says so knows it.
        incarnation: Option<String>,
        /// Who or what says so, for the record: a person's name, an incident's id.
        by: String,
        /// Why, in words.
        reason: String,
    },
    /// Take nothing away of this secret.
    Hold {
        /// The secret.
        name: SecretName,
        /// The hold.
        hold: Hold,
    },
    /// End the hold.
    Release {
        /// The secret.
        name: SecretName,
    },
    /// Take over a value that existed before.
    Adopt {
        /// The secret.
        name: SecretName,
        /// The value.
        material: Material,
        /// The issuer's id of it, where there is one.
        key: Option<KeyId>,
    },
    /// Give a value that a person obtained at an issuer without an API.
    Provide {
        /// The secret.
        name: SecretName,
        /// The value.
        material: Material,
        /// The issuer's id of it.
        key: Option<KeyId>,
    },
    /// Help a rotation that needs a person.
    Resolve {
        /// The secret.
        name: SecretName,
        /// How.
        how: Resolution,
    },
}

impl Command {
    /// Whether it says that the secret is exposed.
    pub fn is_emergency(&self) -> bool {
        matches!(self, Command::Rotate { emergency: true, .. } | Command::Expose { .. })
    }

    /// Whether it goes ahead of others that wait for the same secret.
    pub fn is_urgent(&self) -> bool {
        self.is_emergency() || matches!(self, Command::Hold { .. })
    }

    /// The secret it is about.
    pub fn secret(&self) -> &SecretName {
        match self {
            Command::Rotate { name, .. }
            | Command::Expose { name, .. }
            | Command::Hold { name, .. }
            | Command::Release { name }
            | Command::Adopt { name, .. }
            | Command::Provide { name, .. }
            | Command::Resolve { name, .. } => name,
        }
    }
}

/// The exits of `needs_human`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Try again now.
    Retry,
    /// Take the new version back.
    Abandon,
    /// Open another rotation over this one.
    Supersede,
    /// Do without evidence of this target.
    Waive(TargetName),
    /// This key at the issuer is known and somebody else's.
    AcceptKey(KeyId),
}

/// A command that was carried out: durable, not merely accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The rotation it is about, where there is one: what `--wait` follows.
    pub rotation: Option<RotationId>,
    /// One line for a person.
    pub text: String,
}

/// Why a command was not carried out. Nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Refusal {
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// The stable code.
    pub reason: Reason,
    /// When it may be possible, if that is known.
    pub possible_at: Option<Timestamp>,
    /// For people: what is in the way and what to do.
    pub text: String,
}

/// The kinds of refusal; each has its own HTTP status and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No secret of that name.
    NotFound,
    /// Not in the state the secret is in.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// It cannot be made durable at the moment: Vault, lease.
    Unavailable,
}
