//! Rotations a second, against the raw ceiling: the same requests to OpenBao, recorded from a real
//! rotation, sent by a bare client that decides nothing.

use std::time::Duration;

use tokio::time::sleep;

use crate::ceiling::{Recorded, Runner};
use crate::documents::Documents;
use crate::report::{Aim, Figure, Measured, percentile};
use crate::rig::{Numbers, Rig};
use crate::scanner::{begin, now};
use crate::{Bench, Fallible, say};

/// Long enough that no overlap ends before the last rotation has come to its own.
const OVERLAP: (&str, Duration) = ("90s", Duration::from_secs(90));
const OVERLAP_QUICK: (&str, Duration) = ("4s", Duration::from_secs(4));

/// Between the reload and the moment at which all are due: a reload of thousands takes a while.
const LEAD_SECONDS: i64 = 5;

/// Rotations that routine work has on the move: what the bare client does at once.
const AT_ONCE: usize = 48;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let recorded = sample(bench).await?;
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig, recorded).await;
    rig.close(result).await
}

/// What one rotation asks of OpenBao.
async fn sample(bench: &Bench) -> Fallible<Recorded> {
    let mut rig = Rig::open_recorded(bench).await?;
    let result = async {
        let documents = Documents::new(1, OVERLAP_QUICK.0);
        rig.start(&documents.config(None)).await?;
        rig.until_at_rest(1).await?;
        documents.due_in(&rig, LEAD_SECONDS).await?;
        let begun = rig.audit_lines()?.len();
        rig.until_closed(1.0).await?;
        Recorded::of(&rig.audit_lines()?[begun..])
    }
    .await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig, recorded: Recorded) -> Fallible<Measured> {
    let (secrets, turns) = (bench.size(2_000, 50), bench.size(2, 1));
    let (overlap, overlap_takes) = if bench.quick { OVERLAP_QUICK } else { OVERLAP };
    let documents = Documents::new(secrets, overlap);
    rig.start(&documents.config(None)).await?;
    rig.until_at_rest(secrets).await?;
    let mut runner = Runner::new(&rig.server, bench.http.clone(), recorded, secrets, AT_ONCE);
    runner.prepare().await?;
    let mut rates: [Vec<f64>; 4] = Default::default();
    let (mut requests, all) = (0.0, secrets as f64);
    for turn in 1..=turns {
        say(&format!("  turn {turn} of {turns}"))?;
        let before = rig.numbers().await?;
        let asked = rig.requests()?;
        let due = documents.due_in(rig, LEAD_SECONDS).await?;
        rig.until("all are in their overlap", async || {
            let left = |numbers: &Numbers| {
                numbers.sum("rotord_phase_left_seconds_count", "phase=\"switch\"")
            };
            Ok(left(&rig.numbers().await?) - left(&before) >= all)
        })
        .await?;
        let took = (now().0 - due) as f64 / 1_000.0;
        rates[0].push(all / took);
        let reached = begin();
        requests += rig.requests()? - asked;
        // The overlaps would end one by one, as they began: with nobody there to see it, all of
        // them have ended when rotord comes back.
        rig.house.kill("rotord").await?;
        rates[1].push(all / runner.leg(0).await?);
        sleep((overlap_takes + Duration::from_secs(1)).saturating_sub(reached.elapsed())).await;
        rig.start_again().await?;
        let begun = begin();
        let asked = rig.requests()?;
        rig.until_closed(all).await?;
        rates[2].push(all / begun.elapsed().as_secs_f64());
        requests += rig.requests()? - asked;
        rates[3].push(all / runner.leg(1).await?);
    }
    let requests = requests / all / turns as f64;
    let figures = figures(&rates, runner.lengths(), requests);
    Ok(Measured::new(
        "rotations",
        format!(
            "{secrets} generated webhook secrets with one `vault_kv` target each, all due at the \
             same moment (a schedule). rotord is killed in the overlap and started when all \
             overlaps have ended, so that the second leg is due at once too. The bare client \
             replays the requests of a real rotation, recorded before (method, path, body, \
             check-and-set), {AT_ONCE} rotations at once, as the root. {turns} turns, alternating, \
             on the same OpenBao; medians."
        ),
        figures,
    ))
}

/// The figures: of each leg rotord's rate, the bare client's, and their ratio.
fn figures(rates: &[Vec<f64>; 4], lengths: [usize; 2], requests: f64) -> Vec<Figure> {
    let [admit, admit_raw, retire, retire_raw] = rates.each_ref().map(|all| percentile(all, 0.5));
    let [first, second] = lengths;
    let ratio = |ours: f64, raw: f64| ours / raw;
    vec![
        Figure::new("to_overlap", "trigger -> Overlap, rotord", admit, "/s"),
        Figure::new(
            "to_overlap_raw",
            format!("the same {first} requests, bare client"),
            admit_raw,
            "/s",
        ),
        Figure::new("to_overlap_ratio", "ratio", ratio(admit, admit_raw), "")
            .aim(Aim::AtLeast(0.85)),
        Figure::new("to_closed", "Overlap -> Closed, rotord", retire, "/s"),
        Figure::new(
            "to_closed_raw",
            format!("the same {second} requests, bare client"),
            retire_raw,
            "/s",
        ),
        Figure::new("to_closed_ratio", "ratio", ratio(retire, retire_raw), "")
            .aim(Aim::AtLeast(0.85)),
        Figure::new("requests", "requests to Vault for one rotation", requests, "")
            .aim(Aim::Below(12.5)),
    ]
}
