//! What each transition does to the rotation: the small steps that the table in `apply` names.
//!
//! None of them decides what comes next in the world, and none is called from anywhere else.

use crate::model::capability::{OldDies, OnLost};
use crate::model::failure::{Class, Failure};
use crate::model::id::{KeyId, VersionId};
use crate::model::policy::{Hold, Lane};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::version::{IllegalMove, Stage, Taint};
use crate::rotation::apply::{IllegalEvent, answers, legal};
use crate::rotation::effect::Effect;
use crate::rotation::event::Happening;
use crate::rotation::phase::{AfterUnwind, Outcome, Phase, Remains, Staging, UnwindReason};
use crate::rotation::retry::Trouble;
use crate::rotation::{
    Outgoing, Rotation, TOMBSTONES_MAX, deadline, decide, lookup, route, targets,
};

impl Rotation {
    /// Whether the new version can still be taken back.
    pub fn may_unwind(&self) -> bool {
        match &self.phase {
            Phase::Stage { .. } | Phase::Probe { .. } | Phase::Admit { .. } => true,
            Phase::Install { doubtful, .. } => !doubtful && !self.is_minting(),
            Phase::Promote { .. } => !route::kills_on_mint(&self.terms),
            _ => false,
        }
    }

    /// Whether something may be coming into being at the issuer right now, or came into being
    /// without anybody seeing it: an order went out and has no outcome.
    fn is_minting(&self) -> bool {
        let mints = |effect: &Effect| {
            matches!(effect, Effect::Mint { .. } | Effect::Roll { .. } | Effect::Place { .. })
        };
        self.intent.as_ref().is_some_and(|intent| intent.pending.iter().any(mints))
    }

    /// Before an Install is ordered again: if the last order has no outcome, it may have been
    /// carried out.
    pub(super) fn doubt_install(&mut self) {
        let minting = self.is_minting();
        if let Phase::Install { doubtful, .. } = &mut self.phase {
            *doubtful |= minting;
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.trouble = Trouble::default();
    }

    /// Takes the order that this is the outcome of out of the intent, and says when the intent was
    /// recorded.
    pub(super) fn settle_intent(&mut self, what: &Happening) -> Option<Timestamp> {
        let intent = self.intent.as_mut()?;
        let ordered_at = intent.at;
        if let Some(at) = intent.pending.iter().position(|effect| answers(what, effect)) {
            intent.pending.remove(at);
        }
        if intent.pending.is_empty() {
            self.intent = None;
        }
        Some(ordered_at)
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

    pub(super) fn staged(
        &mut self,
        version: VersionId,
        ordered_at: Timestamp,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let minted_at = match &self.phase {
            Phase::Stage { step: Staging::Lost { since, .. }, .. } => *since,
            _ => ordered_at,
        };
        let next = route::after_saved(&self.terms, version, at);
        self.enter(next);
        if route::mint_is_final(&self.terms) {
            self.replaced_die(at);
        }
        if !matches!(self.phase, Phase::Stage { .. }) {
            self.set_issuer_deadline(minted_at);
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
        found.key_id = key.or_else(|| found.key_id.take());
        Ok(())
    }

    /// An issuer that ends the old key by its own clock started it with the mint, which was not
    /// before this moment.
    pub(super) fn set_issuer_deadline(&mut self, minted_at: Timestamp) {
        if let OldDies::IssuerClock { grace } = self.terms.capabilities.old_dies {
            let ends = minted_at + grace;
            for outgoing in &mut self.outgoing {
                outgoing.latest = Some(outgoing.latest.map_or(ends, |latest| latest.min(ends)));
            }
        }
    }

    pub(super) fn probed(&mut self, incoming: VersionId, good: u32, works: bool, at: Timestamp) {
        let settle = self.terms.capabilities.settle;
        if works {
            // The row of failures goes on: a key that works now and then is not to be trusted.
            self.phase = Phase::Probe { incoming, good: good + 1, not_before: at };
            self.trouble = self.trouble.eased();
            return;
        }
        self.phase = Phase::Probe { incoming, good: 0, not_before: at + settle };
        let failure = Failure { class: Class::Transient, reason: Reason::ProbeRefused };
        self.trouble = self.trouble.met(failure, self.lane, at);
        let way_back = self.may_unwind() && !self.is_way_back_closed();
        if self.trouble.needs_human().is_some() && way_back {
            let then = AfterUnwind::Close { reason: UnwindReason::ProbeRefused };
            self.unwind(Some(incoming), Remains::Nothing, then, at);
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

    /// A signer uses this version. If its overlap was counted already, the signer has fallen back
    /// to it: what it signs now has yet to arrive, so the overlap counts from the next time that
    /// every signer has left it. What verifiers were told to drop meanwhile is given back to them.
    pub(super) fn restart_overlap(&mut self, used: VersionId) {
        let counted = |o: &&mut Outgoing| o.version == used && o.earliest.is_some();
        let Some(outgoing) = self.outgoing.iter_mut().find(counted) else { return };
        outgoing.earliest = None;
        match &self.phase {
            Phase::Overlap { current, .. } => self.enter(Phase::Switch { current: *current }),
            Phase::Retire { current, cleared } if cleared.going().contains(&used) => {
                self.enter(Phase::Switch { current: *current });
            }
            _ => {}
        }
    }

    /// What was on its way out is gone: close, or go on with what still overlaps.
    pub(super) fn finished(&mut self, current: VersionId, at: Timestamp) {
        self.leaving.clear();
        self.drop_old_tombstones();
        if self.outgoing.is_empty() {
            self.enter(Phase::Closed { outcome: Outcome::Done, at });
        } else if self.outgoing.iter().any(|outgoing| outgoing.earliest.is_none()) {
            // A signer fell back to one of them meanwhile.
            self.enter(Phase::Switch { current });
        } else {
            self.enter(Phase::Overlap { current, switched_at: at });
        }
    }

    pub(super) fn unwound(&mut self, remains: &Remains, then: AfterUnwind, at: Timestamp) {
        self.leaving.retain(|_, leaving| !leaving.forgotten);
        self.drop_old_tombstones();
        let needs_another = self.leaving.keys().any(|version| self.awaits_successor(*version));
        match then {
            _ if needs_another => self.stage_another(),
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

    /// Called wherever a version is added or gone: a rotation that is superseded again and again
    /// comes to no end, and its record must be one that can be written.
    pub(super) fn drop_old_tombstones(&mut self) {
        let revoked: Vec<VersionId> = self.at_stage(Stage::Revoked).collect();
        let surplus = revoked.len().saturating_sub(TOMBSTONES_MAX);
        for version in &revoked[..surplus] {
            self.versions.remove(version);
            self.leaving.remove(version);
        }
    }

    /// Nothing is taken away from now on. What verifiers were only told to drop comes back, one
    /// generation further on; what the issuer was told to end does not.
    pub(super) fn held(&mut self, hold: Hold, at: Timestamp) {
        if let Phase::Retire { current, .. } = self.phase
            && hold.binds(self.lane, at)
        {
            self.enter(Phase::Overlap { current, switched_at: at });
        }
        self.hold = Some(hold);
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
            let (_, remains) = self.to_take_back();
            self.unwind(Some(version), remains, AfterUnwind::StageAnother, at);
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

    /// Takes the new version back. Where there is no old one to go back to, another new one has
    /// to follow.
    pub(super) fn abandon(&mut self, at: Timestamp) {
        let (version, remains) = self.to_take_back();
        let then = match self.is_way_back_closed() {
            true => AfterUnwind::StageAnother,
            false => AfterUnwind::Close { reason: UnwindReason::Abandoned },
        };
        self.unwind(version, remains, then, at);
    }

    /// The version that an unwinding takes back, and what may be at the issuer without being in
    /// a version.
    fn to_take_back(&self) -> (Option<VersionId>, Remains) {
        let Phase::Stage { version, step } = &self.phase else {
            return (self.phase.incoming(), Remains::Nothing);
        };
        let remote = self.terms.capabilities.remote;
        let doubtful = if remote { Remains::Unknown } else { Remains::Unfindable };
        match step {
            Staging::Place => (Some(*version), doubtful),
            Staging::Lost { .. } | Staging::Roll { .. } => (None, doubtful),
            Staging::Mint { .. } if remote || self.is_minting() => (None, doubtful),
            Staging::Sweep { orphans } => (None, Remains::Orphans { orphans: orphans.clone() }),
            _ => (None, Remains::Nothing),
        }
    }

    /// Whether the issuer is ending the version in use, or may be: by its clock, or because
    /// something new came to it.
    fn is_way_back_closed(&self) -> bool {
        let in_doubt = match &self.phase {
            Phase::Stage { step, .. } => {
                matches!(step, Staging::Lost { .. } | Staging::Roll { .. } | Staging::Place)
                    || self.is_minting()
            }
            _ => false,
        };
        let has_deadline = self.outgoing.iter().any(|outgoing| outgoing.latest.is_some());
        let by_clock = route::ends_by_clock(&self.terms) && (in_doubt || has_deadline);
        let by_mint = (route::mint_is_final(&self.terms) && in_doubt)
            || self.leaving.keys().any(|version| self.awaits_successor(*version));
        let replaces = !self.outgoing.is_empty() || !self.leaving.is_empty();
        replaces && (by_clock || by_mint)
    }

    fn unwind(
        &mut self,
        version: Option<VersionId>,
        remains: Remains,
        then: AfterUnwind,
        at: Timestamp,
    ) {
        if let Some(version) = version {
            self.begin_leaving(version);
        }
        let landing = remains == Remains::Unknown;
        self.enter(Phase::Unwind { version, remains, then });
        // What is on its way to the issuer is not on its list yet.
        self.trouble.not_before = landing.then_some(at + lookup::STILL_UNDER_WAY);
    }

    /// A person says to try again. What only a person could do, and was asked for, counts as done
    /// by them.
    pub(super) fn retry(&mut self, at: Timestamp) {
        let asked = decide::asks(self, at);
        let probes = self.terms.capabilities.probes;
        for leaving in self.leaving.values_mut() {
            let by_hand = leaving.trouble.last.map(|failure| failure.reason);
            if by_hand == Some(Reason::RevokeByHand) && asked == by_hand {
                leaving.revoked = true;
                leaving.refused |= !probes;
            }
        }
        let looked_at_by_hand = self.terms.capabilities.on_lost == OnLost::Manual;
        if let Phase::Stage { version, step: Staging::Lost { before, stuck, .. } } = &self.phase
            && looked_at_by_hand
            && stuck.is_some()
            && asked == *stuck
        {
            let (version, before) = (*version, before.clone());
            self.phase = Phase::Stage { version, step: lookup::mint_step(self, before) };
        }
        targets::step_over(self);
        self.forget_trouble();
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
        ordered_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let lane = self.lane;
        let ambiguous = failure.class == Class::Ambiguous;
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
            Effect::Mint { .. } | Effect::Roll { .. } if ambiguous => {
                lookup::lost(self, failure.reason, ordered_at, at);
            }
            // The list said that there is room and the mint that there is none: ask again, and make
            // room where that is allowed.
            Effect::Mint { version } if failure.reason == Reason::IssuerFull => {
                self.phase = Phase::Stage { version: *version, step: Staging::Preflight };
                self.trouble = self.trouble.met(failure, lane, at);
            }
            _ => {
                if let Phase::Install { doubtful, .. } = &mut self.phase {
                    *doubtful |= ambiguous;
                }
                self.trouble = self.trouble.met(failure, lane, at);
            }
        }
        Ok(())
    }
}
