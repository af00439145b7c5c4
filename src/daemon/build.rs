//! From the config's plain data to what the engine works with.

use std::sync::Arc;

use crate::config::Config;
use crate::config::locate::Fault;
use crate::config::secret::{Initial as ConfiguredInitial, SecretConfig};
use crate::daemon::alerts::slow_forms;
use crate::driver::error::DriverError;
use crate::driver::registry::{Context, ReachSpec, TargetSpec};
use crate::engine::limits::Limits;
use crate::engine::managed::{Managed, ManagedTarget};
use crate::engine::recognition::Settings;
use crate::model::id::{SecretName, TargetName};
use crate::model::time::Span;
use crate::plan::budget::Budget;
use crate::plan::facts::Initial;
use crate::rotation::Terms;

/// The longest an effect may take, however long the lease: people wait for it.
const EFFECT_TIMEOUT_MAX: Span = Span::from_secs(8);

/// What the engine is given of a config.
pub(super) struct Built {
    pub(super) managed: Vec<Managed>,
    pub(super) budget: Budget,
}

/// Makes every driver.
///
/// # Errors
/// Everything that keeps one from being made.
pub(super) fn all(config: &Config, context: &Context) -> Result<Built, Vec<Fault>> {
    let mut faults = Vec::new();
    let secrets = config.secrets.values();
    let managed = secrets.filter_map(|secret| one(secret, context, &mut faults)).collect();
    let budget = Budget {
        moving_max: config.limits.rotations,
        emergency_reserve: config.limits.emergency_reserve,
        ..Budget::default()
    };
    if faults.is_empty() { Ok(Built { managed, budget }) } else { Err(faults) }
}

/// The engine's limits. An effect has to fit into what is left of the lease just before it is
/// renewed: nine tenths of the ttl less the third after which that happens.
pub(super) fn limits(config: &Config) -> Limits {
    let ttl = config.daemon.lease_ttl;
    let effects = usize::try_from(config.limits.effects).unwrap_or(usize::MAX);
    let walks = usize::try_from(config.limits.walks).unwrap_or(usize::MAX);
    Limits {
        walks: (walks - walks / 4).max(1),
        emergency_walks: (walks / 4).max(1),
        effects,
        emergency_effects: effects / 4,
        per_target: usize::try_from(config.limits.per_target).unwrap_or(1),
        per_issuer: usize::try_from(config.limits.per_issuer).unwrap_or(1),
        effect_timeout: Span(ttl.0 / 2).min(EFFECT_TIMEOUT_MAX),
    }
}

/// How values are recognised in reports.
pub(super) fn recognition(config: &Config) -> Settings {
    let alerts = config.alerts.as_ref();
    let defaults = Settings::default();
    Settings {
        slow_forms: slow_forms(alerts),
        remember: alerts.map_or(defaults.remember, |alerts| alerts.remember_revoked),
        namespace: config.vault.namespace.clone(),
        mount: config.vault.mount.clone(),
    }
}

fn one(secret: &SecretConfig, context: &Context, faults: &mut Vec<Fault>) -> Option<Managed> {
    let mut fault = |below: &[&str], error: DriverError| {
        let keys = ["secrets", secret.name.as_str()].into_iter().chain(below.iter().copied());
        faults.push(Fault {
            keys: keys.map(str::to_owned).collect(),
            what: error.to_string(),
            remedy: "correct what it names: without it this secret cannot be rotated".to_owned(),
        });
    };
    let issuer = context.issuer(&secret.name, &secret.issuer);
    let issuer = issuer.map_err(|error| fault(&["issuer"], error)).ok();
    let mut targets = std::collections::BTreeMap::new();
    for (name, target) in &secret.targets {
        let lane = lane(&secret.name, name, &target.spec);
        match context.target(&target.spec) {
            Ok(driver) => {
                let terms = target.terms.clone();
                targets.insert(name.clone(), ManagedTarget { terms, driver, lane });
            }
            Err(error) => fault(&["targets", name.as_str()], error),
        }
    }
    let issuer = issuer?;
    Some(Managed {
        name: secret.name.clone(),
        tags: secret.tags.clone(),
        priority: secret.priority,
        after: secret.after.clone(),
        terms: Terms {
            kind: secret.kind,
            capabilities: issuer.capabilities().clone(),
            policy: secret.policy.clone(),
        },
        cadence: Arc::new(secret.cadence.clone()),
        initial: match secret.initial {
            ConfiguredInitial::Generate => Initial::Generate,
            ConfiguredInitial::Adopt => Initial::Adopt,
        },
        issuer_lane: secret.issuer.lane(&secret.name),
        issuer,
        targets,
    })
}

/// Services on one host share its lane; documents in Vault have one each, since Vault's own limit
/// holds for all of them.
fn lane(secret: &SecretName, name: &TargetName, spec: &TargetSpec) -> String {
    match spec {
        TargetSpec::Http(spec) => match &spec.reach {
            ReachSpec::All(url) => url.authority().to_owned(),
            ReachSpec::Each(urls) => {
                urls.values().map(|url| url.authority()).collect::<Vec<_>>().join(" ")
            }
        },
        TargetSpec::VaultKv(_) | TargetSpec::Channel(_) => format!("{secret}/{name}"),
    }
}
