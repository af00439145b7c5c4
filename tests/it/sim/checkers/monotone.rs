//! P6: what a target is told never goes backwards.

use rotord::model::id::{SecretName, TargetName};
use rotord::model::target::Wanted;

use crate::sim::world::World;

pub(in crate::sim) fn push(
    world: &World,
    secret: &SecretName,
    target: &TargetName,
    wanted: &Wanted,
) {
    let sent = {
        let mut state = world.state();
        let truth = state.secrets.get_mut(secret).unwrap();
        let service = truth.services.get_mut(target).unwrap();
        let before = service.sent;
        service.sent = before.max(wanted.generation);
        before
    };
    if wanted.generation < sent {
        let what = format!("{secret} {target}: {} after {sent}", wanted.generation);
        world.violate("P6 monotone", &what);
    }
}
