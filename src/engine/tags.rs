//! The marks on keys at an issuer: what a record writes on those that it orders, and which it knows
//! again as its own.
//!
//! Decides what counts as ours. A mark names the secret, the rotation, the incarnation of the
//! record and when the rotation was opened: after Vault was restored from a backup the record does
//! not know the rotations that came after it, even if the next one gets the same name and number,
//! and their keys may be in use.

use crate::driver::issuer::{Mark, Tag};
use crate::model::id::{RotationId, VersionId};
use crate::model::time::Timestamp;
use crate::rotation::event::Marked;
use crate::store::record::Record;

/// Characters of the incarnation in a mark: 32 bits tell the few records apart that a secret has
/// had, and issuers' name fields are short.
const INCARNATION_LEN: usize = 8;

/// The mark for a version that the open rotation orders.
pub(super) fn tag(record: &Record, version: VersionId) -> Tag {
    let rotation = &record.rotation;
    Tag {
        secret: record.name.clone(),
        rotation: rotation.id.clone(),
        run: run(record, rotation.opened_at),
        version,
    }
}

/// What the text in a key's mark field says to this record.
pub(super) fn judge(record: &Record, text: Option<&str>) -> Marked {
    let Some(mark) = text.and_then(|text| Mark::read(text, &record.name)) else {
        return Marked::No;
    };
    let open = (&record.rotation.id, record.rotation.opened_at);
    let past = record.history.iter().map(|past| (&past.id, past.opened_at));
    let mut known = [open].into_iter().chain(past);
    let is_its = |(rotation, opened_at): (&RotationId, Timestamp)| {
        // Marks of older programs name no run.
        let same_run = mark.run.as_ref().is_none_or(|found| *found == run(record, opened_at));
        mark.rotation == *rotation && same_run
    };
    if known.any(is_its) { Marked::Known { version: mark.version } } else { Marked::Unknown }
}

/// One run of this record: 16 hexadecimal digits.
fn run(record: &Record, opened_at: Timestamp) -> String {
    let incarnation: String = record.incarnation.chars().take(INCARNATION_LEN).collect();
    let seconds = u32::try_from(opened_at.0 / 1_000).unwrap_or(u32::MAX);
    format!("{incarnation:0<8}{seconds:08x}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::capability::Capabilities;
    use crate::model::id::{Epoch, NAME_LEN_MAX, SecretName, WriteId};
    use crate::model::policy::{Kind, Lane, Policy};
    use crate::model::time::Span;
    use crate::rotation::open::Opening;
    use crate::rotation::{Rotation, Terms, Trigger};
    use crate::store::record::{Past, SCHEMA};

    const THEN: Timestamp = Timestamp(1_800_000_000_000);

    fn record(id: &str, opened_at: Timestamp) -> Record {
        let capabilities = Capabilities::local();
        let terms = Terms { kind: Kind::ApiKey, capabilities, policy: Policy::default() };
        let rotation = Rotation::first(Opening {
            id: RotationId(id.to_owned()),
            trigger: Trigger::MaxAge,
            lane: Lane::Routine,
            at: opened_at,
            terms,
            targets: BTreeMap::new(),
        });
        Record {
            schema: SCHEMA,
            incarnation: "00112233445566778899aabbccddeeff".to_owned(),
            epoch: Epoch(1),
            write_id: WriteId("w".to_owned()),
            fingerprint_key: "k".to_owned(),
            recognition: Default::default(),
            name: SecretName::new("a").expect("a name"),
            last_scheduled: opened_at,
            rotation,
            history: Vec::new(),
        }
    }

    #[test]
    fn a_record_knows_the_marks_of_its_own_rotations() {
        let before = record("20261122T031200Z-scheduled", THEN);
        let mark = tag(&before, VersionId(6)).to_string();
        assert_eq!(mark, "rotord:a:20261122T031200Z-scheduled:001122336b49d200:v6");
        assert_eq!(judge(&before, Some(&mark)), Marked::Known { version: VersionId(6) });
        let mut after = record("next", THEN + Span::from_secs(60));
        after.history.push(Past {
            id: before.rotation.id.clone(),
            trigger: Trigger::MaxAge,
            opened_at: THEN,
            closed_at: THEN,
            outcome: None,
            forced: Vec::new(),
        });
        assert_eq!(judge(&after, Some(&mark)), Marked::Known { version: VersionId(6) });
        assert_eq!(judge(&after, Some("rotord:ab:next:v6")), Marked::No);
        assert_eq!(judge(&after, Some("a person's key")), Marked::No);
        assert_eq!(judge(&after, None), Marked::No);
    }

    #[test]
    fn what_came_after_the_restored_record_is_unknown_to_it_even_under_the_same_name() {
        let lost = record("20261122T031200Z-scheduled", THEN);
        let mark = tag(&lost, VersionId(6)).to_string();
        // The schedule is caught up after the restore: the same id and number, opened later.
        let again = record("20261122T031200Z-scheduled", THEN + Span::from_secs(3600));
        assert_eq!(judge(&again, Some(&mark)), Marked::Unknown);
        assert_eq!(judge(&record("another", THEN), Some(&mark)), Marked::Unknown);
        let mut anew = record("20261122T031200Z-scheduled", THEN);
        anew.incarnation = "ff".repeat(16);
        assert_eq!(judge(&anew, Some(&mark)), Marked::Unknown);
    }

    #[test]
    fn marks_of_older_programs_are_known_by_their_rotation() {
        let record = record("20261122T031200.123Z-manual", THEN);
        let old = |rotation: &str| format!("rotord:a:{rotation}:v6");
        let known = Marked::Known { version: VersionId(6) };
        assert_eq!(judge(&record, Some(&old("20261122T031200.123Z-manual"))), known);
        assert_eq!(judge(&record, Some(&old("20261122T031200.124Z-manual"))), Marked::Unknown);
    }

    #[test]
    fn the_longest_mark_fits_where_issuers_keep_names() {
        let mut record = record("20261122T031200.123Z-emergency", THEN);
        record.name = SecretName::new("a".repeat(NAME_LEN_MAX)).expect("a name");
        assert!(tag(&record, VersionId(1_000_000)).to_string().len() <= 255);
    }
}
