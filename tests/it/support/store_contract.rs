//! What every store must do, whatever it stands on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rotord::model::capability::Capabilities;
use rotord::model::fingerprint::Fingerprint;
use rotord::model::id::{Epoch, KeyId, RotationId, SecretName, TargetName, VersionId, WriteId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::policy::{Kind, Lane, Policy};
use rotord::model::target::{Level, Role, TargetTerms};
use rotord::model::time::{Entropy, Span, Timestamp};
use rotord::rotation::open::{Adopted, Opening};
use rotord::rotation::{Rotation, Terms, Trigger};
use rotord::store::record::{Record, RecordFault, SCHEMA, WentBack};
use rotord::store::{Placed, Revision, Saved, Store, StoreError};

/// Randomness that counts: every draw is another one.
#[derive(Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let next = (self.0.fetch_add(1, Ordering::Relaxed) + 1).to_be_bytes();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = next[at % next.len()] ^ u8::try_from(at / next.len()).unwrap();
        }
    }
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A record of a secret that was adopted, with one target.
pub(crate) fn record(secret: &str) -> Record {
    record_with_targets(secret, &["receiver"])
}

fn record_with_targets(secret: &str, targets: &[&str]) -> Record {
    let at = Timestamp(1_795_000_000_000);
    let terms = TargetTerms {
        role: Role::Both,
        propagation: Span::from_secs(60),
        needs: Level::Acknowledged,
        observe_every: Some(Span::from_secs(60)),
        unattested: false,
        keeps_history: false,
        recovery: None,
        place: None,
    };
    let opening = Opening {
        id: RotationId("20261122T031200Z-adopt".into()),
        trigger: Trigger::Adopted { by: "alice".into() },
        lane: Lane::Routine,
        at,
        terms: Terms {
            kind: Kind::WebhookHmac,
            capabilities: Capabilities::local(),
            policy: Policy::default(),
        },
        targets: targets
            .iter()
            .map(|target| (TargetName::new(*target).unwrap(), terms.clone()))
            .collect(),
    };
    let adopted = Adopted { version: VersionId(1), key: None, fingerprint: Fingerprint([7; 16]) };
    Record {
        schema: SCHEMA,
        incarnation: "incarnation-1".into(),
        epoch: Epoch(1),
        write_id: WriteId(String::new()),
        fingerprint_key: "1".into(),
        name: name(secret),
        last_scheduled: at,
        rotation: Rotation::adopt(opening, adopted),
        history: Vec::new(),
        recognition: Arc::default(),
    }
}

pub(crate) fn saved(rotation: &str, value: &str) -> Saved {
    Saved {
        rotation: RotationId(rotation.into()),
        key: Some(KeyId("key-1".into())),
        material: Material::single(SecretBytes::new(value.as_bytes().to_vec())),
    }
}

fn value_of(saved: Option<Saved>) -> String {
    saved.unwrap().material.value().unwrap().expose_str().unwrap().to_owned()
}

/// Every promise of a store that one process can see. The store must be empty.
pub(crate) async fn holds(store: &dyn Store) {
    records_are_kept(store).await;
    a_record_of_very_many_parts_is_kept(store).await;
    only_the_revision_named_is_written_over(store).await;
    a_lower_epoch_is_fenced(store).await;
    the_incarnation_stays(store).await;
    a_broken_record_is_not_written(store).await;
    material_is_written_once(store).await;
    material_is_listed_and_forgotten(store).await;
    the_fingerprint_key_stays_the_same(store).await;
}

/// More than a thousand names and texts, which Vault would refuse as they are.
async fn a_record_of_very_many_parts_is_kept(store: &dyn Store) {
    let names: Vec<String> = (0..200).map(|number| format!("target-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut record = record_with_targets("large", &names);
    let first = store.save(&record, Revision::default()).await.unwrap();
    let loaded = store.load(&name("large")).await.unwrap().unwrap();
    record.write_id = loaded.record.write_id.clone();
    assert_eq!((loaded.record, loaded.revision), (record, first));
}

async fn records_are_kept(store: &dyn Store) {
    assert_eq!(store.list().await.unwrap(), []);
    assert_eq!(store.load(&name("kept")).await.unwrap(), None);
    let mut record = record("kept");
    let first = store.save(&record, Revision::default()).await.unwrap();
    let loaded = store.load(&name("kept")).await.unwrap().unwrap();
    assert_eq!(loaded.revision, first);
    record.write_id = loaded.record.write_id.clone();
    assert!(!record.write_id.0.is_empty(), "every write is marked");
    assert_eq!(loaded.record, record);
    record.last_scheduled = record.last_scheduled + Span::from_secs(60);
    let second = store.save(&record, first).await.unwrap();
    assert!(second > first);
    let again = store.load(&name("kept")).await.unwrap().unwrap();
    assert_eq!((again.revision, again.record.last_scheduled), (second, record.last_scheduled));
    assert_ne!(again.record.write_id, loaded.record.write_id);
    assert_eq!(again.follows(&loaded), Ok(()));
    let back = RecordFault::WentBack(WentBack::Revision);
    assert_eq!(loaded.follows(&again), Err(back));
    store.save(&self::record("also-kept"), Revision::default()).await.unwrap();
    let mut names = store.list().await.unwrap();
    names.sort_unstable();
    assert_eq!(names, [name("also-kept"), name("kept")]);
}

async fn only_the_revision_named_is_written_over(store: &dyn Store) {
    let record = record("raced");
    let first = store.save(&record, Revision::default()).await.unwrap();
    let rival = Record { last_scheduled: Timestamp(5), ..record.clone() };
    let second = store.save(&rival, first).await.unwrap();
    for over in [first, Revision::default(), Revision(second.0 + 1)] {
        let stale = Record { last_scheduled: Timestamp(6), ..record.clone() };
        let error = store.save(&stale, over).await.unwrap_err();
        // A revision that was never there shows that the counter went back.
        let seen = matches!(&error, StoreError::Conflict(_))
            || (over > second && matches!(&error, StoreError::Unreadable { .. }));
        assert!(seen, "over {over}: {error}");
    }
    let stored = store.load(&record.name).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.record.last_scheduled), (second, Timestamp(5)));
}

async fn a_lower_epoch_is_fenced(store: &dyn Store) {
    let old = record("fenced");
    let first = store.save(&old, Revision::default()).await.unwrap();
    let new = Record { epoch: Epoch(4), ..old.clone() };
    let second = store.save(&new, first).await.unwrap();
    for over in [first, second] {
        let error = store.save(&old, over).await.unwrap_err();
        assert_eq!(error, StoreError::Fenced(name("fenced")), "over {over}");
    }
}

async fn the_incarnation_stays(store: &dyn Store) {
    let record = record("incarnate");
    let first = store.save(&record, Revision::default()).await.unwrap();
    let other = Record { incarnation: "incarnation-2".into(), ..record };
    let error = store.save(&other, first).await.unwrap_err();
    let fault = RecordFault::WentBack(WentBack::Incarnation);
    assert_eq!(error, StoreError::Fault { name: name("incarnate"), fault });
}

async fn a_broken_record_is_not_written(store: &dyn Store) {
    let mut record = record("broken");
    record.rotation.next_version = VersionId(1);
    let error = store.save(&record, Revision::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Fault { .. }), "{error}");
    assert_eq!(store.load(&name("broken")).await.unwrap(), None);
}

async fn material_is_written_once(store: &dyn Store) {
    let (secret, version) = (name("material"), VersionId(1));
    assert!(store.material(&secret, version).await.unwrap().is_none());
    let put = |rotation, value| {
        let saved = saved(rotation, value);
        let secret = secret.clone();
        async move { store.put_material(&secret, version, &saved).await.unwrap() }
    };
    assert_eq!(put("r1", "the first value").await, Placed::Written);
    assert_eq!(put("r1", "the first value").await, Placed::Written, "repeating is safe");
    assert_eq!(put("r1", "another value").await, Placed::OursAlready);
    assert_eq!(put("r2", "the first value").await, Placed::Taken);
    let found = store.material(&secret, version).await.unwrap();
    assert_eq!(found.as_ref().unwrap().key, Some(KeyId("key-1".into())));
    assert_eq!(value_of(found), "the first value");
}

async fn material_is_listed_and_forgotten(store: &dyn Store) {
    let secret = name("listed");
    assert_eq!(store.list_material(&secret).await.unwrap(), []);
    for number in [2, 10, 1] {
        store.put_material(&secret, VersionId(number), &saved("r1", "a value")).await.unwrap();
    }
    let versions = store.list_material(&secret).await.unwrap();
    assert_eq!(versions, [VersionId(1), VersionId(2), VersionId(10)]);
    store.forget_material(&secret, VersionId(2)).await.unwrap();
    store.forget_material(&secret, VersionId(2)).await.unwrap();
    assert!(store.material(&secret, VersionId(2)).await.unwrap().is_none());
    let versions = store.list_material(&secret).await.unwrap();
    assert_eq!(versions, [VersionId(1), VersionId(10)]);
}

async fn the_fingerprint_key_stays_the_same(store: &dyn Store) {
    let material = saved("r1", "a value").material;
    let first = store.fingerprint_key("1").await.unwrap();
    let again = store.fingerprint_key("1").await.unwrap();
    assert!(store.old_fingerprint_key("2").await.unwrap().is_none(), "it was never drawn");
    let other = store.fingerprint_key("2").await.unwrap();
    assert_eq!(
        store.old_fingerprint_key("2").await.unwrap().unwrap().of(&material),
        other.of(&material)
    );
    assert_eq!(first.of(&material), again.of(&material));
    assert_ne!(first.of(&material), other.of(&material));
}

/// Many writers that read, add one and write, each until it has won: nothing may be lost.
pub(crate) async fn loses_no_update(stores: Vec<Arc<dyn Store>>, each: u32) {
    let record = record("counted");
    let start = record.last_scheduled;
    stores[0].save(&record, Revision::default()).await.unwrap();
    let writers = u64::try_from(stores.len()).unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for store in stores.iter().cloned() {
        racing.spawn(async move {
            for _ in 0..each {
                add_one(&*store).await;
            }
        });
    }
    while let Some(finished) = racing.join_next().await {
        finished.unwrap();
    }
    let stored = stores[0].load(&name("counted")).await.unwrap().unwrap();
    assert_eq!(stored.record.last_scheduled.since(start), Span(writers * u64::from(each)));
}

async fn add_one(store: &dyn Store) {
    // Someone wins every round, so no writer loses more rounds than there are wins.
    for _ in 0..100_000 {
        let stored = store.load(&name("counted")).await.unwrap().unwrap();
        let last_scheduled = stored.record.last_scheduled + Span(1);
        let next = Record { last_scheduled, ..stored.record };
        match store.save(&next, stored.revision).await {
            Ok(_) => return,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    panic!("lost every round");
}
