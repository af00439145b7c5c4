//! Every wait lies ahead: whatever keeps a rotation from going on, nothing is asked hot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotord::engine::command::Command;
use rotord::model::capability::{Capabilities, OldDies};
use rotord::model::material::{Material, SecretBytes};
use rotord::model::policy::{Hold, Kind};
use rotord::model::reason::Reason;
use rotord::model::time::{Clock as _, Span};

use crate::support::workbench::{Bench, Plan, Service, pass, plan, rotate};

/// Times the clock is read in ten minutes of a loop that only waits: some at each of its turns,
/// which come every five seconds, and some at each look that is due.
const READS_MAX: u64 = 3_000;

/// How often the clock is read within ten minutes.
async fn reads_while_waiting(bench: &Bench) -> u64 {
    let before = bench.clock.reads.load(Ordering::Relaxed);
    pass(Span::from_secs(600)).await;
    bench.clock.reads.load(Ordering::Relaxed) - before
}

/// An issuer that ends the old key when it is given the new one.
fn ends_the_old_one() -> Capabilities {
    Capabilities { remote: true, old_dies: OldDies::OnMint, ..Capabilities::local() }
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_a_hold_forbids_is_not_asked_for_hot() {
    let bench = Bench::new(Duration::ZERO);
    let plan = plan("hook", &Arc::new(Service::default())).at(ends_the_old_one());
    let plan = Plan { kind: Kind::WebhookHmac, ..plan };
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    let at = bench.clock.now();
    let hold = Hold {
        by: "bench".to_owned(),
        reason: "audit".to_owned(),
        at,
        until: at + Span::from_secs(3_600),
        routine_only: false,
    };
    shop.ask(Command::Hold { name: plan.name.clone(), hold }).await.unwrap();
    shop.ask(rotate(&plan.name, false)).await.unwrap();
    shop.until(&plan.name, |view| view.waiting.why == "the end of the hold").await;

    let requests = bench.kv.requests.load(Ordering::Relaxed);
    let reads = reads_while_waiting(&bench).await;
    assert!(reads < READS_MAX, "the clock was read {reads} times");
    let requests = bench.kv.requests.load(Ordering::Relaxed) - requests;
    assert!(requests < 30, "{requests} requests of Vault while it is held");

    shop.ask(Command::Release { name: plan.name.clone() }).await.unwrap();
    shop.until(&plan.name, |view| view.rotation.as_ref().unwrap().is_closed()).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_after_a_takeover_waits_once() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.takeover = Span::from_secs(900);
    let plan = plan("key", &Arc::new(Service::default())).at(ends_the_old_one());
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.until(&plan.name, |view| {
        view.rotation.as_ref().is_some_and(|rotation| rotation.phase.name() == "install")
    })
    .await;
    pass(Span::from_secs(1)).await;
    let reads = reads_while_waiting(&bench).await;
    assert!(reads < READS_MAX, "the clock was read {reads} times");
    shop.rest().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_that_have_nothing_to_do_cost_nothing() {
    let bench = Bench::new(Duration::ZERO);
    let plans = crate::support::workbench::plans("idle", 200, &Arc::new(Service::default()));
    let shop = bench.open(&plans);
    shop.rest().await;
    pass(Span::from_secs(600)).await;
    let requests = bench.kv.requests.load(Ordering::Relaxed);
    let reads = reads_while_waiting(&bench).await;
    assert!(reads < READS_MAX, "the clock was read {reads} times");
    assert_eq!(bench.kv.requests.load(Ordering::Relaxed), requests);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_before_the_first_rotation_is_given_up_and_asked_again() {
    let bench = Bench::new(Duration::ZERO);
    let service = Arc::new(Service::default());
    service.hangs.store(true, Ordering::Relaxed);
    let plan = plan("key", &service);
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.until(&plan.name, |view| view.waiting.why.contains("timed_out")).await;
    service.hangs.store(false, Ordering::Relaxed);
    shop.rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_put_there_stays_until_a_person_adopts() {
    let bench = Bench::new(Duration::ZERO);
    let service = Arc::new(Service::default());
    service.foreign.store(true, Ordering::Relaxed);
    let plan = plan("key", &service);
    let shop = bench.open(std::slice::from_ref(&plan));
    let foreign = Some(Reason::ForeignValue);
    shop.until(&plan.name, |view| view.waiting.needs_human == foreign).await;
    let remedy = shop.view(&plan.name).waiting.remedy.clone().unwrap();
    assert!(remedy.starts_with("rotord adopt key"), "{remedy}");
    pass(Span::from_secs(600)).await;
    assert_eq!(service.pushes.load(Ordering::Relaxed), 0, "nothing is overwritten unasked");

    let value = SecretBytes::new(b"Zm9yZWlnbi12YWx1ZS1vZi1hLXBlcnNvbg".to_vec());
    let (name, material) = (plan.name.clone(), Material::single(value));
    shop.ask(Command::Adopt { name, material, key: None }).await.unwrap();
    shop.rest().await;
    assert_eq!(shop.view(&plan.name).waiting.needs_human, None);
    assert_eq!(service.newest().map(|(version, _)| version.0), Some(1), "it uses what was adopted");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_takes_away_again_is_in_nobodys_way() {
    let bench = Bench::new(Duration::ZERO);
    let service = Arc::new(Service::default());
    service.foreign.store(true, Ordering::Relaxed);
    let plan = plan("key", &service);
    let shop = bench.open(std::slice::from_ref(&plan));
    let foreign = Some(Reason::ForeignValue);
    shop.until(&plan.name, |view| view.waiting.needs_human == foreign).await;
    pass(Span::from_secs(1_000)).await;
    assert_eq!(shop.view(&plan.name).waiting.needs_human, foreign);
    assert_eq!(service.pushes.load(Ordering::Relaxed), 0);
    service.foreign.store(false, Ordering::Relaxed);
    shop.rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_neither_in_the_config_nor_in_vault_is_not_shown() {
    let bench = Bench::new(Duration::ZERO);
    let (service, other) = (Arc::new(Service::default()), Arc::new(Service::default()));
    service.foreign.store(true, Ordering::Relaxed);
    let (ghost, stays) = (plan("ghost", &service), plan("stays", &other));
    let shop = bench.open(&[ghost.clone(), stays.clone()]);
    let foreign = Some(Reason::ForeignValue);
    shop.until(&ghost.name, |view| view.waiting.needs_human == foreign).await;
    shop.until(&stays.name, |view| view.rotation.as_ref().is_some_and(|r| r.is_closed())).await;
    shop.reload(std::slice::from_ref(&stays)).await;
    pass(Span::from_secs(10)).await;
    let names = |shop: &crate::support::workbench::Shop| {
        shop.snapshots.borrow().secrets.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&shop), ["stays"]);
    // What has a record is shown as what it is.
    shop.reload(std::slice::from_ref(&ghost)).await;
    shop.until(&stays.name, |view| !view.managed).await;
    assert_eq!(names(&shop), ["ghost", "stays"]);
}
