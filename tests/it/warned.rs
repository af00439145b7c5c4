//! Whoever uses a secret within this process hears of a leak before anything else is done about it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotord::model::id::VersionId;

use crate::support::workbench::{Bench, Service, plan, rotate};

fn heard(service: &Service) -> Vec<String> {
    std::mem::take(&mut service.heard.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_target_hears_of_a_leak_before_the_next_push_and_of_its_end() {
    let service = Arc::new(Service::default());
    let plan = plan("push-key", &service);
    let bench = Bench::new(Duration::ZERO);
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    assert!(!heard(&service).contains(&"[1]".to_owned()), "nothing leaked yet");

    shop.ask(rotate(&plan.name, true)).await.unwrap();
    let in_use = |view: &rotord::engine::snapshot::SecretView| {
        view.rotation.as_ref().is_some_and(|r| r.is_closed() && r.current() == Some(VersionId(2)))
    };
    shop.until(&plan.name, in_use).await;
    let said = heard(&service);
    let first = said.iter().position(|word| word == "[1]").expect("it never heard of the leak");
    let push = said.iter().position(|word| word == "push").expect("it was never pushed to");
    assert!(first < push, "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("[]"), "what is gone is no danger: {said:?}");
    shop.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_process_says_so_too_before_it_pushes() {
    let service = Arc::new(Service::default());
    let plan = plan("push-key", &service);
    let bench = Bench::new(Duration::ZERO);
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    service.hangs.store(true, Ordering::Relaxed);
    shop.ask(rotate(&plan.name, true)).await.unwrap();
    shop.close().await;

    heard(&service);
    service.hangs.store(false, Ordering::Relaxed);
    let shop = bench.open(std::slice::from_ref(&plan));
    shop.rest().await;
    assert_eq!(heard(&service).first().map(String::as_str), Some("[1]"));
    shop.close().await;
}
