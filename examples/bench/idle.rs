//! What rotord costs while nothing happens: processor, memory, requests to Vault.

use std::time::Duration;

use tokio::time::sleep;

use crate::documents::Documents;
use crate::facts::{memory, processor_seconds};
use crate::report::{Aim, Figure, Measured};
use crate::rig::Rig;
use crate::scanner::begin;
use crate::{Bench, Fallible, say};

/// How long it is watched.
const WATCHED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3));

/// The figures of one number of secrets.
struct Keys {
    secrets: usize,
    processor: &'static str,
    memory: &'static str,
    requests: &'static str,
}

const SIZES: [Keys; 3] = [
    Keys { secrets: 10, processor: "cpu_10", memory: "rss_10", requests: "vault_10" },
    Keys { secrets: 1_000, processor: "cpu_1000", memory: "rss_1000", requests: "vault_1000" },
    Keys { secrets: 10_000, processor: "cpu_10000", memory: "rss_10000", requests: "vault_10000" },
];

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut figures = Vec::new();
    for keys in &SIZES[..bench.size(SIZES.len(), 1)] {
        say(&format!("  {} secrets", keys.secrets))?;
        let mut rig = Rig::open(bench).await?;
        let result = one(bench, &mut rig, keys).await;
        figures.extend(rig.close(result).await?);
    }
    Ok(Measured::new(
        "idle",
        "Webhook secrets with one `vault_kv` target each, none of them due, default settings \
         (a document is looked at every 5 min). rotord was started anew before, and is watched \
         for a minute once it has read its records.",
        figures,
    ))
}

async fn one(bench: &Bench, rig: &mut Rig, keys: &Keys) -> Fallible<Vec<Figure>> {
    let secrets = keys.secrets;
    let documents = Documents::new(secrets, "1h");
    rig.start(&documents.config(None)).await?;
    rig.until_at_rest(secrets).await?;
    rig.house.kill("rotord").await?;
    rig.start_again().await?;
    rig.until_at_rest(secrets).await?;
    let watched = if bench.quick { WATCHED.1 } else { WATCHED.0 };
    let id = rig.house.pid("rotord")?;
    let (begun, processor, asked) = (begin(), processor_seconds(id)?, rig.requests()?);
    sleep(watched).await;
    let processor = processor_seconds(id)? - processor;
    let asked = rig.requests()? - asked;
    let seconds = begun.elapsed().as_secs_f64();
    let memory = memory(id)?;
    let of = |what: &str| format!("{secrets} idle secrets: {what}");
    let mib = Figure::new(keys.memory, of("memory (VmRSS)"), memory.now, "MiB");
    let is_largest = secrets == SIZES[SIZES.len() - 1].secrets;
    Ok(vec![
        Figure::new(keys.processor, of("processor"), processor / seconds * 100.0, "% of a core"),
        if is_largest { mib.aim(Aim::Below(64.0)) } else { mib },
        Figure::new(keys.requests, of("requests to Vault"), asked / seconds * 60.0, "a minute"),
    ])
}
