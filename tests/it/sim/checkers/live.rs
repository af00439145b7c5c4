//! P11: after the faults stop, every rotation ends, or stands at `needs_human` with a reason code
//! and a command that resolves it. People give that command, and then everything must have ended.

use rotord::engine::snapshot::{SecretView, Snapshot};

use crate::sim::world::World;

/// Whether nothing will happen any more unless somebody asks for it.
pub(in crate::sim) fn rests(view: &SecretView) -> bool {
    let closed = view.rotation.as_ref().is_some_and(|rotation| rotation.is_closed());
    closed && view.waiting.needs_human.is_none() && view.waiting.why == "schedule"
}

/// After everybody has had time, people included.
pub(in crate::sim) fn at_rest(world: &World, snapshot: &Snapshot) {
    for (name, view) in snapshot.secrets.iter().filter(|(_, view)| !rests(view)) {
        let phase = view.rotation.as_ref().map(|rotation| rotation.phase.name());
        let what = format!("{name}: {phase:?}, {:?}", view.waiting);
        world.violate("P11 live", &what);
    }
}
