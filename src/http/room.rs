//! Room for a bounded number of things at once, part of it kept free for whoever is known.
//!
//! Decides who gets a place when there are few: strangers share what is not reserved, whoever is
//! known takes from that too, and from the reserve when it is gone. Must not know what for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room. A clone is the same room.
#[derive(Clone, Debug)]
pub struct Room {
    common: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    size: usize,
}

/// Places that are held until this is dropped.
#[derive(Debug)]
pub struct Places {
    _held: OwnedSemaphorePermit,
}

impl Room {
    /// Room for `size` in all, of which strangers leave `reserve` free.
    ///
    /// # Panics
    /// If nothing were left for strangers.
    pub fn new(size: usize, reserve: usize) -> Room {
        assert!(reserve < size, "strangers have some room");
        let common = size - reserve;
        Room {
            common: Arc::new(Semaphore::new(common)),
            reserve: Arc::new(Semaphore::new(reserve)),
            size: common,
        }
    }

    /// So many places at once if they are free now.
    pub fn try_enter(&self, known: bool, places: u32) -> Option<Places> {
        let enter = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(places).ok();
        let held = enter(&self.common).or_else(|| known.then(|| enter(&self.reserve))?)?;
        Some(Places { _held: held })
    }

    /// One place, as soon as there is one.
    pub async fn enter(&self, known: bool) -> Places {
        loop {
            if let Some(places) = self.try_enter(known, 1) {
                return places;
            }
            let room = if known { &self.reserve } else { &self.common };
            // The semaphores are never closed.
            if let Ok(held) = Arc::clone(room).acquire_owned().await {
                return Places { _held: held };
            }
        }
    }

    /// Whether strangers have taken more than half of their room: then nobody is waited for long.
    pub fn is_crowded(&self) -> bool {
        self.common.available_permits() < self.size / 2
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn strangers_leave_the_reserve_alone() {
        let room = Room::new(4, 1);
        let strangers: Vec<_> = (0..3).map(|_| room.try_enter(false, 1).unwrap()).collect();
        assert!(room.is_crowded());
        assert!(room.try_enter(false, 1).is_none());
        let known = room.try_enter(true, 1).expect("there is a reserve");
        assert!(room.try_enter(true, 1).is_none());
        drop(known);
        assert!(room.try_enter(false, 1).is_none());
        drop(strangers);
        assert!(!room.is_crowded());
        assert!(room.try_enter(false, 4).is_none());
        assert!(room.try_enter(false, 3).is_some());
    }

    #[test]
    fn whoever_waits_gets_the_next_place() {
        let room = Room::new(2, 1);
        let first = room.try_enter(false, 1).unwrap();
        let mut waiting = Box::pin(room.enter(false));
        assert!((&mut waiting).now_or_never().is_none());
        let known = room.enter(true).now_or_never().expect("from the reserve");
        drop(first);
        assert!(waiting.now_or_never().is_some());
        drop(known);
    }
}
