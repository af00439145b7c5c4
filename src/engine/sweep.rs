//! Material that no record names: what a rotation left that was never recorded.

use crate::engine::gate::Shut;
use crate::engine::walk::{Broken, Walk};
use crate::model::id::VersionId;
use crate::rotation::Rotation;
use crate::rotation::effect::Effect;
use crate::rotation::phase::Phase;
use crate::store::{StoreError, Stored};

impl Walk {
    /// Deletes material that no record names: made for a rotation that was never recorded.
    pub(super) async fn sweep_unnamed(&mut self, stored: &Stored) -> Result<(), Broken> {
        let name = &self.managed.name;
        let rotation = &stored.record.rotation;
        let staging = match &rotation.phase {
            Phase::Stage { version, .. } => Some(*version),
            _ => None,
        };
        // A number that may still be given out is left alone: a deletion that lands late would take
        // the new value with it. Whoever is given the number finds it taken.
        let spent = |version: &VersionId| {
            let free = *version >= rotation.next_version || staging == Some(*version);
            !free && !rotation.versions.contains_key(version)
        };
        let found = self.world.store.list_material(name).await?;
        for version in found.into_iter().filter(spent) {
            let effect = Effect::Forget { version };
            let permit = match self.world.gate.pass(&stored.record, &effect).await {
                Ok(permit) => permit,
                Err(Shut::TakeoverWait(_) | Shut::Held) => return Ok(()),
                Err(shut) => return Err(shut.into()),
            };
            let result = self.world.store.forget_material(name, version).await;
            let failed = result.as_ref().err().map(StoreError::failure);
            self.world.gate.outcome(permit, &stored.record, &effect, failed).await;
            result?;
        }
        Ok(())
    }
}

/// Whether the rotation has just ended and found, on its way, material under a number that was to
/// be its own.
pub(super) fn has_skipped_a_number(rotation: &Rotation) -> bool {
    let newest = rotation.versions.keys().next_back();
    let before = newest.and_then(|version| version.0.checked_sub(1)).filter(|number| *number > 0);
    let skipped = before.is_some_and(|number| !rotation.versions.contains_key(&VersionId(number)));
    rotation.is_closed() && skipped
}
