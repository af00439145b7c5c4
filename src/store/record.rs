//! The record: the durable state of one secret, one document in Vault.
//!
//! Decides what a well-formed record is and which one may come after which; must not know where
//! it lies. It holds no secret bytes. Every write of it is by check-and-set.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::id::{Epoch, NUMBER_MAX, RotationId, SecretName, TargetName, VersionId, WriteId};
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::{ACCEPTED_MAX, Forced, Rotation, TOMBSTONES_MAX, TargetState, Trigger};
use crate::store::recognition::{MARKS_MAX, PLACES_MAX, REMEMBERED_MAX, Recognition};
use crate::store::{StoreError, folded};
use crate::vault::document::Document;

/// The schema this program writes. A record with a newer one is left alone.
pub const SCHEMA: u32 = 1;

/// Closed rotations that stay in the record.
pub const HISTORY_MAX: usize = 10;

/// Largest record in bytes, folded: Raft storage refuses entries of 1 MiB, and Vault's own
/// envelope and escaping need their part of that.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Most versions in a record: the tombstones, those in use, and as many on their way out.
pub const VERSIONS_MAX: usize = TOMBSTONES_MAX + 2 * ACCEPTED_MAX;

/// The durable state of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The shape of this document.
    pub schema: u32,
    /// Drawn when the record was created: a record that was deleted and made anew differs here,
    /// though its KV counter started again.
    pub incarnation: String,
    /// The fencing number of the last writer.
    pub epoch: Epoch,
    /// The mark of this very write. The store sets it; what a record to be saved holds here does
    /// not matter.
    pub write_id: WriteId,
    /// The fingerprint key that versions were recognised with last. What was made with another one
    /// before names it in `recognition`.
    pub fingerprint_key: String,
    /// The secret.
    pub name: SecretName,
    /// The last scheduled instant that was run, or when the record was created: what makes each
    /// scheduled run happen at most once.
    pub last_scheduled: Timestamp,
    /// The open rotation, or the last one.
    pub rotation: Rotation,
    /// Rotations before it, newest first.
    pub history: Vec<Past>,
    /// What reports about its versions are recognised by. Absent in what older programs wrote.
    /// Shared, because every copy of a record would copy it, and it changes seldom.
    #[serde(default)]
    pub recognition: Arc<Recognition>,
}

/// The part of a record that every schema has.
#[derive(Deserialize)]
struct Shape {
    schema: u32,
}

/// A rotation that is history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// Its identity.
    pub id: RotationId,
    /// What had set it off.
    pub trigger: Trigger,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Timestamp,
    /// How; absent if another one superseded it.
    pub outcome: Option<Outcome>,
    /// The exceptions that were made.
    pub forced: Vec<Forced>,
}

/// A rule that a record breaks. Found before a write it is a defect of ours; found after a read
/// somebody else has written there, or Vault was restored from a backup.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// Not the schema that this program writes.
    #[error("its schema is {found}, this program knows {SCHEMA}")]
    Schema {
        /// The schema found.
        found: u32,
    },
    /// It is the record of another secret.
    #[error("it is the record of {found}")]
    Name {
        /// The name in it.
        found: SecretName,
    },
    /// A mark without which it cannot be told from another one.
    #[error("it has no {0}")]
    Unmarked(&'static str),
    /// More of something than a record may hold.
    #[error("it has {found} {what}, at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// It holds something that JSON cannot.
    #[error("it cannot be written as JSON")]
    Unwritable,
    /// It does not fit into Vault's storage.
    #[error("it has {0} bytes of JSON, at most {RECORD_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Two versions are the one to use.
    #[error("{0} and {1} are both current")]
    TwoCurrent(VersionId, VersionId),
    /// A number that was never given out.
    #[error("{version} is in use, but the next number is {next}")]
    NumberAhead {
        /// The version.
        version: VersionId,
        /// The number that the next version would get.
        next: VersionId,
    },
    /// Something names a version that is not there.
    #[error("{place} names {version}, which is not among the versions")]
    Missing {
        /// What names it.
        place: &'static str,
        /// The version.
        version: VersionId,
    },
    /// Something names a version at a stage that it cannot have there.
    #[error("{place} names {version}, which is {stage}")]
    Stage {
        /// What names it.
        place: &'static str,
        /// The version.
        version: VersionId,
        /// Its stage.
        stage: Stage,
    },
    /// The same version stands twice in a list.
    #[error("{place} names {version} twice")]
    Twice {
        /// The list.
        place: &'static str,
        /// The version.
        version: VersionId,
    },
    /// A target is told to use or accept what it must not.
    #[error("target {target} must hold {version}, which is revoked or unknown")]
    Unwanted {
        /// The target.
        target: TargetName,
        /// The version.
        version: VersionId,
    },
    /// A number that nobody counted up to: there would be none after it.
    #[error("no rotord counted up to its {0}")]
    Uncounted(&'static str),
    /// It is not the successor of the record that was known: something went back, or it was
    /// deleted and made anew.
    #[error("it does not follow the one known before: {0}")]
    WentBack(WentBack),
}

/// What went back, or was exchanged, between two records of one secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WentBack {
    /// Deleted and made anew.
    #[error("it is another incarnation")]
    Incarnation,
    /// The KV version of the document.
    #[error("its revision is lower")]
    Revision,
    /// The same KV version holds another write.
    #[error("its revision is the same and its content is not")]
    Content,
    /// The fencing number.
    #[error("its epoch is lower")]
    Epoch,
    /// The number of the next version.
    #[error("the number of its next version is lower")]
    NextVersion,
    /// What a target was told.
    #[error("what target {0} must hold has a lower generation")]
    Generation(TargetName),
    /// The stage of a version.
    #[error("{version} went from {from} to {to}")]
    Stage {
        /// The version.
        version: VersionId,
        /// Its stage before.
        from: Stage,
        /// Its stage now.
        to: Stage,
    },
}

impl Record {
    /// Reads a record from what lies at `place`, and checks it.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] with what is wrong, without content: not JSON, a field that this
    /// program does not know, a newer schema, another secret's record, a rule broken.
    pub fn decode(
        place: &str,
        name: &SecretName,
        document: &Document,
    ) -> Result<Record, StoreError> {
        let unreadable = |what: String| StoreError::Unreadable { place: place.to_owned(), what };
        let inside = folded::unfold(document);
        let document = inside.as_ref().unwrap_or(document);
        let shape: Shape = document.decode().map_err(|error| unreadable(error.to_string()))?;
        if shape.schema > SCHEMA {
            return Err(unreadable(format!(
                "a newer rotord wrote it (schema {}, this one knows {SCHEMA}): upgrade this one",
                shape.schema
            )));
        }
        let record: Record = document.decode().map_err(|error| unreadable(error.to_string()))?;
        if record.name != *name {
            return Err(unreadable(RecordFault::Name { found: record.name }.to_string()));
        }
        record.check().map_err(|fault| unreadable(fault.to_string()))?;
        Ok(record)
    }

    /// Writes a record as the document that `decode` reads.
    ///
    /// # Errors
    /// [`RecordFault::TooLarge`], or the rule that it breaks.
    pub fn encode(&self) -> Result<Document, RecordFault> {
        self.check()?;
        let document = folded::encode(self).map_err(|_| RecordFault::Unwritable)?;
        match document.expose().len() {
            bytes if bytes > RECORD_BYTES_MAX => Err(RecordFault::TooLarge(bytes)),
            _ => Ok(document),
        }
    }

    /// Checks what holds of every record, whatever its phase: before it is written and after it
    /// was read.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), RecordFault> {
        if self.schema != SCHEMA {
            return Err(RecordFault::Schema { found: self.schema });
        }
        if self.incarnation.is_empty() {
            return Err(RecordFault::Unmarked("incarnation"));
        }
        if self.fingerprint_key.is_empty() {
            return Err(RecordFault::Unmarked("fingerprint key"));
        }
        let (next, generation) = (self.rotation.next_version, self.rotation.generation);
        for (what, number) in
            [("epoch", self.epoch.0), ("next version", next.0), ("generation", generation.0)]
        {
            if number > NUMBER_MAX {
                return Err(RecordFault::Uncounted(what));
            }
        }
        at_most("rotations in its history", self.history.len(), HISTORY_MAX)?;
        check_recognition(&self.recognition, self.rotation.next_version)?;
        check_versions(&self.rotation)?;
        check_phase(&self.rotation)?;
        check_leaving(&self.rotation)?;
        for (name, target) in &self.rotation.targets {
            check_target(&self.rotation, name, target)?;
        }
        Ok(())
    }

    /// Checks that this record may come after one known before: nothing that only counts up has
    /// gone down, and no version has come back to life.
    ///
    /// # Errors
    /// [`RecordFault::WentBack`] with what did. It happens when Vault was restored from a backup,
    /// or the record was deleted and made anew: nothing may be retired on its word.
    pub fn follows(&self, before: &Record) -> Result<(), RecordFault> {
        let gone_back = |what| Err(RecordFault::WentBack(what));
        if self.incarnation != before.incarnation {
            return gone_back(WentBack::Incarnation);
        }
        if self.epoch < before.epoch {
            return gone_back(WentBack::Epoch);
        }
        let (new, old) = (&self.rotation, &before.rotation);
        if new.next_version < old.next_version {
            return gone_back(WentBack::NextVersion);
        }
        for (name, target) in &new.targets {
            let known = old.targets.get(name).map(|old| old.wanted.generation);
            if known.is_some_and(|known| target.wanted.generation < known) {
                return gone_back(WentBack::Generation(name.clone()));
            }
        }
        for (id, version) in &new.versions {
            let Some(from) = old.versions.get(id).map(|old| old.stage) else { continue };
            // The stages are declared in the order of a version's life.
            if version.stage < from {
                return gone_back(WentBack::Stage { version: *id, from, to: version.stage });
            }
        }
        Ok(())
    }
}

fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), RecordFault> {
    if found > max { Err(RecordFault::TooMany { what, found, max }) } else { Ok(()) }
}

fn check_recognition(recognition: &Recognition, next: VersionId) -> Result<(), RecordFault> {
    at_most("remembered versions", recognition.versions.len(), REMEMBERED_MAX)?;
    at_most("marks", recognition.marks(), MARKS_MAX)?;
    at_most("places of versions", recognition.places(), PLACES_MAX)?;
    match recognition.versions.keys().next_back().copied().filter(|version| *version >= next) {
        Some(version) => Err(RecordFault::NumberAhead { version, next }),
        None => Ok(()),
    }
}

fn check_versions(rotation: &Rotation) -> Result<(), RecordFault> {
    at_most("versions", rotation.versions.len(), VERSIONS_MAX)?;
    let next = rotation.next_version;
    if let Some(version) = rotation.versions.keys().next_back().copied().filter(|v| *v >= next) {
        return Err(RecordFault::NumberAhead { version, next });
    }
    let mut current = rotation.at_stage(Stage::Current);
    if let (Some(one), Some(other)) = (current.next(), current.next()) {
        return Err(RecordFault::TwoCurrent(one, other));
    }
    Ok(())
}

fn check_phase(rotation: &Rotation) -> Result<(), RecordFault> {
    let phase = &rotation.phase;
    if let Some(incoming) = phase.incoming() {
        has_stage(rotation, phase.name(), incoming, |stage| stage == Stage::Pending)?;
    }
    match phase {
        Phase::Switch { current } | Phase::Overlap { current, .. } => {
            in_use(rotation, phase.name(), *current)
        }
        Phase::Retire { current, cleared } | Phase::Revoke { current, cleared } => {
            in_use(rotation, phase.name(), *current)?;
            unlike_pending(rotation, phase.name(), cleared.going())
        }
        _ => Ok(()),
    }
}

/// The version in use was current once; a leak may have taken it away since.
fn in_use(rotation: &Rotation, place: &'static str, version: VersionId) -> Result<(), RecordFault> {
    has_stage(rotation, place, version, |stage| {
        stage == Stage::Current || (stage > Stage::Current && rotation.is_tainted(version))
    })
}

fn check_leaving(rotation: &Rotation) -> Result<(), RecordFault> {
    let outgoing: Vec<VersionId> = rotation.outgoing.iter().map(|o| o.version).collect();
    once("outgoing", &outgoing)?;
    unlike_pending(rotation, "outgoing", &outgoing)?;
    for version in rotation.leaving.keys() {
        has_stage(rotation, "leaving", *version, |_| true)?;
    }
    Ok(())
}

fn check_target(
    rotation: &Rotation,
    name: &TargetName,
    target: &TargetState,
) -> Result<(), RecordFault> {
    let accepted = &target.wanted.accepted;
    at_most("accepted versions at a target", accepted.len(), ACCEPTED_MAX)?;
    once("what a target must accept", accepted)?;
    if target.removed {
        // Nothing can be told to it any more, so its wish stands still.
        return Ok(());
    }
    let used = target.wanted.current.filter(|_| target.terms.role.signs());
    for version in accepted.iter().copied().chain(used) {
        let stage = rotation.versions.get(&version).map(|v| v.stage);
        if stage.is_none_or(|stage| stage == Stage::Revoked) {
            return Err(RecordFault::Unwanted { target: name.clone(), version });
        }
    }
    Ok(())
}

fn unlike_pending(
    rotation: &Rotation,
    place: &'static str,
    versions: &[VersionId],
) -> Result<(), RecordFault> {
    versions
        .iter()
        .try_for_each(|version| has_stage(rotation, place, *version, |s| s != Stage::Pending))
}

fn has_stage(
    rotation: &Rotation,
    place: &'static str,
    version: VersionId,
    fits: impl Fn(Stage) -> bool,
) -> Result<(), RecordFault> {
    match rotation.versions.get(&version).map(|v| v.stage) {
        None => Err(RecordFault::Missing { place, version }),
        Some(stage) if !fits(stage) => Err(RecordFault::Stage { place, version, stage }),
        Some(_) => Ok(()),
    }
}

fn once(place: &'static str, versions: &[VersionId]) -> Result<(), RecordFault> {
    let mut seen = BTreeSet::new();
    match versions.iter().find(|version| !seen.insert(**version)) {
        Some(version) => Err(RecordFault::Twice { place, version: *version }),
        None => Ok(()),
    }
}
