//! How routine rotations went, for the breaker: read off the records, so that a restart forgets
//! nothing of it.
//!
//! Decides when it is known of a rotation, and what counts as failed; what follows is the
//! breaker's.

use crate::engine::Engine;
use crate::engine::ledger::Entry;
use crate::engine::walk::Standing;
use crate::model::id::SecretName;
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::plan::breaker::{Breaker, Went};
use crate::rotation::decide::asks;
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::retry::Trouble;
use crate::rotation::{Rotation, Trigger};
use crate::store::Stored;
use crate::store::record::Record;

impl Engine {
    /// Tells the breaker how a routine rotation went, as soon as that is known: once of each.
    pub(super) fn note_outcome(&mut self, name: &SecretName, standing: &Standing) {
        let (Standing::Known { stored, wait }, Some(entry)) = (standing, self.ledger.get_mut(name))
        else {
            return;
        };
        let rotation = &stored.record.rotation;
        let Some(went) = went(rotation, wait.needs_human) else { return };
        if entry.judged.as_ref() != Some(&rotation.id) {
            entry.judged = Some(rotation.id.clone());
            self.breaker.note(went);
        }
    }

    /// Tells the breaker of a rotation that has just become durable, if it is another one than
    /// before. From here on the record says that it is open.
    pub(super) fn note_opened(&mut self, name: &SecretName, stored: &Stored) {
        let Some(entry) = self.ledger.get_mut(name) else { return };
        let rotation = &stored.record.rotation;
        let before = entry.durable.as_ref().map(|before| &before.record.rotation.id);
        if before == Some(&rotation.id) {
            return;
        }
        entry.starting = None;
        if rotation.lane == Lane::Routine && is_planned(&rotation.trigger) {
            self.breaker.started(rotation.opened_at);
        }
    }

    /// Has the breaker stand where the records say that it stood.
    pub(super) fn recall_outcomes(&mut self, now: Timestamp) {
        let mut facts = Vec::new();
        for name in self.ledger.names() {
            let Some(entry) = self.ledger.get_mut(&name) else { continue };
            let Entry { managed: Some(_), durable: Some(stored), judged, .. } = entry else {
                continue;
            };
            let rotation = &stored.record.rotation;
            let last = went(rotation, asks(rotation, now));
            *judged = last.map(|_| rotation.id.clone());
            facts.extend(last.map(Fact::Went));
            facts.extend(of_history(&stored.record));
        }
        facts.sort_by_key(Fact::at);
        self.breaker = Breaker::default();
        for fact in facts {
            match fact {
                Fact::Started(at) => self.breaker.started(at),
                Fact::Went(went) => self.breaker.note(went),
            }
        }
    }
}

/// What the breaker is told of.
enum Fact {
    Started(Timestamp),
    Went(Went),
}

impl Fact {
    fn at(&self) -> Timestamp {
        match self {
            Fact::Started(at) => *at,
            Fact::Went(went) => went.known_at,
        }
    }
}

/// What a record says of when its rotations were opened, and of how the closed ones went.
fn of_history(record: &Record) -> Vec<Fact> {
    let rotation = &record.rotation;
    let mut facts = Vec::new();
    if rotation.lane == Lane::Routine && is_planned(&rotation.trigger) {
        facts.push(Fact::Started(rotation.opened_at));
    }
    let mut after = &rotation.trigger;
    for past in &record.history {
        if is_planned(&past.trigger) {
            facts.push(Fact::Started(past.opened_at));
        }
        let well = match &past.outcome {
            Some(outcome) => Some(*outcome == Outcome::Done),
            // A person opened another one over it, because it could not go on.
            None => matches!(after, Trigger::Repair { .. }).then_some(false),
        };
        if !matches!(past.trigger, Trigger::Emergency { .. })
            && let Some(well) = well
        {
            let (opened_at, known_at) = (past.opened_at, past.closed_at);
            facts.push(Fact::Went(Went { opened_at, known_at, well }));
        }
        after = &past.trigger;
    }
    facts
}

/// Whether the planner opened it. A person who asks for one has seen what failed: that is no trial.
fn is_planned(trigger: &Trigger) -> bool {
    matches!(trigger, Trigger::Initial | Trigger::Scheduled { .. } | Trigger::MaxAge)
}

/// How a routine rotation went, once that is known: well as soon as every target uses what it
/// brought, not well if it was unwound or a person is needed.
fn went(rotation: &Rotation, asked: Option<Reason>) -> Option<Went> {
    if rotation.lane != Lane::Routine {
        return None;
    }
    let promoted = || {
        let current = rotation.current().and_then(|current| rotation.versions.get(&current));
        current.and_then(|current| current.promoted_at).unwrap_or(rotation.opened_at)
    };
    let (known_at, well) = match &rotation.phase {
        Phase::Closed { outcome, at } => (*at, *outcome == Outcome::Done),
        Phase::Overlap { switched_at, .. } => (*switched_at, true),
        Phase::Retire { .. } | Phase::Revoke { .. } => (promoted(), true),
        // Where every value comes from a person, being asked for one is no failure.
        _ if asked.is_some_and(|reason| reason != Reason::ValueNeeded) => {
            (stuck_since(rotation), false)
        }
        _ => return None,
    };
    Some(Went { opened_at: rotation.opened_at, known_at, well })
}

/// Since when it fails at what a person is asked about.
fn stuck_since(rotation: &Rotation) -> Timestamp {
    let targets = rotation.targets.values().map(|target| &target.trouble);
    let leaving = rotation.leaving.values().map(|leaving| &leaving.trouble);
    let met = std::iter::once(&rotation.trouble).chain(targets).chain(leaving);
    let asked = met.filter(|trouble| Trouble::needs_human(trouble).is_some());
    asked.filter_map(|trouble| trouble.since).min().unwrap_or(rotation.opened_at)
}
