//! The machine's clock and generator: the only place that reads them.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustix::time::{ClockId, clock_gettime};

use crate::model::time::{Clock, Entropy, Steady, Timestamp};

/// The system's clocks: wall time, and `CLOCK_BOOTTIME`, which counts suspended time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(ClockId::Realtime);
        Timestamp(time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000))
    }

    fn steady(&self) -> Steady {
        let time = clock_gettime(ClockId::Boottime);
        let millis = time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000);
        Steady(u64::try_from(millis).unwrap_or(0))
    }
}

/// The system's generator.
#[derive(Debug, Default)]
pub struct SystemEntropy {
    random: SystemRandom,
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.random.fill(buffer).expect("without randomness no secret can be made");
    }
}
