//! `[[alerts.source]]`: one source, by its type.
//!
//! Decides the keys of each type. What a type can do is decided by its own file in `intake`.

use std::collections::BTreeSet;

use http::{HeaderName, StatusCode};
use url::Url;

use crate::config::daemon::VaultConfig;
use crate::config::place;
use crate::config::reader::{Entry, Section};
use crate::driver::secret_ref::SecretRef;
use crate::intake::gitlab::{HookSettings, RevocationSettings};
use crate::intake::poll::rounds;
use crate::intake::registry::{AskedSpec, PollSpec, SourceSpec};
use crate::intake::vault_radar::Own;
use crate::intake::{
    aws_health, generic, gitguardian, github, github_partner, poll, trufflehog, vault_radar,
};
use crate::model::id::SourceName;
use crate::model::time::Span;

/// Where GitHub's API is.
const GITHUB_API: &str = "https://api.github.com";

/// Where GitGuardian's API is.
const GITGUARDIAN_API: &str = "https://api.gitguardian.com";

/// Rounds of a poll: webhooks carry what is urgent, and APIs allow some thousand requests an hour.
const EVERY_DEFAULT: Span = Span::from_secs(300);
const EVERY_MIN: Span = Span::from_secs(30);
const DAY: Span = Span::from_secs(24 * 3600);

/// How far back the first round looks unless the config says otherwise.
const LOOK_BACK_DEFAULT: Span = Span::from_secs(7 * 24 * 3600);

/// How long a key that is not current any more may be believed.
const BELIEVE_MAX: Span = Span::from_secs(30 * 24 * 3600);

/// Types of tokens that are offered to one GitLab.
const TYPES_MAX: usize = 1_000;

/// What a source may refer to beside its own table.
pub(in crate::config) struct Around<'a> {
    /// Our Vault, if it could be read.
    pub(in crate::config) vault: Option<&'a VaultConfig>,
    /// The mounts in which managed secrets lie.
    pub(in crate::config) mounts: BTreeSet<String>,
}

/// One source.
pub(super) struct Read {
    pub(super) name: SourceName,
    pub(super) spec: SourceSpec,
    pub(super) poll: Option<PollSpec>,
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Generic,
    GitHub,
    GitHubPartner,
    GitLab,
    GitLabRevocation,
    GitGuardian,
    VaultRadar,
    AwsHealth,
    TruffleHog,
}

const TYPES: [(&str, Type); 9] = [
    ("generic", Type::Generic),
    ("github", Type::GitHub),
    ("github_partner", Type::GitHubPartner),
    ("gitlab", Type::GitLab),
    ("gitlab_revocation", Type::GitLabRevocation),
    ("gitguardian", Type::GitGuardian),
    ("vault_radar", Type::VaultRadar),
    ("aws_health", Type::AwsHealth),
    ("trufflehog", Type::TruffleHog),
];

/// Reads one source.
pub(super) fn read(s: &Section<'_>, around: &Around<'_>) -> Option<Read> {
    let name = s
        .require("name", "what the address ends with: /alerts/NAME")
        .and_then(|e| e.parsed("write small letters, digits and hyphens"));
    let chosen = s.require("type", "\"generic\", \"github\" or another type of source");
    let Some(chosen) = chosen.and_then(|e| e.one_of(&TYPES)) else {
        s.judge_no_further();
        return None;
    };
    let mut polled = None;
    let spec = match chosen {
        Type::GitHub => {
            let (spec, asked) = github(s)?;
            polled = asked;
            Some(spec)
        }
        Type::GitGuardian => {
            let (spec, asked) = gitguardian(s)?;
            polled = asked;
            Some(spec)
        }
        Type::GitHubPartner => github_partner(s),
        Type::TruffleHog => trufflehog(s),
        Type::VaultRadar => vault_radar(s, around),
        other => keyed(s, other),
    };
    let (name, spec): (SourceName, _) = (name?, spec?);
    let poll = polled.map(|(every, look_back, asked, trusted)| PollSpec {
        rounds: rounds::Settings { source: name.clone(), trusted, every, look_back },
        asked,
    });
    Some(Read { name, spec, poll })
}

/// The types that need nothing but keys, or little beside them.
fn keyed(s: &Section<'_>, chosen: Type) -> Option<SourceSpec> {
    let keys = keys(s);
    let trusted = trusted(s);
    let token_types = (chosen == Type::GitLabRevocation).then(|| token_types(s));
    let keys = keys?;
    Some(match chosen {
        Type::GitLabRevocation => {
            let token_types = token_types??;
            SourceSpec::GitLabRevocation(RevocationSettings { tokens: keys, token_types, trusted })
        }
        Type::GitLab => SourceSpec::GitLab(HookSettings { keys, trusted }),
        Type::AwsHealth => SourceSpec::AwsHealth(aws_health::Settings { keys, trusted }),
        _ => SourceSpec::Generic(generic::Settings { keys, trusted }),
    })
}

fn trusted(s: &Section<'_>) -> bool {
    s.get("trusted").and_then(Entry::flag).unwrap_or(false)
}

/// The key in use, and the one before it.
fn keys(s: &Section<'_>) -> Option<Vec<SecretRef>> {
    let previous_key = s.get("previous_key");
    let key = s.require("key", "where the key or token lies that it sends with");
    let key = key.and_then(place::secret);
    let previous = previous_key.clone().map_or(Some(None), |e| place::secret(e).map(Some));
    let (key, previous) = (key?, previous?);
    if let Some(entry) = previous_key.filter(|_| previous.as_ref() == Some(&key)) {
        entry.problem("this is the place of `key`", "name the place of the key before it");
        return None;
    }
    Some(std::iter::once(key).chain(previous).collect())
}

fn token_types(s: &Section<'_>) -> Option<Vec<String>> {
    let entry = s.require("token_types", "the types that GitLab may send");
    let entries = entry.clone().and_then(Entry::list)?;
    if entries.is_empty() || entries.len() > TYPES_MAX {
        s.problem(
            "token_types",
            format!("{} types: with none GitLab sends nothing", entries.len()),
            format!("name at least one, and at most {TYPES_MAX}"),
        );
        return None;
    }
    entries.into_iter().map(|e| e.text().map(str::to_owned)).collect()
}

type Polled = Option<(Span, Span, AskedSpec, bool)>;

fn github(s: &Section<'_>) -> Option<(SourceSpec, Polled)> {
    let keys = keys(s);
    let trusted = trusted(s);
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let base = s.get("api").map_or_else(|| fixed(GITHUB_API), |e| place::url(e, allow_http));
    let token = s.require("token", "a token that may read secret-scanning alerts");
    let token = token.and_then(place::secret);
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    let api = base.zip(token).map(|(base, token)| github::api::Settings {
        base,
        token,
        ca_file,
        allow_http,
    });
    let asked = s.section("poll", |s| {
        let scope = s.require("scope", "an organisation, or \"owner/repository\"");
        let scope = scope.and_then(|entry| {
            let scope = github::api::Scope::new(entry.clone().text()?);
            if scope.is_none() {
                let remedy = "write an organisation, or \"owner/repository\"";
                entry.problem("this is neither an organisation nor a repository", remedy);
            }
            scope
        });
        let (every, look_back) = pace(s);
        let close = s.get("close").and_then(Entry::flag).unwrap_or(true);
        Some((every?, look_back?, scope?, close))
    });
    let api = api?;
    let polled = match asked {
        None => None,
        Some(asked) => {
            let (every, look_back, scope, close) = asked?;
            let settings = poll::github::Settings { api: api.clone(), scope, close };
            Some((every, look_back, AskedSpec::GitHub(settings), trusted))
        }
    };
    Some((SourceSpec::GitHub(github::Settings { keys: keys?, api, trusted }), polled))
}

fn gitguardian(s: &Section<'_>) -> Option<(SourceSpec, Polled)> {
    let keys = keys(s);
    let trusted = trusted(s);
    let asked = s.section("poll", |s| {
        let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
        let base =
            s.get("api").map_or_else(|| fixed(GITGUARDIAN_API), |e| place::url(e, allow_http));
        let token = s.require("token", "a token that may read incidents").and_then(place::secret);
        let ca_file = s.get("ca_file").and_then(place::ca_file);
        let (every, look_back) = pace(s);
        let close = s.get("close").and_then(Entry::flag).unwrap_or(true);
        let (base, token) = (base?, token?);
        let settings = poll::gitguardian::Settings { base, token, ca_file, allow_http, close };
        Some((every?, look_back?, AskedSpec::GitGuardian(settings), trusted))
    });
    let polled = asked.map_or(Some(None), |asked| asked.map(Some))?;
    Some((SourceSpec::GitGuardian(gitguardian::Settings { keys: keys?, trusted }), polled))
}

fn pace(s: &Section<'_>) -> (Option<Span>, Option<Span>) {
    let every = s.get("every").map_or(Some(EVERY_DEFAULT), |e| e.span(EVERY_MIN, DAY));
    let look_back =
        s.get("look_back").map_or(Some(LOOK_BACK_DEFAULT), |e| e.span(Span::ZERO, DAY.times(365)));
    (every, look_back)
}

fn github_partner(s: &Section<'_>) -> Option<SourceSpec> {
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let default_url = || fixed(github_partner::KEYS_URL);
    let keys_url = s.get("keys_url").map_or_else(default_url, |e| place::url(e, allow_http));
    let token = s.get("token").map_or(Some(None), |e| place::secret(e).map(Some));
    let header = |key, default: HeaderName| {
        s.get(key).map_or(Some(default), |e| e.parsed("write the name of a header"))
    };
    let key_header = header("key_header", github_partner::KEY_HEADER);
    let signature_header = header("signature_header", github_partner::SIGNATURE_HEADER);
    let lately = s
        .get("believe_for")
        .map_or(Some(github_partner::LATELY_DEFAULT), |e| e.span(Span::ZERO, BELIEVE_MAX));
    let feedback = s.get("feedback").and_then(Entry::flag).unwrap_or(true);
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    let trusted = trusted(s);
    Some(SourceSpec::GitHubPartner(Box::new(github_partner::Settings {
        keys_url: keys_url?,
        token: token?,
        key_header: key_header?,
        signature_header: signature_header?,
        lately: lately?,
        feedback,
        ca_file,
        allow_http,
        trusted,
    })))
}

fn trufflehog(s: &Section<'_>) -> Option<SourceSpec> {
    let keys = keys(s);
    let report = s.get("report").and_then(Entry::flag).unwrap_or(true);
    let status = |key, default: u64, most: u64| {
        let number = s.get(key).map_or(Some(default), |e| e.number(200, most));
        number.and_then(|n| StatusCode::from_u16(u16::try_from(n).ok()?).ok())
    };
    let live = status("live", 200, 299);
    let rotated = status("rotated", 403, 499);
    let unknown = status("unknown", 404, 499);
    let (live, rotated, unknown) = (live?, rotated?, unknown?);
    if live == rotated || live == unknown || rotated == unknown {
        s.refuse(
            "two of `live`, `rotated` and `unknown` are the same status",
            "make them differ: the scanner tells them apart by nothing else",
        );
        return None;
    }
    let settings = trufflehog::Settings { keys: keys?, report, live, rotated, unknown };
    Some(SourceSpec::TruffleHog(settings))
}

fn vault_radar(s: &Section<'_>, around: &Around<'_>) -> Option<SourceSpec> {
    let keys = keys(s);
    let trusted = trusted(s);
    let hosts = s.get("vault_hosts").and_then(Entry::list).unwrap_or_default();
    let given = hosts.len();
    let mut named: BTreeSet<(String, u16)> =
        hosts.into_iter().filter_map(place::host).filter_map(|host| with_port(&host)).collect();
    let are_good = named.len() == given;
    let vault = around.vault?;
    let own = vault.address.host_str().zip(vault.address.port_or_known_default());
    named.extend(own.map(|(host, port)| (bare(host), port)));
    let mounts = around.mounts.iter().cloned().chain([vault.mount.clone()]).collect();
    let own = Own { hosts: named, namespace: vault.namespace.clone(), mounts };
    let settings = vault_radar::Settings { keys: keys?, trusted, own };
    are_good.then_some(SourceSpec::VaultRadar(settings))
}

/// A host that was checked, with the port it names or Vault's own.
fn with_port(host: &str) -> Option<(String, u16)> {
    let url = Url::parse(&format!("vault://{host}/")).ok()?;
    Some((bare(url.host_str()?), url.port().unwrap_or(vault_radar::PORT)))
}

fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// An address of our own.
fn fixed(url: &str) -> Option<Url> {
    Url::parse(url).ok()
}
