//! A chain that was found broken: what is remembered of it, in Vault and in the first line of the
//! chain that goes on.
//!
//! Decides what a person is told and must sign off; must not know how a break is found.

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;
use crate::store::audit::{Head, Seq};

/// One break of a chain. The chain goes on behind the head that Vault vouched for, so that this
/// head is never contradicted; the files that contradict it are set aside as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breach {
    /// When it was found.
    pub at: Timestamp,
    /// What was wrong: a code of [`super::verify::Fault`].
    pub fault: String,
    /// The file in which, by its name.
    pub file: String,
    /// The line in it, from 1; 0 if there is none.
    pub line: u64,
    /// The head that was anchored, or the last line that held if none was.
    pub anchored: Head,
    /// The first line of the chain that goes on: the one after `anchored`.
    pub resumed: Seq,
    /// The directory in the state directory that holds what was found.
    pub set_aside: String,
}

/// A breach, and whether a person has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// What happened.
    pub breach: Breach,
    /// Who took note of it; it is an alarm until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
}

/// That a person has looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What was found, in their words.
    pub reason: String,
}

impl Breach {
    /// For people: what was found, and where it lies now.
    pub fn text(&self) -> String {
        let Breach { fault, file, line, anchored, set_aside, .. } = self;
        format!(
            "the chain broke ({fault} at {file}, line {line}); Vault knew it up to line {}; what \
             was found lies in {set_aside}",
            anchored.seq
        )
    }
}
