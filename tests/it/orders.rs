//! Orders: what is looked at before one is sent, what is written down before it, and what is told
//! of it when it has come back, a restart later too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotord::engine::command::Command;
use rotord::engine::limits::Limits;
use rotord::engine::snapshot::SecretView;
use rotord::model::capability::{Capabilities, OnLost, ValueFrom};
use rotord::model::id::{SecretName, TargetName, VersionId};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::reason::Reason;
use rotord::model::time::{Clock as _, Span};
use rotord::model::version::Stage;
use rotord::plan::facts::Initial;
use rotord::rotation::Rotation;
use rotord::rotation::effect::Effect;
use rotord::rotation::phase::{Phase, Staging};
use rotord::store::audit::EntryKind;
use rotord::store::kv::KvStore;
use rotord::store::{Store as _, Stored};
use tokio::time::Instant;

use crate::support::clock::Monotonous;
use crate::support::workbench::{Bench, Plan, Service, Shop, pass, plan, plans, rotate};

fn store(bench: &Bench) -> KvStore {
    KvStore::new(bench.kv.clone(), "rotord", Arc::new(Monotonous(1)))
}

async fn stored(bench: &Bench, name: &SecretName) -> Stored {
    store(bench).load(name).await.unwrap().expect("a record")
}

async fn has_material(bench: &Bench, name: &SecretName, version: u64) -> bool {
    store(bench).material(name, VersionId(version)).await.unwrap().is_some()
}

fn rotation(view: &SecretView) -> &Rotation {
    view.rotation.as_deref().expect("a rotation")
}

/// Asks for rotations and does not wait for the answers.
fn ask_aside(shop: &Arc<Shop>, plans: &[Plan]) {
    for plan in plans {
        let (shop, name) = (Arc::clone(shop), plan.name.clone());
        #[expect(clippy::disallowed_methods, reason = "people do not wait for each other")]
        drop(tokio::spawn(async move { shop.ask(rotate(&name, false)).await }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_waited_for_its_place_is_not_sent_under_a_lost_lease() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.limits = Limits { effects: 1, emergency_effects: 0, ..Limits::default() };
    let (well, stuck) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let (key, others) = (plan("key", &well), plans("stuck", 4, &stuck));
    let shop = Arc::new(bench.open(&[vec![key.clone()], others.clone()].concat()));
    shop.rest().await;
    shop.ask(rotate(&key.name, false)).await.unwrap();
    shop.until(&key.name, |view| rotation(view).phase.name() == "overlap").await;
    pass(Span::from_secs(55)).await;
    stuck.hangs.store(true, Ordering::Relaxed);
    ask_aside(&shop, &others);
    let is_ordered = |view: &SecretView| {
        let forget = Effect::Forget { version: VersionId(1) };
        rotation(view).intent.as_ref().is_some_and(|intent| intent.pending.contains(&forget))
    };
    shop.until(&key.name, is_ordered).await;
    assert!(has_material(&bench, &key.name, 1).await, "it waits for the only place");

    shop.lose_the_lease();
    pass(Span::from_secs(120)).await;
    assert!(has_material(&bench, &key.name, 1).await, "somebody else may have placed a hold");
}

#[tokio::test(start_paused = true)]
async fn what_did_not_pass_the_gate_is_not_taken_for_lost() {
    let bench = Bench::new(Duration::ZERO);
    let capabilities = Capabilities {
        value: ValueFrom::Theirs,
        remote: true,
        on_lost: OnLost::Manual,
        ..Capabilities::local()
    };
    let plan = plan("key", &Arc::new(Service::default())).at(capabilities);
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    let is_mint = |effect: &Effect| matches!(effect, Effect::Mint { .. });
    *bench.lines.refuses.lock().unwrap() = Some(|entry| {
        entry.kind == EntryKind::Intent && matches!(entry.effect, Some(Effect::Mint { .. }))
    });
    shop.ask(rotate(&plan.name, false)).await.unwrap();
    pass(Span(100)).await;
    let Stored { record, .. } = stored(&bench, &plan.name).await;
    let pending = record.rotation.intent.iter().flat_map(|intent| &intent.pending);
    assert_eq!(pending.filter(|effect| is_mint(effect)).count(), 0);
    let Phase::Stage { step, .. } = &record.rotation.phase else { panic!("{record:?}") };
    assert!(matches!(step, Staging::Mint { .. }), "{step:?}");

    pass(Span::from_secs(2)).await;
    *bench.lines.refuses.lock().unwrap() = None;
    let mended = Instant::now();
    shop.until(&plan.name, |view| rotation(view).current() == Some(VersionId(2))).await;
    assert!(mended.elapsed() < Duration::from_secs(10), "{:?}", mended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_value_is_taken_over_before_its_line_is_written() {
    let bench = Bench::new(Duration::ZERO);
    let by_hand = Plan { initial: Initial::Adopt, ..plan("key", &Arc::new(Service::default())) };
    let shop = bench.open(std::slice::from_ref(&by_hand));
    let unadopted = Some(Reason::NotAdopted);
    shop.until(&by_hand.name, |view| view.waiting.needs_human == unadopted).await;
    let adopt = || Command::Adopt {
        name: by_hand.name.clone(),
        material: Material::single(SecretBytes::new(b"Zm9yZWlnbi12YWx1ZS1vZi1hLXBl".to_vec())),
        key: None,
    };
    *bench.lines.refuses.lock().unwrap() = Some(|entry| entry.kind == EntryKind::Command);
    let refusal = shop.ask(adopt()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::AuditUnwritable);
    assert!(!has_material(&bench, &by_hand.name, 1).await);

    *bench.lines.refuses.lock().unwrap() = None;
    shop.ask(adopt()).await.unwrap();
    shop.rest().await;
    let lines = bench.lines.entries.lock().unwrap().clone();
    let commands = lines.iter().filter(|line| line.kind == EntryKind::Command);
    assert_eq!(commands.count(), 1, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_over_when_it_comes_back_and_not_with_the_slowest() {
    let bench = Bench::new(Duration::ZERO);
    let (quick, slow) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let services = vec![Arc::clone(&quick), Arc::clone(&slow)];
    let plan = Plan { services, ..plan("key", &quick) };
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    slow.takes_ms.store(4_000, Ordering::Relaxed);
    let asked = bench.clock.now();
    shop.ask(rotate(&plan.name, false)).await.unwrap();
    shop.until(&plan.name, |view| rotation(view).phase.name() == "overlap").await;
    let view = shop.view(&plan.name);
    let took = |name: &str| {
        let target = &rotation(&view).targets[&TargetName::new(name).unwrap()];
        target.evidence.as_ref().unwrap().at.since(asked)
    };
    assert!(took("t0") < Span::from_secs(1), "{}", took("t0"));
    assert!(took("t1") >= Span::from_secs(4), "{}", took("t1"));
    assert_eq!(rotation(&view).versions[&VersionId(1)].stage, Stage::Previous);
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_durable_and_failures_are_counted_by_class() {
    let bench = Bench::new(Duration::ZERO);
    let service = Arc::new(Service::default());
    let plan = plan("key", &service);
    let shop = Arc::new(bench.open(std::slice::from_ref(&plan)));
    shop.rest().await;
    let started = r#"rotord_rotations_started_total{trigger="manual",lane="routine"} 1"#;
    *bench.lines.refuses.lock().unwrap() = Some(|entry| entry.kind == EntryKind::Command);
    shop.ask(rotate(&plan.name, false)).await.unwrap_err();
    let text = bench.metrics.encode();
    assert!(!text.contains(started), "it was never opened:\n{text}");

    *bench.lines.refuses.lock().unwrap() = None;
    service.hangs.store(true, Ordering::Relaxed);
    shop.ask(rotate(&plan.name, false)).await.unwrap();
    pass(Span::from_secs(9)).await;
    let text = bench.metrics.encode();
    assert!(text.contains(started), "{text}");
    let failed = r#"rotord_effects_total{effect="push",result="ambiguous"} 1"#;
    assert!(text.contains(failed), "{text}");
}

#[tokio::test(start_paused = true)]
async fn rotations_that_stand_still_trip_the_breaker_and_a_restart_does_not_forget_it() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.budget.moving_max = 100;
    let service = Arc::new(Service::default());
    let plans = plans("key", 5, &service);
    let shop = Arc::new(bench.open(&plans));
    shop.rest().await;
    service.hangs.store(true, Ordering::Relaxed);
    ask_aside(&shop, &plans);
    for plan in &plans {
        shop.until(&plan.name, |view| view.waiting.needs_human.is_some()).await;
    }
    pass(Span::from_secs(10)).await;
    let is_open = |shop: &Shop| shop.snapshots.borrow().health.breaker_open;
    assert!(is_open(&shop), "five of five need a person, though none is closed");
    Arc::into_inner(shop).expect("nobody asks any more").close().await;

    let shop = bench.open(&plans);
    shop.until(&plans[0].name, |view| view.rotation.is_some()).await;
    pass(Span::from_secs(10)).await;
    assert!(is_open(&shop), "the records say so");
    shop.close().await;

    // What went well since is in the records too.
    service.hangs.store(false, Ordering::Relaxed);
    let shop = Arc::new(bench.open(&plans));
    shop.rest().await;
    ask_aside(&shop, &plans[..1]);
    shop.until(&plans[0].name, |view| rotation(view).current() == Some(VersionId(3))).await;
    shop.rest().await;
    assert!(!is_open(&shop));
    Arc::into_inner(shop).expect("nobody asks any more").close().await;
    let shop = bench.open(&plans);
    shop.rest().await;
    assert!(!is_open(&shop));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_leads_again_goes_on_with_what_another_one_has_opened_meanwhile() {
    let bench = Bench::new(Duration::ZERO);
    let plans = [plan("key", &Arc::new(Service::default()))];
    let name = &plans[0].name;
    let first = bench.open(&plans);
    first.rest().await;
    first.lose_the_lease();
    first.until(name, |view| view.waiting.why.starts_with("no_lease")).await;
    let refusal = first.ask(rotate(name, false)).await.expect_err("another one leads");
    assert!(refusal.text.ends_with("ask other, on b.example"), "{refusal}");

    let second = bench.open(&plans);
    second.until(name, |view| view.waiting.why == "schedule").await;
    second.ask(rotate(name, false)).await.unwrap();
    second.until(name, |view| rotation(view).phase.name() == "overlap").await;
    second.close().await;

    first.take_the_lease(2);
    let is_done = |view: &SecretView| {
        rotation(view).is_closed() && rotation(view).current() == Some(VersionId(2))
    };
    first.until(name, is_done).await;
}
