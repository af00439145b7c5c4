//! P2: every key at an issuer is named by a record, or was revoked, or is reported.

use rotord::model::id::{KeyId, SecretName};
use rotord::model::version::Stage;
use rotord::rotation::phase::{Outcome, Phase};
use rotord::store::record::Record;

use crate::sim::world::World;

/// Once everything is at rest, and each secret has been rotated once more: the next preflight is
/// what finds a key whose minting landed after everybody had stopped waiting for it.
pub(in crate::sim) fn at_rest(world: &World) {
    for name in world.names() {
        let Some(record) = world.record(&name) else { continue };
        for id in unnamed(world, &name, &record) {
            if !is_reported(&record) {
                let what = format!("{name}: {id} lives and no record names it");
                world.violate("P2 no orphan", &what);
            }
        }
    }
}

/// Keys that live at the issuer and that no record names.
pub(in crate::sim) fn unnamed(world: &World, name: &SecretName, record: &Record) -> Vec<KeyId> {
    let now = world.clock.truly();
    let rotation = &record.rotation;
    let named = |key: &KeyId| {
        let mut versions = rotation.versions.values().filter(|v| v.stage != Stage::Revoked);
        versions.any(|v| v.key_id.as_ref() == Some(key)) || rotation.known_keys.contains(key)
    };
    let state = world.state();
    let keys = state.secrets[name].keys.iter().filter(|(_, key)| key.is_alive(now));
    keys.map(|(id, _)| KeyId(id.clone())).filter(|id| !named(id)).collect()
}

fn is_reported(record: &Record) -> bool {
    let unfound =
        |outcome: &Outcome| matches!(outcome, Outcome::Unwound { possible_orphan: true, .. });
    let last = match &record.rotation.phase {
        Phase::Closed { outcome, .. } => unfound(outcome),
        _ => false,
    };
    last || record.history.iter().filter_map(|past| past.outcome.as_ref()).any(unfound)
}
