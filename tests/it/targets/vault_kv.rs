//! Documents in the user's KV v2 mount.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use rotord::driver::target::vault_kv::acks::Acks;
use rotord::driver::target::vault_kv::{Fields, Settings, VaultKv};
use rotord::driver::target::{Given, Target};
use rotord::model::failure::Class;
use rotord::model::id::VersionId;
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::target::{Level, Observation, Wanted};
use rotord::model::time::Timestamp;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath, Metadata, Read};
use serde_json::{Value, json};

use crate::support::bao::Bao;
use crate::support::book::{Book, holds, value, wish};
use crate::support::mem_kv::MemKv;
use crate::support::target_contract::{Bench, conforms};

fn at(path: &str) -> KvPath {
    KvPath { mount: "kv".to_owned(), path: path.to_owned() }
}

fn settings() -> Settings {
    Settings { at: at("app"), fields: Fields::default(), acks: None }
}

fn book() -> Book {
    Book::new("s", "t", Timestamp::from_seconds(1_800_000_000))
}

struct OnBench {
    kv: Arc<MemKv>,
    target: VaultKv,
}

impl OnBench {
    fn new(settings: Settings) -> OnBench {
        let kv = Arc::new(MemKv::default());
        let target = VaultKv::new(Arc::clone(&kv) as Arc<dyn Kv>, settings).unwrap();
        OnBench { kv, target }
    }

    /// The same document with a driver that has just started.
    fn restarted(&self) -> VaultKv {
        VaultKv::new(Arc::clone(&self.kv) as Arc<dyn Kv>, settings()).unwrap()
    }

    fn document(&self) -> Value {
        self.kv.peek(&at("app")).unwrap()
    }
}

#[async_trait]
impl Bench for OnBench {
    fn target(&self) -> &dyn Target {
        &self.target
    }

    async fn accepts(&self, value: &str) -> bool {
        let Some(document) = self.kv.peek(&at("app")) else { return false };
        document["accepted"].as_array().is_some_and(|all| all.contains(&json!(value)))
    }

    async fn uses(&self, value: &str) -> bool {
        self.kv.peek(&at("app")).is_some_and(|document| document["current"] == value)
    }

    async fn lose(&self) {
        self.kv.put(&at("app"), json!({ "current": "somebody wrote this by hand" }));
    }

    async fn keeps_trace(&self, value: &str) -> bool {
        !self.kv.mentions(value).is_empty()
    }
}

#[tokio::test]
async fn a_document_conforms() {
    conforms(book().now, || async { OnBench::new(settings()) }).await;
}

/// The same on a real Vault, where only the verbs of [`Kv`] can be used to look and to interfere.
struct OnVault {
    kv: Arc<dyn Kv>,
    at: KvPath,
    target: VaultKv,
}

impl OnVault {
    async fn document(&self) -> Option<(u64, Value)> {
        let read = self.kv.read(&self.at).await.unwrap()?;
        Some((read.version, read.document.decode().unwrap()))
    }
}

#[async_trait]
impl Bench for OnVault {
    fn target(&self) -> &dyn Target {
        &self.target
    }

    async fn accepts(&self, value: &str) -> bool {
        let Some((_, document)) = self.document().await else { return false };
        document["accepted"].as_array().is_some_and(|all| all.contains(&json!(value)))
    }

    async fn uses(&self, value: &str) -> bool {
        self.document().await.is_some_and(|(_, document)| document["current"] == value)
    }

    async fn lose(&self) {
        let (newest, _) = self.document().await.unwrap();
        let other = Document::encode(&json!({ "current": "somebody wrote this by hand" }));
        self.kv.write(&self.at, &other.unwrap(), newest).await.unwrap();
    }

    async fn keeps_trace(&self, value: &str) -> bool {
        let metadata = self.kv.metadata(&self.at).await.unwrap().unwrap();
        for version in metadata.versions.keys() {
            if let Some(read) = self.kv.read_version(&self.at, *version).await.unwrap() {
                let document: Value = read.document.decode().unwrap();
                if document.to_string().contains(value) {
                    return true;
                }
            }
        }
        false
    }
}

#[tokio::test]
async fn a_document_in_the_real_vault_conforms() {
    let bao = Bao::shared().await;
    let kv: Arc<dyn Kv> = Arc::new(bao.vault());
    let mount = bao.fresh_mount().await;
    let benches = AtomicU32::new(0);
    conforms(book().now, || {
        let path = format!("team/app-{}", benches.fetch_add(1, Ordering::Relaxed));
        let at = KvPath { mount: mount.clone(), path };
        let settings = Settings { at: at.clone(), ..settings() };
        let target = VaultKv::new(Arc::clone(&kv), settings).unwrap();
        let kv = Arc::clone(&kv);
        async move { OnVault { kv, at, target } }
    })
    .await;
}

#[tokio::test]
async fn a_new_document_has_everything_a_dependent_needs() {
    let bench = OnBench::new(settings());
    book().push(&bench.target, &wish(12, &[4, 3], 4)).await.unwrap();
    assert_eq!(
        bench.document(),
        json!({
            "current": value(4), "previous": value(3), "accepted": [value(4), value(3)],
            "current_version": 4, "accepted_versions": [4, 3],
            "rotated_at": "2027-01-15T08:00:00.000Z",
            "generation": 12, "rotation": "20261122T031200Z-sched",
            "rotord": { "secret": "s", "since": 1 },
        })
    );
}

#[tokio::test]
async fn an_admitted_version_is_accepted_and_not_yet_current() {
    let bench = OnBench::new(settings());
    book().push(&bench.target, &wish(1, &[2, 1], 1)).await.unwrap();
    let document = bench.document();
    assert_eq!(document["current"], value(1));
    assert_eq!(document["accepted"], json!([value(2), value(1)]));
    assert!(document["previous"].is_null(), "the incoming version is not a previous one");
}

#[tokio::test]
async fn other_fields_of_the_document_are_kept_and_the_time_of_the_switch_stays() {
    let bench = OnBench::new(settings());
    bench.kv.put(&at("app"), json!({ "db_host": "db.internal", "nested": { "a": [1] } }));
    let mut book = book();
    book.push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    let rotated_at = bench.document()["rotated_at"].clone();
    book.now = Timestamp::from_seconds(1_900_000_000);
    book.push(&bench.target, &wish(2, &[2, 1], 1)).await.unwrap();
    let document = bench.document();
    assert_eq!(document["db_host"], "db.internal");
    assert_eq!(document["nested"], json!({ "a": [1] }));
    assert_eq!(document["rotated_at"], rotated_at, "current did not change");
    book.push(&bench.target, &wish(3, &[2, 1], 2)).await.unwrap();
    assert_ne!(bench.document()["rotated_at"], rotated_at);
}

#[tokio::test]
async fn a_version_of_several_fields_is_an_object_of_them() {
    let bench = OnBench::new(settings());
    let text = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
    let fields = [("access_key_id", "AKIAEXAMPLE"), ("secret_access_key", "a-long-secret-value")];
    let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
    let material = Material::from_fields(fields.into());
    let given = Given { material: &material, key_id: None, staged_at: Timestamp(0) };
    let given = [(VersionId(1), given)].into();
    let (book, wanted) = (book(), wish(1, &[1], 1));
    let order = book.order(&wanted, &given);
    bench.target.push(&order).await.unwrap();
    let current = &bench.document()["current"];
    let expected = json!({
        "access_key_id": "AKIAEXAMPLE", "secret_access_key": "a-long-secret-value",
    });
    assert_eq!(*current, expected);
    assert!(holds(&bench.target.observe(&order).await.unwrap(), &wanted));
}

#[tokio::test]
async fn a_value_that_is_not_text_is_refused_before_anything_is_written() {
    let bench = OnBench::new(settings());
    let material = Material::single(SecretBytes::new(vec![0xff; 32]));
    let given = Given { material: &material, key_id: None, staged_at: Timestamp(0) };
    let given = [(VersionId(1), given)].into();
    let wanted = wish(1, &[1], 1);
    let error = bench.target.push(&book().order(&wanted, &given)).await.unwrap_err();
    assert_eq!(error.reason, Reason::Misconfigured);
    assert_eq!(bench.kv.newest(&at("app")), 0);
}

#[tokio::test]
async fn two_secrets_share_a_document_under_their_own_names() {
    let bench = OnBench::new(settings());
    let fields = Fields::prefixed("db_");
    let other = Settings { fields, ..settings() };
    let other = VaultKv::new(Arc::clone(&bench.kv) as Arc<dyn Kv>, other).unwrap();
    let (book, other_book) = (book(), Book::new("db", "t", Timestamp(0)));
    for generation in 1..4 {
        book.push(&bench.target, &wish(generation, &[1], 1)).await.unwrap();
        other_book.push(&other, &wish(generation, &[2], 2)).await.unwrap();
    }
    assert_eq!(bench.document()["current"], value(1));
    assert_eq!(bench.document()["db_current"], value(2));
    let seen = book.observe(&bench.target, &wish(3, &[1], 1)).await.unwrap();
    assert!(holds(&seen, &wish(3, &[1], 1)), "{seen:?}");
}

#[tokio::test]
async fn the_document_of_another_secret_is_not_touched() {
    let bench = OnBench::new(settings());
    book().push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    let other = Book::new("another", "t", Timestamp(0));
    for result in [
        other.push(&bench.restarted(), &wish(9, &[2], 2)).await,
        other.observe(&bench.restarted(), &wish(9, &[2], 2)).await,
    ] {
        assert_eq!(result.unwrap_err().reason, Reason::ForeignValue);
    }
    assert_eq!(bench.document()["current"], value(1));
}

#[tokio::test]
async fn a_rotation_costs_one_request_a_push_and_two_for_the_purge() {
    let bench = OnBench::new(settings());
    let book = book();
    book.push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    bench.kv.take_requests();
    for (generation, accepted, current) in [(2, &[2, 1][..], 1), (3, &[2, 1], 2), (4, &[2], 2)] {
        book.push(&bench.target, &wish(generation, accepted, current)).await.unwrap();
    }
    book.purge(&bench.target, &wish(4, &[2], 2), &[1]).await.unwrap();
    let asked: Vec<(&str, u64)> = bench.kv.take_requests().into_iter().collect();
    assert_eq!(asked, [("destroy", 1), ("metadata", 1), ("patch", 3)]);
}

#[tokio::test]
async fn a_repeated_push_writes_nothing() {
    let bench = OnBench::new(settings());
    let (book, wanted) = (book(), wish(3, &[2, 1], 2));
    book.push(&bench.target, &wanted).await.unwrap();
    let newest = bench.kv.newest(&at("app"));
    book.push(&bench.target, &wanted).await.unwrap();
    book.push(&bench.restarted(), &wanted).await.unwrap();
    assert_eq!(bench.kv.newest(&at("app")), newest);
}

// ---------------------------------------------------------------- values of others

#[tokio::test]
async fn a_value_that_rotord_did_not_make_is_found_and_never_overwritten() {
    for document in [
        json!({ "current": "a person's own key, long enough" }),
        json!({ "accepted": ["a person's own key, long enough"] }),
        json!({ "rotord": "mine" }),
        json!({ "generation": 4 }),
    ] {
        let bench = OnBench::new(settings());
        bench.kv.put(&at("app"), document.clone());
        assert!(bench.target.foreign().await.unwrap(), "{document}");
        let error = book().push(&bench.target, &wish(1, &[1], 1)).await.unwrap_err();
        assert_eq!((error.class, error.reason), (Class::Refused, Reason::ForeignValue));
        assert!(!error.to_string().contains("person's own"), "{error}");
        assert_eq!(bench.document(), document);
    }
}

#[tokio::test]
async fn an_unrelated_document_is_not_foreign() {
    let bench = OnBench::new(settings());
    bench.kv.put(&at("app"), json!({ "db_host": "db.internal" }));
    assert!(!bench.target.foreign().await.unwrap());
}

#[tokio::test]
async fn an_adopted_value_is_taken_over_and_its_history_goes_with_it() {
    let bench = OnBench::new(settings());
    let (book, path) = (book(), at("app"));
    bench.kv.put(&path, json!({ "current": "an older key of that person" }));
    bench.kv.put(&path, json!({ "current": value(1), "note": "first" }));
    bench.kv.put(&path, json!({ "current": value(1), "note": "second" }));
    book.push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    assert_eq!(bench.document()["rotord"]["since"], 2);
    book.push(&bench.target, &wish(2, &[2, 1], 2)).await.unwrap();
    let last = wish(3, &[2], 2);
    book.push(&bench.target, &last).await.unwrap();
    book.purge(&bench.restarted(), &last, &[1]).await.unwrap();
    assert_eq!(bench.kv.mentions(&value(1)), [], "the adopted value is still readable");
    assert_eq!(bench.kv.mentions("an older key").len(), 1, "a person's own history was destroyed");
    assert_eq!(bench.document()["note"], "second");
}

#[tokio::test]
async fn a_soft_deleted_version_may_hold_the_adopted_value_and_goes_too() {
    let bench = OnBench::new(settings());
    let (book, path) = (book(), at("app"));
    bench.kv.put(&path, json!({ "current": value(1) }));
    bench.kv.soft_delete(&path);
    bench.kv.put(&path, json!({ "note": "written anew" }));
    for wanted in [wish(1, &[1], 1), wish(2, &[2], 2)] {
        book.push(&bench.target, &wanted).await.unwrap();
    }
    book.purge(&bench.target, &wish(2, &[2], 2), &[1]).await.unwrap();
    assert_eq!(bench.kv.mentions(&value(1)), []);
}

#[tokio::test]
async fn a_deleted_document_is_gone_and_not_absent() {
    let bench = OnBench::new(settings());
    book().push(&bench.target, &wish(1, &[1], 1)).await.unwrap();
    bench.kv.soft_delete(&at("app"));
    let target = bench.restarted();
    let pushed = book().push(&target, &wish(2, &[2, 1], 1)).await.unwrap_err();
    let seen = book().observe(&target, &wish(2, &[2, 1], 1)).await.unwrap_err();
    assert_eq!((pushed.class, pushed.reason), (Class::Gone, Reason::Gone));
    assert_eq!(seen.reason, Reason::Gone);
}

// ---------------------------------------------------------------- what others change

#[tokio::test]
async fn every_way_of_changing_our_fields_is_seen_and_mended() {
    let wanted = wish(5, &[3, 2], 3);
    let changes: [(&str, Value); 7] = [
        ("current", json!("not ours")),
        ("current", json!(value(2))),
        ("previous", json!("not ours")),
        ("accepted", json!([value(3)])),
        ("accepted", json!([value(3), value(2), "a third, not ours"])),
        ("accepted", json!([value(2), value(3)])),
        ("accepted_versions", json!([3, 3])),
    ];
    for (field, content) in changes {
        let bench = OnBench::new(settings());
        book().push(&bench.target, &wanted).await.unwrap();
        let mut document = bench.document();
        document[field] = content.clone();
        bench.kv.put(&at("app"), document);
        let seen = book().observe(&bench.target, &wanted).await.unwrap();
        assert!(!holds(&seen, &wanted), "{field} = {content}: {seen:?}");
        let mended = book().push(&bench.target, &wanted).await.unwrap();
        assert!(holds(&mended, &wanted), "{field} = {content}: {mended:?}");
        let seen = book().observe(&bench.target, &wanted).await.unwrap();
        assert!(holds(&seen, &wanted), "{field} = {content}: {seen:?}");
        assert_eq!(bench.document()["current"], value(3));
    }
}

#[tokio::test]
async fn an_overwritten_document_does_not_go_back_behind_what_it_had() {
    let bench = OnBench::new(settings());
    book().push(&bench.target, &wish(5, &[3], 3)).await.unwrap();
    bench.lose().await;
    let stale = book().push(&bench.restarted(), &wish(4, &[2], 2)).await.unwrap_err();
    assert_eq!(stale.reason, Reason::GenerationAhead);
    assert_eq!(bench.kv.newest(&at("app")), 2, "a stale replica wrote");
}

#[tokio::test]
async fn a_purge_waits_until_the_revoked_version_has_left_the_newest_document() {
    let bench = OnBench::new(settings());
    let book = book();
    book.push(&bench.target, &wish(1, &[2, 1], 2)).await.unwrap();
    let early = book.purge(&bench.target, &wish(2, &[2], 2), &[1]).await.unwrap_err();
    assert_eq!((early.class, early.reason), (Class::Transient, Reason::NotYetApplied));
    bench.lose().await;
    let overwritten = book.purge(&bench.target, &wish(2, &[2], 2), &[1]).await.unwrap_err();
    assert_eq!(overwritten.reason, Reason::NotYetApplied);
    book.push(&bench.target, &wish(2, &[2], 2)).await.unwrap();
    book.purge(&bench.target, &wish(2, &[2], 2), &[1]).await.unwrap();
    assert_eq!(bench.kv.mentions(&value(1)), []);
}

#[tokio::test]
async fn a_purge_of_nothing_succeeds() {
    let bench = OnBench::new(settings());
    book().purge(&bench.target, &wish(1, &[2], 2), &[1]).await.unwrap();
}

/// A KV in which a person writes just before each of our first writes; or whose answers get lost.
struct Unlucky {
    inner: Arc<MemKv>,
    races: std::sync::Mutex<u32>,
    lose_answer: std::sync::Mutex<bool>,
}

impl Unlucky {
    fn interfere(&self, at: &KvPath) {
        let mut races = self.races.lock().unwrap();
        if *races > 0 {
            *races -= 1;
            let mut document = self.inner.peek(at).unwrap_or_else(|| json!({}));
            document["note"] = json!(format!("{} to go", *races));
            self.inner.put(at, document);
        }
    }

    fn settle(&self, at: &KvPath, result: Result<u64, VaultError>) -> Result<u64, VaultError> {
        match std::mem::take(&mut *self.lose_answer.lock().unwrap()) {
            true => Err(VaultError::Ambiguous { path: at.to_string(), what: "timeout".to_owned() }),
            false => result,
        }
    }
}

#[async_trait]
impl Kv for Unlucky {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        self.inner.read(at).await
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        self.inner.read_version(at, version).await
    }

    async fn write(&self, at: &KvPath, new: &Document, cas: u64) -> Result<u64, VaultError> {
        self.interfere(at);
        let result = self.inner.write(at, new, cas).await;
        self.settle(at, result)
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        self.interfere(at);
        let result = self.inner.patch(at, patch, cas).await;
        self.settle(at, result)
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        self.inner.list(at).await
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        self.inner.metadata(at).await
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        self.inner.destroy(at, versions).await
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        self.inner.delete_metadata(at).await
    }
}

fn unlucky(races: u32, lose_answer: bool) -> (Arc<MemKv>, VaultKv) {
    let inner = Arc::new(MemKv::default());
    let kv =
        Unlucky { inner: Arc::clone(&inner), races: races.into(), lose_answer: lose_answer.into() };
    (inner, VaultKv::new(Arc::new(kv), settings()).unwrap())
}

#[tokio::test]
async fn a_lost_race_is_run_again_and_keeps_what_the_other_wrote() {
    for races in 1..=3 {
        let (kv, target) = unlucky(races, false);
        let wanted = wish(1, &[1], 1);
        assert!(holds(&book().push(&target, &wanted).await.unwrap(), &wanted));
        assert_eq!(kv.peek(&at("app")).unwrap()["note"], "0 to go");
    }
    let (kv, target) = unlucky(4, false);
    let error = book().push(&target, &wish(1, &[1], 1)).await.unwrap_err();
    assert_eq!((error.class, error.reason), (Class::Transient, Reason::Conflict));
    assert!(kv.mentions(&value(1)).is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_the_next_push_settles_it_by_reading() {
    let (kv, target) = unlucky(0, true);
    let (book, wanted) = (book(), wish(1, &[1], 1));
    let lost = book.push(&target, &wanted).await.unwrap_err();
    assert_eq!(lost.class, Class::Ambiguous);
    assert!(holds(&book.push(&target, &wanted).await.unwrap(), &wanted));
    assert_eq!(kv.newest(&at("app")), 1, "it was written twice");
}

// ---------------------------------------------------------------- acknowledgements

async fn acknowledged(instances: &[&str], acks: Option<Value>) -> (Observation, Wanted) {
    let acks_at = at("app-acks");
    let settings = Settings {
        acks: Some(Acks {
            at: acks_at.clone(),
            instances: instances.iter().map(ToString::to_string).collect(),
        }),
        ..settings()
    };
    let bench = OnBench::new(settings);
    let wanted = wish(5, &[3, 2], 3);
    let pushed = book().push(&bench.target, &wanted).await.unwrap();
    assert_eq!(pushed.level, Level::Stored);
    if let Some(acks) = acks {
        bench.kv.put(&acks_at, acks);
    }
    (book().observe(&bench.target, &wanted).await.unwrap(), wanted)
}

fn ack(generation: u64, accepted: &[u64], current: u64) -> Value {
    json!({
        "generation": generation, "accepted": accepted, "current": current,
        "at": "2026-11-22T03:12:00Z",
    })
}

#[tokio::test]
async fn consumers_acknowledge_in_their_own_document() {
    let both = json!({ "instances": { "a": ack(5, &[3, 2], 3), "b": ack(5, &[2, 3], 3) } });
    let (seen, wanted) = acknowledged(&["a", "b"], Some(both.clone())).await;
    assert!(holds(&seen, &wanted), "{seen:?}");
    assert_eq!((seen.level, seen.by.as_str()), (Level::Acknowledged, "a, b"));
    let (seen, _) = acknowledged(&[], Some(both)).await;
    assert_eq!(seen.level, Level::Acknowledged);
    let (seen, _) = acknowledged(&[], Some(ack(5, &[3, 2], 3))).await;
    assert_eq!(seen.level, Level::Acknowledged, "one consumer writes its object alone");
}

#[tokio::test]
async fn without_every_acknowledgement_the_document_is_only_stored() {
    for acks in [
        None,
        Some(json!({ "instances": {} })),
        Some(json!({ "instances": { "a": ack(5, &[3, 2], 3) } })),
        Some(json!({ "instances": { "a": ack(5, &[3, 2], 3), "b": ack(4, &[3, 2], 3) } })),
    ] {
        let (seen, wanted) = acknowledged(&["a", "b"], acks.clone()).await;
        assert!(holds(&seen, &wanted), "{acks:?}: {seen:?}");
        assert_eq!(seen.level, Level::Stored, "{acks:?}");
    }
    let (seen, _) = acknowledged(&[], Some(json!({ "instances": {} }))).await;
    assert_eq!(seen.level, Level::Stored, "nobody has acknowledged");
}

#[tokio::test]
async fn a_consumer_that_took_in_something_else_is_believed() {
    let kept = json!({ "instances": { "a": ack(5, &[3, 2], 3), "b": ack(5, &[3, 2, 1], 3) } });
    let (seen, _) = acknowledged(&["a", "b"], Some(kept)).await;
    assert_eq!(seen.accepted.len(), 3, "{seen:?}");
    let stays = json!({ "instances": { "a": ack(5, &[3, 2], 3), "b": ack(5, &[3, 2], 2) } });
    let (seen, _) = acknowledged(&["a", "b"], Some(stays)).await;
    assert_eq!(seen.current.map(|version| version.0), Some(2), "{seen:?}");
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_is_an_error() {
    for (acks, reason) in [
        (ack(6, &[3, 2], 3), Reason::GenerationAhead),
        (json!({ "generation": "five" }), Reason::BadAnswer),
        (json!({ "instances": [1] }), Reason::BadAnswer),
    ] {
        let acks_at = at("app-acks");
        let acks_of = Acks { at: acks_at.clone(), instances: Default::default() };
        let bench = OnBench::new(Settings { acks: Some(acks_of), ..settings() });
        book().push(&bench.target, &wish(5, &[3, 2], 3)).await.unwrap();
        bench.kv.put(&acks_at, acks);
        let seen = book().observe(&bench.target, &wish(5, &[3, 2], 3)).await;
        assert_eq!(seen.unwrap_err().reason, reason);
    }
}

#[tokio::test]
async fn field_names_that_collide_are_refused() {
    let fields = Fields { previous: "current".to_owned(), ..Fields::default() };
    let settings = Settings { fields, ..settings() };
    let error = VaultKv::new(Arc::new(MemKv::default()), settings).err().unwrap();
    assert_eq!(error.reason, Reason::Misconfigured);
}
