//! Lines about what has happened already, which could not be written when it did.
//!
//! Decides that they come before any other line, and how many are kept; must not know why they
//! could not be written.

use std::collections::VecDeque;

use crate::store::audit::{AuditError, Entry, EntryKind};

/// Lines that are kept. Nothing that needs a line starts meanwhile, so they are the outcomes and
/// steps of what was under way, and a lease that comes and goes: this many only after days.
pub const OWED_MAX: usize = 10_000;

/// Lines to be written before any other.
#[derive(Debug, Default)]
pub struct Owed {
    lines: VecDeque<Entry>,
    lost: u64,
}

impl Owed {
    /// Keeps a line.
    pub fn add(&mut self, entry: Entry) {
        if self.lines.len() < OWED_MAX {
            self.lines.push_back(entry);
        } else {
            self.lost += 1;
        }
    }

    /// The next line to be written; it stays until [`Owed::paid`].
    pub fn next(&self) -> Option<&Entry> {
        self.lines.front()
    }

    /// The next line was written.
    pub fn paid(&mut self) {
        let Some(paid) = self.lines.pop_front() else { return };
        if self.lines.is_empty() && self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            let note = format!("{lost} lines more could not be written and are lost");
            let actor = paid.actor;
            self.lines.push_back(Entry {
                at: paid.at,
                actor,
                note: Some(note),
                ..Entry::blank(EntryKind::Chain)
            });
        }
    }

    /// Writes them all.
    ///
    /// # Errors
    /// That of the first that cannot be written; it and those behind it are still owed.
    pub fn pay(
        &mut self,
        mut write: impl FnMut(Entry) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        while let Some(entry) = self.next() {
            write(entry.clone())?;
            self.paid();
        }
        Ok(())
    }
}
