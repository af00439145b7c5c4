//! Marks that are made off the rotation's path: which secret is next, one at a time.
//!
//! Records lack marks when an older program wrote them, after the fingerprint key was changed, and
//! where a source needs slow digests. None of that keeps a rotation waiting: an emergency is left
//! alone unless it waits for longer than making marks takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Engine;
use crate::engine::recollect::lacks_marks;
use crate::engine::walk::{Standing, Task};
use crate::model::id::SecretName;
use crate::model::policy::Lane;
use crate::model::time::{Span, Timestamp};

/// Pause before a secret whose marks could not be made is tried again: what helps is a person, who
/// puts the material back.
const MARK_PAUSE: Span = Span::from_secs(600);

/// How long an emergency must be going to wait before its marks are made meanwhile: several times
/// what reading two values, the slow digests of both and one write take.
const EMERGENCY_ROOM: Span = Span::from_secs(1);

/// The secrets whose marks are to be made.
#[derive(Default)]
pub(super) struct Marking {
    due: BTreeSet<(Timestamp, SecretName)>,
    /// The same, by name.
    waiting: BTreeMap<SecretName, Timestamp>,
    /// The one whose marks are being made.
    under_way: Option<SecretName>,
}

impl Marking {
    /// When the next one may be looked at, if none is under way.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at).filter(|_| self.under_way.is_none())
    }

    fn put(&mut self, name: &SecretName, at: Timestamp) {
        self.remove(name);
        self.waiting.insert(name.clone(), at);
        self.due.insert((at, name.clone()));
    }

    fn remove(&mut self, name: &SecretName) -> Option<Timestamp> {
        let at = self.waiting.remove(name)?;
        self.due.remove(&(at, name.clone()));
        Some(at)
    }
}

impl Engine {
    /// Notes whether a secret whose walk has ended lacks marks.
    pub(super) fn note_marks(&mut self, name: &SecretName, now: Timestamp) {
        let tried = self.marking.under_way.take_if(|under_way| under_way == name).is_some();
        let waited = self.marking.remove(name);
        let Some(entry) = self.ledger.get(name).filter(|entry| entry.managed.is_some()) else {
            return;
        };
        let Standing::Known { stored, wait } = &entry.standing else { return };
        let has_room = entry.lane() == Lane::Routine
            || wait.until.is_none_or(|until| until >= now + EMERGENCY_ROOM);
        if has_room && lacks_marks(&self.world, &stored.record) {
            let at = if tried { now + MARK_PAUSE } else { waited.unwrap_or(now) };
            self.marking.put(name, at);
        }
    }

    /// Has the next secret's marks made, if none is under way. One that is walked for another
    /// reason is noted anew when that walk ends.
    pub(super) fn mark_next(&mut self, now: Timestamp) {
        while self.marking.next().is_some_and(|at| at <= now) {
            let Some((_, name)) = self.marking.due.first().cloned() else { return };
            self.marking.remove(&name);
            let free = self.ledger.get(&name).filter(|entry| !entry.is_busy());
            // An emergency must not come to stand behind what is routine because of it.
            if let Some(lane) = free.map(|entry| entry.lane()) {
                self.walk(&name, lane, Task::Mark);
                self.marking.under_way = Some(name);
            }
        }
    }
}
