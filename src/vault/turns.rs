//! Whose turn it is when there is not room for all: the lease, then emergencies, then the rest.
//!
//! Decides in which order those who wait go, and how much room the less urgent leave free. Must
//! not know what they do with their turn: Vault's client shares out its requests here, and the
//! engine its effects.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How urgent something is; the later the more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It can wait for a moment.
    #[default]
    Routine,
    /// Something is exposed.
    Emergency,
    /// Without it nothing else may go on: the lease, the token.
    Lease,
}

tokio::task_local! {
    static ASKING: Urgency;
}

/// Runs a future of which every request is this urgent. What it spawns is not meant.
pub async fn with<T>(urgency: Urgency, future: impl Future<Output = T>) -> T {
    ASKING.scope(urgency, future).await
}

/// How urgent the task that runs has said it is.
pub fn asking() -> Urgency {
    ASKING.try_with(|urgency| *urgency).unwrap_or_default()
}

/// How much room there is, and how much of it is not for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Turns at once, in all.
    pub all: usize,
    /// Of these, turns that routine work leaves free.
    pub for_emergencies: usize,
    /// Of these, turns that routine work and emergencies leave free.
    pub for_lease: usize,
}

impl Room {
    /// Turns under way with which one more of this urgency may join them. At least one: whatever
    /// the numbers say, everything moves when nothing else does.
    fn usable(&self, urgency: Urgency) -> usize {
        let kept = match urgency {
            Urgency::Routine => self.for_emergencies + self.for_lease,
            Urgency::Emergency => self.for_lease,
            Urgency::Lease => 0,
        };
        self.all.saturating_sub(kept).max(1)
    }
}

/// The turns, handed out: the more urgent first, and the first come among equals.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    came: u64,
    waiting: BTreeMap<(Reverse<Urgency>, u64), oneshot::Sender<Turn>>,
}

/// A turn; it ends when this is dropped.
pub struct Turn(Arc<Inner>);

impl Turns {
    /// All of them free.
    pub fn new(room: Room) -> Turns {
        Turns(Arc::new(Inner { room, state: Mutex::default() }))
    }

    /// Waits for a turn. Whoever stops waiting has not been there.
    pub async fn take(&self, urgency: Urgency) -> Turn {
        let waiting = {
            let mut state = self.0.lock();
            // Whoever waits is either more urgent, or kept waiting by a reserve that is not theirs.
            let is_first =
                state.waiting.keys().next().is_none_or(|(Reverse(first), _)| *first < urgency);
            if is_first && state.taken < self.0.room.usable(urgency) {
                state.taken += 1;
                None
            } else {
                let (grant, granted) = oneshot::channel();
                state.came += 1;
                let ticket = (Reverse(urgency), state.came);
                state.waiting.insert(ticket, grant);
                Some(Waiting { inner: &self.0, ticket, granted })
            }
        };
        match waiting {
            None => Turn(Arc::clone(&self.0)),
            Some(mut waiting) => {
                let granted = (&mut waiting.granted).await;
                granted.expect("a ticket is only taken out with its turn, or by who holds it")
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the room there is to those who wait.
    fn hand_out(self: &Arc<Self>) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            while let Some(entry) = state.waiting.first_entry() {
                let (Reverse(urgency), _) = *entry.key();
                let grant = entry.remove_entry();
                if state.taken >= self.room.usable(urgency) {
                    state.waiting.insert(grant.0, grant.1);
                    break;
                }
                state.taken += 1;
                granted.push(grant.1);
            }
        }
        for grant in granted {
            // Whoever has stopped waiting gives the turn back by dropping it.
            drop(grant.send(Turn(Arc::clone(self))));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.hand_out();
    }
}

/// A place in the queue, left when its owner stops waiting.
struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    ticket: (Reverse<Urgency>, u64),
    granted: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.inner.lock().waiting.remove(&self.ticket).is_some();
        // What kept those behind it waiting may have been it alone.
        if left {
            self.inner.hand_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ROOM: Room = Room { all: 4, for_emergencies: 1, for_lease: 1 };

    /// Polls once.
    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn at_once(turns: &Turns, urgency: Urgency) -> Option<Turn> {
        poll(pin!(turns.take(urgency)))
    }

    #[test]
    fn the_less_urgent_leave_the_reserves_free() {
        let turns = Turns::new(ROOM);
        let mut taken: Vec<Turn> = Vec::new();
        for (urgency, most) in [(Urgency::Routine, 2), (Urgency::Emergency, 3), (Urgency::Lease, 4)]
        {
            while let Some(turn) = at_once(&turns, urgency) {
                taken.push(turn);
            }
            assert_eq!(taken.len(), most, "{urgency:?}");
        }
        drop(taken);
        assert!(at_once(&turns, Urgency::Routine).is_some());
    }

    #[test]
    fn what_comes_free_goes_to_the_most_urgent_and_then_to_who_came_first() {
        let turns = Turns::new(Room { all: 1, for_emergencies: 0, for_lease: 0 });
        let first = at_once(&turns, Urgency::Routine).unwrap();
        let mut one = pin!(turns.take(Urgency::Routine));
        let mut two = pin!(turns.take(Urgency::Routine));
        let mut leak = pin!(turns.take(Urgency::Emergency));
        assert!(poll(one.as_mut()).is_none() && poll(two.as_mut()).is_none());
        assert!(poll(leak.as_mut()).is_none());
        drop(first);
        assert!(poll(two.as_mut()).is_none() && poll(one.as_mut()).is_none());
        let leak = poll(leak.as_mut()).expect("the emergency came last and goes first");
        drop(leak);
        assert!(poll(two.as_mut()).is_none());
        let one = poll(one.as_mut()).expect("who came first goes first");
        drop(one);
        assert!(poll(two.as_mut()).is_some());
    }

    #[test]
    fn who_stops_waiting_leaves_no_trace() {
        let turns = Turns::new(Room { all: 1, for_emergencies: 0, for_lease: 0 });
        let held = at_once(&turns, Urgency::Routine).unwrap();
        let mut stays = pin!(turns.take(Urgency::Routine));
        {
            let mut goes = pin!(turns.take(Urgency::Emergency));
            assert!(poll(goes.as_mut()).is_none() && poll(stays.as_mut()).is_none());
        }
        {
            // This one is given its turn and never looks at it.
            let mut given = pin!(turns.take(Urgency::Emergency));
            assert!(poll(given.as_mut()).is_none());
            drop(held);
        }
        assert!(poll(stays.as_mut()).is_some());
        assert_eq!(turns.0.lock().waiting.len(), 0);
    }

    #[test]
    fn a_reserve_as_large_as_the_room_stops_nobody_for_good() {
        let turns = Turns::new(Room { all: 1, for_emergencies: 5, for_lease: 5 });
        let only = at_once(&turns, Urgency::Routine);
        assert!(only.is_some() && at_once(&turns, Urgency::Routine).is_none());
    }

    #[tokio::test]
    async fn a_task_says_how_urgent_it_is() {
        assert_eq!(asking(), Urgency::Routine);
        let inner = with(Urgency::Emergency, async {
            let lease = with(Urgency::Lease, async { asking() }).await;
            (lease, asking())
        });
        assert_eq!(inner.await, (Urgency::Lease, Urgency::Emergency));
    }
}
