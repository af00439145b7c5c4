//! Every kind of clue, looked up among secrets that resemble each other.

use super::*;
use crate::model::capability::Capabilities;
use crate::model::clue::QUICK_FORMS;
use crate::model::id::{Epoch, RotationId, WriteId};
use crate::model::material::SecretBytes;
use crate::model::policy::{Kind, Lane, Policy};
use crate::model::time::Timestamp;
use crate::model::version::Version;
use crate::rotation::open::Opening;
use crate::rotation::{Rotation, Terms, Trigger};
use crate::store::recognition::Remembered;
use crate::store::record::SCHEMA;

const AT: Timestamp = Timestamp(1_795_000_000_000);
const ALL_FORMS: [Form; 4] = [Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl];

pub(in crate::engine) fn key(id: &str) -> FingerprintKey {
    FingerprintKey::new(id, &SecretBytes::new(format!("key {id}").into_bytes()))
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

pub(in crate::engine) fn recogniser(settings: Settings) -> Recogniser {
    let recogniser = Recogniser::default();
    recogniser.begin(Arc::new(key("2")), settings);
    recogniser
}

/// A record whose versions, counted from 1, have these values.
pub(in crate::engine) fn record(
    secret_name: &str,
    made_with: &FingerprintKey,
    values: &[&str],
) -> Record {
    let terms = Terms {
        kind: Kind::ApiKey,
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
    let mut recognition = Recognition::default();
    for (id, value) in (1..).map(VersionId).zip(values) {
        let material = Material::single(secret(value));
        let mut version = Version::pending(None, made_with.of(&material), AT);
        version.stage = Stage::Previous;
        rotation.versions.insert(id, version);
        let marks = Some(made_with.marks(&material, &ALL_FORMS));
        recognition.versions.insert(id, Remembered { marks, ..Remembered::default() });
    }
    rotation.next_version = VersionId(values.len() as u64 + 1);
    Record {
        schema: SCHEMA,
        incarnation: "i".into(),
        epoch: Epoch(1),
        write_id: WriteId(String::new()),
        fingerprint_key: made_with.id.clone(),
        name: name(secret_name),
        last_scheduled: AT,
        rotation,
        history: Vec::new(),
        recognition: Arc::new(recognition),
    }
}

fn of(form: Form, value: &str) -> Clue {
    Clue::Digest(ValueDigest::of(form, &secret(value)))
}

fn hits(recogniser: &Recogniser, clue: &Clue) -> Vec<String> {
    let hits = recogniser.find(clue).into_iter();
    hits.map(|hit| format!("{} {}", hit.secret, hit.version)).collect()
}

fn remembered(record: &mut Record, version: u64) -> &mut Remembered {
    let recognition = Arc::make_mut(&mut record.recognition);
    recognition.versions.get_mut(&VersionId(version)).unwrap()
}

#[test]
fn a_value_is_found_in_every_form_and_however_it_was_written() {
    let recogniser = recogniser(Settings::default());
    let values = ["rk_live_0123456789", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    recogniser.update(&record("a", &key("2"), &values), Documents::new());
    recogniser.update(&record("b", &key("2"), &["rk_live_9876543210"]), Documents::new());
    for form in ALL_FORMS {
        assert_eq!(hits(&recogniser, &of(form, "rk_live_0123456789")), ["a v1"], "{form}");
        assert_eq!(hits(&recogniser, &of(form, "rk_live_9876543210")), ["b v1"], "{form}");
        assert!(hits(&recogniser, &of(form, "rk_live_0123456780")).is_empty(), "{form}");
    }
    let found = |value: &str| -> Vec<String> {
        let clues = Clue::of_value(&secret(value));
        clues.iter().flat_map(|clue| hits(&recogniser, clue)).collect()
    };
    for written in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"]
    {
        assert_eq!(found(written), ["a v2"], "{written}");
    }
    // The digest of one form under the name of another is another clue.
    let sha256 = ValueDigest::of(Form::Sha256, &secret("rk_live_0123456789"));
    let hmsl = ValueDigest::parse(Form::Hmsl, &hex::encode(sha256.expose())).unwrap();
    assert!(hits(&recogniser, &Clue::Digest(hmsl)).is_empty());
}

#[test]
fn values_of_other_versions_are_known_of_as_long_as_there_are_any() {
    let recogniser = recogniser(Settings::default());
    let versions = |of: &[(&str, u64)]| -> BTreeSet<(SecretName, VersionId)> {
        of.iter().map(|(secret, version)| (name(secret), VersionId(*version))).collect()
    };
    assert!(!recogniser.has_others_than(&versions(&[])));
    let mut record = record("a", &key("2"), &["rk_live_0123456789", "rk_live_9876543210"]);
    recogniser.update(&record, Documents::new());
    assert!(!recogniser.has_others_than(&versions(&[("a", 1), ("a", 2), ("b", 1)])));
    assert!(recogniser.has_others_than(&versions(&[("a", 2), ("b", 1)])));
    // What is remembered only by the issuer's id has no value that a text could have.
    remembered(&mut record, 1).marks = None;
    recogniser.update(&record, Documents::new());
    assert!(!recogniser.has_others_than(&versions(&[("a", 2)])));
}

#[test]
fn what_two_secrets_share_is_both_of_theirs_until_one_goes() {
    let recogniser = recogniser(Settings::default());
    let shared = "rk_live_0123456789";
    recogniser.update(&record("b", &key("2"), &[shared]), Documents::new());
    recogniser.update(&record("a", &key("2"), &["another value", shared]), Documents::new());
    assert_eq!(hits(&recogniser, &of(Form::Sha1, shared)), ["a v2", "b v1"]);
    recogniser.update(&record("b", &key("2"), &["a value of its own"]), Documents::new());
    assert_eq!(hits(&recogniser, &of(Form::Sha1, shared)), ["a v2"]);
    recogniser.remove(&name("a"));
    assert!(hits(&recogniser, &of(Form::Sha1, shared)).is_empty());
    assert_eq!(hits(&recogniser, &of(Form::Sha1, "a value of its own")), ["b v1"]);
}

#[test]
fn an_older_key_recognises_what_it_had_marked_once_it_is_known() {
    let recogniser = recogniser(Settings::default());
    let value = "rk_live_0123456789";
    let old = record("a", &key("1"), &[value]);
    assert_eq!(recogniser.unknown_keys(&old), BTreeSet::from(["1".to_owned()]));
    recogniser.update(&old, Documents::new());
    assert!(hits(&recogniser, &of(Form::Sha256, value)).is_empty());
    recogniser.learn("1".to_owned(), Some(key("1")));
    assert_eq!(hits(&recogniser, &of(Form::Sha256, value)), ["a v1"]);
    assert!(recogniser.unknown_keys(&old).is_empty());
    assert!(recogniser.is_repeated(&old, &Material::single(secret(value))));
    assert!(!recogniser.is_repeated(&old, &Material::single(secret("rk_live_9876543210"))));
    // Marked anew, the fingerprint in the rotation is still of the former key: the marks tell.
    let mut anew = record("b", &key("2"), &[value]);
    anew.rotation.versions.get_mut(&VersionId(1)).unwrap().fingerprint = Fingerprint([0; 16]);
    assert!(recogniser.is_repeated(&anew, &Material::single(secret(value))));
}

#[test]
fn a_digest_of_more_than_the_value_is_held_against_live_versions() {
    let recogniser = recogniser(Settings::default());
    let values = ["rk_live_0123456789", "rk_live_9876543210"];
    let mut record = record("a", &key("2"), &values);
    recogniser.update(&record, Documents::new());
    let placed = |value: &str| {
        let inner = ValueDigest::of(Form::Sha256, &secret(value));
        let prefix = "Stripe:file:///src/a.py:12:".to_owned();
        let outer = format!("{prefix}{}", hex::encode(inner.expose()));
        let digest = ValueDigest::of(Form::Sha256, &secret(&outer)).expose().try_into().unwrap();
        Clue::Placed { prefix, digest }
    };
    assert_eq!(hits(&recogniser, &placed("rk_live_0123456789")), ["a v1"]);
    assert_eq!(hits(&recogniser, &placed("rk_live_9876543210")), ["a v2"]);
    assert!(hits(&recogniser, &placed("rk_live_0000000000")).is_empty());
    record.rotation.versions.get_mut(&VersionId(1)).unwrap().stage = Stage::Revoked;
    remembered(&mut record, 1).marks.as_mut().unwrap().sealed.clear();
    recogniser.update(&record, Documents::new());
    assert!(hits(&recogniser, &placed("rk_live_0123456789")).is_empty());
    assert_eq!(hits(&recogniser, &of(Form::Sha256, "rk_live_0123456789")), ["a v1"]);
}

#[test]
fn an_issuers_key_id_leads_to_its_version_even_after_the_rotation_forgot_it() {
    let recogniser = recogniser(Settings::default());
    let key_id = |text: &str| KeyId(text.to_owned());
    let mut record = record("a", &key("2"), &["rk_live_0123456789", "rk_live_9876543210"]);
    record.rotation.versions.get_mut(&VersionId(2)).unwrap().key_id = Some(key_id("AKIA2"));
    record.rotation.versions.remove(&VersionId(1));
    remembered(&mut record, 1).key_id = Some(key_id("AKIA1"));
    recogniser.update(&record, Documents::new());
    assert_eq!(hits(&recogniser, &Clue::KeyId(key_id("AKIA1"))), ["a v1"]);
    assert_eq!(hits(&recogniser, &Clue::KeyId(key_id("AKIA2"))), ["a v2"]);
    assert!(hits(&recogniser, &Clue::KeyId(key_id("AKIA3"))).is_empty());
    // What is known of the rotation alone is taken in as well: the marks are the same ones.
    record.rotation.versions.get_mut(&VersionId(2)).unwrap().key_id = Some(key_id("AKIA3"));
    recogniser.update(&record, Documents::new());
    assert_eq!(hits(&recogniser, &Clue::KeyId(key_id("AKIA3"))), ["a v2"]);
    assert!(hits(&recogniser, &Clue::KeyId(key_id("AKIA2"))).is_empty());
}

#[test]
fn a_place_in_vault_leads_to_what_lay_there() {
    let target = TargetName::new("document").unwrap();
    let documents = Documents::from([(target.clone(), "apps/billing/hook".to_owned())]);
    let mut record = record("a", &key("2"), &["rk_live_0123456789", "rk_live_9876543210"]);
    let recognition = Arc::make_mut(&mut record.recognition);
    recognition.note_stored(&target, 3, &[VersionId(1)]);
    recognition.note_stored(&target, 5, &[VersionId(1), VersionId(2)]);
    recognition.note_stored(&target, 9, &[VersionId(2)]);
    for namespace in [None, Some("team/eu".to_owned())] {
        let before = namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
        let recogniser = recogniser(Settings { namespace, ..Settings::default() });
        recogniser.update(&record, documents.clone());
        let at = |path: &str, version| {
            let path = format!("{before}{path}");
            hits(&recogniser, &Clue::VaultPlace { path, version })
        };
        let document = |version| at("apps/billing/hook", version);
        assert!(document(Some(2)).is_empty(), "it held nothing of ours then");
        assert_eq!(document(Some(3)), ["a v1"]);
        assert_eq!(document(Some(4)), ["a v1"], "somebody else's write changed nothing of ours");
        assert_eq!(document(Some(5)), ["a v1", "a v2"]);
        assert_eq!(document(Some(9)), ["a v2"]);
        assert_eq!(document(Some(12)), ["a v2"]);
        assert_eq!(document(None), ["a v2"]);
        assert!(at("apps/billing/other", None).is_empty());
        assert_eq!(at("rotord/material/a/2", Some(1)), ["a v2"]);
        assert!(at("rotord/material/a/3", None).is_empty());
        assert!(at("rotord/material/b/1", None).is_empty());
        assert!(at("rotord/state/a", None).is_empty());
        if !before.is_empty() {
            let path = "apps/billing/hook".to_owned();
            let elsewhere = Clue::VaultPlace { path, version: None };
            assert!(hits(&recogniser, &elsewhere).is_empty(), "another namespace");
        }
    }
}

#[test]
fn marks_are_spread_as_they_are() {
    let mut hashes = BTreeSet::new();
    for number in 0..1_000_u32 {
        let material = Material::single(secret(&format!("value number {number}")));
        for mark in key("2").marks(&material, &QUICK_FORMS).forms.values().flatten() {
            let mut hasher = AsItIs::default();
            std::hash::Hash::hash(&super::number(*mark), &mut hasher);
            hashes.insert(hasher.finish());
        }
    }
    assert_eq!(hashes.len(), 3_000);
}
