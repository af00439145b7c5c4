//! P1: what some signer uses is accepted by every verifier, at every moment, caches included.
//!
//! Beyond the design's exceptions, each of which counts for the targets that it names, nothing is
//! expected of services that are not rotord's to keep: those nobody has told anything yet, those
//! that went astray by themselves, and those that were waived or taken out of the config. A clock
//! set forward makes rotord believe that propagation has passed; until what was cached then has
//! really gone, nothing is promised.

use rotord::model::id::{SecretName, TargetName, VersionId};
use rotord::model::policy::Kind;
use rotord::model::time::{Span, Timestamp};
use rotord::rotation::ForcedRule;
use rotord::store::record::Record;

use crate::sim::truth::{Service, Truth};
use crate::sim::world::World;

/// No propagation in any scenario is longer.
pub(in crate::sim) const PROPAGATION_MAX: Span = Span::from_secs(120);

struct Rejection {
    signer: TargetName,
    /// None: the issuer.
    verifier: Option<TargetName>,
    version: VersionId,
}

pub(in crate::sim) fn check(world: &World, now: Timestamp) {
    let suspects: Vec<(SecretName, Vec<Rejection>)> = {
        let state = world.state();
        if state.set_forward_at.is_some_and(|at| now < at + PROPAGATION_MAX) {
            return;
        }
        let rejections = |(name, truth): (&SecretName, &Truth)| {
            let found = rejections(truth, now);
            (!found.is_empty()).then(|| (name.clone(), found))
        };
        state.secrets.iter().filter_map(rejections).collect()
    };
    for (name, found) in suspects {
        let Some(record) = world.record(&name) else { continue };
        for rejection in found {
            let Rejection { signer, verifier, version } = rejection;
            let bound = |name: &TargetName| {
                let target = record.rotation.targets.get(name);
                target.is_some_and(|target| target.waived_by.is_none())
            };
            if bound(&signer)
                && verifier.as_ref().is_none_or(bound)
                && !is_excused(world, &record, (&signer, version), now)
            {
                let by = verifier.map_or_else(|| "the issuer".to_owned(), |name| name.to_string());
                let what = format!("{name}: {signer} uses {version}, {by} may refuse it");
                world.violate("P1 continuity", &what);
            }
        }
    }
}

/// Every version in use that somebody refuses.
fn rejections(truth: &Truth, now: Timestamp) -> Vec<Rejection> {
    let tame = |service: &Service| service.holds().is_some() && !service.is_astray(now);
    let mut found = Vec::new();
    for (signer, service) in truth.services.iter().filter(|(_, service)| tame(service)) {
        for version in service.presented(now) {
            if truth.kind == Kind::ApiKey && truth.has_issuer {
                if !truth.key_of(version).is_some_and(|key| key.is_alive(now)) {
                    found.push(Rejection { signer: signer.clone(), verifier: None, version });
                }
                continue;
            }
            let verifiers = truth.services.iter().filter(|(_, s)| s.role.verifies() && tame(s));
            for (verifier, _) in verifiers.filter(|(_, s)| !s.accepts(version, now)) {
                let verifier = Some(verifier.clone());
                found.push(Rejection { signer: signer.clone(), verifier, version });
            }
        }
    }
    found
}

/// Only what is recorded as forced, or what the issuer itself ends, may be refused.
fn is_excused(
    world: &World,
    record: &Record,
    (signer, version): (&TargetName, VersionId),
    now: Timestamp,
) -> bool {
    let rotation = &record.rotation;
    let state = world.state();
    // An exception excuses whom it names. At such an issuer services that join on the way, or are
    // waived no more, find their version dead already.
    let forced = state.forced.get(&record.name).into_iter().flatten();
    let forced = forced.filter(|forced| forced.version == version).any(|forced| {
        let at_issuer = matches!(forced.rule, ForcedRule::DiesOnMint | ForcedRule::IssuerClock);
        at_issuer || forced.targets_without_evidence.contains(signer)
    });
    // Before the first version has reached everybody there is nothing to continue.
    let first = rotation.versions.len() == 1 && rotation.versions.contains_key(&version);
    let truth = &state.secrets[&record.name];
    // A newer key at an issuer that keeps one only: the issuer itself ended this one.
    let dies = truth.dies_on_mint && truth.keys.values().any(|key| key.version > version);
    let died = truth.key_of(version).is_some_and(|key| key.has_died(now));
    forced || first || dies || died
}
