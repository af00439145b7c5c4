//! P4: nothing is taken away but on evidence. Here the evidence is held against the truth: no
//! consumer of any service may still be presenting the version.

use rotord::model::id::{SecretName, VersionId};
use rotord::model::time::Timestamp;

use crate::sim::world::World;

pub(in crate::sim) fn left(world: &World, secret: &SecretName, version: VersionId, now: Timestamp) {
    let waived = |name: &rotord::model::id::TargetName| {
        let rotation = world.rotation(secret);
        rotation.is_some_and(|r| r.targets.get(name).is_some_and(|t| t.waived_by.is_some()))
    };
    let users: Vec<String> = {
        let state = world.state();
        let services = state.secrets[secret].services.iter();
        services
            .filter(|(_, service)| service.presented(now).contains(&version))
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    }
    .into_iter()
    .filter(|name| !waived(name))
    .map(|name| name.to_string())
    .collect();
    if !users.is_empty() {
        let what = format!("{secret}: {version} is taken away while {} use it", users.join(", "));
        world.violate("P4 evidence", &what);
    }
}
