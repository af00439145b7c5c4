//! What each transition does to the rotation: the small steps that the table in `apply` names.
//!
//! None of them decides what comes next in the world, and none is called from anywhere else.

use crate::model::capability::OldDies;
use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, VersionId};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::{IllegalMove, Stage, Taint};
use crate::rotation::apply::{IllegalEvent, answers, legal};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::phase::{AfterUnwind, Outcome, Phase, Remains, Staging, UnwindReason};
use crate::rotation::retry::Trouble;
use crate::rotation::{
    Forced, ForcedRule, Leaving, Rotation, TOMBSTONES_MAX, deadline, lookup, route, targets,
};

impl Rotation {
    /// Whether the new version can still be taken back.
    pub fn may_unwind(&self) -> bool {
        match &self.phase {
            Phase::Stage {
                step: Staging::Mint { .. } | Staging::Lost { .. } | Staging::Roll { .. },
                ..
            } => !route::mint_is_final(&self.terms),
            Phase::Stage { .. } | Phase::Admit { .. } => true,
            Phase::Probe { .. } => !route::mint_is_final(&self.terms),
            Phase::Promote { .. } => !route::kills_on_mint(&self.terms),
            // What an Install met may have been done: the way back is forward.
            _ => false,
        }
    }

    /// Starts the end of a version, with what does not apply to it counted as done.
    pub(super) fn begin_leaving(&mut self, version: VersionId) {
        let capabilities = &self.terms.capabilities;
        let pending = self.versions.get(&version).is_some_and(|v| v.stage == Stage::Pending);
        let known = self.versions.get(&version).is_some_and(|v| v.key_id.is_some());
        let dies_alone = capabilities.old_dies == OldDies::OnMint && !pending;
        let to_revoke = capabilities.remote && known && !dies_alone;
        let to_refute = capabilities.remote && capabilities.probes && known;
        self.outgoing.retain(|outgoing| outgoing.version != version);
        self.leaving.entry(version).or_insert_with(|| Leaving {
            revoked: !to_revoke,
            refused: !to_revoke && !to_refute,
            terminated: !to_revoke || !capabilities.terminates,
            forgotten: false,
            trouble: Trouble::default(),
        });
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.trouble = Trouble::default();
    }

    pub(super) fn settle_intent(&mut self, what: &Happening) {
        let Some(intent) = &mut self.intent else { return };
        if let Some(at) = intent.pending.iter().position(|effect| answers(what, effect)) {
            intent.pending.remove(at);
        }
        if intent.pending.is_empty() {
            self.intent = None;
        }
    }

    pub(super) fn move_version(
        &mut self,
        version: VersionId,
        to: Stage,
        at: Timestamp,
    ) -> Result<(), IllegalMove> {
        match self.versions.get_mut(&version) {
            Some(found) => found.become_stage(version, to, at),
            None => Ok(()),
        }
    }

    pub(super) fn staged(&mut self, version: VersionId, at: Timestamp) -> Result<(), IllegalEvent> {
        let next = route::after_saved(&self.terms, version, at);
        self.enter(next);
        if route::mint_is_final(&self.terms) {
            self.replaced_die(at);
        }
        if !matches!(self.phase, Phase::Stage { .. }) {
            self.set_issuer_deadline(at);
        }
        Ok(())
    }

    pub(super) fn placed(
        &mut self,
        version: VersionId,
        key: Option<KeyId>,
    ) -> Result<(), IllegalEvent> {
        let found = self
            .versions
            .get_mut(&version)
            .ok_or_else(|| IllegalEvent::Stranger { event: "placed", what: version.to_string() })?;
        found.key_id = key.or(found.key_id.take());
        Ok(())
    }

    /// An issuer that ends the old key by its own clock started it with the mint.
    pub(super) fn set_issuer_deadline(&mut self, at: Timestamp) {
        if let OldDies::IssuerClock { grace } = self.terms.capabilities.old_dies {
            for outgoing in &mut self.outgoing {
                outgoing.latest = Some(outgoing.latest.unwrap_or(at + grace).min(at + grace));
            }
        }
    }

    /// The mint has just ended every older key: say so before anything else is done.
    pub(super) fn replaced_die(&mut self, at: Timestamp) {
        if !route::replaced_are_dead(&self.terms) {
            return;
        }
        let dead: Vec<VersionId> = self.outgoing.iter().map(|o| o.version).collect();
        for version in dead {
            let forced = deadline::forced(self, version, ForcedRule::DiesOnMint, at);
            self.forced.push(forced);
            self.begin_leaving(version);
        }
    }

    pub(super) fn probed(&mut self, incoming: VersionId, good: u32, works: bool, at: Timestamp) {
        let settle = self.terms.capabilities.settle;
        if works {
            self.enter(Phase::Probe { incoming, good: good + 1, not_before: at });
            return;
        }
        self.phase = Phase::Probe { incoming, good: 0, not_before: at + settle };
        let failure = Failure { class: Class::Transient, reason: Reason::ProbeRefused };
        self.trouble = self.trouble.met(failure, self.lane, at);
        if self.trouble.needs_human().is_some() && self.may_unwind() {
            let then = AfterUnwind::Close { reason: UnwindReason::ProbeRefused };
            self.unwind(Some(incoming), Remains::Nothing, then);
        }
    }

    pub(super) fn promote(
        &mut self,
        incoming: VersionId,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let replaced: Vec<VersionId> = self.at_stage(Stage::Current).collect();
        for version in replaced {
            self.move_version(version, Stage::Previous, at)?;
        }
        self.move_version(incoming, Stage::Current, at)?;
        self.enter(Phase::Switch { current: incoming });
        Ok(())
    }

    /// The overlap begins: each outgoing version that has no date yet gets its own.
    pub(super) fn set_earliest(&mut self, at: Timestamp) {
        let overlap = self.terms.policy.overlap;
        let dates: Vec<Timestamp> = self
            .outgoing
            .iter()
            .map(|o| if self.is_tainted(o.version) { at } else { at + overlap })
            .collect();
        for (outgoing, date) in self.outgoing.iter_mut().zip(dates) {
            outgoing.earliest.get_or_insert(date);
        }
    }

    /// What was on its way out is gone: close, or go on with what still overlaps.
    pub(super) fn finished(&mut self, current: VersionId, at: Timestamp) {
        self.leaving.clear();
        self.drop_old_tombstones();
        if self.outgoing.is_empty() {
            self.enter(Phase::Closed { outcome: Outcome::Done, at });
        } else {
            self.enter(Phase::Overlap { current, switched_at: at });
        }
    }

    pub(super) fn unwound(&mut self, remains: &Remains, then: AfterUnwind, at: Timestamp) {
        self.leaving.clear();
        self.drop_old_tombstones();
        match then {
            AfterUnwind::StageAnother => self.stage_another(),
            AfterUnwind::Close { reason } => {
                let current = self.current();
                self.outgoing.retain(|outgoing| Some(outgoing.version) != current);
                let possible_orphan = *remains == Remains::Unfindable;
                match current {
                    // An older rotation's versions are still on their way out.
                    Some(current) if !self.outgoing.is_empty() => {
                        self.enter(Phase::Switch { current });
                    }
                    _ => {
                        let outcome = Outcome::Unwound { reason, possible_orphan };
                        self.enter(Phase::Closed { outcome, at });
                    }
                }
            }
        }
    }

    fn stage_another(&mut self) {
        let version = self.next_version;
        self.next_version = version.next();
        let step = route::first_step(&self.terms.capabilities);
        self.enter(Phase::Stage { version, step });
    }

    fn drop_old_tombstones(&mut self) {
        let revoked: Vec<VersionId> = self.at_stage(Stage::Revoked).collect();
        let surplus = revoked.len().saturating_sub(TOMBSTONES_MAX);
        for version in &revoked[..surplus] {
            self.versions.remove(version);
        }
    }

    pub(super) fn leaving_mut(
        &mut self,
        version: VersionId,
        event: &'static str,
    ) -> Result<&mut Leaving, IllegalEvent> {
        let what = || IllegalEvent::Stranger { event, what: format!("{version} as leaving") };
        self.leaving.get_mut(&version).ok_or_else(what)
    }

    /// The outcome of trying a revoked version: refused is what must be.
    pub(super) fn refuted(
        &mut self,
        version: VersionId,
        works: bool,
        at: Timestamp,
        event: &'static str,
    ) -> Result<(), IllegalEvent> {
        let lane = self.lane;
        let leaving = self.leaving_mut(version, event)?;
        if works {
            let failure = Failure { class: Class::Transient, reason: Reason::StillAccepted };
            leaving.trouble = leaving.trouble.met(failure, lane, at);
            return Ok(());
        }
        leaving.refused = true;
        leaving.trouble = Trouble::default();
        self.room_made();
        let stage = self.versions.get(&version).map(|v| v.stage);
        if matches!(stage, Some(Stage::Previous | Stage::Current)) {
            self.move_version(version, Stage::Retired, at)?;
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, forced: Forced, at: Timestamp) -> Result<(), IllegalEvent> {
        let version = forced.version;
        let known = self.versions.get(&version).map(|v| v.stage);
        if !matches!(known, Some(Stage::Current | Stage::Previous)) {
            return Err(IllegalEvent::Stranger { event: "cut", what: version.to_string() });
        }
        self.forced.push(forced);
        self.begin_leaving(version);
        // Nobody is told to accept it from here on.
        self.move_version(version, Stage::Retired, at)?;
        self.room_made();
        Ok(())
    }

    /// A key at the issuer is gone, or about to go: a full issuer is asked anew.
    pub(super) fn room_made(&mut self) {
        if self.trouble.last.is_some_and(|failure| failure.reason == Reason::IssuerFull) {
            self.trouble = Trouble::default();
        }
    }

    pub(super) fn taint(
        &mut self,
        version: VersionId,
        by: String,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let stranger = || IllegalEvent::Stranger { event: "tainted", what: version.to_string() };
        let found = self.versions.get_mut(&version).ok_or_else(stranger)?;
        if found.stage == Stage::Revoked || found.taint.is_some() {
            return Ok(());
        }
        let stage = found.stage;
        found.taint = Some(Taint { at, by });
        if self.is_closed() {
            return Ok(());
        }
        self.lane = Lane::Emergency;
        self.forget_trouble();
        if stage == Stage::Pending && !self.leaving.contains_key(&version) && self.may_unwind() {
            self.unwind(Some(version), Remains::Nothing, AfterUnwind::StageAnother);
            return Ok(());
        }
        let latest = deadline::for_taint(&self.terms, at);
        let switched = matches!(self.phase, Phase::Overlap { .. });
        for outgoing in self.outgoing.iter_mut().filter(|o| o.version == version) {
            outgoing.latest = Some(outgoing.latest.map_or(latest, |l| l.min(latest)));
            outgoing.earliest = match (outgoing.earliest, switched) {
                (Some(earliest), _) => Some(earliest.min(at)),
                (None, true) => Some(at),
                (None, false) => None,
            };
        }
        Ok(())
    }

    pub(super) fn abandon(&mut self) {
        let remote = self.terms.capabilities.remote;
        let (version, remains) = match &self.phase {
            Phase::Stage { step: Staging::Lost { .. } | Staging::Roll { .. }, .. } if !remote => {
                (None, Remains::Unfindable)
            }
            Phase::Stage { step: Staging::Lost { .. } | Staging::Roll { .. }, .. } => {
                (None, Remains::Unknown)
            }
            Phase::Stage { version, step: Staging::Place } => (Some(*version), Remains::Unknown),
            Phase::Stage { step: Staging::Sweep { orphans }, .. } => {
                (None, Remains::Orphans { orphans: orphans.clone() })
            }
            Phase::Stage { .. } => (None, Remains::Nothing),
            phase => (phase.incoming(), Remains::Nothing),
        };
        let then = AfterUnwind::Close { reason: UnwindReason::Abandoned };
        self.unwind(version, remains, then);
    }

    fn unwind(&mut self, version: Option<VersionId>, remains: Remains, then: AfterUnwind) {
        if let Some(version) = version {
            self.begin_leaving(version);
        }
        self.enter(Phase::Unwind { version, remains, then });
    }

    pub(super) fn forget_trouble(&mut self) {
        self.trouble = Trouble::default();
        self.leaving.values_mut().for_each(|leaving| leaving.trouble = Trouble::default());
        self.targets.values_mut().for_each(|target| target.trouble = Trouble::default());
        if let Phase::Stage { step: Staging::Lost { stuck, .. }, .. } = &mut self.phase {
            *stuck = None;
        }
    }

    pub(super) fn unknown(&self, event: &'static str) -> IllegalEvent {
        IllegalEvent::Unknown { phase: self.phase.name(), event, legal: legal(&self.phase) }
    }

    pub(super) fn failed(
        &mut self,
        effect: Effect,
        failure: Failure,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let lane = self.lane;
        match &effect {
            Effect::Push { target } | Effect::Observe { target } | Effect::Purge { target } => {
                let target = targets::find(self, target, "failed")?;
                target.asked_at = Some(at);
                target.trouble = target.trouble.met(failure, lane, at);
            }
            Effect::Revoke { version }
            | Effect::Refute { version }
            | Effect::Terminate { version }
            | Effect::Forget { version } => {
                let leaving = self.leaving_mut(*version, "failed")?;
                leaving.trouble = leaving.trouble.met(failure, lane, at);
            }
            Effect::Mint { .. } | Effect::Roll { .. } if failure.class == Class::Ambiguous => {
                lookup::lost(self, failure.reason, at);
            }
            _ => self.trouble = self.trouble.met(failure, lane, at),
        }
        Ok(())
    }
}
