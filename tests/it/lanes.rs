//! Who waits for whom: emergencies for nothing routine, and everything for a place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotord::engine::command::Command;
use rotord::engine::limits::Limits;
use rotord::engine::snapshot::SecretView;
use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::Hold;
use rotord::model::time::{Clock as _, Span};
use rotord::model::version::Stage;
use rotord::plan::budget::Budget;
use rotord::plan::cadence::Cadence;
use rotord::plan::schedule::Schedule;
use tokio::time::Instant;

use crate::support::workbench::{Bench, Plan, Service, Shop, pass, plan, plans, rotate};

/// Room for whatever a test opens: what is tried here are places, not budgets.
const ROOMY: Budget =
    Budget { moving_max: 10_000, emergency_reserve: 100, routine_moving: 0, emergency_moving: 0 };

fn bench(limits: Limits, takes: Duration) -> Bench {
    Bench { limits, budget: ROOMY, ..Bench::new(takes) }
}

fn version(view: &SecretView) -> u64 {
    let current = view.rotation.as_ref().and_then(|rotation| rotation.current());
    current.map_or(0, |version| version.0)
}

fn phase(view: &SecretView) -> &'static str {
    view.rotation.as_ref().map_or("none", |rotation| rotation.phase.name())
}

/// Whether its second version is in use everywhere.
fn has_switched(view: &SecretView) -> bool {
    version(view) == 2 && ["overlap", "retire", "revoke", "closed"].contains(&phase(view))
}

/// Asks for a rotation and does not wait for the answer.
fn ask_aside(shop: &Arc<Shop>, name: &SecretName, emergency: bool) {
    let (shop, name) = (Arc::clone(shop), name.clone());
    #[expect(clippy::disallowed_methods, reason = "people do not wait for each other")]
    drop(tokio::spawn(async move { shop.ask(rotate(&name, emergency)).await }));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_leaks_are_mended_at_once_while_a_thousand_rotations_wait() {
    // A Vault that takes a thousand requests a second and no more.
    let bench = bench(Limits::default(), Duration::from_millis(1));
    let schedule = Schedule::parse("0 * * * *", "UTC").unwrap();
    let slow = Arc::new(Service::default());
    slow.takes_ms.store(400, Ordering::Relaxed);
    let routine = plans("routine", 1_000, &slow).into_iter();
    let scheduled = Cadence { schedule: Some(schedule), ..Cadence::default() };
    let routine = routine.map(|plan| Plan { cadence: scheduled.clone(), ..plan });
    let leaks: Vec<Arc<Service>> = (0..200).map(|_| Arc::default()).collect();
    let exposed = leaks.iter().enumerate().map(|(n, service)| plan(&format!("leak-{n}"), service));
    let all: Vec<Plan> = routine.chain(exposed.clone()).collect();
    let shop = bench.open(&all);
    shop.rest().await;
    // On the hour, which is where this world begins, a thousand are due.
    let to_the_hour = 3_600_000 - bench.clock.elapsed().0 % 3_600_000;
    pass(Span(to_the_hour + 500)).await;

    let mut asked = Vec::new();
    for plan in exposed {
        let at = Instant::now();
        shop.ask(rotate(&plan.name, true)).await.unwrap();
        asked.push(at);
    }
    for n in 0..leaks.len() {
        let name = SecretName::new(format!("leak-{n}")).unwrap();
        shop.until(&name, has_switched).await;
    }
    let routine = |view: &Arc<SecretView>| view.name.as_str().starts_with("routine");
    let snapshot = Arc::clone(&shop.snapshots.borrow());
    let done = snapshot.secrets.values().filter(|view| routine(view) && has_switched(view)).count();
    let mut took: Vec<Duration> =
        leaks.iter().zip(asked).map(|(l, at)| l.newest().unwrap().1 - at).collect();
    took.sort_unstable();
    let (p50, p99) = (took[99], took[197]);
    assert!(p50 < Duration::from_secs(1), "p50 is {p50:?}");
    assert!(p99 < Duration::from_secs(5), "p99 is {p99:?}");
    // They come one after the other: one that waits for the whole queue lets the others through an
    // empty house, and no percentile shows it.
    let slowest = took[199];
    assert!(slowest < Duration::from_secs(5), "the slowest took {slowest:?}");
    assert!(done < 900, "{done} routine rotations were done: there was no queue");
    shop.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_waits_for_a_routine_place_is_taken_out_of_the_queue_when_it_leaks() {
    let bench = bench(Limits { walks: 1, ..Limits::default() }, Duration::ZERO);
    let (stuck, service) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let (first, queued) = (plan("a-stuck", &stuck), plan("b-queued", &service));
    let shop = Arc::new(bench.open(&[first.clone(), queued.clone()]));
    shop.rest().await;
    stuck.hangs.store(true, Ordering::Relaxed);
    ask_aside(&shop, &first.name, false);
    shop.until(&first.name, |view| phase(view) == "switch").await;
    ask_aside(&shop, &queued.name, false);
    pass(Span(10)).await;
    assert_eq!(phase(&shop.view(&queued.name)), "closed", "its walk waits for the only place");

    let asked = Instant::now();
    shop.ask(rotate(&queued.name, true)).await.unwrap();
    shop.until(&queued.name, has_switched).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(version(&shop.view(&first.name)), 2);
    assert_eq!(phase(&shop.view(&first.name)), "switch", "the routine one still hangs");
}

#[tokio::test(start_paused = true)]
async fn a_leak_does_not_wait_with_a_hold_that_waits_for_a_routine_place() {
    let bench = bench(Limits { walks: 1, ..Limits::default() }, Duration::ZERO);
    let (stuck, service) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let (first, queued) = (plan("a-stuck", &stuck), plan("b-queued", &service));
    let shop = Arc::new(bench.open(&[first.clone(), queued.clone()]));
    shop.rest().await;
    stuck.hangs.store(true, Ordering::Relaxed);
    ask_aside(&shop, &first.name, false);
    shop.until(&first.name, |view| phase(view) == "switch").await;
    let at = bench.clock.now();
    let hold = Hold {
        by: "bench".to_owned(),
        reason: "audit".to_owned(),
        at,
        until: at + Span::from_secs(3_600),
        routine_only: false,
    };
    let (aside, name) = (Arc::clone(&shop), queued.name.clone());
    #[expect(clippy::disallowed_methods, reason = "people do not wait for each other")]
    let held = tokio::spawn(async move { aside.ask(Command::Hold { name, hold }).await });
    pass(Span(10)).await;
    assert!(!held.is_finished(), "its walk waits for the only place");

    let asked = Instant::now();
    shop.ask(rotate(&queued.name, true)).await.unwrap();
    shop.until(&queued.name, |view| version(view) == 2).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    held.await.unwrap().unwrap();
    pass(Span::from_secs(600)).await;
    let view = shop.view(&queued.name);
    let old = &view.rotation.as_ref().unwrap().versions[&VersionId(1)];
    assert_eq!(old.stage, Stage::Previous, "the hold was asked for before the leak: it binds it");
}

#[tokio::test(start_paused = true)]
async fn a_routine_push_that_hangs_does_not_hold_up_the_emergency_of_its_own_secret() {
    let bench = bench(Limits::default(), Duration::ZERO);
    let (stuck, well) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let plan = Plan { services: vec![Arc::clone(&stuck), Arc::clone(&well)], ..plan("k", &stuck) };
    let shop = Arc::new(bench.open(std::slice::from_ref(&plan)));
    shop.rest().await;
    stuck.hangs.store(true, Ordering::Relaxed);
    shop.ask(rotate(&plan.name, false)).await.unwrap();
    shop.until(&plan.name, |view| phase(view) == "switch").await;
    pass(Span(10)).await;

    let asked = Instant::now();
    shop.ask(rotate(&plan.name, true)).await.unwrap();
    shop.until(&plan.name, |view| version(view) == 3).await;
    pass(Span(200)).await;
    let (newest, at) = well.newest().unwrap();
    assert_eq!(newest.0, 3);
    // The push under way gets its second, and so does the first of the emergency.
    assert!(at - asked < Duration::from_secs(3), "{:?}", at - asked);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_for_routine_pushes_holds_up_no_emergency_anywhere() {
    let limits = Limits { effects: 4, emergency_effects: 1, per_target: 1, ..Limits::default() };
    let bench = bench(limits, Duration::ZERO);
    let stuck = Arc::new(Service::default());
    let routine: Vec<Plan> = (plans("routine", 20, &stuck).into_iter())
        .map(|plan| Plan { host: "one-host".to_owned(), ..plan })
        .collect();
    let alone: Vec<Plan> = plans("alone", 10, &stuck);
    let (same, other) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let same_host = Plan { host: "one-host".to_owned(), ..plan("same-host", &same) };
    let elsewhere = plan("elsewhere", &other);
    let mut all = [routine.clone(), alone.clone()].concat();
    all.extend([same_host.clone(), elsewhere.clone()]);
    let shop = Arc::new(bench.open(&all));
    shop.rest().await;
    stuck.hangs.store(true, Ordering::Relaxed);
    for plan in routine.iter().chain(&alone) {
        ask_aside(&shop, &plan.name, false);
    }
    pass(Span(100)).await;
    for plan in [same_host, elsewhere] {
        let asked = Instant::now();
        shop.ask(rotate(&plan.name, true)).await.unwrap();
        shop.until(&plan.name, has_switched).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{}: {:?}", plan.name, asked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn effects_are_bounded_and_not_only_walks() {
    let limits = Limits { effects: 6, emergency_effects: 2, ..Limits::default() };
    let bench = bench(limits, Duration::ZERO);
    let service = Arc::new(Service::default());
    service.takes_ms.store(100, Ordering::Relaxed);
    let three = |plan: Plan| Plan { services: vec![Arc::clone(&service); 3], ..plan };
    let all: Vec<Plan> = plans("k", 20, &service).into_iter().map(three).collect();
    let shop = bench.open(&all);
    shop.rest().await;
    let most = service.crowd.most.load(Ordering::Relaxed);
    assert_eq!(most, 4, "what routine work may have under way, and it has it");
}

/// Room comes when another rotation has stopped moving, not when somebody looks again.
#[tokio::test(start_paused = true)]
async fn who_waits_for_room_sets_out_as_soon_as_there_is_some() {
    let bench = Bench::new(Duration::from_millis(1));
    let service = Arc::new(Service::default());
    let plans = plans("k", 500, &service);
    let opened = Instant::now();
    let shop = bench.open(&plans);
    for plan in &plans {
        shop.until(&plan.name, |view| version(view) == 1 && phase(view) == "closed").await;
    }
    let took = opened.elapsed();
    assert!(took < Duration::from_secs(10), "500 first versions took {took:?}");
    shop.close().await;
}
