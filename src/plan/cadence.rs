//! How often one secret is rotated, and when that may begin. Decides which scheduled run comes
//! when; must not know what has already run or how the secret is.

use aws_lc_rs::digest;

use crate::model::id::SecretName;
use crate::model::time::{Span, Timestamp};
use crate::plan::schedule::Schedule;
use crate::plan::window::{Freeze, Window};

/// How often a secret is rotated. The default is never by itself, and at any time by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cadence {
    /// When it is to be rotated.
    pub schedule: Option<Schedule>,
    /// How old the current version may become, counted from its Promote.
    pub max_age: Option<Span>,
    /// Routine rotations start only inside one of them; with none, at any time.
    pub windows: Vec<Window>,
    /// Routine rotations start in none of them.
    pub freezes: Vec<Freeze>,
    /// Scheduled runs are spread over this much time after their instant, so that secrets with
    /// the same schedule do not all begin at once.
    pub jitter: Span,
}

/// One run of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledRun {
    /// When the schedule has it: with the secret's name, the identity of the run.
    pub instant: Timestamp,
    /// When it begins: jitter, windows and freezes added.
    pub starts_at: Timestamp,
}

impl Cadence {
    /// The first `n` scheduled runs that begin after a moment.
    ///
    /// Of runs that would wait for the same window only the last one takes place.
    pub fn upcoming(&self, name: &SecretName, after: Timestamp, n: usize) -> Vec<ScheduledRun> {
        let Some(schedule) = &self.schedule else { return Vec::new() };
        let delay = self.delay(name);
        let mut runs = Vec::new();
        let mut last = after - delay;
        while runs.len() < n
            && let Some(next) = schedule.next_after(last)
            && let Some(starts_at) = self.earliest_start(next + delay)
            && let Some(instant) = schedule.last_at_or_before(starts_at - delay)
        {
            runs.push(ScheduledRun { instant, starts_at });
            last = instant;
        }
        runs
    }

    /// The freeze that is in force.
    pub fn freeze(&self, at: Timestamp) -> Option<&Freeze> {
        self.freezes.iter().find(|freeze| freeze.contains(at))
    }

    /// The first moment from `at` on at which a routine rotation may start; none if no window
    /// ever opens.
    pub fn earliest_start(&self, at: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        // Each turn but the last leaves a freeze behind for good.
        for _ in 0..=self.freezes.len() {
            at = self.opening(at)?;
            match self.freeze(at) {
                Some(freeze) => at = freeze.until,
                None => return Some(at),
            }
        }
        None
    }

    /// How long after its instant a scheduled run of this secret begins: between zero and the
    /// jitter, in whole seconds, and the same at every restart and on every replica.
    pub(super) fn delay(&self, name: &SecretName) -> Span {
        let digest = digest::digest(&digest::SHA256, name.as_str().as_bytes());
        let (head, _) = digest.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
        let seconds = self.jitter.0 / 1000;
        u64::from_be_bytes(*head).checked_rem(seconds).map_or(Span::ZERO, Span::from_secs)
    }

    /// The first moment from `at` on inside a window.
    fn opening(&self, at: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return Some(at);
        }
        self.windows.iter().filter_map(|window| window.opening(at)).min()
    }
}

#[cfg(test)]
mod tests;
