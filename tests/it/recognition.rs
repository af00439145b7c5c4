//! Values recognised by the running engine, and what it makes of one that leaked.

use std::sync::Arc;

use rotord::engine::command::{Command, RefusalKind};
use rotord::engine::recognition::Settings;
use rotord::model::clue::{Clue, Form, QUICK_FORMS, ValueDigest};
use rotord::model::id::VersionId;
use rotord::model::material::SecretBytes;
use rotord::model::policy::Lane;
use rotord::model::reason::Reason;
use rotord::model::time::Span;
use rotord::model::version::Stage;
use rotord::rotation::Trigger;
use rotord::store::memory::MemoryStore;
use rotord::store::{Store, Stored};

use crate::support::house::{House, hook};

async fn house() -> House {
    House::start(Arc::new(MemoryStore::new()), "1", Settings::default()).await
}

fn rotate(emergency: bool) -> Command {
    Command::Rotate { name: hook(), emergency, reason: "a test".to_owned() }
}

fn expose(version: u64) -> Command {
    let version = VersionId(version);
    let (by, reason) = ("incident-7f3a".to_owned(), "seen in a gist".to_owned());
    Command::Expose { name: hook(), version, incarnation: None, by, reason }
}

fn stage(stored: &Stored, version: u64) -> Option<Stage> {
    stored.record.rotation.versions.get(&VersionId(version)).map(|version| version.stage)
}

fn exposed_by(stored: &Stored, version: u64) -> Option<&str> {
    stored.record.rotation.taint_of(VersionId(version)).map(|taint| taint.by.as_str())
}

/// The versions that the digest of a value leads to.
fn found(house: &House, form: Form, value: &SecretBytes) -> Vec<u64> {
    let hits = house.recogniser.find(&Clue::Digest(ValueDigest::of(form, value)));
    hits.into_iter()
        .map(|hit| {
            assert_eq!(hit.secret, hook());
            hit.version.0
        })
        .collect()
}

/// Waits for the loop to take in what was written last.
async fn until_found(house: &House, form: Form, value: &SecretBytes, version: u64) {
    let mut snapshots = house.snapshots.clone();
    while found(house, form, value) != [version] {
        snapshots.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_is_recognised_from_its_first_write_until_long_after_its_end() {
    let house = house().await;
    house.until("staged", |stored| stage(stored, 1).is_some()).await;
    let first = house.value(1).await;
    for form in QUICK_FORMS {
        until_found(&house, form, &first, 1).await;
    }
    assert!(found(&house, Form::Hmsl, &first).is_empty(), "nobody asked for it");
    house.until_at_rest(1).await;
    house.ask(rotate(false)).await.unwrap();
    let stored = house.until_at_rest(2).await;
    assert_eq!(stage(&stored, 1), Some(Stage::Revoked));
    until_found(&house, Form::Sha256, &house.value(2).await, 2).await;
    assert_eq!(found(&house, Form::Sha256, &first), [1]);
    let json = serde_json::to_string(&stored.record).unwrap();
    for value in [&first, &house.value(2).await] {
        assert!(!json.contains(value.expose_str().unwrap()));
        for form in [Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl] {
            let digest = hex::encode(ValueDigest::of(form, value).expose());
            assert!(!json.contains(&digest) && !json.contains(&digest[..32]), "{form}");
        }
    }
    // Nobody works any more; another process takes over what lies in the store.
    let house = House::start(house.end().await, "1", Settings::default()).await;
    until_found(&house, Form::Sha1, &first, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_exposed_current_version_opens_an_emergency_once() {
    let house = house().await;
    house.until_at_rest(1).await;
    let done = house.ask(expose(1)).await.unwrap();
    // Durable before it is answered.
    let stored = house.stored().await;
    assert_eq!(exposed_by(&stored, 1), Some("incident-7f3a"));
    let rotation = &stored.record.rotation;
    assert_eq!(done.rotation.as_ref(), Some(&rotation.id));
    assert_eq!(rotation.lane, Lane::Emergency);
    let Trigger::Emergency { by, reason } = &rotation.trigger else { panic!("{rotation:#?}") };
    assert_eq!((by.as_str(), reason.as_str()), ("incident-7f3a", "seen in a gist"));
    let next = rotation.next_version;
    for _ in 0..3 {
        let again = house.ask(expose(1)).await.unwrap();
        assert_eq!(again.rotation, done.rotation);
    }
    let stored = house.until_at_rest(2).await;
    assert_eq!(
        (stage(&stored, 1), stored.record.rotation.next_version),
        (Some(Stage::Revoked), next)
    );
    let refusal = house.ask(expose(1)).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.reason), (RefusalKind::Conflict, Reason::AlreadyRevoked));
    let refusal = house.ask(expose(9)).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotFound);
    assert_eq!(house.stored().await, stored, "a refusal writes nothing");
}

#[tokio::test(start_paused = true)]
async fn exposing_what_is_exposed_writes_nothing() {
    let house = house().await;
    house.until_at_rest(1).await;
    house.ask(rotate(false)).await.unwrap();
    let overlap = |stored: &Stored| stored.record.rotation.phase.name() == "overlap";
    house.until("in its overlap", overlap).await;
    let hold = rotord::model::policy::Hold {
        by: "ada".to_owned(),
        reason: "a test".to_owned(),
        at: house.snapshots.borrow().at,
        until: house.snapshots.borrow().at + Span::from_secs(7200),
        routine_only: false,
    };
    house.ask(Command::Hold { name: hook(), hold }).await.unwrap();
    house.ask(expose(1)).await.unwrap();
    let before = house.stored().await;
    assert_eq!(stage(&before, 1), Some(Stage::Previous), "held");
    house.ask(expose(1)).await.unwrap();
    assert_eq!(house.stored().await.revision, before.revision);
}

#[tokio::test(start_paused = true)]
async fn an_emergency_by_hand_is_an_exposure_of_the_current_version() {
    let house = house().await;
    house.until_at_rest(1).await;
    let done = house.ask(rotate(true)).await.unwrap();
    let stored = house.stored().await;
    assert_eq!(exposed_by(&stored, 1), Some("ada"));
    let again = house.ask(expose(1)).await.unwrap();
    assert_eq!(again.rotation, done.rotation);
    house.until_at_rest(2).await;
}

#[tokio::test(start_paused = true)]
async fn an_exposed_previous_version_goes_now_and_nothing_is_rotated() {
    let house = house().await;
    house.until_at_rest(1).await;
    house.ask(rotate(false)).await.unwrap();
    let overlap = |stored: &Stored| stored.record.rotation.phase.name() == "overlap";
    let began = house.until("in its overlap", overlap).await;
    let asked_at = house.snapshots.borrow().at;
    house.ask(expose(1)).await.unwrap();
    let stored = house.until_at_rest(2).await;
    assert_eq!(stage(&stored, 1), Some(Stage::Revoked));
    assert_eq!(stored.record.rotation.id, began.record.rotation.id);
    let took = house.snapshots.borrow().at.since(asked_at);
    assert!(took < Span::from_secs(300), "the overlap of an hour was not waited for: {took}");
}

#[tokio::test(start_paused = true)]
async fn an_exposed_pending_version_is_dropped_and_another_one_made() {
    let house = house().await;
    house.until_at_rest(1).await;
    house.ask(rotate(false)).await.unwrap();
    let admitted = |stored: &Stored| {
        stored.record.rotation.phase.name() == "admit" && stage(stored, 2).is_some()
    };
    house.until("admitting v2", admitted).await;
    let leaked = house.value(2).await;
    house.ask(expose(2)).await.unwrap();
    let stored = house.until_at_rest(3).await;
    assert_eq!(stage(&stored, 2), Some(Stage::Revoked));
    assert!(stored.record.rotation.versions[&VersionId(2)].promoted_at.is_none());
    assert_eq!(found(&house, Form::Sha256, &leaked), [2], "a revoked one is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_older_program_is_filled_in() {
    let house = house().await;
    house.until_at_rest(1).await;
    let value = house.value(1).await;
    let store = house.end().await;
    let Stored { mut record, revision } = store.load(&hook()).await.unwrap().unwrap();
    record.recognition = Arc::default();
    store.save(&record, revision).await.unwrap();
    let house = House::start(store, "1", Settings::default()).await;
    until_found(&house, Form::Ggshield, &value, 1).await;
    let filled_in = house.stored().await.record;
    assert!(filled_in.recognition.versions[&VersionId(1)].marks.is_some());
    assert_eq!(filled_in.rotation, record.rotation, "nothing else has changed");
}

#[tokio::test(start_paused = true)]
async fn another_fingerprint_key_takes_over_and_the_former_still_counts() {
    let house = house().await;
    house.until_at_rest(1).await;
    let first = house.value(1).await;
    house.ask(rotate(false)).await.unwrap();
    house.until_at_rest(2).await;
    let second = house.value(2).await;
    let house = House::start(house.end().await, "2", Settings::default()).await;
    let remarked = |stored: &Stored| stored.record.fingerprint_key == "2";
    let stored = house.until("marked anew", remarked).await;
    let key = |version| {
        let known = &stored.record.recognition.versions[&VersionId(version)];
        known.marks.as_ref().unwrap().key.as_str()
    };
    assert_eq!((key(1), key(2)), ("1", "2"));
    until_found(&house, Form::Sha256, &first, 1).await;
    until_found(&house, Form::Sha256, &second, 2).await;
}

fn slow(stored: &Stored, version: u64) -> bool {
    let known = stored.record.recognition.versions.get(&VersionId(version));
    let marks = known.and_then(|known| known.marks.as_ref());
    marks.is_some_and(|marks| marks.forms.contains_key(&Form::Hmsl))
}

#[tokio::test(start_paused = true)]
async fn slow_digests_of_a_new_version_are_made_while_an_emergency_waits() {
    let settings = Settings { slow_forms: vec![Form::Hmsl], ..Settings::default() };
    let house = House::start(Arc::new(MemoryStore::new()), "1", settings).await;
    house.until_at_rest(1).await;
    house.ask(rotate(true)).await.unwrap();
    let marked = house.until("marked", |stored| slow(stored, 1) && slow(stored, 2)).await;
    let rotation = &marked.record.rotation;
    assert!(!rotation.is_closed() && rotation.phase.has_promoted(), "{:?}", rotation.phase);
    assert_eq!(rotation.lane, Lane::Emergency);
    assert_eq!(stage(&marked, 1), Some(Stage::Previous));
    until_found(&house, Form::Hmsl, &house.value(2).await, 2).await;
    house.until_at_rest(2).await;
}

#[tokio::test(start_paused = true)]
async fn slow_digests_are_made_once_the_secret_rests() {
    let settings = Settings { slow_forms: vec![Form::Hmsl], ..Settings::default() };
    let house = House::start(Arc::new(MemoryStore::new()), "1", settings.clone()).await;
    let closed = house.until_at_rest(1).await;
    assert!(!slow(&closed, 1), "the rotation did not wait for it");
    let marked = house.until("marked", |stored| slow(stored, 1)).await;
    assert_eq!(marked.revision.0, closed.revision.0 + 1, "a write of its own");
    let value = house.value(1).await;
    until_found(&house, Form::Hmsl, &value, 1).await;
    // Nothing is left to do, and so nothing is done: after a restart neither.
    let house = House::start(house.end().await, "1", settings).await;
    until_found(&house, Form::Hmsl, &value, 1).await;
    house.ask(rotate(false)).await.unwrap();
    house.until_at_rest(2).await;
    house.until("marked again", |stored| slow(stored, 2)).await;
}
