//! Orders to the world. They carry names and numbers, never material: whoever executes one
//! fetches the material itself and lets go of it before the outcome comes back as an event.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::{KeyId, TargetName, VersionId};

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// List the issuer's keys.
    List,
    /// Make a value and save it in Vault under this number.
    Make {
        /// The number.
        version: VersionId,
    },
    /// Have a key minted and save it in Vault under this number.
    Mint {
        /// The number.
        version: VersionId,
    },
    /// Look whether a lost mint was saved; if not, list the issuer's keys.
    LookUp {
        /// The number the lost mint had.
        version: VersionId,
    },
    /// Give a found key a new value and save it under this number.
    Roll {
        /// The key.
        key: KeyId,
        /// The number.
        version: VersionId,
    },
    /// Put a saved value of ours at the issuer.
    Place {
        /// Its number.
        version: VersionId,
    },
    /// Revoke a key that carries our mark and is in no record.
    Sweep {
        /// The key.
        key: KeyId,
    },
    /// Try a version at the issuer.
    Probe {
        /// Its number.
        version: VersionId,
    },
    /// Bring a target to what it must hold.
    Push {
        /// The target.
        target: TargetName,
    },
    /// Ask a target what it holds.
    Observe {
        /// The target.
        target: TargetName,
    },
    /// Revoke a version at the issuer.
    Revoke {
        /// Its number.
        version: VersionId,
    },
    /// Try a revoked version: it must be refused.
    Refute {
        /// Its number.
        version: VersionId,
    },
    /// End the live sessions of a revoked version.
    Terminate {
        /// Its number.
        version: VersionId,
    },
    /// Destroy what a target's own history keeps of revoked versions.
    Purge {
        /// The target.
        target: TargetName,
    },
    /// Delete a version's material in Vault.
    Forget {
        /// Its number.
        version: VersionId,
    },
}

impl Effect {
    /// Whether it takes something away for good. Such effects wait for a confirmed lease and are
    /// checked against a hold once more at the gate.
    pub fn is_destructive(&self) -> bool {
        matches!(
            self,
            Effect::Revoke { .. }
                | Effect::Sweep { .. }
                | Effect::Terminate { .. }
                | Effect::Purge { .. }
                | Effect::Forget { .. }
        )
    }

    /// Whether it only asks. Asking leaves nothing behind, so it needs no intent.
    pub fn only_asks(&self) -> bool {
        matches!(
            self,
            Effect::List
                | Effect::LookUp { .. }
                | Effect::Probe { .. }
                | Effect::Refute { .. }
                | Effect::Observe { .. }
        )
    }

    /// Whether its intent must be durable before it starts. Making a value needs none: its outcome
    /// in Vault is the record of it, since material carries the rotation's id and is written once.
    pub fn needs_intent(&self) -> bool {
        !self.only_asks() && !matches!(self, Effect::Make { .. })
    }

    /// The target it is about, if it is about one.
    pub fn target(&self) -> Option<&TargetName> {
        match self {
            Effect::Push { target } | Effect::Observe { target } | Effect::Purge { target } => {
                Some(target)
            }
            _ => None,
        }
    }

    /// Its name in audit lines, metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::List => "list",
            Effect::Make { .. } => "make",
            Effect::Mint { .. } => "mint",
            Effect::LookUp { .. } => "look_up",
            Effect::Roll { .. } => "roll",
            Effect::Place { .. } => "place",
            Effect::Sweep { .. } => "sweep",
            Effect::Probe { .. } => "probe",
            Effect::Push { .. } => "push",
            Effect::Observe { .. } => "observe",
            Effect::Revoke { .. } => "revoke",
            Effect::Refute { .. } => "refute",
            Effect::Terminate { .. } => "terminate",
            Effect::Purge { .. } => "purge",
            Effect::Forget { .. } => "forget",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::List => f.write_str("list"),
            Effect::Make { version }
            | Effect::Mint { version }
            | Effect::LookUp { version }
            | Effect::Place { version }
            | Effect::Probe { version }
            | Effect::Revoke { version }
            | Effect::Refute { version }
            | Effect::Terminate { version }
            | Effect::Forget { version } => write!(f, "{} {version}", self.name()),
            Effect::Roll { key, version } => write!(f, "roll {key} as {version}"),
            Effect::Sweep { key } => write!(f, "sweep {key}"),
            Effect::Push { target } | Effect::Observe { target } | Effect::Purge { target } => {
                write!(f, "{} {target}", self.name())
            }
        }
    }
}
