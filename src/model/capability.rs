//! What an issuer declares about itself. The route of a rotation follows from this, never from a
//! vendor's name.

use serde::{Deserialize, Serialize};

use crate::model::time::Span;

/// Who makes the value of a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueFrom {
    /// rotord makes it; the issuer, if there is one, is told. A lost answer is harmless.
    Ours,
    /// The issuer makes it and shows it once.
    Theirs,
}

/// What ends the life of an old version at the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldDies {
    /// A revocation by us, and nothing else.
    OnRevoke,
    /// The minting (or installing) of the next one, at that moment.
    OnMint,
    /// The issuer's own clock, this long after the next one was minted.
    IssuerClock {
        /// How long the old version lives after the mint.
        grace: Span,
    },
}

/// What to do when the answer to a mint never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// Mint again: nobody holds the lost value, and the call is harmless twice.
    Repeat,
    /// List, revoke what carries our mark and is in no record, mint again.
    Sweep,
    /// List, take the new key's id and roll *that* one; never the old id again.
    AdoptThenRoll,
    /// Nothing can be looked up: a person decides.
    Manual,
}

/// Everything an issuer says about itself before it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Who makes the value.
    pub value: ValueFrom,
    /// How many versions can live at once; absent if there is no limit.
    pub capacity: Option<u32>,
    /// What ends an old version.
    pub old_dies: OldDies,
    /// The way out of a lost answer.
    pub on_lost: OnLost,
    /// Whether there is an issuer outside rotord: something to install at, list and revoke.
    pub remote: bool,
    /// Whether a key can be tried at the issuer.
    pub probes: bool,
    /// Whether live sessions of a revoked key can be ended.
    pub terminates: bool,
    /// How long a new key may take before it works everywhere at the issuer.
    pub settle: Span,
    /// Whether every key on the principal is ours, so that an unmarked suspect may be revoked.
    pub exclusive: bool,
}

impl Capabilities {
    /// What a local generator declares: values are ours, unlimited, and die when forgotten.
    pub fn local() -> Capabilities {
        Capabilities {
            value: ValueFrom::Ours,
            capacity: None,
            old_dies: OldDies::OnRevoke,
            on_lost: OnLost::Repeat,
            remote: false,
            probes: false,
            terminates: false,
            settle: Span::ZERO,
            exclusive: true,
        }
    }
}
