//! Memory for pieces of text on their way through a scan.
//!
//! A text may hold secrets, so its memory is wiped before anybody else gets it. To take it anew for
//! each piece would mean to wipe each one too: more work than to search it. So pieces of one scan
//! follow each other in the same memory, which is wiped when the scan is over, at the latest
//! [`SCAN_IDLE`](super::SCAN_IDLE) after its last piece. Knows nothing of what is in a text.

use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

/// Memory kept for the next piece: as many as the command line sends at once. What more pieces
/// take is wiped and given back at once.
const KEPT_MAX: usize = 4;

/// A piece of text. Wiped when dropped, all of what it was ever used for.
pub type Text = Zeroizing<Vec<u8>>;

/// The memory of one scan.
#[derive(Default)]
pub struct Texts(Mutex<Vec<Text>>);

impl Texts {
    /// Memory for a piece. Its content is that of an earlier one, or none.
    pub fn take(&self) -> Text {
        self.lock().pop().unwrap_or_default()
    }

    /// Takes back what a piece does not need any more.
    pub fn give_back(&self, text: Text) {
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.push(text);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Text>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_in_the_same_memory_and_no_more_is_kept_than_said() {
        let texts = Texts::default();
        let mut first = texts.take();
        assert!(first.is_empty());
        first.reserve_exact(1_000);
        let place = first.as_ptr();
        texts.give_back(first);
        let again = texts.take();
        assert_eq!(again.as_ptr(), place);
        for _ in 0..KEPT_MAX + 3 {
            texts.give_back(Text::default());
        }
        assert_eq!(texts.lock().len(), KEPT_MAX);
    }
}
