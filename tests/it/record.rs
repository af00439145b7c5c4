//! The rules that every record keeps, one broken at a time.

use std::sync::Arc;

use rotord::model::clue::Form;
use rotord::model::fingerprint::Fingerprint;
use rotord::model::id::{Generation, KeyId, NAME_LEN_MAX, TargetName, VersionId};
use rotord::model::marks::Marks;
use rotord::model::target::Role;
use rotord::model::time::Timestamp;
use rotord::model::version::{Stage, Taint, Version};
use rotord::rotation::phase::Phase;
use rotord::rotation::{ACCEPTED_MAX, Leaving, Outgoing, TargetState, Trigger};
use rotord::store::folded;
use rotord::store::recognition::{KvVersions, MARKS_MAX, PLACES_MAX, REMEMBERED_MAX, Remembered};
use rotord::store::record::{
    HISTORY_MAX, Past, RECORD_BYTES_MAX, Record, RecordFault, SCHEMA, VERSIONS_MAX, WentBack,
};
use rotord::vault::document::Document;

use crate::support::store_contract::{name, record};

const V1: VersionId = VersionId(1);
const V2: VersionId = VersionId(2);
const V3: VersionId = VersionId(3);
const AT: Timestamp = Timestamp(1_795_000_000_000);

/// What a record answers once it was changed.
fn check(change: impl FnOnce(&mut Record)) -> Result<(), RecordFault> {
    let mut record = grown();
    change(&mut record);
    record.check()
}

/// A record with a revoked, a current and a pending version.
fn grown() -> Record {
    let mut record = record("a");
    let rotation = &mut record.rotation;
    rotation.next_version = VersionId(4);
    rotation.versions = [(V1, Stage::Revoked), (V2, Stage::Current), (V3, Stage::Pending)]
        .map(|(id, stage)| (id, version(stage)))
        .into();
    rotation.phase = Phase::Switch { current: V2 };
    let target = target(&mut record);
    target.wanted.accepted = vec![V3, V2];
    target.wanted.current = Some(V2);
    record
}

fn version(stage: Stage) -> Version {
    Version { stage, ..Version::pending(None, Fingerprint([1; 16]), AT) }
}

fn target(record: &mut Record) -> &mut TargetState {
    record.rotation.targets.get_mut(&receiver()).unwrap()
}

fn receiver() -> TargetName {
    TargetName::new("receiver").unwrap()
}

fn outgoing(version: VersionId) -> Outgoing {
    Outgoing { version, earliest: None, latest: None }
}

#[test]
fn a_grown_record_keeps_them_all_and_survives_its_document() {
    let record = grown();
    assert_eq!(record.check(), Ok(()));
    let document = record.encode().unwrap();
    assert_eq!(Record::decode("here", &name("a"), &document).unwrap(), record);
}

#[test]
fn marks_are_there() {
    let fault = RecordFault::Schema { found: SCHEMA + 1 };
    assert_eq!(check(|r| r.schema = SCHEMA + 1), Err(fault));
    let fault = RecordFault::Unmarked("incarnation");
    assert_eq!(check(|r| r.incarnation.clear()), Err(fault));
    let fault = RecordFault::Unmarked("fingerprint key");
    assert_eq!(check(|r| r.fingerprint_key.clear()), Err(fault));
}

#[test]
fn nothing_grows_without_bound() {
    let past = |record: &Record| Past {
        id: record.rotation.id.clone(),
        trigger: Trigger::MaxAge,
        opened_at: AT,
        closed_at: AT,
        outcome: None,
        forced: Vec::new(),
    };
    let with_history =
        |count| check(|r| r.history = (0..count).map(|_| past(r)).collect::<Vec<_>>());
    assert_eq!(with_history(HISTORY_MAX), Ok(()));
    assert!(matches!(with_history(HISTORY_MAX + 1), Err(RecordFault::TooMany { .. })));
    let with_versions = |count: usize| {
        check(|r| {
            let last = u64::try_from(count).unwrap();
            r.rotation.next_version = VersionId(last + 1);
            let tombstones = (4..=last).map(|n| (VersionId(n), version(Stage::Revoked)));
            r.rotation.versions.extend(tombstones);
        })
    };
    assert_eq!(with_versions(VERSIONS_MAX), Ok(()));
    assert!(matches!(with_versions(VERSIONS_MAX + 1), Err(RecordFault::TooMany { .. })));
    let many = |r: &mut Record| {
        target(r).wanted.accepted = (0..=ACCEPTED_MAX as u64).map(VersionId).collect();
    };
    assert!(matches!(check(many), Err(RecordFault::TooMany { .. })));
    let mut large = grown();
    large.incarnation = "x".repeat(RECORD_BYTES_MAX);
    assert!(matches!(large.encode(), Err(RecordFault::TooLarge(_))));
}

#[test]
fn what_is_remembered_at_most_fits_into_a_record_beside_everything_else() {
    let mut record = grown();
    let last = REMEMBERED_MAX as u64;
    record.rotation.next_version = VersionId(last + 1);
    let tombstones = (4..=VERSIONS_MAX as u64).map(|n| (VersionId(n), version(Stage::Revoked)));
    record.rotation.versions.extend(tombstones);
    let marks_each = MARKS_MAX / REMEMBERED_MAX / 4;
    let forms = [Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl];
    let remembered = Remembered {
        marks: Some(Marks {
            key: "k".repeat(NAME_LEN_MAX),
            whole: Fingerprint([1; 16]),
            forms: forms.map(|form| (form, vec![Fingerprint([1; 16]); marks_each])).into(),
            sealed: Vec::new(),
        }),
        key_id: Some(KeyId("k".repeat(128))),
        revoked_at: Some(AT),
        stored: (0..PLACES_MAX / REMEMBERED_MAX)
            .map(|n| TargetName::new(format!("{n}{}", "t".repeat(NAME_LEN_MAX - 1))).unwrap())
            .map(|target| (target, KvVersions(u64::MAX, u64::MAX)))
            .collect(),
    };
    let recognition = Arc::make_mut(&mut record.recognition);
    let all = (1..=last).map(|n| (VersionId(n), remembered.clone()));
    recognition.versions = all.collect();
    assert_eq!((recognition.marks(), recognition.places()), (MARKS_MAX, PLACES_MAX));
    let bytes = record.encode().unwrap().expose().len();
    assert!(bytes < RECORD_BYTES_MAX * 9 / 10, "{bytes} bytes leave no room for targets");
    let mut more = record.clone();
    more.rotation.next_version = VersionId(last + 2);
    let recognition = Arc::make_mut(&mut more.recognition);
    recognition.versions.insert(VersionId(last + 1), Remembered::default());
    assert!(matches!(more.check(), Err(RecordFault::TooMany { .. })));
    let fault = RecordFault::NumberAhead { version: V3, next: V3 };
    let ahead = |r: &mut Record| {
        r.rotation.versions.remove(&V3);
        r.rotation.next_version = V3;
        let recognition = Arc::make_mut(&mut r.recognition);
        recognition.versions.insert(V3, Remembered::default());
    };
    assert_eq!(check(ahead), Err(fault));
}

#[test]
fn a_record_that_an_older_program_wrote_is_read() {
    let record = grown();
    let mut json: serde_json::Value = folded::decode(&record.encode().unwrap()).unwrap();
    assert!(json.as_object_mut().unwrap().remove("recognition").is_some());
    let document = Document::from_json(json.to_string().into_bytes());
    assert_eq!(Record::decode("here", &name("a"), &document).unwrap(), record);
}

#[test]
fn one_version_is_current_and_numbers_were_given_out() {
    let two = |r: &mut Record| {
        r.rotation.versions.insert(V3, version(Stage::Current));
    };
    assert_eq!(check(two), Err(RecordFault::TwoCurrent(V2, V3)));
    let fault = RecordFault::NumberAhead { version: V3, next: V3 };
    assert_eq!(check(|r| r.rotation.next_version = V3), Err(fault));
}

#[test]
fn the_phase_names_versions_of_fitting_stages() {
    let in_phase = |phase| check(|r| r.rotation.phase = phase);
    assert_eq!(in_phase(Phase::Admit { incoming: V3 }), Ok(()));
    let wrong = |place, version, stage| Err(RecordFault::Stage { place, version, stage });
    for (phase, place) in [
        (Phase::Admit { incoming: V2 }, "admit"),
        (Phase::Promote { incoming: V2 }, "promote"),
        (Phase::Install { incoming: V2, doubtful: false }, "install"),
    ] {
        assert_eq!(in_phase(phase), wrong(place, V2, Stage::Current));
    }
    assert_eq!(in_phase(Phase::Switch { current: V3 }), wrong("switch", V3, Stage::Pending));
    let overlap = |current| Phase::Overlap { current, switched_at: AT };
    assert_eq!(in_phase(overlap(V1)), wrong("overlap", V1, Stage::Revoked));
    let missing = RecordFault::Missing { place: "overlap", version: VersionId(9) };
    assert_eq!(in_phase(overlap(VersionId(9))), Err(missing));
    // A leak may have taken the version in use away.
    let leaked = check(|r| {
        r.rotation.phase = overlap(V1);
        let taint = Taint { at: AT, by: "alice".into() };
        r.rotation.versions.get_mut(&V1).unwrap().taint = Some(taint);
    });
    assert_eq!(leaked, Ok(()));
}

#[test]
fn what_goes_is_there_and_was_in_use() {
    let going = |list: &[VersionId]| {
        check(|r| r.rotation.outgoing = list.iter().copied().map(outgoing).collect())
    };
    assert_eq!(going(&[V1, V2]), Ok(()));
    let fault = RecordFault::Twice { place: "outgoing", version: V2 };
    assert_eq!(going(&[V2, V1, V2]), Err(fault));
    let fault = RecordFault::Missing { place: "outgoing", version: VersionId(9) };
    assert_eq!(going(&[VersionId(9)]), Err(fault));
    let fault = RecordFault::Stage { place: "outgoing", version: V3, stage: Stage::Pending };
    assert_eq!(going(&[V3]), Err(fault));
    let leaving = |version| check(|r| r.rotation.leaving.extend([(version, Leaving::default())]));
    assert_eq!(leaving(V1), Ok(()));
    let fault = RecordFault::Missing { place: "leaving", version: VersionId(9) };
    assert_eq!(leaving(VersionId(9)), Err(fault));
}

#[test]
fn no_target_is_told_to_hold_what_is_gone() {
    for gone in [V1, VersionId(9)] {
        let fault = RecordFault::Unwanted { target: receiver(), version: gone };
        let accepts = |r: &mut Record| target(r).wanted.accepted.push(gone);
        assert_eq!(check(accepts), Err(fault.clone()));
        let uses = |r: &mut Record| target(r).wanted.current = Some(gone);
        assert_eq!(check(uses), Err(fault));
        let verifies = |r: &mut Record| {
            uses(r);
            target(r).terms.role = Role::Verifier;
        };
        assert_eq!(check(verifies), Ok(()), "a pure verifier uses none");
        let removed = |r: &mut Record| {
            accepts(r);
            target(r).removed = true;
        };
        assert_eq!(check(removed), Ok(()), "nothing can be told to it any more");
    }
    let fault = RecordFault::Twice { place: "what a target must accept", version: V2 };
    assert_eq!(check(|r| target(r).wanted.accepted.push(V2)), Err(fault));
}

#[test]
fn no_target_and_no_version_goes_back() {
    let before = grown();
    let follows = |change: &dyn Fn(&mut Record)| {
        let mut after = before.clone();
        change(&mut after);
        after.follows(&before)
    };
    let up = |r: &mut Record| target(r).wanted.generation = Generation(9);
    let mut higher = before.clone();
    up(&mut higher);
    assert_eq!(higher.follows(&before), Ok(()));
    let fault = RecordFault::WentBack(WentBack::Generation(receiver()));
    assert_eq!(before.follows(&higher), Err(fault));
    let retire = |r: &mut Record| r.rotation.versions.get_mut(&V2).unwrap().stage = Stage::Retired;
    assert_eq!(follows(&retire), Ok(()));
    let mut retired = before.clone();
    retire(&mut retired);
    let (from, to) = (Stage::Retired, Stage::Current);
    let fault = RecordFault::WentBack(WentBack::Stage { version: V2, from, to });
    assert_eq!(before.follows(&retired), Err(fault));
    assert_eq!(follows(&|r| r.rotation.versions.retain(|id, _| *id > V1)), Ok(()), "tombstones go");
}

#[test]
fn a_document_that_is_no_json_is_named_and_not_shown() {
    let document = Document::from_json(b"hunter2".to_vec());
    let error = Record::decode("rotord/state/a", &name("a"), &document).unwrap_err();
    assert!(error.to_string().contains("rotord/state/a"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}
