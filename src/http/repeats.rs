//! Requests that come again: the same key and body get the same answer, the same key with another
//! body gets none.
//!
//! Decides what counts as the same and how long it is remembered. Neither key nor body is kept,
//! only what this process alone can compute from them. Must not know what is answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use tokio::sync::OnceCell;

use crate::model::time::{Entropy, Span, Steady};

/// How long an answer is remembered: a signed message is taken for 300 s before and after its
/// timestamp, so none comes again later than this.
pub const REMEMBERED_FOR: Span = Span::from_secs(600);

type Mac = [u8; 32];

/// The answers of one kind of request, of type `A`.
pub struct Repeats<A> {
    key: hmac::Key,
    most: usize,
    memory: Mutex<Memory<A>>,
}

struct Memory<A> {
    known: BTreeMap<Mac, Known<A>>,
    /// In the order in which they came.
    ages: VecDeque<(Steady, Mac)>,
}

struct Known<A> {
    body: Mac,
    answer: Arc<OnceCell<A>>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key came with another body before.
    Conflict,
    /// There is no room to remember another one; so long until there is.
    Full(Span),
}

impl<A: Clone> Repeats<A> {
    /// Remembers at most `most` requests at once.
    pub fn new(entropy: &dyn Entropy, most: usize) -> Repeats<A> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(key.as_mut());
        Repeats {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            most,
            memory: Mutex::new(Memory { known: BTreeMap::new(), ages: VecDeque::new() }),
        }
    }

    /// The place for the answer to this request: filled if it came before, being filled if it
    /// comes twice at once.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn place(
        &self,
        key: &[&str],
        body: &[u8],
        now: Steady,
    ) -> Result<Arc<OnceCell<A>>, Refused> {
        let (key, body) = (self.mac_of_key(key), self.mac(&[body]));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget_before(now);
        if let Some(known) = memory.known.get(&key) {
            let same = aws_lc_rs::constant_time::verify_slices_are_equal(&known.body, &body);
            return same.map(|()| Arc::clone(&known.answer)).map_err(|_| Refused::Conflict);
        }
        if memory.known.len() >= self.most {
            let oldest = memory.ages.front().map_or(now, |(came, _)| *came);
            return Err(Refused::Full(oldest.plus(REMEMBERED_FOR).since(now)));
        }
        let answer = Arc::new(OnceCell::new());
        memory.known.insert(key, Known { body, answer: Arc::clone(&answer) });
        memory.ages.push_back((now, key));
        Ok(answer)
    }

    /// Each part with its length before it, so that no two lists are one text.
    fn mac_of_key(&self, parts: &[&str]) -> Mac {
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(&part.len().to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
        self.mac(&[b"key", &all])
    }

    fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mut context = hmac::Context::with_key(&self.key);
        parts.iter().for_each(|part| context.update(part));
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

impl<A> Memory<A> {
    fn forget_before(&mut self, now: Steady) {
        while let Some((came, key)) = self.ages.front()
            && now.since(*came) > REMEMBERED_FOR
        {
            self.known.remove(key);
            self.ages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            (0..).zip(buffer).for_each(|(n, byte)| *byte = n);
        }
    }

    fn repeats(most: usize) -> Repeats<u32> {
        Repeats::new(&Counting, most)
    }

    #[test]
    fn the_same_request_has_the_same_answer_for_ten_minutes() {
        let repeats = repeats(10);
        let place = repeats.place(&["ci", "1"], b"body", Steady(0)).unwrap();
        place.set(7).unwrap();
        let again = |at| repeats.place(&["ci", "1"], b"body", at).unwrap().get().copied();
        assert_eq!(again(Steady(600_000)), Some(7));
        assert_eq!(again(Steady(600_001)), None);
        let other = repeats.place(&["ci", "1"], b"other", Steady(600_002));
        assert_eq!(other.unwrap_err(), Refused::Conflict);
        assert!(repeats.place(&["ci", "2"], b"other", Steady(600_002)).unwrap().get().is_none());
        assert!(repeats.place(&["c", "i1"], b"other", Steady(600_002)).unwrap().get().is_none());
    }

    #[tokio::test]
    async fn one_of_those_that_come_at_once_works_for_all() {
        let repeats = repeats(10);
        let worked = std::sync::atomic::AtomicU32::new(0);
        let ask = async || {
            let place = repeats.place(&["ci", "1"], b"body", Steady(0)).unwrap();
            let work = || async {
                tokio::task::yield_now().await;
                Ok::<u32, ()>(worked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)
            };
            *place.get_or_try_init(work).await.unwrap()
        };
        let answers = futures_util::future::join_all((0..1_000).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| *answer == 1));
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_says_until_when_it_is_full() {
        let repeats = repeats(2);
        repeats.place(&["1"], b"", Steady(1_000)).unwrap();
        repeats.place(&["2"], b"", Steady(2_000)).unwrap();
        let full = repeats.place(&["3"], b"", Steady(3_000)).unwrap_err();
        assert_eq!(full, Refused::Full(Span::from_secs(598)));
        assert!(repeats.place(&["1"], b"", Steady(3_000)).is_ok());
        assert!(repeats.place(&["3"], b"", Steady(601_001)).is_ok());
    }
}
