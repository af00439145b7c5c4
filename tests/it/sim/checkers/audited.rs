//! P9: every effect has its intent line before it and its outcome line after it.

use std::collections::BTreeMap;

use rotord::model::id::SecretName;
use rotord::store::audit::{Entry, EntryKind};

use crate::sim::world::World;

/// Before a driver changes anything: such an effect has been announced and has not ended.
pub(in crate::sim) fn intent_of(world: &World, secret: &SecretName, effects: &[&str]) {
    let found = {
        let audit = world.audit();
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
    // What could not be written is missing; that it stops every effect is seen above.
    let was_full = world.state().seen.contains("trial audit full");
    let found: Vec<String> = {
        let audit = world.audit();
        let mut processes: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        for (process, line) in &audit.entries {
            processes.entry(*process).or_default().push(line);
        }
        let last = audit.process;
        processes
            .iter()
            .flat_map(|(process, lines)| faults(lines, *process == last, was_full))
            .collect()
    };
    for what in found {
        world.violate("P9 audited", &what);
    }
}

/// What is wrong with the lines of one process. One that died may have left effects without an
/// outcome, but only its very last ones; the last one lives.
fn faults(lines: &[&Entry], lives: bool, was_full: bool) -> Vec<String> {
    let mut faults = Vec::new();
    // The effects under way of each secret, and whether one of the same batch has ended.
    let mut open: BTreeMap<&SecretName, (BTreeMap<u64, String>, bool)> = BTreeMap::new();
    for line in lines {
        let (Some(secret), Some(boundary)) = (&line.secret, line.boundary) else { continue };
        let effect = line.effect.as_ref().map(ToString::to_string).unwrap_or_default();
        let (under_way, ending) = open.entry(secret).or_default();
        if line.kind == EntryKind::Intent {
            if *ending && !under_way.is_empty() && !was_full {
                faults.push(format!("{secret}: {under_way:?} without an outcome"));
                under_way.clear();
            }
            *ending = false;
            under_way.insert(boundary, effect);
        } else {
            *ending = true;
            if under_way.remove(&boundary) != Some(effect) {
                faults.push(format!("{secret}: outcome {boundary} without its intent"));
            }
        }
    }
    for (secret, (under_way, _)) in open {
        if lives && !under_way.is_empty() && !was_full {
            faults.push(format!("{secret}: {under_way:?} without an outcome at rest"));
        }
    }
    faults
}
