//! P2: every key at an issuer is named by a record, or was revoked, or is reported.

use rotord::model::id::{KeyId, SecretName};
use rotord::rotation::phase::{Outcome, Phase};

use crate::sim::world::World;

/// Once everything is at rest.
pub(in crate::sim) fn at_rest(world: &World) {
    let names: Vec<SecretName> = world.state().secrets.keys().cloned().collect();
    for name in names {
        let alive: Vec<String> = {
            let state = world.state();
            let keys = state.secrets[&name].keys.iter();
            keys.filter(|(_, key)| key.alive).map(|(id, _)| id.clone()).collect()
        };
        let Some(rotation) = world.rotation(&name) else { continue };
        let closed = rotation.is_closed();
        let reported = matches!(
            rotation.phase,
            Phase::Closed { outcome: Outcome::Unwound { possible_orphan: true, .. }, .. }
        );
        for id in alive {
            let key = KeyId(id.clone());
            let named = rotation.versions.values().any(|v| {
                v.key_id.as_ref() == Some(&key) && v.stage != rotord::model::version::Stage::Revoked
            });
            if closed && !named && !reported {
                world
                    .violate("P2 no orphan", &format!("{name}: {id} lives and no record names it"));
            }
        }
    }
}
