//! Whether what a config says can work: roles, arithmetic, things that exclude each other.
//!
//! Decides what is refused although it can be read. Must not know how anything is written, and
//! reads nothing outside the config.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::config::Commons;
use crate::config::problem::Place;
use crate::config::reader::Section;
use crate::config::secret::{Draft, SecretConfig};
use crate::config::target::TargetConfig;
use crate::driver::registry::{ChannelSpec, TargetSpec};
use crate::incident::scope;
use crate::model::id::{SecretName, TargetName};
use crate::model::policy::{Kind, OnLeak};
use crate::model::target::{Recovery, Role, TargetTerms};
use crate::model::time::{Span, Timestamp};
use crate::plan::schedule::Schedule;
use crate::rotation::{Terms, route};

/// From when, and over how many runs, the shortest period of a schedule is looked for: a year of
/// daily runs, with both changes of the clocks. A fixed start (2026-01-01), so that a config that
/// is right today is right tomorrow.
const PERIODS_FROM: Timestamp = Timestamp(1_767_225_600_000);
const PERIODS: usize = 400;

/// The shortest periods of schedules, each reckoned once: thousands of secrets share a few.
#[derive(Debug, Default)]
pub(super) struct Periods(RefCell<BTreeMap<String, Option<Span>>>);

impl Periods {
    fn shortest(&self, schedule: &Schedule) -> Option<Span> {
        let mut known = self.0.borrow_mut();
        let reckoned = known.entry(schedule.to_string());
        *reckoned.or_insert_with(|| schedule.shortest_period(PERIODS_FROM, PERIODS))
    }
}

/// Judges one secret as a whole.
pub(super) fn secret(s: &Section<'_>, draft: &Draft, commons: &Commons<'_>) {
    // A preset that is wrong was reported where it stands.
    let Some(capabilities) = draft.config.issuer.capabilities() else { return };
    let SecretConfig { kind, policy, .. } = &draft.config;
    let terms = Terms { kind: *kind, capabilities, policy: policy.clone() };
    sides(s, draft, &terms);
    carried(s, draft, commons);
    cutover(s, draft, &terms);
    let arithmetic = Arithmetic { s, draft, terms: &terms, commons };
    arithmetic.overlap();
    arithmetic.period();
    arithmetic.exposure();
}

/// What a secret comes after must be there, and not come after it in turn.
pub(super) fn after(
    secrets: &BTreeMap<SecretName, SecretConfig>,
    problem: impl Fn(&SecretName, String, &str),
) {
    for (name, secret) in secrets {
        for missing in secret.after.iter().filter(|other| !secrets.contains_key(*other)) {
            let what = format!("no secret is called {missing}");
            problem(name, what, "name a secret of this config");
        }
    }
    let declared = secrets.iter().map(|(name, s)| (name.clone(), s.after.clone())).collect();
    if let Some(circle) = scope::circle(&declared) {
        let names: Vec<String> = circle.iter().map(ToString::to_string).collect();
        let what = format!("each waits for the next one in a circle: {}", names.join(", "));
        problem(&circle[0], what, "take one of them out");
    }
}

/// Somebody must use the key, and somebody must accept it: an issuer, or a target.
fn sides(s: &Section<'_>, draft: &Draft, terms: &Terms) {
    let targets = &draft.config.targets;
    let has = |side: fn(Role) -> bool| targets.values().any(|t| side(t.terms.role));
    if route::targets_verify(terms) && !has(Role::verifies) {
        s.problem(
            "targets",
            "no target verifies: nobody would accept the new version",
            "add a target with role = \"verifier\" (or \"both\")",
        );
    }
    if !has(Role::signs) {
        s.problem(
            "targets",
            "no target signs: nothing would show that the new version is in use",
            "add a target with role = \"signer\" (or \"both\")",
        );
    }
}

/// A target that is pushed to over a channel which this very secret signs cannot be told of its
/// successor that way once the key leaked: the config says in peace time what happens then.
fn carried(s: &Section<'_>, draft: &Draft, commons: &Commons<'_>) {
    let secret = &draft.config;
    let own = ChannelSpec::Managed(secret.name.clone());
    for (name, target) in &secret.targets {
        let TargetSpec::Http(spec) = &target.spec else { continue };
        let carries_itself = commons.channels.get(&spec.channel) == Some(&Some(own.clone()));
        let at = |key: &str| format!("targets.{name}.{key}");
        match (&target.terms.recovery, carries_itself) {
            (None, true) => s.problem(
                &at("channel"),
                "this channel is signed with the very secret that it would carry: once the key \
                 leaked, its successor must not go over it",
                "add `recovery` with the name of another target of this secret that ends at the \
                 same service, or `recovery = \"needs_human\"`",
            ),
            (Some(_), false) => s.problem(
                &at("recovery"),
                "there is nothing to recover from: another secret signs this channel",
                "take `recovery` away",
            ),
            (Some(Recovery::Over(other)), true) => {
                if let Some(what) = cannot_recover(secret, target, other, &own, commons) {
                    let remedy = "name a target of this secret that ends at the same service and \
                                  is reached another way, or write \"needs_human\"";
                    s.problem(&at("recovery"), what, remedy);
                }
            }
            (Some(Recovery::ByHand), true) | (None, false) => {}
        }
    }
}

/// Why the other target could not bring the same to the same service.
fn cannot_recover(
    secret: &SecretConfig,
    target: &TargetConfig,
    other: &TargetName,
    own: &ChannelSpec,
    commons: &Commons<'_>,
) -> Option<String> {
    let Some(found) = secret.targets.get(other) else {
        return Some(format!("this secret has no target {other}"));
    };
    match &found.spec {
        TargetSpec::Channel(_) => Some(format!("{other} is rotord itself")),
        TargetSpec::Http(spec) if commons.channels.get(&spec.channel)?.as_ref() == Some(own) => {
            Some(format!("{other} is pushed to over a channel that the same secret signs"))
        }
        _ if target.terms.role.verifies() && !found.terms.role.verifies() => Some(format!(
            "{other} is told of a new version too late: it is no verifier, and this target is"
        )),
        _ => None,
    }
}

/// An issuer that ends the old key before anybody can have the new one is a gap by construction.
fn cutover(s: &Section<'_>, draft: &Draft, terms: &Terms) {
    let cuts = route::mint_is_final(terms);
    if cuts && !draft.allow_cutover {
        s.problem(
            "issuer",
            "this issuer ends the old key at the moment it mints the new one, before any target \
             can have it",
            "use an issuer that lets two keys live, or accept the gap with `allow_cutover = true`",
        );
    }
    if !cuts && draft.allow_cutover {
        s.problem(
            "allow_cutover",
            "there is nothing to allow: this issuer lets old and new live together",
            "take `allow_cutover` away",
        );
    }
}

/// A channel that is signed with a secret of rotord's needs rotord among its targets.
pub(super) fn channels(
    channels: &BTreeMap<String, Option<ChannelSpec>>,
    secrets: &BTreeMap<SecretName, SecretConfig>,
    named: impl Fn(&SecretName) -> bool,
    refuse: impl Fn(&str, String, String),
) {
    for (name, spec) in channels {
        let Some(ChannelSpec::Managed(secret)) = spec else { continue };
        let Some(config) = secrets.get(secret) else {
            // One that is there and wrong was reported where it stands.
            if !named(secret) {
                let remedy = format!("add a table [secrets.{secret}]");
                refuse(name, format!("there is no secret {secret}"), remedy);
            }
            continue;
        };
        let fed = TargetSpec::Channel(name.clone());
        if !config.targets.values().any(|target| target.spec == fed) {
            refuse(
                name,
                format!("{secret} is never handed to this channel"),
                format!(
                    "add [secrets.{secret}.targets.rotord] with type = \"channel\", \
                     channel = \"{name}\""
                ),
            );
        }
    }
}

/// The sums that keep a version from being taken away too early.
struct Arithmetic<'a> {
    s: &'a Section<'a>,
    draft: &'a Draft,
    terms: &'a Terms,
    commons: &'a Commons<'a>,
}

impl Arithmetic<'_> {
    /// A message signed with the old version just before the Switch must still be verified when it
    /// is delivered for the last time, by a verifier whose clock is off the other way.
    fn overlap(&self) {
        let secret = &self.draft.config;
        let signers = secret.targets.values().filter(|t| t.terms.role.signs());
        let retries = signers.map(|t| t.retry_horizon).max().unwrap_or_default();
        let (least, sum) = match secret.kind {
            Kind::WebhookHmac => {
                let tolerance = self.draft.clock_tolerance;
                let sum = format!("retry horizon {retries} + 2 x clock tolerance {tolerance}");
                (retries.plus(tolerance.times(2)), sum)
            }
            Kind::ApiKey => (retries, format!("retry horizon {retries}")),
        };
        let overlap = secret.policy.overlap;
        if overlap < least {
            self.wrong(
                "overlap",
                format!(
                    "{overlap} is too short: what was signed just before the switch is still \
                     delivered {least} later ({sum})"
                ),
                format!("make `overlap` at least \"{least}\""),
            );
        }
    }

    /// A rotation must be over before the next one is due.
    fn period(&self) {
        let secret = &self.draft.config;
        let admit = self.propagation(|target| route::admits(self.terms, target));
        let switch = self.propagation(|target| target.role.signs());
        let overlap = secret.policy.overlap;
        let needed = overlap.plus(admit).plus(switch);
        let sum = format!("overlap {overlap} + propagation {}", admit.plus(switch));
        for (key, period) in self.periods() {
            if period <= needed {
                self.wrong(
                    key,
                    format!(
                        "a rotation comes due every {period}, but one takes more than {needed} \
                         ({sum})"
                    ),
                    format!("rotate less often than every {needed}, or make `overlap` shorter"),
                );
            }
        }
    }

    fn propagation(&self, counts: impl Fn(&TargetTerms) -> bool) -> Span {
        let counted = self.draft.config.targets.values().map(|t| &t.terms).filter(|t| counts(t));
        counted.map(|terms| terms.propagation).max().unwrap_or_default()
    }

    fn periods(&self) -> Vec<(&'static str, Span)> {
        let cadence = &self.draft.config.cadence;
        let scheduled = cadence.schedule.as_ref().and_then(|s| self.commons.periods.shortest(s));
        let periods = [("schedule", scheduled), ("max_age", cadence.max_age)];
        periods.into_iter().filter_map(|(key, period)| Some((key, period?))).collect()
    }

    /// `keep_serving` promises that dependents can move before a leaked version goes.
    fn exposure(&self) {
        let secret = &self.draft.config;
        let exposure = secret.policy.max_exposure;
        let move_over = self.propagation(|_| true);
        if secret.policy.on_leak != OnLeak::Contain && exposure <= move_over {
            self.wrong(
                "max_exposure",
                format!(
                    "a leaked version would be taken away after {exposure}, before its dependents \
                     can have moved (propagation {move_over}): that is no `keep_serving`"
                ),
                format!(
                    "make `max_exposure` longer than \"{move_over}\", or say on_leak = \"contain\""
                ),
            );
        }
    }

    /// Refuses, or with `unsafe_overlap` only warns.
    fn wrong(&self, key: &str, what: String, remedy: String) {
        let at: Place = self.s.place(key);
        if self.draft.lenient {
            let remedy = format!("unsafe_overlap lets it pass: never in production; {remedy}");
            self.commons.findings.warning(&at, what, remedy);
        } else {
            self.commons.findings.problem(&at, what, remedy);
        }
    }
}
