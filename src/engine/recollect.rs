//! What is remembered comes into the record: with every write, from the material that is in hand,
//! and by a walk of its own for what was not.
//!
//! Decides when marks are made; what they are is the model's, how long they stay the store's. A
//! rotation never pays for it: its writes carry along what costs next to nothing, and the slow
//! digests wait until the secret rests or has to wait anyway.

use std::sync::Arc;

use crate::engine::walk::{Broken, Walk};
use crate::engine::world::World;
use crate::model::clue::{Form, QUICK_FORMS};
use crate::model::id::VersionId;
use crate::model::policy::Lane;
use crate::model::version::Stage;
use crate::rotation::phase::Phase;
use crate::store::recognition::Recognition;
use crate::store::record::Record;
use crate::store::{Saved, StoreError, Stored};

impl Walk {
    /// Brings what the record remembers up to date, from what is known and in hand.
    pub(super) fn recollect(&self, record: &mut Record) {
        let now = self.world.clock.now();
        let mut recognition = Recognition::clone(&record.recognition);
        recognition.follow(&record.rotation, now);
        let key = &self.world.fingerprints;
        let unmarked: Vec<VersionId> = recognition.unmarked(&record.rotation, key, &[]).collect();
        for version in unmarked {
            if let Some(saved) = self.in_hand(version) {
                recognition.mark(version, key.marks(&saved.material, &QUICK_FORMS));
            }
        }
        for (name, target) in &self.managed.targets {
            if let Some((kv_version, held)) = target.driver.document().and_then(|d| d.newest) {
                recognition.note_stored(name, kv_version, &held);
            }
        }
        recognition.forget(self.world.recognition.remember, now);
        if recognition != *record.recognition {
            record.recognition = Arc::new(recognition);
        }
        // Until then the fingerprints of some version are known by the former key alone.
        if record.recognition.unmarked(&record.rotation, key, &[]).next().is_none() {
            record.fingerprint_key.clone_from(&key.id);
        }
    }

    /// The record with every mark that it lacks, the slow ones included. What has no material in
    /// Vault any more stays without.
    pub(super) async fn marked(
        &mut self,
        loaded: Option<Stored>,
    ) -> Result<Option<Stored>, Broken> {
        let Some(mut stored) = loaded else { return Ok(None) };
        let world = Arc::clone(&self.world);
        let slow = &world.recognition.slow_forms;
        let key = &world.fingerprints;
        let record = &stored.record;
        let lacking: Vec<VersionId> =
            record.recognition.unmarked(&record.rotation, key, slow).collect();
        let forms: Vec<Form> = QUICK_FORMS.iter().chain(slow).copied().collect();
        for version in lacking {
            if self.signals.hurry.is_cancelled() {
                break;
            }
            let saved = match self.fetch(version).await {
                Ok(saved) => saved,
                Err(StoreError::Unreadable { place, what }) => {
                    tracing::warn!("{place} will not be recognised in reports: {what}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let marks = if slow.is_empty() {
                key.marks(&saved.material, &forms)
            } else {
                let (key, forms) = (Arc::clone(key), forms.clone());
                let making = move || key.marks(&saved.material, &forms);
                // Milliseconds each: not where everything else waits for its turn.
                tokio::task::spawn_blocking(making)
                    .await
                    .map_err(|_| Broken::Defect("a defect broke off a digest".to_owned()))?
            };
            let recognition = Arc::make_mut(&mut stored.record.recognition);
            recognition.mark(version, marks);
            self.touch();
        }
        Ok(Some(stored))
    }

    fn in_hand(&self, version: VersionId) -> Option<&Saved> {
        self.materials.saved().get(&version).map(Arc::as_ref)
    }

    async fn fetch(&mut self, version: VersionId) -> Result<Arc<Saved>, StoreError> {
        let (world, managed) = (Arc::clone(&self.world), Arc::clone(&self.managed));
        self.materials.get(&world, &managed.name, version).await
    }
}

/// Reads the older fingerprint keys that a record names.
pub(super) async fn learn_keys(world: &World, record: &Record) -> Result<(), StoreError> {
    for id in world.recogniser.unknown_keys(record) {
        let key = world.store.old_fingerprint_key(&id).await?;
        if key.is_none() {
            tracing::warn!(
                key = id,
                "a fingerprint key is not in Vault any more: revoked versions that were marked \
                 with it are not recognised in reports"
            );
        }
        world.recogniser.learn(id, key);
    }
    Ok(())
}

/// Whether a record lacks marks and stands where making them keeps nobody waiting: at rest, or, in
/// an emergency, with its new version in use, which may leak like any other.
pub(super) fn lacks_marks(world: &World, record: &Record) -> bool {
    let rotation = &record.rotation;
    let rests = match rotation.phase {
        Phase::Closed { .. } => true,
        Phase::Overlap { .. } => true,
        ref phase => rotation.lane == Lane::Emergency && phase.has_promoted(),
    };
    let slow = &world.recognition.slow_forms;
    let live = rotation.versions.values().any(|version| version.stage != Stage::Revoked);
    let mut unmarked = record.recognition.unmarked(rotation, &world.fingerprints, slow);
    rests && live && unmarked.next().is_some()
}
