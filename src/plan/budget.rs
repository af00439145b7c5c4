//! How many rotations may be on the move at once. Decides whether there is room for one more;
//! must not know which secrets they are.

use crate::model::policy::Lane;

/// Room for rotations, and how much of it is taken.
///
/// What is counted are rotations on the move: open, and not yet waiting in their Overlap, which
/// costs nothing and takes days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Rotations on the move at once, in all.
    pub moving_max: u32,
    /// Of these, room that routine rotations leave free for emergencies. If it is as large as
    /// `moving_max`, no routine rotation starts.
    pub emergency_reserve: u32,
    /// Routine rotations on the move now.
    pub routine_moving: u32,
    /// Emergency rotations on the move now.
    pub emergency_moving: u32,
}

impl Default for Budget {
    /// Each rotation on the move has a handful of requests under way: 64 of them keep a small
    /// Vault busy and no more. A quarter is kept for emergencies.
    fn default() -> Budget {
        Budget { moving_max: 64, emergency_reserve: 16, routine_moving: 0, emergency_moving: 0 }
    }
}

impl Budget {
    /// Whether one more may start in this lane.
    pub fn has_room(&self, lane: Lane) -> bool {
        let usable = match lane {
            Lane::Routine => self.moving_max.saturating_sub(self.emergency_reserve),
            Lane::Emergency => self.moving_max,
        };
        self.routine_moving.saturating_add(self.emergency_moving) < usable
    }

    /// Counts one that starts.
    pub fn take(&mut self, lane: Lane) {
        match lane {
            Lane::Routine => self.routine_moving += 1,
            Lane::Emergency => self.emergency_moving += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routine_rotations_leave_the_reserve_free_whoever_moves() {
        let table = [
            // max, reserve, routine, emergency -> room for routine, for emergency
            ((4, 1, 0, 0), (true, true)),
            ((4, 1, 2, 0), (true, true)),
            ((4, 1, 3, 0), (false, true)),
            ((4, 1, 0, 3), (false, true)),
            ((4, 1, 2, 1), (false, true)),
            ((4, 1, 3, 1), (false, false)),
            ((4, 1, 0, 4), (false, false)),
            ((4, 1, 9, 9), (false, false)),
            ((4, 4, 0, 0), (false, true)),
            ((4, 9, 0, 0), (false, true)),
            ((0, 0, 0, 0), (false, false)),
            ((4, 0, u32::MAX, u32::MAX), (false, false)),
        ];
        for ((moving_max, emergency_reserve, routine_moving, emergency_moving), room) in table {
            let budget = Budget { moving_max, emergency_reserve, routine_moving, emergency_moving };
            let found = (budget.has_room(Lane::Routine), budget.has_room(Lane::Emergency));
            assert_eq!(found, room, "{budget:?}");
        }
    }

    #[test]
    fn what_starts_takes_room() {
        let mut budget = Budget { moving_max: 2, emergency_reserve: 1, ..Budget::default() };
        budget.take(Lane::Routine);
        assert!(!budget.has_room(Lane::Routine) && budget.has_room(Lane::Emergency));
        budget.take(Lane::Emergency);
        assert!(!budget.has_room(Lane::Emergency));
    }
}
