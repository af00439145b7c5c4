//! The recorded exceptions to continuity and evidence: each stands on one of the four grounds that
//! there are, none was made against a hold, and each names everybody who is hurt by it.

use rotord::model::capability::OldDies;
use rotord::model::policy::{OnLeak, WhenFull};
use rotord::model::time::{Span, Timestamp};
use rotord::rotation::{Forced, ForcedRule, Rotation};
use rotord::store::record::Record;

use crate::sim::checkers::continuity::PROPAGATION_MAX;
use crate::sim::world::World;

/// After a write of a record over what was there before.
pub(in crate::sim) fn after_write(world: &World, before: Option<&Record>, after: &Record) {
    let known = before.map(|record| record.rotation.forced.as_slice()).unwrap_or_default();
    for forced in after.rotation.forced.iter().filter(|forced| !known.contains(forced)) {
        let Forced { version, rule, .. } = forced;
        let name = after.name.clone();
        world.state().forced.entry(name).or_default().push(forced.clone());
        let mut faults: Vec<String> = grounds(world, &after.rotation, forced).into_iter().collect();
        faults.extend(unnamed(world, after, forced));
        for what in faults {
            let name = &after.name;
            world.violate("P4 evidence", &format!("{name}: {version} is cut by {rule:?}: {what}"));
        }
    }
}

/// What is wrong with the ground on which the version is taken away.
fn grounds(world: &World, rotation: &Rotation, forced: &Forced) -> Option<String> {
    let policy = &rotation.terms.policy;
    let dies = rotation.terms.capabilities.old_dies;
    let taint = rotation.taint_of(forced.version);
    let set = {
        let state = world.state();
        state.clock_was_set || state.skew > Span::ZERO
    };
    match forced.rule {
        ForcedRule::DiesOnMint => {
            return (dies != OldDies::OnMint).then(|| "the issuer ends nothing".to_owned());
        }
        ForcedRule::IssuerClock => {
            let by_clock = matches!(dies, OldDies::IssuerClock { .. });
            return (!by_clock).then(|| "the issuer has no clock".to_owned());
        }
        ForcedRule::Contain => {
            if policy.on_leak != OnLeak::Contain && policy.when_full != WhenFull::Contain {
                return Some("nobody decided so".to_owned());
            }
        }
        ForcedRule::MaxExposure => {
            let too_soon = taint.is_some_and(|taint| forced.at < taint.at + policy.max_exposure);
            if policy.on_leak == OnLeak::Contain || (too_soon && !set) {
                return Some("its time has not come".to_owned());
            }
        }
    }
    let held = rotation
        .hold
        .as_ref()
        .is_some_and(|hold| hold.at <= forced.at && hold.binds(rotation.lane, forced.at));
    match taint {
        None => Some("it did not leak".to_owned()),
        Some(_) if held && !set => Some("it is held".to_owned()),
        Some(_) => None,
    }
}

/// Those who use the version now and are not named.
fn unnamed(world: &World, record: &Record, forced: &Forced) -> Option<String> {
    let now: Timestamp = world.clock.truly();
    let state = world.state();
    if state.set_forward_at.is_some_and(|at| now < at + PROPAGATION_MAX) {
        return None;
    }
    let bound = |name| {
        let target = record.rotation.targets.get(name);
        target.is_some_and(|target| target.waived_by.is_none())
    };
    let services = state.secrets[&record.name].services.iter();
    let hurt: Vec<String> = services
        .filter(|(name, service)| {
            service.presented(now).contains(&forced.version)
                && !service.is_astray(now)
                && bound(*name)
                && !forced.targets_without_evidence.contains(name)
        })
        .map(|(name, _)| name.to_string())
        .collect();
    (!hurt.is_empty()).then(|| format!("{hurt:?} use it and are not named"))
}
