//! Which walks may be under way, and who is next when not all may.
//!
//! Two lanes share the places: emergencies go first and may use all of them, routine walks leave a
//! reserve free. A secret that waits stands in one lane, and changes it when it becomes urgent.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::engine::limits::Limits;
use crate::model::id::SecretName;
use crate::model::policy::Lane;

/// A place in the queue: the lane, and who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(Reverse<Lane>, u64);

/// The queue for places, and the places that are taken.
#[derive(Debug)]
pub(super) struct Lanes {
    routine_max: usize,
    all: usize,
    walking: usize,
    came: u64,
    waiting: BTreeMap<Ticket, SecretName>,
}

impl Ticket {
    /// The lane it stands in.
    pub(super) fn lane(self) -> Lane {
        self.0.0
    }
}

impl Lanes {
    /// Nobody is under way.
    pub(super) fn new(limits: &Limits) -> Lanes {
        let routine_max = limits.walks.max(1);
        let all = routine_max + limits.emergency_walks.max(1);
        Lanes { routine_max, all, walking: 0, came: 0, waiting: BTreeMap::new() }
    }

    /// Queues a secret.
    pub(super) fn join(&mut self, lane: Lane, name: SecretName) -> Ticket {
        self.came += 1;
        let ticket = Ticket(Reverse(lane), self.came);
        self.waiting.insert(ticket, name);
        ticket
    }

    /// Takes a secret out of the queue that needs no place any more, or another one.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// The next secret to set out, if there is a place for it. It takes the place.
    pub(super) fn next(&mut self) -> Option<SecretName> {
        let first = self.waiting.first_entry()?;
        let most = match first.key().lane() {
            Lane::Emergency => self.all,
            Lane::Routine => self.routine_max,
        };
        if self.walking >= most {
            return None;
        }
        self.walking += 1;
        Some(first.remove())
    }

    /// A walk has ended: its place is free.
    pub(super) fn arrived(&mut self) {
        self.walking = self.walking.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(walks: usize, emergency_walks: usize) -> Lanes {
        Lanes::new(&Limits { walks, emergency_walks, ..Limits::default() })
    }

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn next(lanes: &mut Lanes) -> Option<String> {
        lanes.next().map(|name| name.to_string())
    }

    #[test]
    fn emergencies_go_first_and_routine_walks_leave_them_room() {
        let mut lanes = lanes(2, 1);
        for routine in ["r1", "r2", "r3"] {
            lanes.join(Lane::Routine, name(routine));
        }
        assert_eq!(next(&mut lanes).as_deref(), Some("r1"));
        lanes.join(Lane::Emergency, name("e1"));
        lanes.join(Lane::Emergency, name("e2"));
        lanes.join(Lane::Emergency, name("e3"));
        assert_eq!(next(&mut lanes).as_deref(), Some("e1"));
        assert_eq!(next(&mut lanes).as_deref(), Some("e2"));
        assert_eq!(next(&mut lanes), None, "all three places are taken");
        lanes.arrived();
        assert_eq!(next(&mut lanes).as_deref(), Some("e3"));
        lanes.arrived();
        assert_eq!(next(&mut lanes), None, "one place stays free for an emergency");
        lanes.arrived();
        assert_eq!(next(&mut lanes).as_deref(), Some("r2"));
    }

    #[test]
    fn who_leaves_the_queue_is_not_called() {
        let mut lanes = lanes(4, 1);
        let ticket = lanes.join(Lane::Routine, name("r1"));
        lanes.join(Lane::Routine, name("r2"));
        lanes.leave(ticket);
        lanes.join(Lane::Emergency, name("r1"));
        assert_eq!(next(&mut lanes).as_deref(), Some("r1"));
        assert_eq!(next(&mut lanes).as_deref(), Some("r2"));
        assert_eq!(next(&mut lanes), None);
    }
}
