//! P9: every effect has its intent line before it, and the chain holds.

use rotord::model::id::SecretName;

use crate::sim::world::World;

/// Before a driver changes anything: the last line about such an effect is an intent.
pub(in crate::sim) fn intent_of(world: &World, secret: &SecretName, effects: &[&str]) {
    let found = world.audit().lines().iter().rev().any(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["kind"] == "intent"
            && line["secret"] == secret.as_str()
            && effects.iter().any(|effect| line["effect"]["effect"] == *effect)
    });
    if !found {
        world.violate("P9 audited", &format!("{secret}: {effects:?} without an intent line"));
    }
}

/// Once everything is at rest: each outcome answers an intent of the same boundary.
pub(in crate::sim) fn at_rest(world: &World) {
    let mut open = std::collections::BTreeSet::new();
    let lines: Vec<String> = world.audit().lines().to_vec();
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(boundary) = line["boundary"].as_u64() else { continue };
        match line["kind"].as_str() {
            Some("intent") => drop(open.insert(boundary)),
            Some("outcome") if !open.remove(&boundary) => {
                world.violate("P9 audited", &format!("outcome {boundary} without an intent"));
            }
            _ => {}
        }
    }
    let crashes = world.state().crashes;
    if crashes == 0 && !open.is_empty() {
        world.violate("P9 audited", &format!("{} intents without an outcome", open.len()));
    }
}
