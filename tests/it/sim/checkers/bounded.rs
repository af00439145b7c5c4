//! P10: nothing retries hot.

use rotord::model::time::{Span, Timestamp};

use crate::sim::world::World;

/// More calls than this to one driver method within [`WINDOW`] are a hot loop: back-off alone
/// allows nine in an emergency's first ten seconds, and commands and restarts each begin it anew.
const CALLS_MAX: usize = 40;

const WINDOW: Span = Span::from_secs(10);

/// After each call.
pub(in crate::sim) fn called(world: &World, what: &str) {
    let hot = {
        let state = world.state();
        state.calls.get(what).is_some_and(|at| is_hot(at))
    };
    if hot {
        world.violate("P10 bounded", &format!("{what}: more than {CALLS_MAX} in {WINDOW}"));
    }
}

fn is_hot(calls: &[Timestamp]) -> bool {
    let newest = calls.last().copied().unwrap_or_default();
    let before = calls.iter().rev().nth(CALLS_MAX);
    before.is_some_and(|before| newest.since(*before) < WINDOW)
}
