//! Targets are told until they hold what they must, and nothing but the current version is left
//! once everything is at rest.

use rotord::model::id::SecretName;
use rotord::model::version::Stage;
use rotord::rotation::TargetState;

use crate::sim::world::World;

/// Once everything rests, and there was time to look at those targets that are looked at.
pub(in crate::sim) fn observed(world: &World) {
    for name in world.names() {
        check(world, &name, |target| target.terms.observe_every.is_some());
    }
}

/// Once each secret was rotated after that: every target was told something since.
pub(in crate::sim) fn at_rest(world: &World) {
    for name in world.names() {
        check(world, &name, |_| true);
        let Some(record) = world.record(&name) else { continue };
        let rotation = &record.rotation;
        let live = rotation.versions.iter().filter(|(_, v)| v.stage != Stage::Revoked);
        let left: Vec<String> = live
            .filter(|(_, version)| version.stage != Stage::Current)
            .map(|(id, version)| format!("{id} is {}", version.stage))
            .collect();
        if rotation.is_closed() && !left.is_empty() {
            world.violate("P11 live", &format!("{name} is closed, and {left:?}"));
        }
    }
}

fn check(world: &World, name: &SecretName, counts: impl Fn(&TargetState) -> bool) {
    let Some(record) = world.record(name) else { return };
    let kept = |target: &&TargetState| target.waived_by.is_none() && !target.removed;
    let targets = record.rotation.targets.iter().filter(|(_, target)| kept(target));
    let astray: Vec<String> = {
        let state = world.state();
        let services = &state.secrets[name].services;
        targets
            .filter(|(_, target)| counts(target))
            .filter_map(|(name, target)| {
                let holds = services[name].holds()?;
                let wanted = &target.wanted;
                let signs = target.terms.role.signs();
                let fits = holds.accepted == wanted.accepted
                    && (!signs || holds.current == wanted.current);
                (!fits).then(|| format!("{name} holds {holds:?}, wanted {wanted:?}"))
            })
            .collect()
    };
    for what in astray {
        world.violate("P11 live", &format!("{name}: {what}"));
    }
}
