//! A leaked version is accepted nowhere after its deadline. A hold beats that, and is then shown as
//! what a person has to resolve; and an issuer that ends a key only by minting the next one keeps
//! it alive until then, which is recorded as forced.
//!
//! Asked of rotord only while nothing goes wrong: what it cannot reach it cannot take away.

use rotord::engine::snapshot::Snapshot;
use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::{Kind, OnLeak};
use rotord::model::reason::Reason;
use rotord::model::time::{Span, Timestamp};
use rotord::model::version::{Stage, Version};
use rotord::rotation::ForcedRule;
use rotord::store::record::Record;

use crate::sim::issuer::Manner;
use crate::sim::setups::Setup;
use crate::sim::world::World;

/// How long the end itself may take once the deadline has passed and nothing goes wrong: the wait
/// after a takeover, one pause of the back-off, a push and what consumers still use from before.
const TAKES: Span = Span::from_secs(240);

pub(in crate::sim) fn check(world: &World, snapshot: &Snapshot, setups: &[Setup]) {
    let now = world.clock.truly();
    let (faults, set, quiet_since) = {
        let state = world.state();
        (state.faults_on, state.clock_was_set || state.skew > Span::ZERO, state.quiet_since)
    };
    if faults || set {
        return;
    }
    for setup in setups {
        let Some(record) = world.record(&setup.name) else { continue };
        let alive = |version: &Version| version.stage != Stage::Revoked;
        for (id, version) in record.rotation.versions.iter().filter(|(_, v)| alive(v)) {
            let Some(taint) = &version.taint else { continue };
            let policy = &record.rotation.terms.policy;
            let latest = match policy.on_leak {
                OnLeak::Contain => taint.at,
                OnLeak::KeepServing | OnLeak::Ask => taint.at + policy.max_exposure,
            };
            if now < latest.max(quiet_since) + TAKES {
                continue;
            }
            let by = accepted_by(world, &record, *id, now);
            let asked = snapshot.secrets[&setup.name].waiting.needs_human;
            let wrong = !by.is_empty() && !is_allowed(world, &record, (setup, asked), *id);
            // While a walk is under way, status shows for a moment that it is, and not for what it
            // waited.
            let before = world.state().overdue.insert((setup.name.clone(), *id), wrong);
            if wrong && before == Some(true) {
                let name = &setup.name;
                let what = format!("{name}: {id} leaked, and {by:?} accepts it; asked: {asked:?}");
                world.violate("exposure", &what);
            }
        }
    }
}

/// Who accepts the version now, of those that rotord is to look after.
fn accepted_by(world: &World, record: &Record, version: VersionId, now: Timestamp) -> Vec<String> {
    let state = world.state();
    let truth = &state.secrets[&record.name];
    if truth.kind == Kind::ApiKey && truth.has_issuer {
        let key = truth.key_of(version).filter(|key| key.is_alive(now));
        return key.map(|_| "the issuer".to_owned()).into_iter().collect();
    }
    let kept = |(name, target): (_, &rotord::rotation::TargetState)| {
        (target.waived_by.is_none() && !target.removed).then_some(name)
    };
    let names = record.rotation.targets.iter().filter_map(kept);
    let accepts = |name: &&rotord::model::id::TargetName| {
        let service = &truth.services[*name];
        let mut used = service.in_use(now);
        let accepts = used.any(|held| held.accepted.contains(&version));
        service.role.verifies() && accepts && !service.is_astray(now)
    };
    names.filter(accepts).map(ToString::to_string).collect()
}

fn is_allowed(
    world: &World,
    record: &Record,
    (setup, asked): (&Setup, Option<Reason>),
    version: VersionId,
) -> bool {
    if world.is_held(record) {
        world.reached("held while exposed");
        return asked == Some(Reason::HeldWhileExposed);
    }
    let rotation = &record.rotation;
    let truth_dies_on_mint = world.state().secrets[&record.name].dies_on_mint;
    let recorded = rotation.forced.iter().any(|forced| {
        forced.version == version
            && matches!(forced.rule, ForcedRule::Contain | ForcedRule::MaxExposure)
    });
    let by_hand = setup.manner == Manner::ByHand && asked.is_some();
    by_hand || (truth_dies_on_mint && recorded)
}

/// Once everything is at rest: nothing that leaked is left.
pub(in crate::sim) fn at_rest(world: &World) {
    for name in world.names() {
        let left = left(world, &name);
        if !left.is_empty() {
            world.violate("exposure", &format!("{name}: {left:?} leaked and are not revoked"));
        }
    }
}

fn left(world: &World, name: &SecretName) -> Vec<VersionId> {
    let Some(record) = world.record(name) else { return Vec::new() };
    let versions = record.rotation.versions.iter();
    let state = world.state();
    let reported = |id: &VersionId| state.reported.contains(&(name.clone(), *id));
    let leaked = |id: &VersionId, v: &Version| v.taint.is_some() || reported(id);
    let left = versions.filter(|(id, v)| leaked(id, v) && v.stage != Stage::Revoked);
    left.map(|(id, _)| *id).collect()
}
