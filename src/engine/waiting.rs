//! Who is due and waits for room among the rotations on the move, the most urgent first.
//!
//! Decides whom to ask again when a rotation has stopped moving: as many as there is room for, so
//! that ten thousand secrets that are due at once follow one another without a pause, and none of
//! them is looked at in vain. Must not know why they are due; the planner still has the last word.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::id::SecretName;
use crate::model::policy::Lane;
use crate::plan::budget::Budget;

/// A place in the queue: the lane, the priority, and who came first.
type Place = (Reverse<Lane>, Reverse<u8>, u64);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    came: u64,
    queue: BTreeMap<Place, SecretName>,
    places: BTreeMap<SecretName, Place>,
}

impl Waiting {
    /// Queues a secret that was refused for want of room.
    pub(super) fn join(&mut self, name: SecretName, lane: Lane, priority: u8) {
        self.leave(&name);
        self.came += 1;
        let place = (Reverse(lane), Reverse(priority), self.came);
        self.queue.insert(place, name.clone());
        self.places.insert(name, place);
    }

    /// Takes a secret out that is looked at anyway.
    pub(super) fn leave(&mut self, name: &SecretName) {
        if let Some(place) = self.places.remove(name) {
            self.queue.remove(&place);
        }
    }

    /// Takes out those for whom there is room.
    pub(super) fn called(&mut self, mut budget: Budget) -> Vec<SecretName> {
        let mut called = Vec::new();
        while let Some(first) = self.queue.first_entry() {
            let (Reverse(lane), _, _) = *first.key();
            if !budget.has_room(lane) {
                break;
            }
            budget.take(lane);
            let name = first.remove();
            self.places.remove(&name);
            called.push(name);
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn called(waiting: &mut Waiting, room: u32) -> Vec<String> {
        let budget = Budget { moving_max: room + 1, emergency_reserve: 1, ..Budget::default() };
        waiting.called(budget).iter().map(SecretName::to_string).collect()
    }

    #[test]
    fn as_many_as_there_is_room_for_the_most_urgent_first() {
        let mut waiting = Waiting::default();
        for (text, lane, priority) in [
            ("first", Lane::Routine, 50),
            ("second", Lane::Routine, 50),
            ("important", Lane::Routine, 80),
            ("leaked", Lane::Emergency, 10),
        ] {
            waiting.join(name(text), lane, priority);
        }
        assert_eq!(called(&mut waiting, 0), ["leaked"], "in the room kept for it");
        assert_eq!(called(&mut waiting, 0), [""; 0]);
        assert_eq!(called(&mut waiting, 2), ["important", "first"]);
        assert_eq!(called(&mut waiting, 9), ["second"]);
        assert_eq!(called(&mut waiting, 9), [""; 0]);
    }

    #[test]
    fn nobody_waits_twice() {
        let mut waiting = Waiting::default();
        waiting.join(name("a"), Lane::Routine, 1);
        waiting.join(name("b"), Lane::Routine, 1);
        waiting.join(name("a"), Lane::Routine, 1);
        waiting.leave(&name("nobody"));
        assert_eq!(called(&mut waiting, 9), ["b", "a"]);
        waiting.join(name("a"), Lane::Routine, 1);
        waiting.leave(&name("a"));
        assert_eq!(called(&mut waiting, 9), [""; 0]);
    }
}
