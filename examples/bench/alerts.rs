//! From an alert to the new version on every target, and to the end of the old one, while routine
//! rotations are queued. `docs/performance.md` has what came of it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::Client;
use rotord::model::id::VersionId;
use tokio::time::timeout;

use crate::fleet::{Fleet, Role};
use crate::processes::free_port;
use crate::report::{Aim, Figure, Measured, percentile};
use crate::rig::Rig;
use crate::scanner::{Scanner, begin};
use crate::{Bench, Fallible, material, say};

/// What the scanner signs its alerts with.
pub(crate) const SCANNER_KEY: &str = "whsec_c2Nhbm5lciBvZiB0aGUgbWVhc3VyZW1lbnRzISEhISE=";

/// Each of them has a target that signs and two that verify.
pub(crate) const TARGETS: [Role; 3] = [Role::Verifier, Role::Verifier, Role::Signer];

/// How long one alert is waited for. Only a failure takes so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// What became of one alert, in seconds from the moment it was sent.
pub(crate) struct Settled {
    pub(crate) answered: f64,
    pub(crate) newer: f64,
    pub(crate) gone: f64,
    /// Whether no verifier took the old value afterwards.
    pub(crate) refused: bool,
}

/// Where rotord listens, and its tables in the config.
pub(crate) fn source() -> Fallible<(SocketAddr, String)> {
    // Free a moment ago; rotord takes it before anything else here asks for a port.
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let config = format!(
        "\n[alerts]\nlisten = \"{listen}\"\n\n[[alerts.source]]\nname = \"scanner\"\n\
         type = \"generic\"\nkey = {{ file = \"scanner-key\" }}\n"
    );
    Ok((listen, config))
}

pub(crate) async fn measure(bench: &Bench) -> Fallible<Measured> {
    let mut rig = Rig::open(bench).await?;
    let result = run(bench, &mut rig).await;
    rig.close(result).await
}

async fn run(bench: &Bench, rig: &mut Rig) -> Fallible<Measured> {
    let (secrets, alerts) = (bench.size(1_000, 20), bench.size(200, 5));
    let fleet = Fleet::start(&rig.house, secrets, &TARGETS).await?;
    let (listen, config) = source()?;
    rig.house.write("scanner-key", SCANNER_KEY)?;
    rig.start(&format!("{}{config}", fleet.config())).await?;
    rig.until_at_rest(secrets).await?;
    say("  every secret is in use")?;

    let scanner = Scanner::new(bench.http.clone(), listen, SCANNER_KEY);
    let report = async {
        let (mut settled, mut open) = (Vec::new(), Vec::new());
        for alert in 0..alerts {
            settled.push(one(rig, &fleet, &scanner, alert * secrets / alerts).await?);
            let numbers = rig.numbers().await?;
            open.push(numbers.sum("rotord_rotations_open", "lane=\"routine\""));
        }
        Fallible::Ok((settled, open))
    };
    let (settled, open) = tokio::select! {
        reported = report => reported?,
        Err(broken) = queue(rig) => return Err(broken),
    };
    let of = |part: fn(&Settled) -> f64| settled.iter().map(part).collect::<Vec<f64>>();
    let legs = [
        ("answered", of(|s| s.answered)),
        ("new on all 3 targets", of(|s| s.newer)),
        ("old refused by both verifiers", of(|s| s.gone)),
    ];
    let keys = [
        ["answered_p50", "answered_p99", "answered_max"],
        ["new_p50", "new_p99", "new_max"],
        ["old_refused_p50", "old_refused_p99", "old_refused_max"],
    ];
    let mut figures = Vec::new();
    for ((what, values), keys) in legs.iter().zip(keys) {
        let last = *what == legs[2].0;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(values, share));
        let figure = |key, name: &str, value| {
            Figure::new(key, format!("alert sent -> {what}, {name}"), value, "s")
        };
        let half = figure(keys[0], "p50", p50);
        let most = figure(keys[1], "p99", p99);
        figures.push(if last { half.aim(Aim::Below(1.0)) } else { half });
        figures.push(if last { most.aim(Aim::Below(5.0)) } else { most });
        figures.push(figure(keys[2], "max", max));
    }
    let refused = settled.iter().filter(|settled| settled.refused).count() as f64;
    let wanted = Aim::Exactly(alerts as f64);
    figures.push(Figure::new("tried", "old value tried and refused", refused, "").aim(wanted));
    let least = percentile(&open, 0.0);
    figures.push(Figure::new("queue_min", "routine rotations open, least", least, ""));
    figures.push(Figure::new(
        "queue_p50",
        "routine rotations open, p50",
        percentile(&open, 0.5),
        "",
    ));
    Ok(Measured::new(
        "alerts",
        format!(
            "{secrets} webhook secrets with 3 HTTP targets each (two verify, one signs), all of \
             which answer at once with a proof; `rotord rotate --all` asks for {secrets} routine \
             rotations all the while, again and again; {alerts} signed alerts over \
             the listener, one after another, each about the value in use of another secret \
             (`keep_serving`). Times are taken where the pushes arrive."
        ),
        figures,
    ))
}

/// Reports the value in use of a secret, and waits until it is of no use any more.
pub(crate) async fn one(
    rig: &Rig,
    fleet: &Fleet,
    scanner: &Scanner,
    secret: usize,
) -> Fallible<Settled> {
    let name = &fleet.names()[secret];
    let version = fleet.newest(secret).ok_or_else(|| format!("{name} is nowhere in use"))?;
    let value = material::value(&rig.server, name, version.0).await?;
    fleet.forget(secret);
    let begun = begin();
    let answer = scanner.report(&format!("{name}-v{}", version.0), &value).await?;
    let answered = begun.elapsed().as_secs_f64();
    if answer.versions.is_empty() {
        return Err(format!("the alert about {name} {version} was not recognised").into());
    }
    let waited = timeout(SETTLED_WITHIN, both(fleet, secret, version)).await;
    let (newer, gone) =
        waited.map_err(|_| format!("{name} {version} is still in use after a minute"))??;
    let since = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
    let refused = !fleet.is_taken(secret, &value)?;
    Ok(Settled { answered, newer: since(newer), gone: since(gone), refused })
}

async fn both(fleet: &Fleet, secret: usize, old: VersionId) -> Fallible<(Instant, Instant)> {
    Ok((fleet.until_newer(secret, old).await?, fleet.until_gone(secret, old).await?))
}

/// Asks for a routine rotation of every secret, and when all were begun, again. Those for whom
/// there is no room yet are asked for until there is.
async fn queue(rig: &Rig) -> Fallible<Infallible> {
    loop {
        rig.command(&["rotate", "--all", "--yes", "--no-wait", "--reason", "bench"]).await?;
    }
}

/// A client that comes from this address.
pub(crate) fn client_from(address: Ipv4Addr) -> Fallible<Client> {
    let client = Client::builder().no_proxy().local_address(std::net::IpAddr::V4(address));
    Ok(client.timeout(crate::ANSWERED_WITHIN).tls_certs_only([]).build()?)
}
