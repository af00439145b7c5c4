//! What waits for one recipient: the most urgent first, and each message at its own pace.
//!
//! Decides which message is tried next, and which makes way when too many wait. Must not know how
//! a message is brought.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::engine::desk::NOTICES_LEN;
use crate::incident::progress::Urgency;
use crate::model::time::Steady;
use crate::notify::message::Message;

/// One message that waits.
pub(super) struct Waiting {
    pub(super) message: Arc<Message>,
    pub(super) urgency: Urgency,
    /// Attempts at it that failed.
    pub(super) failures: usize,
    /// Where it stands among its equals.
    number: u64,
    /// It is left alone before this moment.
    from: Steady,
}

/// The messages that wait for one recipient.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Rung when a message came.
    pub(super) came: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: Vec<Waiting>,
    so_far: u64,
}

impl Queue {
    /// Takes a message in. Answers whether one had to make way: the least urgent there is, and of
    /// several the youngest, which may be this very one.
    pub(super) fn push(&self, message: Arc<Message>, urgency: Urgency) -> bool {
        let mut inner = self.lock();
        let number = inner.so_far;
        inner.so_far += 1;
        let from = Steady::default();
        inner.waiting.push(Waiting { message, urgency, failures: 0, number, from });
        let is_full = inner.waiting.len() > NOTICES_LEN;
        let least =
            inner.waiting.iter().enumerate().min_by_key(|(_, w)| (w.urgency, Reverse(w.number)));
        if let Some(least) = least.map(|(at, _)| at).filter(|_| is_full) {
            inner.waiting.remove(least);
        }
        drop(inner);
        self.came.notify_one();
        is_full
    }

    /// The most urgent message that may be tried now, and of several the oldest; if there is none,
    /// when the next one may be.
    pub(super) fn take(&self, now: Steady) -> Result<Waiting, Option<Steady>> {
        let mut inner = self.lock();
        let due = inner.waiting.iter().enumerate().filter(|(_, waiting)| waiting.from <= now);
        let first = due.min_by_key(|(_, waiting)| (Reverse(waiting.urgency), waiting.number));
        match first.map(|(at, _)| at) {
            Some(at) => Ok(inner.waiting.remove(at)),
            None => Err(inner.waiting.iter().map(|waiting| waiting.from).min()),
        }
    }

    /// Takes back a message that did not arrive, until this moment.
    pub(super) fn put_back(&self, waiting: Waiting, from: Steady) {
        let failures = waiting.failures + 1;
        self.lock().waiting.push(Waiting { failures, from, ..waiting });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
