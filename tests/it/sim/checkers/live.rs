//! P11: after the faults stop, every rotation ends, or stands at `needs_human` with a remedy.

use rotord::engine::snapshot::Snapshot;

use crate::sim::world::World;

pub(in crate::sim) fn at_rest(world: &World, snapshot: &Snapshot) {
    for (name, view) in snapshot.secrets.iter() {
        let closed = view.rotation.as_ref().is_some_and(|rotation| rotation.is_closed());
        let asks = view.waiting.needs_human.is_some() && view.waiting.remedy.is_some();
        if !closed && !asks {
            let phase = view.rotation.as_ref().map(|r| r.phase.name());
            let what = format!("{name}: {phase:?}, waiting for {}", view.waiting.why);
            world.violate("P11 live", &what);
        }
    }
}
