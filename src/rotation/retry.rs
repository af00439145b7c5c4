//! How long to wait after a failure, as a table, and when a person is told.
//!
//! The attempts are part of the record, so that back-off survives a restart. Nothing is ever given
//! up in silence: the ladder ends at a capped pace with `needs_human` shown.

use serde::{Deserialize, Serialize};

use crate::model::failure::{Class, Failure};
use crate::model::policy::Lane;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};

/// Waits after the first, second, ... failure in a row. The last one repeats.
const ROUTINE: [Span; 8] = [
    Span(1_000),   //         1 s
    Span(2_000),   //         3 s
    Span(5_000),   //         8 s
    Span(15_000),  //        23 s
    Span(30_000),  //        53 s
    Span(60_000),  //   1 min 53 s
    Span(300_000), //   6 min 53 s
    Span(900_000), //  21 min 53 s
];

/// The same in an emergency: exposure costs more than requests do.
const EMERGENCY: [Span; 6] =
    [Span(500), Span(1_000), Span(2_000), Span(5_000), Span(10_000), Span(30_000)];

/// A refusal is not cured by asking again, but people mend things: look again at this pace.
const AFTER_REFUSAL: Span = Span(60_000);

/// What waits for the channel's key to be replaced costs nothing to look at, and should go on soon
/// after: the ladder ends here.
const FOR_A_CHANNEL: Span = Span(60_000);

/// Failures in a row after which a person is told: about two minutes of trying.
pub const ATTEMPTS_BEFORE_HUMAN: u32 = 6;

/// What the last attempts at something met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// Failures in a row.
    pub attempts: u32,
    /// The last failure.
    pub last: Option<Failure>,
    /// Not before this moment.
    pub not_before: Option<Timestamp>,
    /// When the first failure of the row came.
    pub since: Option<Timestamp>,
}

impl Trouble {
    /// One failure more.
    pub fn met(self, failure: Failure, lane: Lane, at: Timestamp) -> Trouble {
        let attempts = self.attempts.saturating_add(1);
        Trouble {
            attempts,
            last: Some(failure),
            not_before: Some(at + pause(failure, attempts, lane)),
            since: self.since.or(Some(at)),
        }
    }

    /// A way round the failure was found and is worth trying at once. The row goes on: whoever
    /// meets the same again waits longer.
    pub fn eased(self) -> Trouble {
        Trouble { not_before: None, ..self }
    }

    /// Whether an attempt may be made now. A moment further away than any pause is one from before
    /// the clock was set back.
    pub fn allows(&self, now: Timestamp) -> bool {
        let asked = match self.last.map(|failure| failure.class) {
            Some(Class::Throttled(after)) => after,
            _ => Span::ZERO,
        };
        let longest = asked.max(ROUTINE[ROUTINE.len() - 1]);
        self.not_before.is_none_or(|t| t <= now || t > now + longest)
    }

    /// The code to show a person, once it is time to tell one.
    pub fn needs_human(&self) -> Option<Reason> {
        let failure = self.last?;
        let hopeless = matches!(failure.class, Class::Refused | Class::Gone);
        (hopeless || self.attempts >= ATTEMPTS_BEFORE_HUMAN).then_some(failure.reason)
    }
}

/// The wait after the `attempts`-th failure in a row.
fn pause(failure: Failure, attempts: u32, lane: Lane) -> Span {
    let table: &[Span] = match lane {
        Lane::Routine => &ROUTINE,
        Lane::Emergency => &EMERGENCY,
    };
    let row = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = table[row.min(table.len() - 1)];
    match failure.class {
        _ if failure.reason == Reason::ChannelLeaked => wait.min(FOR_A_CHANNEL),
        Class::Transient | Class::Ambiguous => wait,
        Class::Throttled(after) => wait.max(after),
        Class::Refused | Class::Gone => wait.max(match lane {
            Lane::Routine => AFTER_REFUSAL,
            Lane::Emergency => Span(5_000),
        }),
    }
}
