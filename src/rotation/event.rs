//! What happened. Everything that a rotation knows of the world came to it as one of these.

use serde::{Deserialize, Serialize};

use crate::model::failure::{Class, Failure};
use crate::model::fingerprint::Fingerprint;
use crate::model::id::{Generation, KeyId, TargetName, VersionId};
use crate::model::policy::Hold;
use crate::model::reason::Reason;
use crate::model::target::{Observation, TargetTerms};
use crate::model::time::Timestamp;
use crate::rotation::effect::Effect;
use crate::rotation::evidence::Cleared;
use crate::rotation::{Forced, Terms};

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The moment.
    pub at: Timestamp,
    /// What it was.
    pub what: Happening,
}

/// What a key's mark says to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "marked", rename_all = "snake_case")]
pub enum Marked {
    /// It carries no mark for this secret.
    No,
    /// A rotation that the record knows ordered it.
    Known {
        /// The version it was to be.
        version: VersionId,
    },
    /// It is for this secret, and the record knows nothing of who ordered it: the record was
    /// restored from a backup, or made anew. The key may be in use.
    Unknown,
}

/// A key as it stood in the issuer's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// The issuer's id.
    pub key: KeyId,
    /// Whether it carries our mark for this secret, and whether the record knows it.
    pub marked: Marked,
    /// When it was created, if the issuer says.
    pub created_at: Option<Timestamp>,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    // Outcomes of effects.
    /// The issuer's keys: the outcome of `list`, and of a `look_up` that found nothing saved.
    Listed {
        /// What it listed.
        keys: Vec<KeySeen>,
    },
    /// Material is durable in Vault: the outcome of `make`, `mint`, `roll` and `look_up`, or a
    /// value that a person provided.
    Staged {
        /// Its number.
        version: VersionId,
        /// The issuer's id.
        key: Option<KeyId>,
        /// What recognises it.
        fingerprint: Fingerprint,
    },
    /// Somebody else's material has the number: take the next one.
    NumberTaken {
        /// The number.
        version: VersionId,
    },
    /// Our value is at the issuer.
    Placed {
        /// Its number.
        version: VersionId,
        /// The issuer's id.
        key: Option<KeyId>,
    },
    /// An orphan is gone.
    Swept {
        /// The key.
        key: KeyId,
    },
    /// A version was tried.
    Probed {
        /// Its number.
        version: VersionId,
        /// Whether it was accepted.
        works: bool,
    },
    /// A target said, or showed, what it holds: the outcome of `push` and `observe`.
    Seen {
        /// The target.
        target: TargetName,
        /// What it holds.
        observation: Observation,
    },
    /// A version is revoked at the issuer.
    Revoked {
        /// Its number.
        version: VersionId,
    },
    /// Live sessions are ended.
    Terminated {
        /// The version they used.
        version: VersionId,
    },
    /// A target's history is clean.
    Purged {
        /// The target.
        target: TargetName,
        /// The versions it is clean of.
        versions: Vec<VersionId>,
    },
    /// A version's material is deleted.
    Forgotten {
        /// Its number.
        version: VersionId,
    },
    /// An effect did not succeed.
    Failed {
        /// The effect.
        effect: Effect,
        /// What that means.
        failure: Failure,
    },
    /// A target was not told, or not asked, because it has a higher generation than the record
    /// knows: Vault was restored, or somebody else tells it too.
    Ahead {
        /// The effect.
        effect: Effect,
        /// The generation it has.
        generation: Generation,
    },

    // Steps that only the record takes.
    /// Effects are about to start.
    Intended {
        /// Which.
        effects: Vec<Effect>,
    },
    /// The new version is trusted, or need not be tried.
    Trusted,
    /// Every verifier accepts old and new, and propagation has passed.
    Admitted,
    /// The new version is current.
    Promoted,
    /// Every signer uses the new version, and propagation has passed.
    Switched,
    /// The versions named may go, on this evidence.
    Clear {
        /// The ground.
        cleared: Cleared,
    },
    /// A version goes without waiting for evidence.
    Cut {
        /// The exception.
        forced: Forced,
    },
    /// Every target has dropped what was to go.
    Retired,
    /// Nothing is left to do.
    Finished,

    // What people and alerts decide.
    /// A version leaked.
    Tainted {
        /// Its number.
        version: VersionId,
        /// Who or what said so.
        by: String,
    },
    /// A hold was placed or changed.
    Held {
        /// The hold.
        hold: Hold,
    },
    /// The hold was taken away.
    Released,
    /// Take the new version back.
    Abandoned,
    /// Try again now, with the back-off begun anew.
    Retried,
    /// Do without evidence of this target.
    Waived {
        /// The target.
        target: TargetName,
        /// Who said so.
        by: String,
    },
    /// A key at the issuer is known and somebody else's.
    KeyAccepted {
        /// The key.
        key: KeyId,
    },
    /// The config says something new about the secret: seen between rotations in full, during one
    /// only as targets that came or went.
    TermsChanged {
        /// The new terms.
        terms: Terms,
        /// The targets that the config now has.
        targets: Vec<(TargetName, TargetTerms)>,
    },
}

impl Happening {
    /// What kept an effect from succeeding, if this says that something did.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Happening::Failed { failure, .. } => Some(*failure),
            Happening::Ahead { .. } => {
                Some(Failure { class: Class::Refused, reason: Reason::GenerationAhead })
            }
            _ => None,
        }
    }

    /// Its name in traces and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Happening::Listed { .. } => "listed",
            Happening::Staged { .. } => "staged",
            Happening::NumberTaken { .. } => "number_taken",
            Happening::Placed { .. } => "placed",
            Happening::Swept { .. } => "swept",
            Happening::Probed { .. } => "probed",
            Happening::Seen { .. } => "seen",
            Happening::Revoked { .. } => "revoked",
            Happening::Terminated { .. } => "terminated",
            Happening::Purged { .. } => "purged",
            Happening::Forgotten { .. } => "forgotten",
            Happening::Failed { .. } => "failed",
            Happening::Ahead { .. } => "ahead",
            Happening::Intended { .. } => "intended",
            Happening::Trusted => "trusted",
            Happening::Admitted => "admitted",
            Happening::Promoted => "promoted",
            Happening::Switched => "switched",
            Happening::Clear { .. } => "clear",
            Happening::Cut { .. } => "cut",
            Happening::Retired => "retired",
            Happening::Finished => "finished",
            Happening::Tainted { .. } => "tainted",
            Happening::Held { .. } => "held",
            Happening::Released => "released",
            Happening::Abandoned => "abandoned",
            Happening::Retried => "retried",
            Happening::Waived { .. } => "waived",
            Happening::KeyAccepted { .. } => "key_accepted",
            Happening::TermsChanged { .. } => "terms_changed",
        }
    }
}
