//! Time and chance of the simulated world: both come from the seed and nowhere else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rotord::model::time::{Clock, Entropy, Steady, Timestamp};
use tokio::time::Instant;

/// When every simulated world begins.
pub(super) const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

/// The clock that rotord sees: tokio's paused time, which jumps to the next timer when nothing
/// else is left to do, and on top of it whatever somebody set the wall clock by.
pub(super) struct SimClock {
    began: Instant,
    set_by_ms: AtomicI64,
}

impl SimClock {
    pub(super) fn start() -> SimClock {
        SimClock { began: Instant::now(), set_by_ms: AtomicI64::new(0) }
    }

    /// The moment that it really is: what caches and issuers live by.
    pub(super) fn truly(&self) -> Timestamp {
        Timestamp(BEGIN.0 + i64::try_from(self.elapsed_ms()).unwrap())
    }

    /// Sets the wall clock forward or back.
    pub(super) fn set_by(&self, millis: i64) {
        self.set_by_ms.fetch_add(millis, Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.truly().0 + self.set_by_ms.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Steady {
        Steady(self.elapsed_ms() + 1_000_000)
    }
}

/// Numbers from a seed (SplitMix64).
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d))
    }

    pub(super) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in so many of a thousand cases.
    pub(super) fn permille(&self, n: u64) -> bool {
        self.below(1000) < n
    }

    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub(super) fn millis(&self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    /// A value that is nobody else's.
    pub(super) fn value(&self) -> Vec<u8> {
        let mut value = vec![0; 32];
        self.fill(&mut value);
        value
    }
}

impl Entropy for Chance {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
