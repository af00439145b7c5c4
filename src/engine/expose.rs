//! A version leaked: what that changes in the record, whoever says so.
//!
//! Decides only how the exposure comes into the record and whether a rotation is opened with it in
//! the same write; what becomes of an exposed version is the rotation's to decide.

use crate::engine::command::{Done, Refusal, RefusalKind};
use crate::engine::commands::{happen, open, refuse};
use crate::engine::walk::Walk;
use crate::model::id::VersionId;
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::Stage;
use crate::rotation::Trigger;
use crate::rotation::event::Happening;
use crate::store::Stored;
use crate::store::record::Record;

/// Who says that a version leaked, and why.
pub(super) struct Exposure {
    pub(super) by: String,
    pub(super) reason: String,
}

/// Refuses what is said of a version of a record that was deleted: the one of its number in the
/// record there is now is another one.
pub(super) fn same_record(record: &Record, meant: Option<&str>) -> Result<(), Refusal> {
    if meant.is_none_or(|meant| meant == record.incarnation) {
        return Ok(());
    }
    let text = format!("{} has another record now, with other versions", record.name);
    Err(refuse(RefusalKind::Conflict, Reason::Refused, text))
}

/// Marks a version as exposed and does at once what its stage asks for. A version that counts as
/// exposed already changes nothing.
pub(super) fn expose(
    walk: &mut Walk,
    stored: &mut Stored,
    version: VersionId,
    exposure: Exposure,
    now: Timestamp,
) -> Result<Done, Refusal> {
    let rotation = &stored.record.rotation;
    let Some(stage) = rotation.versions.get(&version).map(|found| found.stage) else {
        let text = format!("there is no {version} of this secret");
        return Err(refuse(RefusalKind::NotFound, Reason::Refused, text));
    };
    if stage == Stage::Revoked {
        let text = format!("{version} was revoked already: nobody accepts it");
        return Err(refuse(RefusalKind::Conflict, Reason::AlreadyRevoked, text));
    }
    if rotation.is_tainted(version) {
        return Ok(done(stored, version, format!("{version} counts as exposed already")));
    }
    match stage {
        Stage::Current => current(walk, stored, exposure, now),
        _ => {
            let Exposure { by, .. } = exposure;
            happen(walk, stored, Happening::Tainted { version, by }, now)?;
            let text = match stage {
                Stage::Pending => format!("{version} is exposed: it is dropped, another one made"),
                _ => format!("{version} is exposed: it goes now"),
            };
            Ok(done(stored, version, text))
        }
    }
}

/// The current version counts as exposed. An open rotation that has not promoted its own version
/// yet is hurried; otherwise a new one is opened over whatever is open.
pub(super) fn current(
    walk: &mut Walk,
    stored: &mut Stored,
    exposure: Exposure,
    now: Timestamp,
) -> Result<Done, Refusal> {
    let Exposure { by, reason } = exposure;
    if let Some(version) = stored.record.rotation.current() {
        happen(walk, stored, Happening::Tainted { version, by: by.clone() }, now)?;
    }
    let rotation = &stored.record.rotation;
    if !rotation.is_closed() && !rotation.phase.has_promoted() {
        let text = format!("rotation {} is hurried: emergency lane", rotation.id);
        return Ok(Done { rotation: Some(rotation.id.clone()), text });
    }
    let trigger = Trigger::Emergency { by, reason };
    let opened = open(walk, stored, trigger, Lane::Emergency, now);
    // The exposure is recorded in any case; the planner opens the rotation as soon as it may.
    opened.or_else(|refusal| {
        let text =
            format!("noted as exposed; the rotation is opened as soon as it can be: {refusal}");
        // What is open brought the leaked version in, and does nothing about it.
        Ok(Done { rotation: None, text })
    })
}

/// The answer, with the rotation that deals with the leak if one does.
fn done(stored: &Stored, leaked: VersionId, text: String) -> Done {
    let rotation = &stored.record.rotation;
    let id = rotation.answers(leaked).then(|| rotation.id.clone());
    Done { rotation: id, text }
}
