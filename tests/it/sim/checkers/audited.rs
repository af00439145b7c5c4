//! P9: every effect has its intent line before it and its outcome line after it.

use std::collections::{BTreeMap, BTreeSet};

use rotord::model::id::SecretName;
use rotord::store::audit::{Entry, EntryKind};

use crate::sim::seat::Seat;
use crate::sim::world::World;

/// Before a driver changes anything: such an effect has been announced by this process, and
/// nothing was said of its end.
pub(in crate::sim) fn intent_of(world: &World, seat: &Seat, secret: &SecretName, effects: &[&str]) {
    let found = {
        let audit = seat.audit();
        let process = audit.process;
        let mut ended = Vec::new();
        let mut lines = audit.entries.iter().rev().take_while(|(by, _)| *by == process);
        lines.any(|(_, line)| {
            if line.kind == EntryKind::Outcome {
                ended.extend(line.boundary);
            }
            line.kind == EntryKind::Intent
                && line.secret.as_ref() == Some(secret)
                && line.effect.as_ref().is_some_and(|effect| effects.contains(&effect.name()))
                && !line.boundary.is_some_and(|boundary| ended.contains(&boundary))
        })
    };
    if !found {
        world.violate("P9 audited", &format!("{secret}: {effects:?} without an intent line"));
    }
}

/// Once everything is at rest.
pub(in crate::sim) fn at_rest(world: &World) {
    for seat in &world.seats {
        let found = {
            let audit = seat.audit();
            faults(&audit.entries, audit.owed.next().is_some())
        };
        for what in found {
            world.violate("P9 audited", &format!("{}: {what}", seat.instance()));
        }
    }
}

/// An effect on its way: its secret, its boundary and what it is.
type Open<'a> = (&'a SecretName, u64, String);

/// What is wrong with all lines, each with the number of its process. An outcome that the log had
/// no room for comes late, and before any intent; one that died with its process is said to be
/// unknown by the next, before any intent of its own.
fn faults(lines: &[(u64, Entry)], owes: bool) -> Vec<String> {
    let mut faults = Vec::new();
    // Of which process each effect is.
    let mut under_way: BTreeMap<Open<'_>, u64> = BTreeMap::new();
    let mut used: BTreeSet<(u64, u64)> = BTreeSet::new();
    for (process, line) in lines {
        let (Some(secret), Some(boundary)) = (&line.secret, line.boundary) else { continue };
        let effect = line.effect.as_ref().map(ToString::to_string).unwrap_or_default();
        let open = (secret, boundary, effect);
        match line.kind {
            EntryKind::Intent => {
                if let Some((left, _)) = under_way.iter().find(|(_, by)| *by != process) {
                    faults.push(format!("{left:?} died, and {open:?} begins before that is said"));
                    under_way.retain(|_, by| by == process);
                }
                if !used.insert((*process, boundary)) {
                    faults.push(format!("{open:?}: its boundary is used twice"));
                }
                under_way.insert(open, *process);
            }
            EntryKind::Outcome if under_way.remove(&open) != Some(*process) => {
                faults.push(format!("outcome {open:?} without its intent"));
            }
            EntryKind::Unknown if under_way.remove(&open).is_none_or(|by| by >= *process) => {
                faults.push(format!("{open:?} is unknown to a process that could know it"));
            }
            _ => {}
        }
    }
    faults.extend(under_way.keys().map(|open| format!("{open:?} without an outcome at rest")));
    if owes {
        faults.push("lines are owed at rest".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use rotord::model::id::{InstanceId, VersionId};
    use rotord::model::time::Timestamp;
    use rotord::rotation::effect::Effect;

    use super::*;

    fn line(process: u64, kind: EntryKind, boundary: u64) -> (u64, Entry) {
        let entry = Entry::new(Timestamp::default(), &InstanceId("sim".into()), kind);
        let secret = Some(SecretName::new("billing").unwrap());
        let effect = Some(Effect::Revoke { version: VersionId(1) });
        (process, Entry { secret, effect, boundary: Some(boundary), ..entry })
    }

    #[test]
    fn what_is_told_in_full_is_no_fault() {
        use EntryKind::{Intent, Outcome, Unknown};
        let told = [
            line(1, Intent, 1),
            line(1, Outcome, 1),
            line(1, Intent, 2),
            line(2, Unknown, 2),
            line(2, Intent, 1),
            line(2, Outcome, 1),
        ];
        assert_eq!(faults(&told, false), Vec::<String>::new());
    }

    #[test]
    fn every_line_that_is_missing_is_a_fault() {
        use EntryKind::{Intent, Outcome, Unknown};
        let planted = [
            // The outcome is dropped, at rest and in the middle.
            vec![line(1, Intent, 1)],
            vec![line(1, Intent, 1), line(1, Intent, 2), line(1, Outcome, 2)],
            // The intent is dropped.
            vec![line(1, Outcome, 1)],
            // The process died, and nobody says so; or says so too late, or while it lives.
            vec![line(1, Intent, 1), line(2, Intent, 2), line(2, Outcome, 2)],
            vec![line(1, Intent, 1), line(2, Intent, 2), line(2, Unknown, 1), line(2, Outcome, 2)],
            vec![line(1, Intent, 1), line(1, Unknown, 1)],
            // One announcement for two effects.
            vec![line(1, Intent, 1), line(1, Outcome, 1), line(1, Intent, 1), line(1, Outcome, 1)],
            vec![line(1, Intent, 1), line(1, Outcome, 1), line(1, Outcome, 1)],
        ];
        for lines in planted {
            assert!(!faults(&lines, false).is_empty(), "{lines:#?}");
        }
        assert!(!faults(&[], true).is_empty(), "lines are owed");
    }
}
