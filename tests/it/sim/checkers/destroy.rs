//! P5: never the current version, a held one, or one without evidence. And P4 with it: a revoked
//! key was left by every service, or its end is recorded as forced.

use rotord::model::id::{KeyId, SecretName};
use rotord::model::time::Clock as _;
use rotord::model::version::Stage;

use crate::sim::checkers::evidence;
use crate::sim::world::World;

pub(in crate::sim) fn key(world: &World, secret: &SecretName, key: &KeyId) {
    let now = world.clock.now();
    let Some(rotation) = world.rotation(secret) else {
        return world.violate("P5 never destroy", &format!("{secret}: {key} without a record"));
    };
    let named = rotation.versions.iter().find(|(_, v)| v.key_id.as_ref() == Some(key));
    // A key that no version names can only be an orphan of ours: its mark says so.
    let Some((id, version)) = named else { return };
    let forced = rotation.forced.iter().any(|forced| forced.version == *id);
    if version.stage == Stage::Current && !forced {
        world.violate("P5 never destroy", &format!("{secret}: {id} is current"));
    }
    if rotation.hold.as_ref().is_some_and(|hold| hold.binds(rotation.lane, now)) {
        world.violate("P5 never destroy", &format!("{secret}: {id} is held"));
    }
    if version.stage != Stage::Pending && !forced {
        evidence::left(world, secret, *id, now);
    }
}
