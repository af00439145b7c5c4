//! One rotation as a pure machine.
//!
//! ```text
//! Stage > Probe > Admit > (Install) > Promote > Switch > Overlap > Retire > Revoke > Closed
//!    \_______\_______\________/
//!               v  before the point of no return
//!            Unwind > Closed
//! ```
//!
//! Two functions are the whole machine. [`decide`](decide::decide) looks at a rotation and says
//! what now: effects to order, a step to record, or a moment to wait for.
//! [`apply`](apply::apply) takes what happened and answers the rotation as it then stands. Neither
//! reads a clock, draws a number or does IO; both must give the same answer when asked twice. What
//! the world is like is known only through events, and nothing else may change a [`Rotation`].
//!
//! The loop around them, wherever it runs, is always the same: load, decide, do, record. A
//! restart needs nothing of its own: an intent without an outcome is simply the first thing that
//! `decide` sees.
//!
//! A closed rotation stays in the record. Its versions and targets are the state of the secret,
//! `decide` keeps its targets converged, and the next rotation grows out of it
//! ([`Rotation::next`](open)).
//!
//! Read in this order: `phase`, `effect`, `event`, then `decide` and `apply`; `route`, `wanted`,
//! `evidence`, `deadline` and `retry` are the rules they call.

pub mod apply;
pub mod carried;
pub mod deadline;
pub mod decide;
pub mod effect;
mod ending;
pub mod event;
pub mod evidence;
mod lookup;
pub mod machine;
mod moves;
pub mod open;
pub mod phase;
pub mod retry;
pub mod route;
mod targets;
pub mod wanted;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::capability::Capabilities;
use crate::model::id::{Generation, KeyId, RotationId, TargetName, VersionId};
use crate::model::policy::{Hold, Kind, Lane, Policy};
use crate::model::target::{Evidence, TargetTerms, Wanted};
use crate::model::time::Timestamp;
use crate::model::version::{Stage, Taint, Version};
use crate::rotation::effect::Effect;
use crate::rotation::phase::Phase;
use crate::rotation::retry::Trouble;

/// At most this many versions of one secret are accepted at the same time: every one is a key
/// that can leak, and a receiver must try them all.
pub const ACCEPTED_MAX: usize = 5;

/// Revoked versions that stay in the record, so that a report about one is recognised.
pub const TOMBSTONES_MAX: usize = 50;

/// What set a rotation off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// The first version of a secret that rotord makes itself.
    Initial,
    /// A value that existed before was taken over by a person.
    Adopted {
        /// Who did it.
        by: String,
    },
    /// The schedule.
    Scheduled {
        /// The scheduled instant, before jitter: with the name, the identity of the run.
        instant: Timestamp,
    },
    /// The current version reached its greatest age.
    MaxAge,
    /// A person, without an emergency.
    Manual {
        /// Who asked.
        by: String,
        /// Why, in their words.
        reason: String,
    },
    /// A leak, or a person who says so.
    Emergency {
        /// Who or what said so.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person repairing an open rotation that cannot go on.
    Repair {
        /// Who asked.
        by: String,
    },
}

impl Trigger {
    /// Its name in metrics, status and a rotation's id.
    pub fn name(&self) -> &'static str {
        match self {
            Trigger::Initial => "initial",
            Trigger::Adopted { .. } => "adopted",
            Trigger::Scheduled { .. } => "scheduled",
            Trigger::MaxAge => "max_age",
            Trigger::Manual { .. } => "manual",
            Trigger::Emergency { .. } => "emergency",
            Trigger::Repair { .. } => "repair",
        }
    }
}

/// What a rotation was opened under. Frozen: a config change reaches the next rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What the secret is.
    pub kind: Kind,
    /// What the issuer declares.
    pub capabilities: Capabilities,
    /// What people decided.
    pub policy: Policy,
}

/// A version on its way out, with its own dates: rotating again never moves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// The version.
    pub version: VersionId,
    /// Not before this moment: the end of its overlap. Unknown until the Switch completes.
    pub earliest: Option<Timestamp>,
    /// At the latest at this moment, evidence or not. Only exposed versions, and those that the
    /// issuer itself ends, have one.
    pub latest: Option<Timestamp>,
}

/// How far the end of one version has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// The issuer was told, or there is no issuer to tell.
    pub revoked: bool,
    /// It was tried and refused, or cannot be tried.
    pub refused: bool,
    /// Its live sessions were ended, or the issuer cannot.
    pub terminated: bool,
    /// Its material is deleted in Vault.
    pub forgotten: bool,
    /// What its effects met.
    pub trouble: Trouble,
}

/// Where one target stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetState {
    /// How it is dealt with.
    pub terms: TargetTerms,
    /// What it must hold.
    pub wanted: Wanted,
    /// What it was last seen to hold.
    pub evidence: Option<Evidence>,
    /// The generation that it has, if it was last found with a higher one than it must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Generation>,
    /// When it was last asked or told, whatever came of it.
    pub asked_at: Option<Timestamp>,
    /// What pushes and observations met.
    pub trouble: Trouble,
    /// Who excused it from this rotation, if anybody.
    pub waived_by: Option<String>,
    /// It is not in the config any more: nothing can be pushed, and nothing retires without it
    /// until it is waived by name.
    pub removed: bool,
    /// Revoked versions that its own history may still keep.
    pub to_purge: BTreeSet<VersionId>,
}

/// The recorded order: written before the effects start, emptied as outcomes come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// When it was recorded.
    pub at: Timestamp,
    /// The effects whose outcome is not known yet.
    pub pending: Vec<Effect>,
}

/// A promise that was broken on purpose, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    /// The version that was taken away.
    pub version: VersionId,
    /// Which exception allowed it.
    pub rule: ForcedRule,
    /// The targets that had not shown that they can do without it.
    pub targets_without_evidence: Vec<TargetName>,
    /// When.
    pub at: Timestamp,
}

/// The exceptions to continuity and evidence. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForcedRule {
    /// Exposed, and the policy is to contain.
    Contain,
    /// Exposed, and `max_exposure` has passed.
    MaxExposure,
    /// The issuer ends the old one when it mints the new one.
    DiesOnMint,
    /// The issuer's own clock ended it.
    IssuerClock,
}

/// One rotation, and with it the state of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Its identity.
    pub id: RotationId,
    /// What set it off.
    pub trigger: Trigger,
    /// How urgent it is now.
    pub lane: Lane,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What it was opened under.
    pub terms: Terms,
    /// Every version that is not forgotten, and the newest tombstones.
    pub versions: BTreeMap<VersionId, Version>,
    /// The number that the next version gets.
    pub next_version: VersionId,
    /// The last generation that any target was given: one counter for the whole secret, so that a
    /// target which leaves the config and comes back is never told a lower one.
    pub generation: Generation,
    /// The versions to take out.
    pub outgoing: Vec<Outgoing>,
    /// The versions whose end has begun.
    pub leaving: BTreeMap<VersionId, Leaving>,
    /// The targets, frozen by name.
    pub targets: BTreeMap<TargetName, TargetState>,
    /// Where it stands.
    pub phase: Phase,
    /// What is under way.
    pub intent: Option<Intent>,
    /// What the effects of the phase met.
    pub trouble: Trouble,
    /// Nothing may be taken away while it binds.
    pub hold: Option<Hold>,
    /// The exceptions that were made.
    pub forced: Vec<Forced>,
    /// Keys at the issuer that are in no version and are known to be somebody else's.
    pub known_keys: BTreeSet<KeyId>,
}

impl Outgoing {
    /// Whether the overlap of this version is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.earliest.is_some_and(|earliest| earliest <= now)
    }
}

impl Rotation {
    /// The version at stage `current`, if there is one.
    pub fn current(&self) -> Option<VersionId> {
        self.at_stage(Stage::Current).next()
    }

    /// The version that is being brought in: pending, and not on its way out again.
    pub fn incoming(&self) -> Option<VersionId> {
        self.phase.incoming()
    }

    /// The newest version whose value there is.
    pub fn newest(&self) -> Option<VersionId> {
        let kept = |version: &Version| version.stage != Stage::Revoked;
        self.versions.iter().rev().find(|(_, version)| kept(version)).map(|(id, _)| *id)
    }

    /// The versions at a stage, oldest first.
    pub fn at_stage(&self, stage: Stage) -> impl Iterator<Item = VersionId> {
        self.versions.iter().filter(move |(_, v)| v.stage == stage).map(|(id, _)| *id)
    }

    /// Whether the version leaked.
    pub fn is_tainted(&self, version: VersionId) -> bool {
        self.versions.get(&version).is_some_and(|v| v.taint.is_some())
    }

    /// The taint of a version, if it leaked.
    pub fn taint_of(&self, version: VersionId) -> Option<&Taint> {
        self.versions.get(&version)?.taint.as_ref()
    }

    /// Whether this rotation deals with the leak of a version: it is open, knows of it, and has not
    /// brought in that very version. One that did leaves it to the next.
    pub fn answers(&self, version: VersionId) -> bool {
        let brought_in = self.current() == Some(version) && self.phase.has_promoted();
        !self.is_closed() && self.is_tainted(version) && !brought_in
    }

    /// Whether nothing is open: the rotation is history, its targets are only kept converged.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// The versions that targets must not be told any more.
    pub fn is_dropped(&self, version: VersionId) -> bool {
        if let Phase::Retire { cleared, .. } = &self.phase
            && cleared.going().contains(&version)
        {
            return true;
        }
        let Some(leaving) = self.leaving.get(&version) else { return false };
        leaving.refused || self.is_forced(version) || route::targets_verify(&self.terms)
    }

    /// Whether the effect takes something away for good: by its nature, or because bringing the
    /// new key to this issuer ends the old one there.
    pub fn is_destructive(&self, effect: &Effect) -> bool {
        let brings =
            matches!(effect, Effect::Mint { .. } | Effect::Roll { .. } | Effect::Place { .. });
        effect.is_destructive() || (brings && route::kills_on_mint(&self.terms))
    }

    /// Whether the version was taken away by an exception.
    pub fn is_forced(&self, version: VersionId) -> bool {
        self.forced.iter().any(|forced| forced.version == version)
    }

    /// The targets that count: those that nobody has excused.
    pub fn bound_targets(&self) -> impl Iterator<Item = (&TargetName, &TargetState)> {
        self.targets.iter().filter(|(_, target)| target.waived_by.is_none())
    }
}
