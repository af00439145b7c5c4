//! The lease: one leader at a time as far as clocks allow, and what lost answers, outsiders and
//! crashes do to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rotord::model::id::{Epoch, InstanceId};
use rotord::model::time::{Clock, Entropy, Span, Steady, Timestamp};
use rotord::store::StoreError;
use rotord::store::lease::{Holder, Lease, LeaseConfig, Standing, TTL, TTL_MAX};
use rotord::vault::{Kv, KvPath};
use serde_json::{Value, json};

use crate::support::bao::Bao;
use crate::support::fault_kv::{Fate, FaultKv};
use crate::support::mem_kv::MemKv;
use crate::support::store_contract::CountingEntropy;

const EFFECT_TIMEOUT: Span = Span::from_secs(10);

/// A clock that stands still until it is told.
#[derive(Default)]
struct HandClock(AtomicU64);

impl HandClock {
    fn pass(&self, span: Span) {
        self.0.fetch_add(span.0, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        // Wall time jumps about: nothing may depend on it.
        Timestamp(i64::try_from(self.0.load(Ordering::SeqCst) % 7).unwrap())
    }

    fn steady(&self) -> Steady {
        Steady(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    mem: Arc<MemKv>,
    clock: Arc<HandClock>,
    entropy: Arc<dyn Entropy>,
}

impl World {
    fn new() -> World {
        World {
            mem: Arc::default(),
            clock: Arc::default(),
            entropy: Arc::new(CountingEntropy::default()),
        }
    }

    fn lease(&self, instance: &str) -> Lease {
        self.lease_over(self.mem.clone(), instance)
    }

    fn lease_over(&self, kv: Arc<dyn Kv>, instance: &str) -> Lease {
        let config = LeaseConfig {
            mount: "rotord".into(),
            instance: InstanceId(instance.into()),
            host: "host-a".into(),
            ttl: TTL,
            effect_timeout: EFFECT_TIMEOUT,
        };
        Lease::new(kv, self.clock.clone(), self.entropy.clone(), config)
    }

    /// Steps a lease each time it is due until it is held, and answers how long that took.
    async fn until_held(&self, lease: &mut Lease) -> Span {
        let start = self.clock.steady();
        for _ in 0..1_000 {
            if let Ok(Standing::Held { .. }) = lease.step().await {
                return self.clock.steady().since(start);
            }
            self.clock.pass(Span(lease.due().0.saturating_sub(self.clock.steady().0)));
        }
        panic!("never held");
    }

    fn document(&self) -> Value {
        self.mem.peek(&at()).unwrap()
    }

    fn overwrite(&self, value: &Value) {
        self.mem.put(&at(), value.clone());
    }
}

fn at() -> KvPath {
    KvPath { mount: "rotord".into(), path: "lease".into() }
}

fn held(epoch: u64) -> Standing {
    Standing::Held { epoch: Epoch(epoch) }
}

fn waiting(holder: &str) -> Standing {
    Standing::Waiting { holder: Some(InstanceId(holder.into())) }
}

#[tokio::test]
async fn the_first_one_takes_it_and_renews_it() {
    let world = World::new();
    let mut lease = world.lease("a");
    assert_eq!((lease.epoch(), lease.remaining()), (None, Span::ZERO));
    assert_eq!(lease.step().await.unwrap(), held(1));
    assert_eq!(lease.epoch(), Some(Epoch(1)));
    assert_eq!(lease.due(), Steady(TTL.0 / 3));
    let full = lease.remaining();
    assert!(full < TTL && full.0 > TTL.0 * 4 / 5, "something is kept back: {full}");
    for _ in 0..20 {
        world.clock.pass(Span(TTL.0 / 3));
        assert_eq!(lease.remaining(), Span(full.0 - TTL.0 / 3));
        assert_eq!(lease.step().await.unwrap(), held(1));
        assert_eq!(lease.remaining(), full);
    }
}

#[tokio::test]
async fn people_are_told_who_has_it_where_and_since_when() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    assert_eq!(b.holder(), None);
    a.step().await.unwrap();
    let since = world.clock.now();
    assert_eq!(b.step().await.unwrap(), waiting("a"));
    let (instance, host) = (InstanceId("a".into()), Some("host-a".to_owned()));
    let holder = Holder { instance, host, epoch: Epoch(1), since };
    assert_eq!((a.holder(), b.holder()), (Some(&holder), Some(&holder)));
    a.release().await.unwrap();
    assert_eq!(a.holder(), None);
    world.clock.pass(TTL);
    b.step().await.unwrap();
    assert_eq!(b.holder().map(|holder| holder.instance.0.as_str()), Some("b"));
    // What was written before there were names of machines is read as well.
    let mut document = world.document();
    document.as_object_mut().unwrap().remove("host");
    world.overwrite(&document);
    let mut c = world.lease("c");
    c.step().await.unwrap();
    assert_eq!(c.holder().map(|holder| holder.host.clone()), Some(None));
}

#[tokio::test]
async fn a_step_that_is_not_due_asks_nobody() {
    let world = World::new();
    let kv = Arc::new(FaultKv::over(world.mem.clone()));
    let mut lease = world.lease_over(kv.clone(), "a");
    lease.step().await.unwrap();
    assert_eq!(kv.take_requests(), 2);
    lease.step().await.unwrap();
    assert_eq!(kv.take_requests(), 0);
    world.clock.pass(Span(TTL.0 / 3));
    lease.step().await.unwrap();
    assert_eq!(kv.take_requests(), 1);
}

#[tokio::test]
async fn another_waits_as_long_as_it_is_renewed() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    a.step().await.unwrap();
    for _ in 0..50 {
        assert_eq!(b.step().await.unwrap(), waiting("a"));
        world.clock.pass(Span(TTL.0 / 3));
        a.step().await.unwrap();
    }
    assert_eq!((a.epoch(), b.epoch()), (Some(Epoch(1)), None));
}

#[tokio::test]
async fn a_silent_holder_has_let_go_before_another_takes_over() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    a.step().await.unwrap();
    world.clock.pass(Span(TTL.0 / 4));
    let mut waited = Span::ZERO;
    let tick = Span(100);
    while b.step().await.unwrap() == waiting("a") {
        world.clock.pass(tick);
        waited = waited.plus(tick);
        assert!(waited < TTL.times(2), "never taken over");
    }
    assert!(waited >= TTL, "after {waited}");
    assert_eq!((a.epoch(), a.remaining()), (None, Span::ZERO));
    assert_eq!(b.epoch(), Some(Epoch(2)));
    // The former holder finds out and waits.
    assert_eq!(a.step().await.unwrap(), waiting("b"));
}

#[tokio::test]
async fn two_never_hold_it_at_once_whatever_their_pace() {
    let world = World::new();
    let mut leases: Vec<Lease> = ["a", "b", "c"].map(|name| world.lease(name)).into();
    let mut epochs = Vec::new();
    for round in 0..4_000_u64 {
        world.clock.pass(Span(250));
        // Each in its turn sleeps for longer than the ttl.
        let asleep = usize::try_from(round / 150).unwrap() % leases.len();
        for (number, lease) in leases.iter_mut().enumerate() {
            if number != asleep && lease.due() <= world.clock.steady() {
                lease.step().await.unwrap();
            }
        }
        let holders: Vec<Epoch> = leases.iter().filter_map(Lease::epoch).collect();
        assert!(holders.len() <= 1, "round {round}: {holders:?}");
        epochs.extend(holders);
    }
    assert!(epochs.is_sorted(), "epochs only rise");
    epochs.dedup();
    assert!(epochs.len() > 5, "the lead changed hands: {epochs:?}");
}

#[tokio::test]
async fn destructive_effects_wait_after_a_takeover() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    a.step().await.unwrap();
    assert_eq!(b.destructive_in(), None);
    world.until_held(&mut b).await;
    let wait = TTL.plus(EFFECT_TIMEOUT);
    assert_eq!(b.destructive_in(), Some(wait));
    world.clock.pass(Span::from_secs(5));
    b.step().await.unwrap();
    assert_eq!(b.destructive_in(), Some(Span(wait.0 - 5_000)));
    // A crash in between does not shorten it: the time it was away is not known.
    let mut back = world.lease("b");
    assert_eq!(back.step().await.unwrap(), held(3));
    assert_eq!(back.destructive_in(), Some(wait));
    for _ in 0..6 {
        world.clock.pass(Span::from_secs(5));
        back.step().await.unwrap();
    }
    assert_eq!(back.destructive_in(), Some(Span::ZERO));
    // Settled once, the same instance goes on at once after a restart.
    let mut again = world.lease("b");
    assert_eq!(again.step().await.unwrap(), held(4));
    assert_eq!(again.destructive_in(), Some(Span::ZERO));
}

#[tokio::test]
async fn what_was_released_is_taken_at_once() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    for _ in 0..7 {
        a.step().await.unwrap();
        world.clock.pass(Span::from_secs(5));
    }
    assert_eq!(b.step().await.unwrap(), waiting("a"));
    a.release().await.unwrap();
    assert_eq!((a.epoch(), a.remaining()), (None, Span::ZERO));
    assert_eq!(b.step().await.unwrap(), held(2));
    assert_eq!(b.destructive_in(), Some(Span::ZERO));
    a.release().await.unwrap();
    assert_eq!(a.step().await.unwrap(), waiting("b"));
}

#[tokio::test]
async fn releasing_what_another_has_takes_nothing_from_it() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    a.step().await.unwrap();
    world.until_held(&mut b).await;
    a.release().await.unwrap();
    assert_eq!(world.document()["holder"], "b");
}

#[tokio::test]
async fn a_lost_answer_neither_loses_the_lease_nor_lengthens_it() {
    for fate in [Fate::AnswerLost, Fate::RequestLost, Fate::Late] {
        for blind in [false, true] {
            let world = World::new();
            let kv = Arc::new(FaultKv::over(world.mem.clone()));
            let mut lease = world.lease_over(kv.clone(), "a");
            lease.step().await.unwrap();
            world.clock.pass(Span(TTL.0 / 3));
            let before = lease.remaining();
            kv.script_writes([fate]);
            if blind {
                kv.script_reads([Fate::Unavailable]);
            }
            let step = lease.step().await;
            if step.is_err() {
                assert_eq!(lease.remaining(), before, "{fate:?}: nothing was confirmed");
            }
            let epoch = Some(Epoch(1));
            assert_eq!(lease.epoch(), epoch, "{fate:?}");
            let mut steps = 0;
            while lease.remaining() <= before {
                assert!(steps < 3, "{fate:?}, blind: {blind}: not renewed");
                steps += 1;
                world.clock.pass(Span(lease.due().0.saturating_sub(world.clock.steady().0)));
                lease.step().await.unwrap();
                assert_eq!(lease.epoch(), epoch, "{fate:?}, blind: {blind}");
            }
        }
    }
}

#[tokio::test]
async fn a_takeover_whose_answer_was_lost_still_makes_destructive_effects_wait() {
    for fate in [Fate::AnswerLost, Fate::Late] {
        let world = World::new();
        world.lease("a").step().await.unwrap();
        let kv = Arc::new(FaultKv::over(world.mem.clone()));
        let mut b = world.lease_over(kv.clone(), "b");
        b.step().await.unwrap();
        world.clock.pass(TTL);
        kv.script_writes([fate]);
        // The watching read goes well, the one that settles does not.
        kv.script_reads([Fate::Well, Fate::Unavailable]);
        assert!(b.step().await.is_err());
        assert_eq!(b.epoch(), None, "nothing was confirmed");
        world.until_held(&mut b).await;
        assert_eq!(b.epoch(), Some(Epoch(3)), "{fate:?}");
        assert_eq!(b.destructive_in(), Some(TTL.plus(EFFECT_TIMEOUT)), "{fate:?}");
    }
}

#[tokio::test]
async fn an_outage_ends_the_lease_and_its_end_brings_it_back() {
    let world = World::new();
    let kv = Arc::new(FaultKv::over(world.mem.clone()));
    let mut lease = world.lease_over(kv.clone(), "a");
    lease.step().await.unwrap();
    kv.script_writes([Fate::Unavailable; 30]);
    let mut requests = 0;
    for _ in 0..20 {
        world.clock.pass(Span(lease.due().0.saturating_sub(world.clock.steady().0)));
        lease.step().await.unwrap_err();
        requests += kv.take_requests();
    }
    assert_eq!((lease.epoch(), lease.destructive_in()), (None, None));
    assert!(requests <= 22, "nothing retries hot: {requests}");
    kv.writes.lock().unwrap().clear();
    world.until_held(&mut lease).await;
    assert_eq!(lease.epoch(), Some(Epoch(1)), "nobody else had it meanwhile");
}

#[tokio::test]
async fn a_document_that_was_deleted_does_not_make_epochs_start_again() {
    let world = World::new();
    let mut a = world.lease("a");
    a.step().await.unwrap();
    world.mem.delete_metadata(&at()).await.unwrap();
    let mut b = world.lease("b");
    b.saw(Epoch(7));
    assert_eq!(b.step().await.unwrap(), held(8));
    assert!(b.destructive_in().unwrap() > TTL);
    // The count of the document's versions began again too, so the former holder may write over
    // it unseen. Its epoch is too low for the records; meeting them, it takes a higher one.
    world.clock.pass(Span(TTL.0 / 3));
    assert_eq!(a.step().await.unwrap(), held(1));
    assert_eq!(b.step().await.unwrap(), waiting("a"));
    a.saw(Epoch(8));
    assert_eq!(a.due(), world.clock.steady());
    assert_eq!(a.step().await.unwrap(), held(9));
    a.saw(Epoch(9));
    world.clock.pass(Span(TTL.0 / 3));
    assert_eq!(a.step().await.unwrap(), held(9));
}

#[tokio::test]
async fn a_soft_deleted_document_leaves_its_holder_the_time_it_has() {
    let world = World::new();
    let (mut a, mut b) = (world.lease("a"), world.lease("b"));
    a.step().await.unwrap();
    world.mem.soft_delete(&at());
    assert_eq!(b.step().await.unwrap(), Standing::Waiting { holder: None });
    let waited = world.until_held(&mut b).await;
    assert!(waited >= TTL, "after {waited}");
    assert_eq!(a.epoch(), None);
}

#[tokio::test]
async fn a_document_of_a_newer_program_is_left_alone() {
    let world = World::new();
    world.lease("a").step().await.unwrap();
    let mut newer = world.document();
    newer["schema"] = json!(2);
    world.overwrite(&newer);
    for instance in ["a", "b"] {
        let error = world.lease(instance).step().await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    }
    assert_eq!(world.document(), newer);
}

#[tokio::test]
async fn a_mistyped_ttl_does_not_stop_rotation_for_days() {
    let world = World::new();
    world.lease("a").step().await.unwrap();
    let mut long = world.document();
    long["ttl"] = json!("30days");
    world.overwrite(&long);
    let waited = world.until_held(&mut world.lease("b")).await;
    assert!(waited >= TTL && waited <= TTL_MAX.plus(TTL), "after {waited}");
}

#[tokio::test]
async fn the_lease_changes_hands_on_a_real_server() {
    let world = World::new();
    let bao = Bao::shared().await;
    let mount = bao.fresh_mount().await;
    let lease = |instance: &str| {
        let config = LeaseConfig {
            mount: mount.clone(),
            instance: InstanceId(instance.into()),
            host: "host-a".into(),
            ttl: TTL,
            effect_timeout: EFFECT_TIMEOUT,
        };
        Lease::new(Arc::new(bao.vault()), world.clock.clone(), world.entropy.clone(), config)
    };
    let (mut a, mut b) = (lease("a"), lease("b"));
    assert_eq!(a.step().await.unwrap(), held(1));
    assert_eq!(b.step().await.unwrap(), waiting("a"));
    world.clock.pass(Span(TTL.0 / 3));
    assert_eq!(a.step().await.unwrap(), held(1));
    world.until_held(&mut b).await;
    assert_eq!((a.epoch(), b.epoch()), (None, Some(Epoch(2))));
    assert_eq!(a.step().await.unwrap(), waiting("b"));
    b.release().await.unwrap();
    assert_eq!(a.step().await.unwrap(), held(3));
}
