//! `[secrets.NAME.targets.TARGET]` and `[channels.NAME]`.
//!
//! Decides the keys of each type of target and what every target has in common. Refuses what could
//! never retire a version, or would overwrite what another target writes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Commons;
use crate::config::place;
use crate::config::problem::Place;
use crate::config::reader::{Entry, Findings, Section};
use crate::driver::registry::{ChannelSpec, HttpTargetSpec, ReachSpec, TargetSpec};
use crate::driver::target::http::INSTANCES_MAX;
use crate::driver::target::vault_kv::acks::Acks;
use crate::driver::target::vault_kv::{Fields, Settings};
use crate::model::id::{NameError, SecretName};
use crate::model::policy::Kind;
use crate::model::target::{Level, Recovery, Role, TargetTerms};
use crate::model::time::Span;
use crate::vault::KvPath;

/// A consumer that still uses a week later what it read before is not refreshed at all.
const PROPAGATION_MAX: Span = Span::from_secs(7 * 24 * 3600);
/// The longest that any known sender retries (Stripe: three days), with room.
const RETRY_HORIZON_MAX: Span = Span::from_secs(30 * 24 * 3600);
/// Asking more often than every ten seconds is polling, not looking.
const OBSERVE_EVERY_MIN: Span = Span::from_secs(10);
const OBSERVE_EVERY_MAX: Span = Span::from_secs(7 * 24 * 3600);
/// How often a target is looked at unless the config says otherwise: an overwritten document or a
/// service that restarted empty is found within this time.
const OBSERVE_EVERY_DEFAULT: Span = Span::from_secs(300);
/// Time-outs of one push. An effect must end well inside a lease.
const TIMEOUT_DEFAULT: Span = Span::from_secs(5);
const TIMEOUT_MIN: Span = Span(100);
const TIMEOUT_MAX: Span = Span::from_secs(7);
/// In place of a target's name: a person brings the new key.
const NEEDS_HUMAN: &str = "needs_human";

/// A target of one secret as the config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// How a rotation deals with it.
    pub terms: TargetTerms,
    /// For a signer: how long after it was signed a message may still be delivered.
    pub retry_horizon: Span,
    /// What kind it is.
    pub spec: TargetSpec,
}

/// What targets write to, so that no two write to the same.
#[derive(Debug, Default)]
pub(super) struct Claims(RefCell<BTreeMap<Claim, Place>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Field(KvPath, String),
    Url(Option<SecretName>, String),
}

impl Claims {
    /// Notes that the target at this place writes there; answers who else does.
    fn take(&self, claim: Claim, at: &Place) -> Option<Place> {
        let mut taken = self.0.borrow_mut();
        let before = taken.get(&claim).cloned();
        taken.entry(claim).or_insert_with(|| at.clone());
        before
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    VaultKv,
    Http,
    Channel,
}

/// A name that the config gives to something, or what is wrong with it.
pub(super) fn name<T>(text: &str, at: &Place, findings: &Findings) -> Option<T>
where
    T: std::str::FromStr<Err = NameError>,
{
    let refused = |error: NameError| findings.problem(at, error.to_string(), "choose another name");
    text.parse().map_err(refused).ok()
}

/// Reads one target.
pub(super) fn read(
    s: &Section<'_>,
    kind: Option<Kind>,
    owner: Option<&SecretName>,
    commons: &Commons<'_>,
) -> Option<TargetConfig> {
    let types = [("vault_kv", Type::VaultKv), ("http", Type::Http), ("channel", Type::Channel)];
    let chosen = s.require("type", "\"vault_kv\", \"http\" or \"channel\"");
    let Some(chosen) = chosen.and_then(|e| e.one_of(&types)) else {
        s.judge_no_further();
        return None;
    };
    if chosen == Type::Channel {
        return own_channel(s, owner, commons);
    }
    let roles = [("verifier", Role::Verifier), ("signer", Role::Signer), ("both", Role::Both)];
    let role = s
        .require("role", "\"verifier\" (accepts), \"signer\" (uses) or \"both\"")
        .and_then(|e| e.one_of(&roles));
    let retry_horizon = retry_horizon(s, kind, role);
    let propagation = propagation(s, chosen);
    let observe_every = s
        .get("observe_every")
        .map_or(Some(OBSERVE_EVERY_DEFAULT), |e| e.span(OBSERVE_EVERY_MIN, OBSERVE_EVERY_MAX));
    let unattested = s.get("retire_unattested").and_then(Entry::flag).unwrap_or(false);
    let needs = needs(s, chosen, unattested);
    let recovery = match chosen {
        Type::Http => s.get("recovery").and_then(recovery),
        Type::VaultKv | Type::Channel => None,
    };
    let (spec, keeps_history) = match chosen {
        Type::VaultKv => {
            let purge = s.get("purge_history").map_or(Some(true), Entry::flag);
            (vault_kv(s, unattested, commons), purge?)
        }
        _ => (http(s, unattested, owner, commons), false),
    };
    let spec = spec?;
    let terms = TargetTerms {
        role: role?,
        propagation: propagation?,
        needs: needs?,
        unattested,
        keeps_history,
        observe_every: Some(observe_every?),
        place: Some(spec.place()),
        recovery,
    };
    Some(TargetConfig { terms, retry_horizon: retry_horizon?, spec })
}

/// rotord as the signer that uses a channel's key: it takes a push at once and says so, but after
/// a restart has to be told again.
fn own_channel(
    s: &Section<'_>,
    owner: Option<&SecretName>,
    commons: &Commons<'_>,
) -> Option<TargetConfig> {
    let entry = s.require("channel", "the name of a table under [channels]")?;
    let name = channel_named(entry.clone(), commons)?;
    if let Some(Some(spec)) = commons.channels.get(&name)
        && *spec != ChannelSpec::Managed(owner?.clone())
    {
        entry.problem(
            "the channel has its key from elsewhere",
            format!("write `secret = \"{}\"` in [channels.{name}]", owner?),
        );
    }
    let spec = TargetSpec::Channel(name);
    let terms = TargetTerms {
        role: Role::Signer,
        propagation: Span::ZERO,
        needs: Level::Acknowledged,
        unattested: false,
        keeps_history: false,
        observe_every: Some(OBSERVE_EVERY_MIN),
        place: Some(spec.place()),
        recovery: None,
    };
    Some(TargetConfig { terms, retry_horizon: Span::ZERO, spec })
}

fn retry_horizon(s: &Section<'_>, kind: Option<Kind>, role: Option<Role>) -> Option<Span> {
    let signs = kind == Some(Kind::WebhookHmac) && role.is_some_and(Role::signs);
    let given = s.get("retry_horizon");
    if given.is_some() && role.is_some_and(|role| !role.signs()) {
        let remedy = "take `retry_horizon` away, or write it at the signer";
        s.problem("retry_horizon", "only a signer sends anything again", remedy);
        return None;
    }
    if signs && given.is_none() {
        s.require("retry_horizon", "how long after it was signed a message may be sent again");
        return None;
    }
    given.map_or(Some(Span::ZERO), |e| e.span(Span::ZERO, RETRY_HORIZON_MAX))
}

/// A document is read by programs that keep it for a while, and only a person knows how long. A
/// service that is pushed to answers with what it uses from now on.
fn propagation(s: &Section<'_>, chosen: Type) -> Option<Span> {
    let what = "the longest time a consumer may use what it read before, such as \"5m\"";
    let given = match chosen {
        Type::VaultKv => s.require("propagation", what),
        Type::Http | Type::Channel => s.get("propagation"),
    };
    match given {
        Some(entry) => entry.span(Span::ZERO, PROPAGATION_MAX),
        None => (chosen == Type::Http).then_some(Span::ZERO),
    }
}

fn needs(s: &Section<'_>, chosen: Type, unattested: bool) -> Option<Level> {
    let levels = [
        ("stored", Level::Stored),
        ("acknowledged", Level::Acknowledged),
        ("proved", Level::Proved),
    ];
    let default = if unattested { Level::Stored } else { Level::Acknowledged };
    let level = s.get("needs").map_or(Some(default), |e| e.one_of(&levels))?;
    if level < Level::Acknowledged && !unattested {
        s.problem(
            "needs",
            format!("`{level}` does not show that anybody uses the new version"),
            "write \"acknowledged\", or accept the risk with `retire_unattested = true`",
        );
    }
    if chosen == Type::VaultKv && level > Level::Acknowledged {
        s.problem(
            "needs",
            format!("nothing that only reads a document can reach `{level}`"),
            "write \"acknowledged\", or use a target of type \"http\"",
        );
    }
    Some(level)
}

fn vault_kv(s: &Section<'_>, unattested: bool, commons: &Commons<'_>) -> Option<TargetSpec> {
    let at = place::kv_place(s);
    let fields = s.section("fields", fields).unwrap_or_default();
    let ack_path = s.get("ack_path");
    let acknowledges = ack_path.is_some();
    let ack_path = ack_path.map_or(Some(None), |e| place::kv_path(e).map(Some));
    let instances = s.get("ack_instances").and_then(Entry::list).unwrap_or_default();
    let instances: BTreeSet<String> =
        instances.into_iter().filter_map(Entry::text).map(str::to_owned).collect();
    attested(s, acknowledges, unattested);
    if !acknowledges && !instances.is_empty() {
        s.problem(
            "ack_instances",
            "there is no acknowledgement document for the instances to write",
            "add `ack_path`, or take `ack_instances` away",
        );
    }
    let at = at?;
    if at.mount == commons.own_mount {
        s.problem(
            "mount",
            "this is rotord's own mount, which holds its state and nobody else's documents",
            "use the mount that your programs read",
        );
    }
    for field in fields.names() {
        if let Some(other) = commons.claims.take(Claim::Field(at.clone(), field.clone()), s.at()) {
            s.problem(
                "path",
                format!(
                    "{} (line {}) writes the field `{field}` of {at} too",
                    other.key, other.line
                ),
                "give each target a path of its own, or a `prefix` of its own under `fields`",
            );
            break;
        }
    }
    let mount = at.mount.clone();
    let acks = ack_path?.map(|path| Acks { at: KvPath { mount, path }, instances });
    Some(TargetSpec::VaultKv(Settings { at, fields, acks }))
}

/// Without a way to acknowledge, a document's target would never let anything retire.
fn attested(s: &Section<'_>, acknowledges: bool, unattested: bool) {
    if !acknowledges && !unattested {
        s.problem(
            "type",
            "nothing can show that the readers of this document use a new version: it would \
             never retire the old one",
            "let them write an acknowledgement and name it in `ack_path`, or accept propagation as \
             evidence with `retire_unattested = true`",
        );
    }
    if acknowledges && unattested {
        s.problem(
            "retire_unattested",
            "`ack_path` asks for evidence and `retire_unattested` does without it",
            "take one of the two away",
        );
    }
}

fn fields(s: &Section<'_>) -> Fields {
    let prefix = s.get("prefix").and_then(Entry::text).unwrap_or_default();
    let Fields {
        current,
        previous,
        accepted,
        current_version,
        accepted_versions,
        rotated_at,
        generation,
        rotation,
        marker,
    } = Fields::prefixed(prefix);
    let name = |key, usual| s.get(key).and_then(Entry::text).map_or(usual, str::to_owned);
    let fields = Fields {
        current: name("current", current),
        previous: name("previous", previous),
        accepted: name("accepted", accepted),
        current_version: name("current_version", current_version),
        accepted_versions: name("accepted_versions", accepted_versions),
        rotated_at: name("rotated_at", rotated_at),
        generation: name("generation", generation),
        rotation: name("rotation", rotation),
        marker: name("marker", marker),
    };
    if let Some(twice) = fields.fault() {
        s.refuse(format!("two fields have the name `{twice}`"), "give each its own");
    }
    fields
}

fn http(
    s: &Section<'_>,
    unattested: bool,
    owner: Option<&SecretName>,
    commons: &Commons<'_>,
) -> Option<TargetSpec> {
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let reach = s.exactly_one(&["url", "instances"]);
    let reach = reach.and_then(|(way, chosen)| {
        let (place, urls) = (chosen.at().clone(), reach_of(way, chosen, allow_http)?);
        unclaimed(&urls, &place, owner, commons).then_some(urls)
    });
    let environment = s
        .require("environment", "the name the service answers with, such as \"production\"")
        .and_then(Entry::text);
    let channel = s
        .require("channel", "the name of a table under [channels]")
        .and_then(|e| channel_named(e, commons));
    let proof_field = s.get("proof_field").and_then(Entry::text).map(str::to_owned);
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    let timeout = s.get("timeout");
    let timeout = timeout.map_or(Some(TIMEOUT_DEFAULT), |e| e.span(TIMEOUT_MIN, TIMEOUT_MAX));
    if unattested {
        s.problem(
            "retire_unattested",
            "a service that is pushed to answers for itself",
            "take `retire_unattested` away",
        );
    }
    Some(TargetSpec::Http(Box::new(HttpTargetSpec {
        reach: reach?,
        environment: environment?.to_owned(),
        channel: channel?,
        proof_field,
        ca_file,
        allow_http,
        timeout: timeout?,
    })))
}

fn reach_of(way: &str, chosen: Entry<'_>, allow_http: bool) -> Option<ReachSpec> {
    match way {
        "url" => place::url(chosen, allow_http).map(ReachSpec::All),
        _ => instance_urls(chosen, allow_http).map(ReachSpec::Each),
    }
}

/// Whether no other target of the secret pushes to the same address.
fn unclaimed(
    reach: &ReachSpec,
    at: &Place,
    owner: Option<&SecretName>,
    commons: &Commons<'_>,
) -> bool {
    let urls: Vec<_> = match reach {
        ReachSpec::All(url) => vec![url],
        ReachSpec::Each(urls) => urls.values().collect(),
    };
    urls.into_iter().all(|url| {
        let other = commons.claims.take(Claim::Url(owner.cloned(), url.to_string()), at);
        if let Some(other) = &other {
            commons.findings.problem(
                at,
                format!(
                    "{} (line {}) pushes the same secret to the same address",
                    other.key, other.line
                ),
                "take one of the two away: they would undo each other's pushes",
            );
        }
        other.is_none()
    })
}

fn instance_urls(entry: Entry<'_>, allow_http: bool) -> Option<BTreeMap<String, url::Url>> {
    let named = entry.clone().named()?;
    if named.is_empty() || named.len() > INSTANCES_MAX {
        entry.problem(
            format!("{} instances", named.len()),
            format!("name at least one, and at most {INSTANCES_MAX}"),
        );
        return None;
    }
    let count = named.len();
    let urls: BTreeMap<_, _> = named
        .into_iter()
        .filter_map(|(name, entry)| Some((name.to_owned(), place::url(entry, allow_http)?)))
        .collect();
    (urls.len() == count).then_some(urls)
}

/// The word for a person, or the name of a target.
fn recovery(entry: Entry<'_>) -> Option<Recovery> {
    match entry.clone().text()? {
        NEEDS_HUMAN => Some(Recovery::ByHand),
        _ => entry.parsed("write the name of a target of this secret").map(Recovery::Over),
    }
}

fn channel_named(entry: Entry<'_>, commons: &Commons<'_>) -> Option<String> {
    let name = entry.clone().text()?;
    if !commons.channels.contains_key(name) {
        entry.unknown_name("channel", "channels", commons.channels.keys());
        return None;
    }
    Some(name.to_owned())
}

/// Reads one channel.
pub(super) fn channel(s: &Section<'_>) -> Option<ChannelSpec> {
    let previous_key = s.get("previous_key");
    let (way, chosen) = s.exactly_one(&["key", "secret"])?;
    if way == "secret" {
        if let Some(previous) = previous_key {
            previous.problem("rotord knows the keys of its own secret", "take `previous_key` away");
        }
        let name = chosen.parsed("write the name of a table under [secrets]")?;
        return Some(ChannelSpec::Managed(name));
    }
    let key = place::secret(chosen);
    let previous_key = previous_key.map_or(Some(None), |e| place::secret(e).map(Some));
    Some(ChannelSpec::Fetched { key: key?, previous_key: previous_key? })
}
