//! What is remembered of a version from its first day to the end of its time, and how much of it.

use std::collections::BTreeMap;

use super::*;
use crate::model::capability::Capabilities;
use crate::model::fingerprint::Fingerprint;
use crate::model::id::RotationId;
use crate::model::material::{Material, SecretBytes};
use crate::model::policy::{Kind, Lane, Policy};
use crate::model::version::Version;
use crate::rotation::open::Opening;
use crate::rotation::{Terms, Trigger};

const AT: Timestamp = Timestamp(1_795_000_000_000);
const DAY: Span = Span::from_secs(24 * 3600);

fn key(id: &str) -> FingerprintKey {
    FingerprintKey::new(id, &SecretBytes::new(id.as_bytes().to_vec()))
}

fn marks(key: &FingerprintKey, version: u64) -> Marks {
    let value = format!("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD{version}");
    let material = Material::single(SecretBytes::new(value.into_bytes()));
    key.marks(&material, &QUICK_FORMS)
}

fn version(stage: Stage) -> Version {
    let mut version = Version::pending(Some(KeyId("AKIA1".into())), Fingerprint([1; 16]), AT);
    version.stage = stage;
    version
}

fn rotation(versions: &[(u64, Stage)]) -> Rotation {
    let terms = Terms {
        kind: Kind::WebhookHmac,
        capabilities: Capabilities::local(),
        policy: Policy::default(),
    };
    let mut rotation = Rotation::first(Opening {
        id: RotationId("r".into()),
        trigger: Trigger::Initial,
        lane: Lane::Routine,
        at: AT,
        terms,
        targets: BTreeMap::new(),
    });
    rotation.versions = versions.iter().map(|(id, s)| (VersionId(*id), version(*s))).collect();
    rotation
}

fn known(recognition: &Recognition) -> Vec<u64> {
    recognition.versions.keys().map(|version| version.0).collect()
}

#[test]
fn a_version_is_remembered_past_its_end_and_then_forgotten() {
    let mut all = Recognition::default();
    all.follow(&rotation(&[(1, Stage::Current), (2, Stage::Pending)]), AT);
    all.mark(VersionId(1), marks(&key("1"), 1));
    assert_eq!(all.versions[&VersionId(1)].key_id, Some(KeyId("AKIA1".into())));
    let gone_at = AT + DAY;
    all.follow(&rotation(&[(1, Stage::Revoked), (2, Stage::Current)]), gone_at);
    all.forget(DAY.times(400), gone_at);
    let revoked = &all.versions[&VersionId(1)];
    assert_eq!(revoked.revoked_at, Some(gone_at));
    let marks = revoked.marks.as_ref().unwrap();
    assert!(marks.sealed.is_empty(), "nothing is compared with it one by one any more");
    assert_eq!(marks.count(), 6);
    // The rotation forgets it long before.
    all.follow(&rotation(&[(2, Stage::Current)]), gone_at + DAY);
    all.forget(DAY.times(400), gone_at + DAY.times(399));
    assert_eq!(known(&all), [1, 2]);
    assert_eq!(all.versions[&VersionId(1)].revoked_at, Some(gone_at));
    all.forget(DAY.times(400), gone_at + DAY.times(400));
    assert_eq!(known(&all), [2]);
    all.follow(&rotation(&[(1, Stage::Revoked), (2, Stage::Current)]), gone_at);
    assert_eq!(known(&all), [2], "a tombstone alone is not taken up again");
}

#[test]
fn of_too_many_the_oldest_revoked_ones_go() {
    let mut all = Recognition::default();
    let last = REMEMBERED_MAX as u64 + 10;
    for number in 1..=last {
        all.follow(&rotation(&[(number, Stage::Current)]), AT);
        all.mark(VersionId(number), marks(&key("1"), number));
    }
    all.forget(DAY.times(400), AT);
    assert_eq!(known(&all), (11..=last).collect::<Vec<_>>());
    // So many marks a version that fewer versions fit.
    let many: Vec<Fingerprint> = vec![Fingerprint([1; 16]); 16];
    for remembered in all.versions.values_mut() {
        let marks = remembered.marks.as_mut().unwrap();
        marks.forms.values_mut().for_each(|form| form.clone_from(&many));
    }
    all.forget(DAY.times(400), AT);
    assert_eq!(all.versions.len(), MARKS_MAX / 48);
    assert_eq!(*all.versions.keys().next_back().unwrap(), VersionId(last));
}

#[test]
fn what_lacks_marks_is_found_whatever_it_lacks() {
    let (one, two) = (key("1"), key("2"));
    let rotation = rotation(&[(1, Stage::Revoked), (2, Stage::Previous), (3, Stage::Current)]);
    let mut all = Recognition::default();
    all.follow(&rotation, AT);
    let lacking = |all: &Recognition, key: &FingerprintKey, slow: &[Form]| -> Vec<u64> {
        all.unmarked(&rotation, key, slow).map(|version| version.0).collect()
    };
    assert_eq!(lacking(&all, &one, &[]), [2, 3], "a revoked one cannot be marked any more");
    all.mark(VersionId(2), marks(&one, 2));
    assert_eq!(lacking(&all, &one, &[]), [3]);
    assert_eq!(lacking(&all, &two, &[]), [2, 3]);
    assert_eq!(lacking(&all, &one, &[Form::Hmsl]), [2, 3]);
    let slow = Marks { forms: [(Form::Hmsl, Vec::new())].into(), ..marks(&one, 2) };
    all.mark(VersionId(2), slow);
    assert_eq!(lacking(&all, &one, &[Form::Hmsl]), [3], "the quick ones stay");
    all.mark(VersionId(2), marks(&two, 2));
    let forms = &all.versions[&VersionId(2)].marks.as_ref().unwrap().forms;
    assert!(!forms.contains_key(&Form::Hmsl), "marks of two keys are never mixed");
}

#[test]
fn documents_are_remembered_by_the_run_of_their_versions() {
    let target = TargetName::new("document").unwrap();
    let mut all = Recognition::default();
    all.follow(&rotation(&[(1, Stage::Previous), (2, Stage::Current)]), AT);
    all.note_stored(&target, 3, &[VersionId(1)]);
    all.note_stored(&target, 4, &[VersionId(2), VersionId(1)]);
    all.note_stored(&target, 6, &[VersionId(2), VersionId(9)]);
    let run = |all: &Recognition, version| all.versions[&VersionId(version)].stored[&target];
    assert_eq!((run(&all, 1), run(&all, 2)), (KvVersions(3, 4), KvVersions(4, 6)));
    assert_eq!(known(&all), [1, 2]);
    all.note_stored(&target, 1, &[VersionId(2)]);
    assert_eq!(run(&all, 2), KvVersions(1, 1), "the document was made anew");
    for number in 0..PLACES_MAX {
        let target = TargetName::new(format!("t{number}")).unwrap();
        all.note_stored(&target, 1, &[VersionId(2)]);
    }
    all.forget(DAY, AT);
    assert_eq!((known(&all), all.places()), (vec![1, 2], 0), "of many places the versions stay");
}
