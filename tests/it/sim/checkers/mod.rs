//! The promises, one a file. Each looks at what is, not at what anybody believes.

pub(super) mod audited;
pub(super) mod bounded;
pub(super) mod continuity;
pub(super) mod destroy;
pub(super) mod evidence;
pub(super) mod live;
pub(super) mod monotone;
pub(super) mod orphan;
pub(super) mod secretless;
pub(super) mod sole_copy;

use rotord::model::time::Timestamp;

use crate::sim::world::World;

/// After every change of the world.
pub(super) fn after_change(world: &World, now: Timestamp) {
    continuity::check(world, now);
}
