//! One configured secret as the engine needs it: what was decided, and the drivers that act.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::driver::issuer::Issuer;
use crate::driver::target::Target;
use crate::model::id::{SecretName, TargetName, VersionId};
use crate::model::target::TargetTerms;
use crate::model::version::{Stage, Version};
use crate::plan::cadence::Cadence;
use crate::plan::facts::Initial;
use crate::rotation::{Rotation, Terms};

/// A secret that the config names.
pub struct Managed {
    /// Its name.
    pub name: SecretName,
    /// Words of the people it belongs to: shown, and nothing else.
    pub tags: Vec<String>,
    /// Higher goes first when there is not room for all.
    pub priority: u8,
    /// When many are rotated at once, it is begun after these are in use.
    pub after: Vec<SecretName>,
    /// What the next rotation is opened under.
    pub terms: Terms,
    /// When it is rotated. Shared with the pictures that readers get.
    pub cadence: Arc<Cadence>,
    /// How it begins, without a record.
    pub initial: Initial,
    /// Its issuer.
    pub issuer: Arc<dyn Issuer>,
    /// The issuer's lane: drivers that share one share its limits.
    pub issuer_lane: String,
    /// Its targets.
    pub targets: BTreeMap<TargetName, ManagedTarget>,
}

/// A target that the config names.
pub struct ManagedTarget {
    /// How it is dealt with.
    pub terms: TargetTerms,
    /// Its driver.
    pub driver: Arc<dyn Target>,
    /// Its lane: targets on the same host share its limits.
    pub lane: String,
}

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Managed({})", self.name)
    }
}

impl Managed {
    /// The targets as a rotation is opened with them.
    pub fn target_terms(&self) -> BTreeMap<TargetName, TargetTerms> {
        self.targets.iter().map(|(name, target)| (name.clone(), target.terms.clone())).collect()
    }

    /// Tells those who use the secret within this process which of its versions leaked.
    pub(super) fn warn(&self, rotation: &Rotation) {
        let alive = |version: &Version| version.taint.is_some() && version.stage != Stage::Revoked;
        let leaked = rotation.versions.iter().filter(|(_, version)| alive(version));
        let leaked: BTreeSet<VersionId> = leaked.map(|(id, _)| *id).collect();
        self.targets.values().for_each(|target| target.driver.distrust(&leaked));
    }
}
