//! What a record remembers of each version, so that a report about one is recognised: long after
//! the version itself has left the rotation.
//!
//! Decides what is kept of which version, and for how long. It follows the rotation and never
//! changes it. Holds no secret bytes and no digest of any that could be checked without the key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::clue::{Form, QUICK_FORMS};
use crate::model::fingerprint::FingerprintKey;
use crate::model::id::{KeyId, TargetName, VersionId};
use crate::model::marks::Marks;
use crate::model::time::{Span, Timestamp};
use crate::model::version::Stage;
use crate::rotation::Rotation;

/// How long revoked versions are remembered unless the config says otherwise: past a year, so that
/// a yearly audit's findings are still recognised.
pub const REMEMBER_REVOKED: Span = Span::from_secs(400 * 24 * 3600);

/// Most versions that are remembered: one a day for the usual time.
pub const REMEMBERED_MAX: usize = 400;

/// Most marks in one record, 35 bytes of JSON each: all forms of a webhook key, with and without
/// its prefix, for as many versions as are remembered, and half as much again.
pub const MARKS_MAX: usize = 4_800;

/// Most places in one record, up to 150 bytes of JSON each: one document a version.
pub const PLACES_MAX: usize = 400;

/// Longest id of a key that is remembered past its version: those of the issuers we know have 20 to
/// 60 bytes.
const KEY_ID_LEN_MAX: usize = 128;

/// The versions that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recognition {
    /// By number. A version that is not here is one whose time is over.
    pub versions: BTreeMap<VersionId, Remembered>,
}

/// What is remembered of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The marks of its value; none as long as they were never made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// The issuer's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Since when it is revoked, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The documents in Vault that held it: by target, the first and the last KV version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<TargetName, KvVersions>,
}

/// A run of KV versions of one document, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvVersions(pub u64, pub u64);

impl Recognition {
    /// Takes in what became of the versions of a rotation.
    pub fn follow(&mut self, rotation: &Rotation, now: Timestamp) {
        for (id, version) in &rotation.versions {
            if version.stage != Stage::Revoked {
                let known = self.versions.entry(*id).or_default();
                known.key_id.clone_from(&version.key_id);
            } else if let Some(known) = self.versions.get_mut(id) {
                known.revoke(version.revoked_at.unwrap_or(now));
            }
        }
        for (id, known) in &mut self.versions {
            // Only revoked versions leave a rotation.
            if !rotation.versions.contains_key(id) {
                known.revoke(now);
            }
        }
    }

    /// Takes in that a target's document held these versions at this KV version.
    pub fn note_stored(&mut self, target: &TargetName, kv_version: u64, held: &[VersionId]) {
        for id in held {
            let Some(known) = self.versions.get_mut(id) else { continue };
            let run =
                known.stored.entry(target.clone()).or_insert(KvVersions(kv_version, kv_version));
            // A counter that starts again (the document was deleted) starts the run again.
            *run = match kv_version < run.1 {
                true => KvVersions(kv_version, kv_version),
                false => KvVersions(run.0, kv_version),
            };
        }
    }

    /// Takes in the marks of a version.
    pub fn mark(&mut self, version: VersionId, marks: Marks) {
        let known = self.versions.entry(version).or_default();
        known.marks = Some(match known.marks.take() {
            Some(mut old) if old.key == marks.key => {
                old.forms.extend(marks.forms);
                Marks { forms: old.forms, ..marks }
            }
            _ => marks,
        });
    }

    /// Drops what was revoked too long ago, and the oldest of what is too much.
    pub fn forget(&mut self, remember: Span, now: Timestamp) {
        let over = |known: &Remembered| known.revoked_at.is_some_and(|at| at + remember <= now);
        self.versions.retain(|_, known| !over(known));
        let mut surplus = self.places().saturating_sub(PLACES_MAX);
        // The oldest versions are known by their values alone before any is forgotten.
        for known in self.versions.values_mut() {
            if surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(known.stored.len());
            known.stored.clear();
        }
        while !self.fits() {
            let oldest = self.versions.iter().find(|(_, known)| known.revoked_at.is_some());
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            self.versions.remove(&oldest);
        }
    }

    /// The versions of a rotation whose marks are missing, in another key, or not in these slow
    /// forms.
    pub fn unmarked<'a>(
        &'a self,
        rotation: &'a Rotation,
        key: &'a FingerprintKey,
        slow: &'a [Form],
    ) -> impl Iterator<Item = VersionId> + 'a {
        let live = rotation.versions.iter().filter(|(_, v)| v.stage != Stage::Revoked);
        live.map(|(id, _)| *id).filter(move |id| {
            let marks = self.versions.get(id).and_then(|known| known.marks.as_ref());
            !marks.is_some_and(|marks| marks.cover(key, QUICK_FORMS.iter().chain(slow)))
        })
    }

    /// How many marks there are.
    pub fn marks(&self) -> usize {
        self.versions.values().filter_map(|known| known.marks.as_ref()).map(Marks::count).sum()
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.versions.values().map(|known| known.stored.len()).sum()
    }

    fn fits(&self) -> bool {
        self.versions.len() <= REMEMBERED_MAX && self.marks() <= MARKS_MAX
    }
}

impl Remembered {
    fn revoke(&mut self, at: Timestamp) {
        self.revoked_at.get_or_insert(at);
        if let Some(marks) = &mut self.marks {
            marks.sealed.clear();
        }
        self.key_id = self.key_id.take().filter(|id| id.0.len() <= KEY_ID_LEN_MAX);
    }
}

#[cfg(test)]
mod tests;
