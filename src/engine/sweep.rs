//! Material that no record names any more: what a rotation left that was never recorded, and what
//! came back after its version was revoked.

use std::sync::Arc;

use crate::engine::gate::Shut;
use crate::engine::reach::Caller;
use crate::engine::walk::{Broken, Walk};
use crate::model::id::VersionId;
use crate::model::time::Span;
use crate::model::version::{Stage, Version};
use crate::rotation::Rotation;
use crate::rotation::effect::Effect;
use crate::rotation::phase::Phase;
use crate::store::{StoreError, Stored};

/// How long a write to Vault whose answer was lost may still be on its way: several times as long
/// as its client waits.
const WRITE_UNDER_WAY: Span = Span::from_secs(60);

impl Walk {
    /// Deletes material that no record names, or names as revoked.
    pub(super) async fn sweep_unnamed(&mut self, stored: &mut Stored) -> Result<(), Broken> {
        let managed = Arc::clone(&self.managed);
        let name = &managed.name;
        let unnamed = self.unnamed(&stored.record.rotation).await?;
        if !unnamed.is_empty() {
            // Under our epoch first: who led before us writes no record of this secret any more.
            self.touch();
            self.save(stored).await?;
        }
        for version in unnamed {
            let (record, effect) = (&stored.record, Effect::Forget { version });
            let permit = match self.world.gate.pass(record, &effect).await {
                Ok(permit) => permit,
                Err(Shut::TakeoverWait(_) | Shut::Held) => return Ok(()),
                Err(shut) => return Err(shut.into()),
            };
            let (lane, hurry) = (record.rotation.lane, &self.signals.hurry);
            let caller = Caller { lane, hurry, order: Some((record, &effect)) };
            let forget = self.world.store.forget_material(name, version);
            let result = self.world.keep(caller, forget).await;
            let failed = result.as_ref().err().map(|failed| failed.failure);
            self.world.gate.outcome(&permit, record, &effect, failed).await;
            result?;
        }
        Ok(())
    }

    /// The numbers under which there is material that no record names, or names as revoked.
    async fn unnamed(&self, rotation: &Rotation) -> Result<Vec<VersionId>, StoreError> {
        let staging = match &rotation.phase {
            Phase::Stage { version, .. } => Some(*version),
            _ => None,
        };
        // A number that may still be given out is left alone: a deletion that lands late would take
        // the new value with it. Whoever is given the number finds it taken.
        let spent = |version: &VersionId| {
            let free = *version >= rotation.next_version || staging == Some(*version);
            let found = rotation.versions.get(version);
            !free && found.is_none_or(|version| version.stage == Stage::Revoked)
        };
        let found = self.world.store.list_material(&self.managed.name).await?;
        Ok(found.into_iter().filter(spent).collect())
    }
}

/// Whether there may be material that the record does not name, now that the rotation has ended:
/// under a number that was to be its own, or of a version that lived so short that a write of its
/// material, held up on its way, may have come after the deletion.
pub(super) fn may_have_left_any(rotation: &Rotation) -> bool {
    let newest = rotation.versions.keys().next_back();
    let before = newest.and_then(|version| version.0.checked_sub(1)).filter(|number| *number > 0);
    let skipped = before.is_some_and(|number| !rotation.versions.contains_key(&VersionId(number)));
    rotation.is_closed() && (skipped || rotation.versions.values().any(is_short_lived))
}

fn is_short_lived(version: &Version) -> bool {
    version.revoked_at.is_some_and(|at| at < version.staged_at + WRITE_UNDER_WAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fingerprint::Fingerprint;
    use crate::model::time::Timestamp;

    #[test]
    fn only_what_was_revoked_soon_after_its_value_was_written_is_short_lived() {
        let staged_at = Timestamp::from_seconds(1_800_000_000);
        let mut version = Version::pending(None, Fingerprint([0; 16]), staged_at);
        assert!(!is_short_lived(&version));
        for (lived, expected) in [(Span(0), true), (Span(59_999), true), (Span(60_000), false)] {
            version.revoked_at = Some(staged_at + lived);
            assert_eq!(is_short_lived(&version), expected, "{lived}");
        }
    }
}
