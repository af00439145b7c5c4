//! One `[secrets.NAME]`.
//!
//! Decides which keys a secret has and how its parts come together. What its issuer and targets
//! need is read in `issuer` and `target`; whether all of it can work is judged in `check`.

use std::collections::BTreeMap;

use crate::config::policy::{self, Defaults};
use crate::config::reader::{Entry, Section};
use crate::config::target::{self, TargetConfig};
use crate::config::{Commons, check, issuer, schedule};
use crate::driver::registry::IssuerSpec;
use crate::model::id::{SecretName, TargetName};
use crate::model::policy::{Kind, Policy};
use crate::model::time::Span;
use crate::plan::cadence::Cadence;

/// How many targets one secret may have: a rotation holds all of them in one record, which Vault
/// takes up to 1 MiB of.
pub const TARGETS_MAX: usize = 200;

/// Tags of one secret: each is searched for in every filter.
const TAGS_MAX: usize = 20;

/// The greatest priority; the default stands in the middle.
const PRIORITY_MAX: u64 = 100;
const PRIORITY_DEFAULT: u8 = 50;

/// A managed secret as the config has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretConfig {
    /// Its name.
    pub name: SecretName,
    /// What it is.
    pub kind: Kind,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What comes first when there is not room for all: 0 to 100, greater first.
    pub priority: u8,
    /// When many are rotated at once, it is begun after these are in use.
    pub after: Vec<SecretName>,
    /// How it is rotated.
    pub policy: Policy,
    /// When.
    pub cadence: Cadence,
    /// How its life under rotord begins.
    pub initial: Initial,
    /// What mints it.
    pub issuer: IssuerSpec,
    /// Who receives it.
    pub targets: BTreeMap<TargetName, TargetConfig>,
}

/// How the first version comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// rotord mints it, unless something stands there already.
    Generate,
    /// A person hands over the value that is in use.
    Adopt,
}

/// A secret that was read, with what only the checks need.
pub(super) struct Draft {
    pub(super) config: SecretConfig,
    /// How far the clocks of its signers and verifiers may be apart.
    pub(super) clock_tolerance: Span,
    /// `unsafe_overlap`: the arithmetic warns instead of refusing.
    pub(super) lenient: bool,
    /// `allow_cutover`: the old version may die before anything has moved.
    pub(super) allow_cutover: bool,
}

/// Reads and checks one secret.
pub(super) fn read(name: &str, s: &Section<'_>, commons: &Commons<'_>) -> Option<SecretConfig> {
    let name = target::name::<SecretName>(name, s.at(), commons.findings);
    let kinds = [("webhook_hmac", Kind::WebhookHmac), ("api_key", Kind::ApiKey)];
    let kind = s.require("kind", "\"webhook_hmac\" or \"api_key\"").and_then(|e| e.one_of(&kinds));
    let starts = [("generate", Initial::Generate), ("adopt", Initial::Adopt)];
    let initial = s.get("initial").map_or(Some(Initial::Adopt), |e| e.one_of(&starts));
    let flag = |key| s.get(key).and_then(Entry::flag).unwrap_or(false);
    let (lenient, allow_cutover) = (flag("unsafe_overlap"), flag("allow_cutover"));
    let own = policy::read(s, commons.defaults);
    let cadence = schedule::read(s, &own, commons.freezes);
    let issuer = s
        .require("issuer", "the name of an issuer under [issuers], or a table")
        .and_then(|e| issuer::named_or_inline(e, commons));
    let targets = targets(s, kind, name.as_ref(), commons);
    let (tags, priority, after) = (tags(s), priority(s), after(s));
    let Defaults { policy, clock_tolerance, .. } = own;
    let draft = Draft {
        config: SecretConfig {
            name: name?,
            kind: kind?,
            tags,
            priority,
            after,
            policy,
            cadence: cadence?,
            initial: initial?,
            issuer: issuer?,
            targets: targets?,
        },
        clock_tolerance,
        lenient,
        allow_cutover,
    };
    check::secret(s, &draft, commons);
    Some(draft.config)
}

fn targets(
    s: &Section<'_>,
    kind: Option<Kind>,
    owner: Option<&SecretName>,
    commons: &Commons<'_>,
) -> Option<BTreeMap<TargetName, TargetConfig>> {
    let named =
        s.require("targets", "at least one table [secrets.NAME.targets.TARGET]")?.named()?;
    if named.is_empty() || named.len() > TARGETS_MAX {
        s.problem(
            "targets",
            format!("{} targets", named.len()),
            format!("name at least one target, and at most {TARGETS_MAX}"),
        );
    }
    let count = named.len();
    let targets: BTreeMap<_, _> = named
        .into_iter()
        .filter_map(|(text, entry)| {
            let name = target::name::<TargetName>(text, entry.at(), commons.findings);
            let config = entry.section(|t| target::read(t, kind, owner, commons))??;
            Some((name?, config))
        })
        .collect();
    (targets.len() == count).then_some(targets)
}

fn tags(s: &Section<'_>) -> Vec<String> {
    let tags = s.get("tags").and_then(Entry::list).unwrap_or_default();
    if tags.len() > TAGS_MAX {
        s.problem("tags", format!("{} tags", tags.len()), format!("write at most {TAGS_MAX}"));
    }
    tags.into_iter().filter_map(Entry::text).map(str::to_owned).collect()
}

fn after(s: &Section<'_>) -> Vec<SecretName> {
    let after = s.get("after").and_then(Entry::list).unwrap_or_default();
    let named = |entry: Entry<'_>| {
        let text = entry.clone().text()?;
        SecretName::new(text)
            .map_err(|error| entry.problem(error.to_string(), "name a secret of this config"))
            .ok()
    };
    after.into_iter().filter_map(named).collect()
}

fn priority(s: &Section<'_>) -> u8 {
    let priority = s.get("priority").and_then(|e| e.number(0, PRIORITY_MAX));
    priority.and_then(|n| u8::try_from(n).ok()).unwrap_or(PRIORITY_DEFAULT)
}
