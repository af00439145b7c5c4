//! From the start of a killed rotord to all of its open rotations being taken up again.

use crate::documents::Documents;
use crate::report::{Aim, Figure, Measured, percentile};
use crate::rig::{Numbers, Rig};
use crate::scanner::begin;
use crate::{Bench, Fallible};

/// Between the reload and the moment at which all are due.
const LEAD_SECONDS: i64 = 5;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let (secrets, turns) = (bench.size(1_000, 30), bench.size(5, 1));
    let documents = Documents::new(secrets, "1h");
    rig.start(&documents.config(None)).await?;
    rig.until_at_rest(secrets).await?;
    documents.due_in(rig, LEAD_SECONDS).await?;
    let in_overlap = |numbers: &Numbers| {
        numbers.sum("rotord_phase_left_seconds_count", "phase=\"switch\"") >= 2.0 * secrets as f64
    };
    rig.until("all are in their overlap", async || Ok(in_overlap(&rig.numbers().await?))).await?;
    let mut took = Vec::new();
    for _ in 0..turns {
        rig.house.kill("rotord").await?;
        let begun = begin();
        rig.start_again().await?;
        rig.until("all are open again", async || Ok(rig.rotating().await? == secrets)).await?;
        took.push(begun.elapsed().as_secs_f64());
    }
    let worst = percentile(&took, 1.0);
    Ok(Measured::new(
        "restart",
        format!(
            "{secrets} webhook secrets with one `vault_kv` target each, each with a rotation in \
             its overlap. rotord is killed with SIGKILL and started, {turns} times: from the start \
             of the process until it leads, has read every record, and every rotation is open in \
             its memory."
        ),
        vec![
            Figure::new("p50", "start -> all rotations resumed, p50", percentile(&took, 0.5), "s")
                .aim(Aim::Below(5.0)),
            Figure::new("max", "start -> all rotations resumed, max", worst, "s"),
        ],
    ))
}
