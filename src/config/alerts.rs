//! `[alerts]`: where leak alerts come in, how many at a time, and who sends them.
//!
//! Decides the keys of the listener and of the limits; each source's own keys are in `source`.
//! Refuses a listener that would carry tokens in the clear, and sources that nothing reaches.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::place;
use crate::config::reader::{Entry, Section};
use crate::driver::secret_ref::SecretRef;
use crate::intake::guard::{RATE_MAX, Rates};
use crate::intake::registry::{PollSpec, SourceSpec};
use crate::model::id::SourceName;
use crate::model::time::Span;
use crate::store::recognition::REMEMBER_REVOKED;

pub(super) use source::Around;

const DAY: Span = Span::from_secs(24 * 3600);

/// Connections unless the config says otherwise: platforms open a handful each.
const CONNECTIONS_DEFAULT: u64 = 256;
/// Fewer could not be shared out; more than these exceed the unit's descriptors.
const CONNECTIONS_MIN: u64 = 16;
const CONNECTIONS_MAX: u64 = 2_048;

/// Requests a second of one address: past a thousand it is a load test.
const PER_ADDRESS_MAX: u64 = 1_000;

/// Sources of one config.
const SOURCES_MAX: usize = 100;

/// Longer than this no leak of a revoked value is worth an answer.
const REMEMBER_MAX: Span = Span::from_secs(10 * 31_557_600);

/// What once stood here, and where it stands now: there is one limit for all alerts, whichever way
/// they came, and it is kept with the incidents.
const MOVED: [(&str, &str); 2] = [
    ("floor", "write `floor` in [incidents]"),
    (
        "breaker",
        "in [incidents], write its `exposures` as `breaker`, and its `window` as `breaker_window`",
    ),
];

/// Everything about alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Where they come in; nowhere, if absent.
    pub listener: Option<ListenerConfig>,
    /// How long revoked versions are recognised.
    pub remember_revoked: Span,
    /// Who sends.
    pub sources: BTreeMap<SourceName, SourceSpec>,
    /// Who is asked.
    pub polls: BTreeMap<SourceName, PollSpec>,
}

/// The listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// What it shows; without it something else ends TLS.
    pub tls: Option<TlsConfig>,
    /// Proxies whose word about whom they speak for counts.
    pub proxies: Vec<IpNet>,
    /// Connections at once.
    pub connections: usize,
    /// How often one address and one source may send.
    pub rates: Rates,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The chain, the leaf first.
    pub chain: PathBuf,
    /// The key: a file or a credential.
    pub key: SecretRef,
}

impl AlertsConfig {
    /// Whether a running daemon can take over the other settings without a restart: sources,
    /// polls, proxies and the certificate.
    pub(super) fn reloads_to(&self, other: &AlertsConfig) -> bool {
        let fixed = |config: &AlertsConfig| {
            let listener = config.listener.as_ref();
            let listener = listener.map(|l| (l.address, l.tls.is_some(), l.connections, l.rates));
            // A slow form is computed for all values from the start.
            let forms: BTreeSet<_> =
                config.sources.values().filter_map(SourceSpec::slow_form).collect();
            (listener, config.remember_revoked, forms)
        };
        fixed(self) == fixed(other)
    }
}

/// Reads `[alerts]`.
pub(super) fn read(s: &Section<'_>, around: &Around<'_>) -> Option<AlertsConfig> {
    let listen = s.get("listen");
    let names_no_listener = listen.is_none();
    let listener = match listen {
        Some(entry) => listener(s, entry).map(Some),
        None => {
            for key in ["tls", "allow_http", "proxies", "limits"] {
                if s.get(key).is_some() {
                    let what = "there is no listener that it could be about";
                    s.problem(key, what, "add `listen`, or take it away");
                }
            }
            Some(None)
        }
    };
    let remember_revoked =
        s.get("remember_revoked").map_or(Some(REMEMBER_REVOKED), |e| e.span(DAY, REMEMBER_MAX));
    for (key, remedy) in MOVED {
        s.moved(key, remedy);
    }
    let read = sources(s, around, names_no_listener);
    let (sources, polls) = read?;
    Some(AlertsConfig { listener: listener?, remember_revoked: remember_revoked?, sources, polls })
}

fn listener(s: &Section<'_>, listen: Entry<'_>) -> Option<ListenerConfig> {
    let remedy = "write address and port, such as \"0.0.0.0:8443\" or \"[::]:8443\"";
    let address: Option<SocketAddr> = listen.clone().parsed(remedy);
    let tls = s.get("tls").map_or(Some(None), |e| e.section(tls)?.map(Some));
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let is_open = address.is_some_and(|address| !address.ip().is_loopback());
    if is_open && tls == Some(None) && !allow_http {
        listen.problem(
            "plain http would carry tokens in the clear",
            "add `tls`, listen on a loopback address behind a proxy, or set `allow_http = true` \
             beside it if the way is protected otherwise",
        );
    }
    let networks = s.get("proxies").and_then(Entry::list).unwrap_or_default();
    let given = networks.len();
    let proxies: Vec<IpNet> = networks.into_iter().filter_map(network).collect();
    let (connections, rates) =
        s.section("limits", limits).unwrap_or_else(|| (CONNECTIONS_DEFAULT, Rates::default()));
    (proxies.len() == given).then_some(())?;
    Some(ListenerConfig {
        address: address?,
        tls: tls?,
        proxies,
        connections: usize::try_from(connections).ok()?,
        rates,
    })
}

fn tls(s: &Section<'_>) -> Option<TlsConfig> {
    let chain =
        s.require("cert_file", "the certificate with its chain, in PEM").and_then(place::ca_file);
    let key = s.exactly_one(&["key_file", "key_credential"]).and_then(|(way, chosen)| match way {
        "key_file" => place::secret_file(chosen).map(SecretRef::File),
        _ => place::credential(chosen).map(SecretRef::Credential),
    });
    Some(TlsConfig { chain: chain?, key: key? })
}

/// A network, or one address.
fn network(entry: Entry<'_>) -> Option<IpNet> {
    let text = entry.clone().text()?;
    let network = text
        .parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
    match network {
        Ok(network) if network.prefix_len() > 0 => Some(network),
        Ok(_) => {
            entry.problem(
                "this is every address there is: each could say it speaks for another",
                "name the proxies",
            );
            None
        }
        Err(_) => {
            entry.problem(
                "this is no address and no network",
                "write \"192.0.2.7\", \"192.0.2.0/24\" or \"2001:db8::/64\"",
            );
            None
        }
    }
}

fn limits(s: &Section<'_>) -> (u64, Rates) {
    let defaults = Rates::default();
    let rate = |key, default: u32, most: u64| {
        let read = s.get(key).and_then(|e| e.number(1, most));
        read.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    let connections = s.get("connections").and_then(|e| e.number(CONNECTIONS_MIN, CONNECTIONS_MAX));
    let rates = Rates {
        per_address: rate("per_address", defaults.per_address, PER_ADDRESS_MAX),
        per_source: rate("per_source", defaults.per_source, u64::from(RATE_MAX)),
    };
    (connections.unwrap_or(CONNECTIONS_DEFAULT), rates)
}

type Both = (BTreeMap<SourceName, SourceSpec>, BTreeMap<SourceName, PollSpec>);

fn sources(s: &Section<'_>, around: &Around<'_>, names_no_listener: bool) -> Option<Both> {
    let entries = s.get("source").and_then(Entry::list).unwrap_or_default();
    if entries.len() > SOURCES_MAX {
        let what = format!("{} sources", entries.len());
        s.problem("source", what, format!("name at most {SOURCES_MAX}"));
        return None;
    }
    let count = entries.len();
    let mut lines: BTreeMap<SourceName, usize> = BTreeMap::new();
    let (mut sources, mut polls) = (BTreeMap::new(), BTreeMap::new());
    let mut good = 0;
    for entry in entries {
        let at = entry.at().clone();
        let read = entry.clone().section(|s| source::read(s, around)).flatten();
        let Some(source::Read { name, spec, poll }) = read else { continue };
        if let Some(line) = lines.insert(name.clone(), at.line) {
            let what = format!("the source on line {line} has the same name");
            entry.problem(what, "give it another: it is part of the address");
            continue;
        }
        if names_no_listener && poll.is_none() {
            entry.problem("nothing listens for it", "add `listen` to [alerts]");
            continue;
        }
        good += 1;
        sources.insert(name.clone(), spec);
        polls.extend(poll.map(|poll| (name, poll)));
    }
    (good == count).then_some((sources, polls))
}
