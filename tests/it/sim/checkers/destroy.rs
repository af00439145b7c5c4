//! P5: never the current version, a held one, or one without evidence. And P4 with it: what is
//! taken away was left by every service, or its end is recorded as forced.

use rotord::model::id::{KeyId, SecretName, VersionId};
use rotord::model::version::Stage;
use rotord::rotation::Rotation;
use rotord::vault::KvPath;

use crate::sim::checkers::evidence;
use crate::sim::world::World;

/// Before a key is ended at its issuer.
pub(in crate::sim) fn key(world: &World, secret: &SecretName, key: &KeyId) {
    let Some(record) = world.record(secret) else {
        return world.violate("P5 never destroy", &format!("{secret}: {key} without a record"));
    };
    let rotation = &record.rotation;
    let live = |stage: Stage| stage != Stage::Revoked;
    let mut named = rotation.versions.iter().filter(|(_, v)| live(v.stage));
    let Some((id, version)) = named.find(|(_, v)| v.key_id.as_ref() == Some(key)) else {
        return orphan(world, secret, key);
    };
    if world.is_held(&record) {
        world.violate("P5 never destroy", &format!("{secret}: {id} is held"));
    }
    let forced = rotation.is_forced(*id);
    if version.stage == Stage::Current && !forced {
        world.violate("P5 never destroy", &format!("{secret}: {id} is current"));
    }
    // Of a leaked one it is enough that it was once left.
    let due = forced || rotation.is_tainted(*id);
    if version.stage != Stage::Pending && !due {
        evidence::left(world, &record, *id);
    }
}

/// A key that no version names: ours only if its mark says so, or if every key is ours.
fn orphan(world: &World, secret: &SecretName, key: &KeyId) {
    let record = world.record(secret).unwrap();
    let state = world.state();
    let found = state.secrets[secret].keys.get(&key.0);
    let marked = found.is_none_or(|found| found.mark.is_some());
    let ours = marked || record.rotation.terms.capabilities.exclusive;
    let by_hand = record.rotation.versions.values().any(|v| v.key_id.as_ref() == Some(key));
    drop(state);
    if !ours && !by_hand {
        world.violate("P5 never destroy", &format!("{secret}: {key} may be somebody else's"));
    }
    if record.rotation.known_keys.contains(key) {
        world.violate("P5 never destroy", &format!("{secret}: {key} is somebody else's"));
    }
}

/// Before a version's material is deleted from Vault.
pub(in crate::sim) fn material(world: &World, at: &KvPath) {
    let Some((name, number)) = at.path.strip_prefix("material/").and_then(|p| p.split_once('/'))
    else {
        return;
    };
    let name = SecretName::new(name).unwrap();
    let id = VersionId(number.parse().unwrap());
    let Some(record) = world.record(&name) else {
        return world.violate("P5 never destroy", &format!("{name}: {id} without a record"));
    };
    let rotation = &record.rotation;
    let Some(version) = rotation.versions.get(&id) else { return };
    if world.is_held(&record) {
        world.violate("P5 never destroy", &format!("{name}: {id} is held"));
    }
    if !is_gone(rotation, id) {
        world.violate("P5 never destroy", &format!("{name}: {id} is not revoked"));
    }
    let lives = version.key_id.as_ref().is_some_and(|key| {
        let state = world.state();
        let key = state.secrets[&name].keys.get(&key.0);
        key.is_some_and(|key| key.is_alive(world.clock.truly()))
    });
    if lives {
        world.violate("P5 never destroy", &format!("{name}: {id} is forgotten and lives"));
    }
    // A key that its issuer has ended is of no use to anybody who still has it.
    let local = !rotation.terms.capabilities.remote;
    let going = !matches!(version.stage, Stage::Pending | Stage::Revoked);
    if local && going && !rotation.is_forced(id) {
        evidence::left(world, &record, id);
    }
}

/// Before a service's history is purged.
pub(in crate::sim) fn history(world: &World, secret: &SecretName, versions: &[VersionId]) {
    let Some(record) = world.record(secret) else { return };
    let rotation = &record.rotation;
    for id in versions.iter().filter(|id| !is_gone(rotation, **id)) {
        world.violate("P5 never destroy", &format!("{secret}: {id} is purged and not revoked"));
    }
    if world.is_held(&record) {
        world.violate("P5 never destroy", &format!("{secret}: a purge while it is held"));
    }
}

/// Whether the record says that the version is revoked, and refused where that can be tried.
fn is_gone(rotation: &Rotation, id: VersionId) -> bool {
    let leaving = rotation.leaving.get(&id);
    rotation.versions.get(&id).is_none_or(|version| version.stage == Stage::Revoked)
        || leaving.is_some_and(|leaving| leaving.revoked && leaving.refused)
}
