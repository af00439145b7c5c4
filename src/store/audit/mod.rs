//! The audit chain: a line before every effect on the world and one after it, each bound to the
//! one before by a digest.
//!
//! Decides the shape of a line and of the chain; must not know who writes it or what follows from
//! a line. Nothing in a line is secret: it holds names, numbers, codes and people's own words.
//!
//! ```text
//!  {"seq":7, ..., "prev":"<hash of 6>","hash":"<SHA-256 of prev and all text before it>"}
//! ```
//!
//! The digest is over the bytes as they lie in the file, so a verifier need not understand them.

pub mod anchor;
pub mod breach;
pub mod file;
pub mod intents;
pub mod keeper;
pub mod owed;
pub mod verify;

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::model::failure::{Class, Failure};
use crate::model::id::{InstanceId, RotationId, SecretName};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::rotation::effect::Effect;
use crate::store::audit::breach::Breach;

/// Longest note in bytes: a sentence of a person or an error's text.
pub const NOTE_LEN_MAX: usize = 500;

/// The number of a line: from 1, counted up over all files.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// The digest that binds a line to all before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LineHash(pub [u8; 32]);

/// Where the chain ends: what is anchored in Vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The last line; zero before the first.
    pub seq: Seq,
    /// Its digest; zeros before the first.
    pub hash: LineHash,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// An effect is about to start.
    Intent,
    /// An effect has ended.
    Outcome,
    /// An effect was announced, and the process ended before it could say what came of it. The
    /// next process writes this line, and looks at the effect again.
    Unknown,
    /// Something was recorded that is no effect: a promotion, a forced retirement, a hold.
    Step,
    /// A person asked for something.
    Command,
    /// An alert came in.
    Alert,
    /// The lease was taken, lost or given up.
    Lease,
    /// About the chain itself: a start, a torn line, a break, an anchor that fails.
    Chain,
}

/// What is written of one happening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Who: a person's name, or the instance.
    pub actor: String,
    /// What it is about.
    pub kind: EntryKind,
    /// Which secret, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretName>,
    /// Which rotation, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationId>,
    /// The boundary that the gate numbered: the same in the intent and in the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<u64>,
    /// The effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Why it did not succeed; absent if it did, or is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// For people: at most [`NOTE_LEN_MAX`] bytes, longer ones are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The break that this line goes on behind: it is the first of a new chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breach: Option<Box<Breach>>,
}

/// A line as it is read: what was written, and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number.
    pub seq: Seq,
    /// What was written.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Why a line was not written. What has no line must not be done: destructive effects stop.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuditError {
    /// The file system has no room.
    #[error("no room left for {path}: destructive effects stop until there is")]
    Full {
        /// The file.
        path: String,
    },
    /// The file system said no.
    #[error("cannot write {path}: {what}; destructive effects stop until it can be written")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        what: String,
    },
    /// The chain on disk is not one that can be continued.
    #[error(
        "{path} is not an audit chain that can be continued: {what}; move it away to begin anew"
    )]
    Broken {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

impl AuditError {
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        let class = match self {
            AuditError::Full { .. } | AuditError::Io { .. } => Class::Transient,
            AuditError::Broken { .. } => Class::Refused,
        };
        Failure { class, reason: Reason::AuditUnwritable }
    }
}

/// Where audit lines go.
///
/// # Guarantees
/// - `append` has written the line, in order, when it answers; the lines of an intent to do
///   something destructive are on disk.
/// - After an error the chain is as it was before.
///
/// # Errors
/// [`AuditError`]: the caller starts no destructive effect while lines cannot be written.
pub trait AuditSink: Send {
    /// Writes one line.
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError>;

    /// Writes a line about what has happened already: now or, if that cannot be, before any other
    /// as soon as it can.
    fn owe(&mut self, entry: Entry);

    /// Where the chain ends.
    fn head(&self) -> Head;

    /// Makes everything durable and answers where the chain ends: what may be anchored. An
    /// anchor of a line that a power cut could still take would look like a cut tail.
    fn durable_head(&mut self) -> Result<Head, AuditError>;
}

/// The chain in memory: for models and tests of the engine.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    lines: Vec<String>,
    head: Head,
}

impl MemoryAudit {
    /// The lines as a file would have them, without line ends.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl AuditSink for MemoryAudit {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        let (line, head) = next_line(self.head, entry);
        self.lines.push(line);
        self.head = head;
        Ok(head.seq)
    }

    fn owe(&mut self, entry: Entry) {
        self.append(entry).expect("memory takes every line");
    }

    fn head(&self) -> Head {
        self.head
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        Ok(self.head)
    }
}

impl Entry {
    /// A line about the daemon itself.
    pub fn new(at: Timestamp, actor: &InstanceId, kind: EntryKind) -> Entry {
        Entry { at, actor: actor.0.clone(), ..Entry::blank(kind) }
    }

    fn blank(kind: EntryKind) -> Entry {
        Entry {
            at: Timestamp::default(),
            actor: String::new(),
            kind,
            secret: None,
            rotation: None,
            boundary: None,
            effect: None,
            failure: None,
            note: None,
            breach: None,
        }
    }

    /// The line with a text for people.
    pub fn note(mut self, note: impl Into<String>) -> Entry {
        self.note = Some(note.into());
        self
    }

    /// Whether the line must be on disk before what it announces may start.
    fn must_be_durable(&self) -> bool {
        let takes_away = self.effect.as_ref().is_some_and(Effect::is_destructive);
        self.breach.is_some() || (self.kind == EntryKind::Intent && takes_away)
    }
}

impl Head {
    /// The number of the line that follows. It does not overflow: a line a nanosecond would take
    /// five hundred years, and a number that is read is held against the ones before it.
    pub fn next(self) -> Seq {
        Seq(self.seq.0.saturating_add(1))
    }
}

impl EntryKind {
    /// The word in the line and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            EntryKind::Intent => "intent",
            EntryKind::Outcome => "outcome",
            EntryKind::Unknown => "unknown",
            EntryKind::Step => "step",
            EntryKind::Command => "command",
            EntryKind::Alert => "alert",
            EntryKind::Lease => "lease",
            EntryKind::Chain => "chain",
        }
    }
}

/// What stands between a line's content and its digest, which ends the line.
const HASH_KEY: &str = ",\"hash\":\"";

/// A line's digest in characters, its quote and brace behind it.
const TAIL_LEN: usize = 64 + 2;

#[derive(Serialize)]
struct Body<'a> {
    seq: Seq,
    #[serde(flatten)]
    entry: &'a Entry,
    prev: LineHash,
}

/// What a verifier reads of a line.
#[derive(Deserialize)]
struct Link {
    seq: Seq,
    prev: LineHash,
    hash: LineHash,
}

/// The line after a head, and the head after it.
fn next_line(head: Head, mut entry: Entry) -> (String, Head) {
    if let Some(note) = &mut entry.note {
        note.truncate(note.floor_char_boundary(NOTE_LEN_MAX));
    }
    let seq = head.next();
    let mut line = serde_json::to_string(&Body { seq, entry: &entry, prev: head.hash })
        .expect("an entry has only texts, numbers and named variants");
    line.pop();
    let hash = digest(head.hash, &line);
    line.push_str(HASH_KEY);
    line.push_str(&hash.to_string());
    line.push_str("\"}");
    (line, Head { seq, hash })
}

fn digest(prev: LineHash, content: &str) -> LineHash {
    let mut context = Context::new(&SHA256);
    context.update(&prev.0);
    context.update(content.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    LineHash(hash)
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LineHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LineHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom("expected 64 hexadecimal digits"))?;
        Ok(LineHash(bytes))
    }
}
