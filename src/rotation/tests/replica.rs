//! A second replica: what is left of the one that led, once another has taken over.
//!
//! Its gate lets nothing more through, but what it had sent may still be carried out, and its last
//! write may still arrive: until the new leader's first write, which raises the record's epoch.
//! The new leader knows nothing of this; it has what Vault has.

use crate::model::time::{Span, Timestamp};
use crate::rotation::Rotation;
use crate::rotation::effect::Effect;
use crate::rotation::event::{Event, Happening};
use crate::rotation::lookup::STILL_UNDER_WAY;
use crate::rotation::tests::check;
use crate::rotation::tests::toy::Toy;

/// How long a lease is good for that nobody renews: from then on another replica may have it.
const LEASE: Span = Span::from_secs(15);

/// How long a new leader starts nothing destructive: the lease, and the longest effect.
const TAKEOVER_WAIT: Span = Span::from_secs(23);

/// The replica that led.
#[derive(Clone, Debug)]
pub(super) struct Former {
    /// What it has sent, and what has not come to anything yet.
    pub(super) wire: Vec<Effect>,
    /// The record when it sent that: what is told to the world stands there.
    pub(super) order: Rotation,
    /// What it knows, as long as it could still write that.
    pub(super) mind: Option<Rotation>,
    /// Nothing that it has sent is carried out after this moment.
    pub(super) until: Timestamp,
}

/// How an order that is on its way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    /// Carried out, and the answer comes back.
    Answered,
    /// Carried out, as far as it needs nobody else; who sent it is gone.
    Unheard,
}

impl Toy {
    /// The leader is cut off with this on its way, and with all that it sent along.
    pub(super) fn take_over(&mut self, effect: &Effect) {
        let mut wire = vec![effect.clone()];
        wire.append(&mut self.pending);
        self.former = Some(Former {
            wire,
            order: self.saved.clone(),
            mind: Some(self.rotation.clone()),
            until: self.now + STILL_UNDER_WAY,
        });
        self.crash(LEASE);
        self.destructive_from = self.now + TAKEOVER_WAIT;
        self.note(|| "another replica takes over".to_owned());
    }

    /// The orders of the former leader that may still be carried out.
    pub(super) fn on_the_wire(&self) -> usize {
        self.former.as_ref().map_or(0, |former| former.wire.len())
    }

    /// One of them is.
    pub(super) fn land(&mut self, nth: usize, landing: Landing) {
        let Some(mut former) = self.former.take() else { return };
        let effect = former.wire.remove(nth);
        self.note(|| format!("     {effect} of the former leader: {landing:?}"));
        let outcome = self.as_ordered(&mut former, &effect, landing == Landing::Answered);
        let heard = outcome.filter(|_| landing == Landing::Answered);
        former.mind = heard.zip(former.mind).and_then(|(what, mind)| {
            crate::rotation::apply::apply(mind, Event { at: self.now, what }).ok()
        });
        if former.wire.is_empty()
            && let Some(mind) = &former.mind
        {
            self.saved = mind.clone();
            self.overtaken = true;
        }
        self.former = Some(former).filter(|former| !former.wire.is_empty());
        check::always(self);
    }

    /// Carries an order out as it was given. A receiver refuses what it knows to be older.
    fn as_ordered(
        &mut self,
        former: &mut Former,
        effect: &Effect,
        whole: bool,
    ) -> Option<Happening> {
        if let Effect::Push { target } = effect {
            let told = former.order.targets[target].wanted.generation;
            if self.held.get(target).is_some_and(|held| held.wanted.generation > told) {
                return None;
            }
        }
        let now = (self.rotation.clone(), self.saved.clone());
        self.rotation = former.mind.clone().unwrap_or_else(|| former.order.clone());
        self.saved = former.order.clone();
        let outcome = self.execute(effect, whole);
        (self.rotation, self.saved) = now;
        Some(outcome)
    }

    /// The leader's own writes; false if another one came between: then the record is read anew.
    pub(super) fn save(&mut self) -> bool {
        if std::mem::take(&mut self.overtaken) {
            self.rotation = self.saved.clone();
            return false;
        }
        self.saved = self.rotation.clone();
        if let Some(former) = &mut self.former {
            former.mind = None;
        }
        true
    }

    /// Whether the leader has to wait before it starts this.
    pub(super) fn is_too_fresh_for(&self, effect: &Effect) -> bool {
        self.now < self.destructive_from && self.rotation.is_destructive(effect)
    }
}
