//! How often somebody may do something, remembered in a table that never grows.
//!
//! Each caller has one moment: when all that was granted so far would have been used up at the
//! permitted rate (the generic cell rate algorithm, ITU-T I.371). A caller whose moment has passed
//! is like one never seen, so forgetting costs nothing; where a row is full of others, the one with
//! the earliest moment is forgotten, and loses the little it had used up.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::model::time::{Span, Steady};

/// Places in a row: a caller has one of these, wherever its hash says.
const WAYS: usize = 8;

/// A rate, and how much of it may be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds for one.
    every: u64,
    /// Microseconds of credit beyond the first.
    ahead: u64,
}

impl Rate {
    /// So many in a span of time, of which as many may come at once.
    ///
    /// # Panics
    /// If it permits nothing, or more than one in a microsecond.
    pub const fn new(count: u32, within: Span) -> Rate {
        Rate::with_burst(count, within, count)
    }

    /// So many in a span of time, of which `burst` may come at once.
    ///
    /// # Panics
    /// If it permits nothing, or more than one in a microsecond.
    pub const fn with_burst(count: u32, within: Span, burst: u32) -> Rate {
        assert!(count > 0 && burst > 0, "a rate permits something");
        let every = within.0 * 1_000 / count as u64;
        assert!(every > 0, "a rate is at most one in a microsecond");
        Rate { every, ahead: every * (burst as u64 - 1) }
    }

    /// The moment after one more, or how long to wait for it.
    fn grant(self, moment: u64, now: u64) -> Result<u64, Span> {
        let from = moment.max(now);
        match (from - now).checked_sub(self.ahead) {
            None | Some(0) => Ok(from + self.every),
            Some(early) => Err(Span(early.div_ceil(1_000))),
        }
    }
}

/// A rate for each of any number of callers, in memory that is taken once.
pub struct Limiter {
    rate: Rate,
    moments: Mutex<Moments>,
}

impl Limiter {
    /// A limiter that remembers at most `callers`, rounded up to whole rows.
    pub fn new(rate: Rate, callers: usize) -> Limiter {
        Limiter { rate, moments: Mutex::new(Moments::new(callers)) }
    }

    /// Counts one.
    ///
    /// # Errors
    /// How long to wait, if it is one too many; it is not counted then.
    pub fn take(&self, caller: impl Hash, now: Steady) -> Result<(), Span> {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let place = moments.place(caller);
        let granted = self.rate.grant(moments.get(&place), micros(now))?;
        moments.put(&place, granted);
        Ok(())
    }

    /// Whether one more would be granted; counts nothing.
    ///
    /// # Errors
    /// How long to wait, if it would be one too many.
    pub fn look(&self, caller: impl Hash, now: Steady) -> Result<(), Span> {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        self.rate.grant(moments.get(&moments.place(caller)), micros(now)).map(drop)
    }
}

/// Callers that are remembered for a while, in memory that is taken once.
pub struct Lately {
    span: Span,
    moments: Mutex<Moments>,
}

impl Lately {
    /// Remembers at most `callers`, each for this long.
    pub fn new(span: Span, callers: usize) -> Lately {
        Lately { span, moments: Mutex::new(Moments::new(callers)) }
    }

    /// Remembers a caller from now on.
    pub fn note(&self, caller: impl Hash, now: Steady) {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let place = moments.place(caller);
        moments.put(&place, micros(now.plus(self.span)));
    }

    /// Whether a caller is remembered.
    pub fn knows(&self, caller: impl Hash, now: Steady) -> bool {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        moments.get(&moments.place(caller)) > micros(now)
    }
}

fn micros(at: Steady) -> u64 {
    at.0.saturating_mul(1_000)
}

/// One caller's moment. The tag is never 0 for a caller; an empty cell has the tag 0.
#[derive(Clone, Copy, Default)]
struct Cell {
    tag: u64,
    moment: u64,
}

/// Where a caller belongs.
struct Place {
    row: usize,
    tag: u64,
}

struct Moments {
    rows: Vec<[Cell; WAYS]>,
    hasher: RandomState,
}

impl Moments {
    fn new(callers: usize) -> Moments {
        let rows = vec![[Cell::default(); WAYS]; callers.div_ceil(WAYS).max(1)];
        // Only decides who shares a row, which nobody outside may be able to arrange.
        Moments { rows, hasher: RandomState::new() }
    }

    fn place(&self, caller: impl Hash) -> Place {
        let hash = self.hasher.hash_one(caller);
        let rows = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        Place { row: usize::try_from(hash % rows).unwrap_or(0), tag: (hash / rows).max(1) }
    }

    fn get(&self, place: &Place) -> u64 {
        let found = self.rows[place.row].iter().find(|cell| cell.tag == place.tag);
        found.map_or(0, |cell| cell.moment)
    }

    fn put(&mut self, place: &Place, moment: u64) {
        let row = &mut self.rows[place.row];
        let at = row.iter().position(|cell| cell.tag == place.tag).unwrap_or_else(|| {
            let earliest = (0..WAYS).min_by_key(|at| row[*at].moment);
            earliest.unwrap_or(0)
        });
        row[at] = Cell { tag: place.tag, moment };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Span = Span::from_secs(1);

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = Limiter::new(Rate::with_burst(10, SECOND, 3), 64);
        let at = |ms: u64| Steady(50_000 + ms);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(0)), Ok(()));
        }
        assert_eq!(limiter.take("a", at(0)), Err(Span(100)));
        assert_eq!(limiter.take("a", at(40)), Err(Span(60)));
        assert_eq!(limiter.look("a", at(99)), Err(Span(1)));
        assert_eq!(limiter.look("a", at(100)), Ok(()));
        assert_eq!(limiter.take("a", at(100)), Ok(()));
        assert_eq!(limiter.take("a", at(100)), Err(Span(100)));
        assert_eq!(limiter.take("b", at(100)), Ok(()), "others are not held up");
        for _ in 0..3 {
            assert_eq!(limiter.take("a", at(10_000)), Ok(()), "an old burst is forgotten");
        }
        assert!(limiter.take("a", at(10_000)).is_err(), "and no more than that is saved up");
    }

    #[test]
    fn a_slow_rate_says_when_to_come_back() {
        let limiter = Limiter::new(Rate::new(2, Span::from_secs(60)), 64);
        assert_eq!(limiter.take(1, Steady(0)), Ok(()));
        assert_eq!(limiter.take(1, Steady(0)), Ok(()));
        assert_eq!(limiter.take(1, Steady(0)), Err(Span::from_secs(30)));
    }

    #[test]
    fn a_million_callers_take_no_more_room_than_one() {
        let limiter = Limiter::new(Rate::with_burst(1, SECOND, 5), 4_096);
        let room = |limiter: &Limiter| {
            let moments = limiter.moments.lock().unwrap();
            (moments.rows.len(), moments.rows.capacity())
        };
        let before = room(&limiter);
        for _ in 0..5 {
            limiter.take(u64::MAX, Steady(0)).unwrap();
        }
        let refused = (0..1_000_000_u64).filter(|n| limiter.take(n, Steady(0)).is_err()).count();
        assert_eq!(refused, 0, "nobody pays for others");
        assert_eq!(room(&limiter), before);
        let held = limiter.take(u64::MAX, Steady(0));
        assert_eq!(held, Err(SECOND), "whoever used most up is forgotten last");
    }

    #[test]
    fn callers_are_known_for_a_while() {
        let lately = Lately::new(SECOND, 8);
        assert!(!lately.knows("a", Steady(0)));
        lately.note("a", Steady(0));
        assert!(lately.knows("a", Steady(999)));
        assert!(!lately.knows("a", Steady(1_000)));
        assert!(!lately.knows("b", Steady(0)));
        for n in 0..1_000 {
            lately.note(n, Steady(1_000));
        }
        assert_eq!((0..1_000).filter(|n| lately.knows(n, Steady(1_001))).count(), WAYS);
    }
}
