//! P10: nothing retries hot.

use rotord::model::time::{Span, Timestamp};

use crate::sim::world::World;

/// More calls than this to one driver method within [`WINDOW`] are a hot loop: back-off alone
/// allows nine in an emergency's first ten seconds, and commands and restarts each begin it anew.
const CALLS_MAX: usize = 40;

const WINDOW: Span = Span::from_secs(10);

pub(in crate::sim) fn at_rest(world: &World) {
    let hot: Vec<String> = {
        let state = world.state();
        state.calls.iter().filter(|(_, at)| is_hot(at)).map(|(what, _)| what.clone()).collect()
    };
    for what in hot {
        world.violate("P10 bounded", &format!("{what}: more than {CALLS_MAX} in {WINDOW}"));
    }
}

fn is_hot(calls: &[Timestamp]) -> bool {
    calls.windows(CALLS_MAX + 1).any(|w| w[CALLS_MAX].since(w[0]) < WINDOW)
}
