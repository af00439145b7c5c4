//! The stores are held to their contract, and the one on KV v2 to what lost answers, outsiders and
//! newer programs do to it.

use std::sync::Arc;

use http::Method;
use rotord::model::failure::Class;
use rotord::model::id::{Epoch, SecretName, VersionId};
use rotord::model::time::{Entropy, Span, Timestamp};
use rotord::store::kv::KvStore;
use rotord::store::memory::MemoryStore;
use rotord::store::record::{Record, RecordFault, WentBack};
use rotord::store::{Placed, Revision, Saved, Store, StoreError, Stored};
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath};
use serde_json::{Value, json};

use crate::support::bao::Bao;
use crate::support::fault_kv::{Fate, FaultKv};
use crate::support::mem_kv::MemKv;
use crate::support::store_contract::{self, CountingEntropy, name, record, saved};

const MOUNT: &str = "rotord";

/// A store over an in-memory KV, with everything to meddle with it.
struct World {
    mem: Arc<MemKv>,
    kv: Arc<FaultKv>,
    entropy: Arc<dyn Entropy>,
    store: KvStore,
}

impl World {
    fn new() -> World {
        let mem = Arc::new(MemKv::default());
        let kv = Arc::new(FaultKv::over(mem.clone()));
        let entropy: Arc<dyn Entropy> = Arc::new(CountingEntropy::default());
        let store = KvStore::new(kv.clone(), MOUNT, entropy.clone());
        World { mem, kv, entropy, store }
    }

    /// Another replica, which sees the same KV without faults.
    fn replica(&self) -> KvStore {
        KvStore::new(self.mem.clone(), MOUNT, self.entropy.clone())
    }

    fn raw(&self, at: &KvPath) -> Value {
        self.mem.peek(at).unwrap()
    }

    fn overwrite(&self, at: &KvPath, value: &Value) {
        self.mem.put(at, value.clone());
    }

    async fn stored(&self, secret: &str) -> Stored {
        self.replica().load(&name(secret)).await.unwrap().unwrap()
    }
}

fn at(path: &str) -> KvPath {
    KvPath { mount: MOUNT.into(), path: path.into() }
}

fn later(record: &Record) -> Record {
    Record { last_scheduled: record.last_scheduled + Span::from_secs(1), ..record.clone() }
}

#[tokio::test]
async fn the_memory_store_holds_the_contract() {
    store_contract::holds(&MemoryStore::new()).await;
}

#[tokio::test]
async fn the_kv_store_holds_the_contract() {
    store_contract::holds(&World::new().store).await;
}

#[tokio::test]
async fn the_kv_store_holds_the_contract_on_a_real_server() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let entropy = Arc::new(CountingEntropy::default());
    store_contract::holds(&KvStore::new(Arc::new(bao.vault()), mount, entropy)).await;
}

#[tokio::test]
async fn racing_writers_lose_nothing_on_a_real_server() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let entropy: Arc<dyn Entropy> = Arc::new(CountingEntropy::default());
    let replica = |_| {
        let kv = Arc::new(bao.vault());
        Arc::new(KvStore::new(kv, mount.clone(), entropy.clone())) as Arc<dyn Store>
    };
    store_contract::loses_no_update((0..4).map(replica).collect(), 75).await;
}

#[tokio::test]
async fn lost_answers_of_a_real_server_are_settled() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let kv = Arc::new(FaultKv::over(Arc::new(bao.vault())));
    let store = KvStore::new(kv.clone(), mount, Arc::new(CountingEntropy::default()));
    let mut record = record("a");
    let mut revision = Revision::default();
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Late, Fate::AnswerLost] {
        kv.script_writes([fate]);
        record = later(&record);
        let next = store.save(&record, revision).await.unwrap();
        assert_eq!(next, Revision(revision.0 + 1), "{fate:?}");
        revision = next;
    }
    let stored = store.load(&record.name).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.record.last_scheduled), (revision, record.last_scheduled));
}

#[tokio::test]
async fn what_outsiders_delete_on_a_real_server_is_noticed() {
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let store = |entropy| KvStore::new(Arc::new(bao.vault()), mount.clone(), entropy);
    let entropy = Arc::new(CountingEntropy::default());
    let (mine, theirs) = (store(entropy.clone()), store(entropy));
    let old = record("a");
    mine.save(&old, Revision::default()).await.unwrap();
    bao.ok(Method::DELETE, &format!("{mount}/data/state/a"), None).await;
    for error in [
        mine.load(&name("a")).await.unwrap_err(),
        theirs.save(&old, Revision::default()).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    }
    bao.ok(Method::DELETE, &format!("{mount}/metadata/state/a"), None).await;
    let error = mine.save(&later(&old), Revision(1)).await.unwrap_err();
    assert!(error.to_string().contains("deleted while it was in use"), "{error}");
    assert_eq!(mine.load(&name("a")).await.unwrap(), None);
}

#[tokio::test]
async fn racing_writers_lose_nothing() {
    let world = World::new();
    let replicas = (0..4).map(|_| Arc::new(world.replica()) as Arc<dyn Store>).collect();
    store_contract::loses_no_update(replicas, 25).await;
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    store_contract::loses_no_update(vec![memory.clone(), memory.clone(), memory], 34).await;
}

#[tokio::test]
async fn each_verb_is_one_request() {
    let world = World::new();
    let (store, kv) = (&world.store, &world.kv);
    let record = record("a");
    let revision = store.save(&record, Revision::default()).await.unwrap();
    assert_eq!(kv.take_requests(), 1);
    store.save(&later(&record), revision).await.unwrap();
    assert_eq!(kv.take_requests(), 1);
    store.load(&record.name).await.unwrap();
    assert_eq!(kv.take_requests(), 1);
    store.put_material(&record.name, VersionId(1), &saved("r", "a value")).await.unwrap();
    assert_eq!(kv.take_requests(), 1);
    store.forget_material(&record.name, VersionId(1)).await.unwrap();
    assert_eq!(kv.take_requests(), 1);
    store.fingerprint_key("1").await.unwrap();
    assert_eq!(kv.take_requests(), 2, "the first time");
    store.fingerprint_key("1").await.unwrap();
    assert_eq!(kv.take_requests(), 1);
}

#[tokio::test]
async fn a_save_whose_answer_was_lost_is_settled_by_its_write_id() {
    for first in [Revision::default(), Revision(1)] {
        for fates in [
            vec![Fate::AnswerLost],
            vec![Fate::RequestLost],
            vec![Fate::Late],
            vec![Fate::RequestLost, Fate::AnswerLost],
        ] {
            let world = World::new();
            let mut record = record("a");
            if first != Revision::default() {
                world.store.save(&record, Revision::default()).await.unwrap();
                record = later(&record);
            }
            world.kv.script_writes(fates.clone());
            let revision = world.store.save(&record, first).await.unwrap();
            assert_eq!(revision, Revision(first.0 + 1), "{fates:?} over {first}");
            let stored = world.stored("a").await;
            assert_eq!(
                (stored.revision, stored.record.last_scheduled),
                (revision, record.last_scheduled),
                "{fates:?} over {first}"
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_settled_is_ambiguous_and_saving_again_settles_it() {
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Late] {
        let world = World::new();
        let record = record("a");
        world.kv.script_writes([fate]);
        world.kv.script_reads([Fate::Unavailable]);
        let error = world.store.save(&record, Revision::default()).await.unwrap_err();
        assert_eq!(error.failure().class, Class::Ambiguous, "{fate:?}: {error}");
        let revision = world.store.save(&record, Revision::default()).await.unwrap();
        assert_eq!(revision, Revision(1), "{fate:?}");
        assert_eq!(world.stored("a").await.revision, revision);
    }
}

#[tokio::test]
async fn a_write_that_never_arrives_is_tried_twice_and_no_more() {
    let world = World::new();
    world.kv.script_writes([Fate::RequestLost; 3]);
    let error = world.store.save(&record("a"), Revision::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Vault(VaultError::Ambiguous { .. })), "{error}");
    assert_eq!(world.kv.take_requests(), 4);
    world.kv.writes.lock().unwrap().clear();
    world.kv.script_writes([Fate::Unavailable]);
    let error = world.store.save(&record("a"), Revision::default()).await.unwrap_err();
    assert_eq!(error.failure().class, Class::Transient);
    assert_eq!(world.store.load(&name("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_lost_answer_and_a_rival_end_as_a_conflict() {
    let world = World::new();
    let record = record("a");
    world.store.save(&record, Revision::default()).await.unwrap();
    world.kv.script_writes([Fate::RequestLost]);
    world.kv.script_reads([Fate::Unavailable]);
    let mine = later(&record);
    world.store.save(&mine, Revision(1)).await.unwrap_err();
    world.replica().save(&later(&mine), Revision(1)).await.unwrap();
    let error = world.store.save(&mine, Revision(1)).await.unwrap_err();
    assert_eq!(error, StoreError::Conflict(name("a")));
    assert_eq!(world.stored("a").await.record.last_scheduled, later(&mine).last_scheduled);
}

#[tokio::test]
async fn two_replicas_that_write_the_same_never_take_each_other_for_themselves() {
    let world = World::new();
    let record = record("a");
    world.replica().save(&record, Revision::default()).await.unwrap();
    let error = world.store.save(&record, Revision::default()).await.unwrap_err();
    assert_eq!(error, StoreError::Conflict(name("a")));
}

#[tokio::test]
async fn a_replica_that_lost_the_lead_is_fenced() {
    let world = World::new();
    let old = record("a");
    world.store.save(&old, Revision::default()).await.unwrap();
    let new = Record { epoch: Epoch(2), ..old.clone() };
    world.replica().save(&new, Revision(1)).await.unwrap();
    let error = world.store.save(&later(&old), Revision(1)).await.unwrap_err();
    assert_eq!(error, StoreError::Fenced(name("a")));
    assert_eq!(error.failure().class, Class::Refused);
}

#[tokio::test]
async fn a_deleted_record_is_not_absent() {
    let world = World::new();
    let record = record("a");
    world.store.save(&record, Revision::default()).await.unwrap();
    world.mem.soft_delete(&at("state/a"));
    for error in [
        world.store.load(&name("a")).await.unwrap_err(),
        world.replica().save(&record, Revision::default()).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::Unreadable { place, .. } if place == "rotord/state/a")
        );
    }
    assert_eq!(world.store.list().await.unwrap(), [name("a")], "it is still listed");
}

#[tokio::test]
async fn a_record_that_was_deleted_with_its_history_is_noticed() {
    let world = World::new();
    let old = record("a");
    world.store.save(&old, Revision::default()).await.unwrap();
    world.store.save(&later(&old), Revision(1)).await.unwrap();
    let known = world.stored("a").await;
    world.mem.delete_metadata(&at("state/a")).await.unwrap();
    let error = world.store.save(&later(&old), Revision(2)).await.unwrap_err();
    assert!(error.to_string().contains("deleted while it was in use"), "{error}");
    let anew = Record { incarnation: "incarnation-2".into(), ..old.clone() };
    world.replica().save(&anew, Revision::default()).await.unwrap();
    let error = world.store.save(&later(&old), Revision(2)).await.unwrap_err();
    assert!(error.to_string().contains("made anew"), "{error}");
    let fault = RecordFault::WentBack(WentBack::Incarnation);
    assert_eq!(world.stored("a").await.follows(&known), Err(fault));
}

#[tokio::test]
async fn a_record_that_went_back_in_time_is_noticed() {
    let world = World::new();
    let old = record("a");
    world.store.save(&old, Revision::default()).await.unwrap();
    let backup = world.raw(&at("state/a"));
    let revision = world.store.save(&later(&old), Revision(1)).await.unwrap();
    let known = world.stored("a").await;
    world.mem.delete_metadata(&at("state/a")).await.unwrap();
    world.overwrite(&at("state/a"), &backup);
    let restored = world.stored("a").await;
    let fault = RecordFault::WentBack(WentBack::Revision);
    assert_eq!(restored.follows(&known), Err(fault));
    let error = world.store.save(&later(&later(&old)), revision).await.unwrap_err();
    assert!(error.to_string().contains("went back in time"), "{error}");
    // The same count of writes later it is another content at the same revision.
    world.replica().save(&old, Revision(1)).await.unwrap();
    let fault = RecordFault::WentBack(WentBack::Content);
    assert_eq!(world.stored("a").await.follows(&known), Err(fault));
}

#[tokio::test]
async fn documents_that_cannot_be_used_are_errors_without_content() {
    let world = World::new();
    world.store.save(&record("a"), Revision::default()).await.unwrap();
    let good = world.raw(&at("state/a"));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document);
        document
    };
    let documents = [
        (changed(&|d| d["schema"] = json!(2)), "upgrade"),
        (changed(&|d| d["hunter2"] = json!("hunter2")), "line 1"),
        (changed(&|d| d["rotation"]["hunter2"] = json!(1)), "line 1"),
        (changed(&|d| drop(d["rotation"].as_object_mut().unwrap().remove("phase"))), "line 1"),
        (changed(&|d| d["epoch"] = json!("hunter2")), "line 1"),
        (changed(&|d| d["name"] = json!("b")), "the record of b"),
        (changed(&|d| d["incarnation"] = json!("")), "no incarnation"),
        (changed(&|d| d["rotation"]["next_version"] = json!(1)), "next number"),
        (json!({"hunter2": "hunter2"}), "line 1"),
        (json!(["hunter2"]), "line 1"),
    ];
    for (document, expected) in documents {
        world.overwrite(&at("state/a"), &document);
        let error = world.store.load(&name("a")).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Unreadable { .. }), "{shown}");
        assert!(shown.contains(expected) && shown.contains("rotord/state/a"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn the_record_of_a_newer_program_is_not_written_over() {
    let world = World::new();
    let old = record("a");
    world.store.save(&old, Revision::default()).await.unwrap();
    let mut newer = world.raw(&at("state/a"));
    newer["schema"] = json!(2);
    newer["write_id"] = json!("theirs");
    newer["something_new"] = json!(true);
    world.overwrite(&at("state/a"), &newer);
    let error = world.store.save(&later(&old), Revision(1)).await.unwrap_err();
    assert_eq!(error, StoreError::Conflict(name("a")));
    newer["epoch"] = json!(9);
    world.overwrite(&at("state/a"), &newer);
    let error = world.store.save(&later(&old), Revision(1)).await.unwrap_err();
    assert_eq!(error, StoreError::Fenced(name("a")));
    assert_eq!(world.raw(&at("state/a")), newer);
}

#[tokio::test]
async fn material_whose_answer_was_lost_is_recognised() {
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Late] {
        let world = World::new();
        world.kv.script_writes([fate]);
        let given = saved("r1", "a value of ours");
        let put = |saved: Saved| {
            let store = &world.store;
            async move { store.put_material(&name("a"), VersionId(1), &saved).await }
        };
        assert_eq!(put(given).await.unwrap(), Placed::Written, "{fate:?}");
        world.kv.script_writes([Fate::RequestLost; 2]);
        assert_eq!(put(saved("r1", "another value")).await.unwrap(), Placed::OursAlready);
        assert_eq!(put(saved("r2", "a value")).await.unwrap(), Placed::Taken);
        world.kv.writes.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn material_that_cannot_be_settled_is_ambiguous_and_putting_again_settles_it() {
    let world = World::new();
    let (secret, version, given) = (name("a"), VersionId(1), saved("r1", "a value of ours"));
    world.kv.script_writes([Fate::AnswerLost]);
    world.kv.script_reads([Fate::Unavailable]);
    let error = world.store.put_material(&secret, version, &given).await.unwrap_err();
    assert_eq!(error.failure().class, Class::Ambiguous);
    let placed = world.store.put_material(&secret, version, &given).await.unwrap();
    assert_eq!(placed, Placed::Written);
}

#[tokio::test]
async fn deleted_material_is_not_absent_and_its_number_is_used_up() {
    let world = World::new();
    let (secret, version, given) = (name("a"), VersionId(1), saved("r1", "a value of ours"));
    world.store.put_material(&secret, version, &given).await.unwrap();
    world.mem.soft_delete(&at("material/a/1"));
    let error = world.store.material(&secret, version).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    let placed = world.store.put_material(&secret, version, &given).await.unwrap();
    assert_eq!(placed, Placed::Taken);
}

#[tokio::test]
async fn forgotten_material_leaves_nothing() {
    let world = World::new();
    let (secret, version) = (name("a"), VersionId(1));
    world.store.put_material(&secret, version, &saved("r1", "a value of ours")).await.unwrap();
    world.store.forget_material(&secret, version).await.unwrap();
    assert_eq!(world.mem.metadata(&at("material/a/1")).await.unwrap(), None);
}

#[tokio::test]
async fn everybody_gets_the_fingerprint_key_that_was_written_first() {
    let world = World::new();
    let material = saved("r", "a value of ours").material;
    world.kv.script_writes([Fate::AnswerLost]);
    let mine = world.store.fingerprint_key("1").await.unwrap();
    let theirs = world.replica().fingerprint_key("1").await.unwrap();
    assert_eq!(mine.of(&material), theirs.of(&material));
    world.overwrite(&at("fingerprint-key/1"), &json!({"key": "c2hvcnQ="}));
    let error = world.store.fingerprint_key("1").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn no_secret_stands_in_a_state_document() {
    let world = World::new();
    world.store.save(&record("a"), Revision::default()).await.unwrap();
    world
        .store
        .put_material(&name("a"), VersionId(1), &saved("r1", "hunter2 hunter2 hunter2"))
        .await
        .unwrap();
    let state = world.raw(&at("state/a")).to_string();
    assert!(!state.contains("hunter2") && !state.contains("aHVudGVyMi"), "{state}");
}

#[tokio::test]
async fn foreign_names_below_state_are_passed_over() {
    let world = World::new();
    world.overwrite(&at("state/NOT A NAME"), &json!({}));
    world.overwrite(&at("state/folder/x"), &json!({}));
    world.overwrite(&at("material/a/notes"), &json!({}));
    assert_eq!(world.store.list().await.unwrap(), Vec::<SecretName>::new());
    assert_eq!(world.store.list_material(&name("a")).await.unwrap(), []);
}

#[test]
fn what_only_counts_up_may_not_go_down() {
    let before = record("a");
    let follows = |change: &dyn Fn(&mut Record)| {
        let mut after = before.clone();
        change(&mut after);
        after.follows(&before)
    };
    assert_eq!(follows(&|_| {}), Ok(()));
    assert_eq!(follows(&|r| r.last_scheduled = Timestamp(0)), Ok(()));
    let went_back = |what| Err(RecordFault::WentBack(what));
    assert_eq!(follows(&|r| r.epoch = Epoch(0)), went_back(WentBack::Epoch));
    assert_eq!(
        follows(&|r| r.rotation.next_version = VersionId(0)),
        went_back(WentBack::NextVersion)
    );
}
