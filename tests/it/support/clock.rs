//! The machine's clock and randomness, for tests that talk to real servers.

use rotord::model::time::{Clock, Entropy, Steady, Timestamp};
use tokio::time::Instant;

/// Wall time from the system, steady time from the runtime.
pub(crate) struct MachineClock(Instant);

impl MachineClock {
    /// A clock whose steady time starts now.
    pub(crate) fn new() -> MachineClock {
        MachineClock(Instant::now())
    }
}

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "the server under test has the machine's clock")]
    fn now(&self) -> Timestamp {
        chrono::Utc::now().into()
    }

    fn steady(&self) -> Steady {
        Steady(u64::try_from(self.0.elapsed().as_millis()).expect("short tests"))
    }
}

/// No randomness at all: every draw is the same byte.
pub(crate) struct Monotonous(pub(crate) u8);

impl Entropy for Monotonous {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0);
    }
}
