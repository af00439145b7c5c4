//! How a rotation begins: the first of a secret, one that takes over an existing value, the next
//! one, and one that supersedes an open one.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::model::fingerprint::Fingerprint;
use crate::model::id::{Generation, KeyId, RotationId, TargetName, VersionId};
use crate::model::policy::Lane;
use crate::model::target::{TargetTerms, Wanted};
use crate::model::time::Timestamp;
use crate::model::version::{Stage, Version};
use crate::rotation::phase::Phase;
use crate::rotation::retry::Trouble;
use crate::rotation::{
    ACCEPTED_MAX, Outgoing, Rotation, TargetState, Terms, Trigger, deadline, route, targets, wanted,
};

/// Everything that a rotation is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its identity.
    pub id: RotationId,
    /// What set it off.
    pub trigger: Trigger,
    /// How urgent it is.
    pub lane: Lane,
    /// The moment.
    pub at: Timestamp,
    /// What it is opened under.
    pub terms: Terms,
    /// The targets that the config has.
    pub targets: BTreeMap<TargetName, TargetTerms>,
}

/// A value that existed before rotord: durable in Vault, and in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The number under which it is durable.
    pub version: VersionId,
    /// The issuer's id, where there is one.
    pub key: Option<KeyId>,
    /// What recognises it.
    pub fingerprint: Fingerprint,
}

/// Why a rotation cannot be opened now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotOpen {
    /// One is open; a routine rotation waits for it.
    #[error("rotation {0} is open: wait for it, or use --emergency if a version leaked")]
    Open(RotationId),
    /// The new version is not in use yet: an emergency hurries the open one instead.
    #[error("rotation {0} has not promoted its version yet: abandon it, or let it go on")]
    NotPromoted(RotationId),
    /// One more would be more than receivers have to try.
    #[error("{ACCEPTED_MAX} versions are accepted already: let one of them go first")]
    TooManyVersions,
}

impl Rotation {
    /// The first rotation of a secret whose values come from here on from its issuer.
    pub fn first(opening: Opening) -> Rotation {
        let version = VersionId(1);
        let step = route::first_step(&opening.terms.capabilities);
        Rotation::blank(opening, Phase::Stage { version, step }, version)
    }

    /// The rotation that takes over a value which is in use already: nothing is minted, and the
    /// targets are brought to it.
    pub fn adopt(opening: Opening, adopted: Adopted) -> Rotation {
        let at = opening.at;
        let version = adopted.version;
        let mut rotation = Rotation::blank(opening, Phase::Switch { current: version }, version);
        let mut adopted = Version::pending(adopted.key, adopted.fingerprint, at);
        adopted.stage = Stage::Current;
        adopted.promoted_at = Some(at);
        rotation.versions.insert(version, adopted);
        wanted::refresh(&mut rotation);
        rotation
    }

    /// The rotation after this one. What this one left unfinished goes on inside the new one with
    /// its dates unchanged.
    ///
    /// # Errors
    /// [`CannotOpen`] if this one stands in the way.
    pub fn next(&self, opening: Opening) -> Result<Rotation, CannotOpen> {
        self.may_follow(&opening)?;
        let at = opening.at;
        let version = self.next_version;
        let step = route::first_step(&opening.terms.capabilities);
        let mut next = Rotation::blank(opening, Phase::Stage { version, step }, version);
        next.versions = self.versions.clone();
        next.generation = self.generation;
        next.hold = self.hold.clone();
        next.known_keys = self.known_keys.clone();
        next.leaving = self.leaving.clone();
        next.forced = self.forced.iter().filter(|f| self.is_open_end(f.version)).cloned().collect();
        if let Phase::Retire { cleared, .. } = &self.phase {
            for going in cleared.going() {
                next.begin_leaving(*going);
            }
        }
        next.outgoing = self.outgoing_of_next(&next, at);
        next.take_over_targets(self);
        if matches!(next.trigger, Trigger::Repair { .. }) {
            targets::step_over(&mut next);
        }
        wanted::refresh(&mut next);
        Ok(next)
    }

    fn may_follow(&self, opening: &Opening) -> Result<(), CannotOpen> {
        if !self.is_closed() {
            let may_supersede = opening.lane == Lane::Emergency
                || matches!(opening.trigger, Trigger::Repair { .. });
            if !may_supersede {
                return Err(CannotOpen::Open(self.id.clone()));
            }
            if !self.phase.has_promoted() {
                return Err(CannotOpen::NotPromoted(self.id.clone()));
            }
        }
        let accepted = self
            .versions
            .iter()
            .filter(|(id, v)| {
                matches!(v.stage, Stage::Current | Stage::Previous) && !self.is_dropped(**id)
            })
            .count();
        if accepted >= ACCEPTED_MAX { Err(CannotOpen::TooManyVersions) } else { Ok(()) }
    }

    /// What this one had on its way out, dates unchanged, and its current version.
    fn outgoing_of_next(&self, next: &Rotation, at: Timestamp) -> Vec<Outgoing> {
        let inherited =
            self.outgoing.iter().filter(|o| !next.leaving.contains_key(&o.version)).cloned();
        let current = self.current().filter(|v| !next.leaving.contains_key(v));
        let replaced = current.map(|version| Outgoing { version, earliest: None, latest: None });
        inherited
            .chain(replaced)
            .map(|mut outgoing| {
                if let Some(taint) = self.taint_of(outgoing.version) {
                    let latest = deadline::for_taint(&next.terms, taint.at);
                    outgoing.latest = Some(outgoing.latest.map_or(latest, |l| l.min(latest)));
                    outgoing.earliest = outgoing.earliest.map(|e| e.min(at));
                }
                outgoing
            })
            .collect()
    }

    fn take_over_targets(&mut self, before: &Rotation) {
        for (name, old) in &before.targets {
            match self.targets.get_mut(name) {
                Some(target) => {
                    let terms = target.terms.clone();
                    *target = TargetState { waived_by: None, removed: false, ..old.clone() };
                    target.take_terms(terms);
                }
                // Still owed something by the rotation that knew it.
                None if !before.is_closed() && old.waived_by.is_none() => {
                    self.targets.insert(name.clone(), TargetState { removed: true, ..old.clone() });
                }
                None => {}
            }
        }
    }

    fn is_open_end(&self, version: VersionId) -> bool {
        self.versions.get(&version).is_some_and(|v| v.stage != Stage::Revoked)
    }

    fn blank(opening: Opening, phase: Phase, version: VersionId) -> Rotation {
        let mut rotation = Rotation {
            id: opening.id,
            trigger: opening.trigger,
            lane: opening.lane,
            opened_at: opening.at,
            terms: opening.terms,
            versions: BTreeMap::new(),
            next_version: version.next(),
            generation: Generation::default(),
            outgoing: Vec::new(),
            leaving: BTreeMap::new(),
            targets: BTreeMap::new(),
            phase,
            intent: None,
            trouble: Trouble::default(),
            hold: None,
            forced: Vec::new(),
            known_keys: BTreeSet::new(),
        };
        for (name, terms) in opening.targets {
            rotation.targets.insert(name, TargetState::new(terms));
        }
        rotation
    }
}

impl TargetState {
    /// A target that was never told anything.
    pub(super) fn new(terms: TargetTerms) -> TargetState {
        TargetState {
            terms,
            wanted: Wanted {
                generation: Generation::default(),
                accepted: Vec::new(),
                current: None,
            },
            evidence: None,
            ahead: None,
            asked_at: None,
            trouble: Trouble::default(),
            waived_by: None,
            removed: false,
            to_purge: BTreeSet::new(),
        }
    }

    /// Deals with it under these terms from now on. What was seen of it at another place does not
    /// count any more.
    pub(super) fn take_terms(&mut self, terms: TargetTerms) {
        let moved = self.terms.place.is_some() && self.terms.place != terms.place;
        self.terms = terms;
        if moved {
            self.evidence = None;
            self.ahead = None;
            self.asked_at = None;
            self.trouble = Trouble::default();
        }
    }
}
