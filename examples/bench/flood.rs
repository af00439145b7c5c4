//! Forged alerts from many addresses, and real ones among them: what they change, what they cost,
//! and what becomes of the real ones.
//!
//! The forger is cheap, because it has the same cores: raw bytes over connections that are kept
//! for a batch, each from an address that was never used before.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::alerts::{SCANNER_KEY, Settled, TARGETS, one, source};
use crate::facts::{forget_most, memory, processor_seconds};
use crate::fleet::{Counts, Fleet, in_words};
use crate::report::{Aim, Figure, Measured, percentile};
use crate::rig::Rig;
use crate::scanner::{Scanner, begin};
use crate::{Bench, Fallible};

/// Forged alerts a second.
const RATE: u64 = 10_000;

/// Forged alerts over one connection: ten are answered with 401, the next one with 429, and then
/// the connection is closed.
const BATCH: u64 = 11;

/// How long a connection may take; one that was turned away at the door ends at once.
const BATCH_WITHIN: Duration = Duration::from_secs(5);

/// Connections under way at once: beyond it the forger waits, and the rate is not reached.
const CONNECTIONS_MAX: usize = 400;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let (secrets, seconds) = (bench.size(200, 20), bench.size(30, 2));
    let fleet = Fleet::start(&rig.house, secrets, &TARGETS).await?;
    let (listen, config) = source()?;
    rig.house.write("scanner-key", SCANNER_KEY)?;
    rig.start(&format!("{}{config}", fleet.config())).await?;
    rig.until_at_rest(secrets).await?;

    // As many real ones before as during it: what these cost is not what the flood costs.
    let scanner = Scanner::new(bench.http.clone(), listen, SCANNER_KEY);
    for secret in 0..seconds {
        one(rig, &fleet, &scanner, secret).await?;
    }
    rig.until_at_rest(secrets).await?;
    let untouched = &fleet.names()[2 * seconds..];
    let records = rig.record_writes(untouched).await?;
    let id = rig.house.pid("rotord")?;
    forget_most(id)?;
    let (before, processor) = (memory(id)?, processor_seconds(id)?);

    let length = Duration::from_secs(u64::try_from(seconds)?);
    let forger = thread::spawn(move || forge(listen, length));
    let mut settled: Vec<Settled> = Vec::new();
    for secret in seconds..2 * seconds {
        let begun = begin();
        settled.push(one(rig, &fleet, &scanner, secret).await?);
        sleep(Duration::from_secs(1).saturating_sub(begun.elapsed())).await;
    }
    let forged = tokio::task::spawn_blocking(move || forger.join()).await?;
    let Forged { counts, seconds: took } = forged.map_err(|_| "the forger broke off")??;
    let (after, processor) = (memory(id)?, processor_seconds(id)? - processor);
    rig.until_at_rest(secrets).await?;
    let changed = records
        .iter()
        .zip(rig.record_writes(untouched).await?)
        .filter(|(before, after)| **before != *after)
        .count();

    let flood = Flood {
        counts,
        took,
        changed: changed as f64,
        before: before.now,
        grown: after.most - before.now,
        cores: processor / took,
    };
    Ok(Measured::new(
        "flood",
        format!(
            "{secrets} webhook secrets with 3 HTTP targets each. {RATE} forged alerts a second \
             for {seconds} s, {BATCH} over a connection, each connection from another address of \
             127.0.0.0/8; a real one a second from a scanner that was right once before. \
             Default limits. Memory is VmRSS before, VmHWM (reset before) after."
        ),
        figures(&flood, &settled),
    ))
}

/// What the flood did to rotord.
struct Flood {
    counts: Counts,
    took: f64,
    changed: f64,
    before: f64,
    grown: f64,
    cores: f64,
}

fn figures(flood: &Flood, settled: &[Settled]) -> Vec<Figure> {
    let counts = &flood.counts;
    let answered: u64 = counts.iter().filter(|(what, _)| what.len() == 3).map(|(_, n)| n).sum();
    let times: Vec<f64> = settled.iter().map(|settled| settled.gone).collect();
    let real = |key, what: &str, share| {
        let what = format!("real alert -> old refused, {what} of {}", settled.len());
        Figure::new(key, what, percentile(&times, share), "s")
    };
    let what = format!("forged alerts answered a second ({})", in_words(counts));
    vec![
        Figure::new("rate", what, answered as f64 / flood.took, "")
            .aim(Aim::AtLeast(0.99 * RATE as f64)),
        Figure::new(
            "changed",
            "records that changed, other than the real ones'",
            flood.changed,
            "",
        )
        .aim(Aim::Exactly(0.0)),
        Figure::new("grown", "most memory of rotord, above what it had before", flood.grown, "MiB")
            .aim(Aim::Below(16.0)),
        Figure::new("memory", "memory of rotord before it", flood.before, "MiB"),
        Figure::new("processor", "cores that rotord used meanwhile", flood.cores, ""),
        real("real_p50", "p50", 0.5).aim(Aim::Below(1.0)),
        real("real_p99", "p99", 0.99).aim(Aim::Below(5.0)),
        real("real_max", "max", 1.0),
    ]
}

/// What became of the forged alerts: by status, or by what happened to their connection.
struct Forged {
    counts: Counts,
    seconds: f64,
}

fn forge(listen: SocketAddr, length: Duration) -> Fallible<Forged> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = begin();
        let mut beat = interval(Duration::from_secs(BATCH) / u32::try_from(RATE)?);
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let request = request();
        let (mut under_way, mut counts) = (JoinSet::new(), BTreeMap::new());
        for connection in 0.. {
            if begun.elapsed() >= length {
                break;
            }
            beat.tick().await;
            if under_way.len() >= CONNECTIONS_MAX
                && let Some(done) = under_way.join_next().await
            {
                add(&mut counts, done?);
            }
            while let Some(done) = under_way.try_join_next() {
                add(&mut counts, done?);
            }
            under_way.spawn(batch(listen, address(connection), request.clone()));
        }
        let seconds = begun.elapsed().as_secs_f64();
        while let Some(done) = under_way.join_next().await {
            add(&mut counts, done?);
        }
        Ok(Forged { counts, seconds })
    })
}

fn add(counts: &mut Counts, more: Counts) {
    for (what, count) in more {
        *counts.entry(what).or_default() += count;
    }
}

/// The n-th address: from 127.2.0.1 on, a hundred thousand of them.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 2, 0, 1)) + n)
}

/// A batch of alerts that look right in everything but their signature.
fn request() -> Vec<u8> {
    let value = "whsec_Zm9yZ2VkIGZvcmdlZCBmb3JnZWQgZm9yZ2Vk";
    let finding = serde_json::json!({ "value": value, "label": "paste", "public": true });
    let body = serde_json::json!({ "id": "paste-1", "findings": [finding] }).to_string();
    let one = format!(
        "POST /alerts/scanner HTTP/1.1\r\nhost: rotord\r\ncontent-type: application/json\r\n\
         webhook-id: forged\r\nwebhook-timestamp: {}\r\n\
         webhook-signature: v1,Zm9yZ2VkIGZvcmdlZCBmb3JnZWQgZm9yZ2VkIGZvcmc=\r\n\
         content-length: {}\r\n\r\n{body}",
        crate::scanner::now().seconds(),
        body.len(),
    );
    one.repeat(usize::try_from(BATCH).unwrap_or_default()).into_bytes()
}

/// Sends a batch over a connection of its own and counts the answers.
async fn batch(to: SocketAddr, from: Ipv4Addr, request: Vec<u8>) -> Counts {
    let mut counts = Counts::new();
    let sent = timeout(BATCH_WITHIN, send(to, from, &request, &mut counts)).await;
    let answered: u64 = counts.values().sum();
    let what = match sent {
        Ok(Ok(())) => "unanswered",
        Ok(Err(_)) => "turned away",
        Err(_) => "not answered in time",
    };
    if answered < BATCH {
        counts.insert(what.to_owned(), BATCH - answered);
    }
    counts
}

async fn send(
    to: SocketAddr,
    from: Ipv4Addr,
    request: &[u8],
    counts: &mut Counts,
) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(request).await?;
    let (mut text, mut counted, mut answered) = (Vec::with_capacity(16 * 1024), 0, 0);
    while answered < BATCH && stream.read_buf(&mut text).await? > 0 {
        const MARK: &[u8] = b"HTTP/1.1 ";
        while let Some(at) = memchr::memmem::find(&text[counted..], MARK) {
            let begin = counted + at + MARK.len();
            let Some(status) = text.get(begin..begin + 3) else { break };
            *counts.entry(String::from_utf8_lossy(status).into_owned()).or_default() += 1;
            answered += 1;
            counted = begin + 3;
        }
    }
    Ok(())
}
