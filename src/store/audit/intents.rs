//! Which effects were announced in a chain and never reported on: read off its lines.
//!
//! Decides which line answers which; must not know what an effect does.

use crate::model::id::InstanceId;
use crate::model::time::Timestamp;
use crate::store::audit::{AuditSink, Entry, EntryKind, Line, Seq};

/// Open intents that are kept: far above what is ever under way at once.
const OPEN_MAX: usize = 10_000;

/// Intents without an outcome, in the order they were announced in. Each process counts boundaries
/// from 1, and answers those of the one before it before it announces any of its own.
#[derive(Clone, Debug, Default)]
pub struct Intents(Vec<Line>);

impl Intents {
    /// Takes in the next line.
    pub fn take(&mut self, line: Line) {
        let Intents(open) = self;
        let same = |intent: &Line| {
            let (intent, answer) = (&intent.entry, &line.entry);
            intent.boundary == answer.boundary
                && intent.secret == answer.secret
                && intent.effect == answer.effect
        };
        let answered = match line.entry.kind {
            EntryKind::Intent if open.len() < OPEN_MAX => return open.push(line),
            EntryKind::Outcome => open.iter().rposition(same),
            EntryKind::Unknown => open.iter().position(same),
            _ => None,
        };
        if let Some(at) = answered {
            open.remove(at);
        }
    }

    /// Those that are open.
    pub fn open(&self) -> &[Line] {
        &self.0
    }

    /// Says of each that its outcome is not known: to be called by the next process, before any
    /// line of its own.
    pub fn give_up(self, audit: &mut dyn AuditSink, by: &InstanceId, at: Timestamp) -> usize {
        let Intents(open) = self;
        for Line { seq, entry } in &open {
            audit.owe(unknown(*seq, entry, by, at));
        }
        open.len()
    }
}

fn unknown(seq: Seq, intent: &Entry, by: &InstanceId, at: Timestamp) -> Entry {
    let note = format!("no outcome of line {seq}: the process ended in between; looked at again");
    Entry {
        secret: intent.secret.clone(),
        rotation: intent.rotation.clone(),
        boundary: intent.boundary,
        effect: intent.effect.clone(),
        ..Entry::new(at, by, EntryKind::Unknown).note(note)
    }
}
