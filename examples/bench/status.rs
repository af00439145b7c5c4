//! How long status takes to answer while a thousand rotations run.

use std::time::Duration;

use tokio::time::sleep;

use crate::documents::Documents;
use crate::report::{Figure, Measured, percentile};
use crate::rig::Rig;
use crate::scanner::begin;
use crate::{Bench, Fallible};

/// Between the reload and the moment at which all are due.
const LEAD_SECONDS: i64 = 5;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let secrets = bench.size(1_000, 50);
    let documents = Documents::new(secrets, "2s");
    rig.start(&documents.config(None)).await?;
    rig.until_at_rest(secrets).await?;
    let quiet = ask(rig, &documents, bench.size(200, 10)).await?;
    let due = documents.due_in(rig, LEAD_SECONDS).await?;
    let wait = u64::try_from(due - crate::scanner::now().0).unwrap_or_default();
    sleep(Duration::from_millis(wait)).await;
    let before = rig.closed().await?;
    let mut busy = [Vec::new(), Vec::new()];
    while rig.closed().await? - before < secrets as f64 {
        let [one, all] = ask(rig, &documents, 5).await?;
        busy[0].extend(one);
        busy[1].extend(all);
    }
    let mut figures = Vec::new();
    let keys = [
        ["one_idle_p50", "one_idle_p99", "all_idle_p50", "all_idle_p99"],
        ["one_busy_p50", "one_busy_p99", "all_busy_p50", "all_busy_p99"],
    ];
    for ((when, [one, all]), keys) in [("idle", quiet), ("busy", busy)].into_iter().zip(keys) {
        for (key, (what, values, share, name)) in keys.into_iter().zip([
            ("one secret", &one, 0.5, "p50"),
            ("one secret", &one, 0.99, "p99"),
            ("all secrets", &all, 0.5, "p50"),
            ("all secrets", &all, 0.99, "p99"),
        ]) {
            let what = format!("status of {what}, {when}, {name}");
            figures.push(Figure::new(key, what, percentile(values, share) * 1_000.0, "ms"));
        }
    }
    Ok(Measured::new(
        "status",
        format!(
            "{secrets} webhook secrets with one `vault_kv` target each; `GET /v1/status/NAME` and \
             `GET /v1/status` over the control socket, answers read to their end: while nothing \
             goes on, and while all {secrets} rotate."
        ),
        figures,
    ))
}

/// Asks for one secret and for all of them, so often. Answers the seconds that each took.
async fn ask(rig: &Rig, documents: &Documents, times: usize) -> Fallible<[Vec<f64>; 2]> {
    let mut took = [Vec::new(), Vec::new()];
    for name in documents.names.iter().cycle().take(times) {
        for (took, path) in took.iter_mut().zip([format!("status/{name}"), "status".to_owned()]) {
            let begun = begin();
            rig.get(&path).await?;
            took.push(begun.elapsed().as_secs_f64());
            sleep(PAUSE).await;
        }
    }
    Ok(took)
}
