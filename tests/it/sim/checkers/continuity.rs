//! P1: what some signer uses is accepted by every verifier, at every moment, caches included.

use rotord::model::id::{SecretName, VersionId};
use rotord::model::policy::Kind;
use rotord::model::time::Timestamp;
use rotord::rotation::Rotation;

use crate::sim::world::{Truth, World};

pub(in crate::sim) fn check(world: &World, now: Timestamp) {
    let suspects: Vec<(SecretName, Truth)> = {
        let state = world.state();
        let broken = state.secrets.iter().filter(|(_, truth)| !rejections(truth, now).is_empty());
        broken.map(|(name, truth)| (name.clone(), truth.clone())).collect()
    };
    for (name, truth) in suspects {
        let Some(rotation) = world.rotation(&name) else { continue };
        for (version, what) in rejections(&truth, now) {
            if !is_excused(&rotation, &truth, version) {
                world.violate("P1 continuity", &format!("{name}: {what}"));
            }
        }
    }
}

/// Every version in use that somebody refuses.
fn rejections(truth: &Truth, now: Timestamp) -> Vec<(VersionId, String)> {
    let mut found = Vec::new();
    for (signer, service) in &truth.services {
        for version in service.presented(now) {
            if truth.kind == Kind::ApiKey && truth.has_issuer {
                let alive = truth.keys.values().any(|k| k.alive && k.version == version);
                if !alive {
                    found.push((version, format!("{signer} uses {version}, dead at the issuer")));
                }
                continue;
            }
            for (verifier, other) in truth.services.iter().filter(|(_, s)| s.role.verifies()) {
                if !other.certainly_accepted(now).contains(&version) {
                    let what = format!("{signer} uses {version}, {verifier} may refuse it");
                    found.push((version, what));
                }
            }
        }
    }
    found
}

/// Only what is recorded as forced, or what the issuer itself ends, may be refused.
fn is_excused(rotation: &Rotation, truth: &Truth, version: VersionId) -> bool {
    let forced = rotation.forced.iter().any(|forced| forced.version == version);
    // Before the first version has reached everybody there is nothing to continue.
    let first = rotation.versions.keys().min() == Some(&version)
        && rotation.at_stage(rotord::model::version::Stage::Revoked).count() == 0
        && rotation.versions.len() == 1;
    // A newer key at an issuer that keeps one only: the issuer itself ended this one.
    let dies = truth.dies_on_mint && truth.keys.values().any(|key| key.version > version);
    forced || first || dies
}
