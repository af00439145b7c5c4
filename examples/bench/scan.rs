//! `rotord scan` against `grep -F -f` over the same log, with the same values, in turns.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::process::Command;

use crate::fleet::{Fleet, Role};
use crate::report::{Aim, Figure, Measured, percentile};
use crate::rig::Rig;
use crate::scanner::begin;
use crate::{Bench, Fallible, material, say};

/// Values that are fetched at once.
const FETCHES: usize = 16;

/// Values that stand in the log: both must find each of them.
const PLANTED: usize = 100;

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let (secrets, mib) = (bench.size(10_000, 200), bench.size(1_024, 8));
    let turns = bench.size(3, 1);
    let fleet = Fleet::start(&rig.house, secrets, &[Role::Both]).await?;
    rig.start(&fleet.config()).await?;
    rig.until_at_rest(secrets).await?;
    say("  every secret is in use")?;
    let values = values(rig, &fleet).await?;
    let (plain, forms) = (rig.house.path("plain"), rig.house.path("forms"));
    fs::write(&plain, values.join("\n") + "\n")?;
    fs::write(&forms, values.iter().flat_map(|v| written(v)).collect::<Vec<_>>().join("\n"))?;
    let log = rig.house.path("big.log");
    write_log(&log, mib, &values)?;
    say("  the log is written")?;

    let mut took: [Vec<f64>; 4] = Default::default();
    // The first turn only warms the page cache.
    for turn in 0..=turns {
        let begun = begin();
        let ran = rig.command(&["scan", &log.display().to_string()]).await?;
        let scan = begun.elapsed().as_secs_f64();
        let found = format!("found={PLANTED} ");
        if !ran.status.success() || !ran.out.contains(&found) {
            return Err(format!("rotord scan did not find {PLANTED}: {}", ran.err).into());
        }
        let begun = begin();
        rig.command(&["scan", "/dev/null"]).await?;
        let fetch = begun.elapsed().as_secs_f64();
        let times = [scan, fetch, grep(&plain, &log).await?, grep(&forms, &log).await?];
        for (all, one) in took.iter_mut().zip(times).filter(|_| turn > 0) {
            all.push(one);
        }
    }
    let [scan, fetch, plain, forms] = took.each_ref().map(|all| percentile(all, 0.5));
    let gib = mib as f64 / 1_024.0;
    let figures = vec![
        Figure::new("scan", "rotord scan", scan, "s"),
        Figure::new("fetch", "of that: fetching the values and preparing the search", fetch, "s"),
        Figure::new("scan_rate", "rotord scan", gib / scan, "GiB/s"),
        Figure::new("grep", "grep -F -f, the values as they are", plain, "s"),
        Figure::new("grep_forms", "grep -F -f, all the forms that rotord looks for", forms, "s"),
        Figure::new("ratio", "grep / scan, the values as they are", plain / scan, "")
            .aim(Aim::AtLeast(1.0)),
        Figure::new("ratio_forms", "grep / scan, all forms", forms / scan, ""),
    ];
    Ok(Measured::new(
        "scan",
        format!(
            "{secrets} managed secrets; a generated log of {mib} MiB in which {PLANTED} of their \
             values stand, which both must find; page cache warm; {turns} turns each, alternating, \
             medians. rotord looks for every value in three forms (plain, URL, Base64) and for \
             words whose digest is that of a version that is gone, and its time includes fetching \
             {secrets} values from Vault; `LC_ALL=C grep -F -f FILE -c` looks for the values as \
             they are, and once more for all three forms."
        ),
        figures,
    ))
}

/// The value in use of every secret.
async fn values(rig: &Rig, fleet: &Fleet) -> Fallible<Vec<String>> {
    let each = fleet.names().iter().map(|name| async move {
        let value = material::value(&rig.server, name, 1).await?;
        Fallible::Ok(value.expose_str().ok_or("a value that is no text")?.to_owned())
    });
    stream::iter(each).buffered(FETCHES).try_collect().await
}

/// The ways in which rotord expects a value to be written.
fn written(value: &str) -> [String; 3] {
    let url = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    [value.to_owned(), url, STANDARD.encode(&value.as_bytes()[..value.len() / 3 * 3])]
}

/// Counts the lines with a value, as grep does.
async fn grep(patterns: &Path, log: &Path) -> Fallible<f64> {
    let begun = begin();
    let mut command = Command::new("grep");
    command.env("LC_ALL", "C").args(["-F", "-c", "-f"]).arg(patterns).arg(log);
    let done = command.output().await?;
    let took = begun.elapsed().as_secs_f64();
    match String::from_utf8(done.stdout)?.trim().parse() {
        Ok(PLANTED) => Ok(took),
        found => Err(format!("grep found {found:?}, not {PLANTED}").into()),
    }
}

/// A log such as services write: dates, paths, ids, tokens of others. The same in every run but
/// for the values of ours in it.
fn write_log(path: &Path, mib: usize, values: &[String]) -> Fallible<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (size, mut random) = (mib << 20, random(11));
    let every = size / (PLANTED + 1);
    let (mut written, mut planted) = (0, 0);
    let mut line = String::new();
    while written < size {
        line.clear();
        let [a, b, c] = [random(), random(), random()];
        let (hour, minute, second) = (a % 24, b % 60, c % 60);
        // Writing to a string cannot fail.
        let _ = match a % 4 {
            0 => writeln!(
                line,
                "2026-11-22T{hour:02}:{minute:02}:{second:02}Z INFO http: POST /v1/orders/{b:x} \
                 200 in {} ms request={c:016x} agent=\"Mozilla/5.0 (X11; Linux x86_64)\"",
                c % 900
            ),
            1 => writeln!(
                line,
                "{{\"ts\":\"2026-11-22T{hour:02}:{minute:02}:{second:02}Z\",\"level\":\"debug\",\
                 \"msg\":\"cache miss\",\"key\":\"user:{b}\",\"trace\":\"{a:016x}{c:016x}\"}}"
            ),
            2 => writeln!(
                line,
                "10.{}.{}.{} - - [22/Nov/2026:{hour:02}:{minute:02}:{second:02}] \"GET \
                 /static/{a:x}.js?token={} HTTP/1.1\" 304 -",
                a % 256,
                b % 256,
                c % 256,
                STANDARD.encode([b.to_le_bytes(), c.to_le_bytes()].concat())
            ),
            _ => writeln!(line, "    at com.example.orders.Handler.run(Handler.java:{})", b % 999),
        };
        if written >= (planted + 1) * every && planted < PLANTED {
            let value = &values[planted * values.len() / PLANTED];
            let _ = writeln!(line, "WARN config: key={value} was given on the command line");
            planted += 1;
        }
        out.write_all(line.as_bytes())?;
        written += line.len();
    }
    Ok(out.flush()?)
}

/// Xorshift: the same numbers in every run.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
