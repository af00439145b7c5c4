//! A record that somebody deleted is not one that never was: status says so, and nothing is begun
//! anew.

use rotord::engine::snapshot::SecretView;
use rotord::model::id::SecretName;
use rotord::model::reason::Reason;

use crate::sim::world::{World, state_of};

/// What status shows of a secret, held against what was once written.
pub(in crate::sim) fn shown(world: &World, name: &SecretName, view: &SecretView) {
    let written = world.kv.newest(&state_of(name)) > 1;
    let waiting = &view.waiting;
    let absent =
        waiting.needs_human == Some(Reason::NotAdopted) || waiting.why == "its first rotation";
    if written && absent {
        world.violate("P5 never destroy", &format!("{name}: its record is taken for absent"));
    }
}
