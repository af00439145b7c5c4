//! The same leak, reported a thousand times at once, from many addresses: exactly one rotation.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use rotord::model::material::SecretBytes;
use tokio::time::sleep;

use crate::alerts::{SCANNER_KEY, TARGETS, client_from, source};
use crate::fleet::{Counts, Fleet, in_words};
use crate::report::{Aim, Figure, Measured};
use crate::rig::Rig;
use crate::scanner::{Scanner, begin};
use crate::{Bench, Fallible, material};

/// Addresses from which they come.
const ADDRESSES: usize = 250;

/// Every second report has an id of its own; the others have one in common, as a delivery that is
/// repeated has.
const SAME_ID: &str = "paste-8xk2";

/// What a sender does who was held back: it tries again, after a pause.
const TRIES: usize = 60;
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let (secrets, reports) = (10, bench.size(1_000, 50));
    let fleet = Fleet::start(&rig.house, secrets, &TARGETS).await?;
    let (listen, config) = source()?;
    rig.house.write("scanner-key", SCANNER_KEY)?;
    rig.start(&format!("{}{config}", fleet.config())).await?;
    rig.until_at_rest(secrets).await?;
    let others = &fleet.names()[1..];
    let records = rig.record_writes(others).await?;
    let rotations = async || {
        let numbers = rig.numbers().await?;
        Fallible::Ok(numbers.sum("rotord_rotations_started_total", "lane=\"emergency\""))
    };
    let before = rotations().await?;

    let leaked = fleet.newest(0).ok_or("nothing is in use")?;
    let value = material::value(&rig.server, &fleet.names()[0], leaked.0).await?;
    let scanners = (0..ADDRESSES).map(|place| {
        let address = Ipv4Addr::new(127, 3, 0, u8::try_from(place)?.saturating_add(1));
        Ok(Scanner::new(client_from(address)?, listen, SCANNER_KEY))
    });
    let scanners: Vec<Scanner> = scanners.collect::<Fallible<_>>()?;
    let begun = begin();
    let all = (0..reports).map(|report| {
        let own = format!("paste-{report}");
        let id = if report % 2 == 0 { SAME_ID.to_owned() } else { own };
        until_believed(&scanners[report % ADDRESSES], id, &value)
    });
    let came = join_all(all).await;
    let took = begun.elapsed().as_secs_f64();
    fleet.until_gone(0, leaked).await?;
    rig.until_at_rest(secrets).await?;

    let mut first = Counts::new();
    let mut believed = 0;
    for answers in came {
        believed += usize::from(answers.last().is_some_and(|last| last == "200"));
        *first.entry(answers.into_iter().next().unwrap_or_default()).or_default() += 1;
    }
    let changed = records
        .iter()
        .zip(rig.record_writes(others).await?)
        .filter(|(before, after)| **before != *after)
        .count();
    let rotated = rotations().await? - before;
    let newest = fleet.newest(0).ok_or("nothing is in use")?.0 - leaked.0;
    let believed_what =
        format!("reports taken in, in the end (first answers: {})", in_words(&first));
    let figures = vec![
        Figure::new("rotations", "rotations", rotated, "").aim(Aim::Exactly(1.0)),
        Figure::new("versions", "new versions", newest as f64, "").aim(Aim::Exactly(1.0)),
        Figure::new("believed", believed_what, believed as f64, "")
            .aim(Aim::Exactly(reports as f64)),
        Figure::new("changed", "records of other secrets that changed", changed as f64, "")
            .aim(Aim::Exactly(0.0)),
        Figure::new("took", "until the last was answered", took, "s"),
    ];
    Ok(Measured::new(
        "duplicates",
        format!(
            "{reports} signed reports of the same value at once, from {ADDRESSES} addresses, half \
             of them under the same id and half under ids of their own. Default limits; who is \
             held back or turned away tries again."
        ),
        figures,
    ))
}

/// Reports until it was taken in. Answers every status, `none` for a connection without one.
async fn until_believed(scanner: &Scanner, id: String, value: &SecretBytes) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..TRIES {
        let delivered = scanner.deliver(&id, value).await;
        let status = delivered.map_or_else(|_| "none".to_owned(), |d| d.status.as_str().to_owned());
        let again = ["none", "429", "503"].contains(&status.as_str());
        answers.push(status);
        if !again {
            break;
        }
        sleep(PAUSE).await;
    }
    answers
}
