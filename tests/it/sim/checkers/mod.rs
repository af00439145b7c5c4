//! The promises, one a file. Each looks at what is, not at what anybody believes.

pub(super) mod audited;
pub(super) mod bounded;
pub(super) mod continuity;
pub(super) mod converged;
pub(super) mod deleted;
pub(super) mod destroy;
pub(super) mod evidence;
pub(super) mod exposed;
pub(super) mod fenced;
pub(super) mod forced;
pub(super) mod leftovers;
pub(super) mod live;
pub(super) mod monotone;
pub(super) mod orphan;
pub(super) mod overdue;
pub(super) mod secretless;
pub(super) mod sole_copy;

use rotord::model::id::SecretName;
use rotord::model::time::Timestamp;
use rotord::vault::KvPath;

use crate::sim::world::{World, state_of};

/// After every change of the world.
pub(super) fn after_change(world: &World, now: Timestamp) {
    continuity::check(world, now);
}

/// After every write into Vault: what phase a record has come to, so that it can be said in the
/// end that every one was reached.
pub(super) fn after_write(world: &World, at: &KvPath) {
    let Some(name) = at.path.strip_prefix("state/") else { return };
    exposures(world, &SecretName::new(name).unwrap());
    let text = |pointer: &str| {
        let found = world.kv.look(at, pointer);
        found.and_then(|value| value.as_str().map(str::to_owned))
    };
    let Some(phase) = text("/rotation/phase/phase") else { return };
    let outcome = || text("/rotation/phase/outcome").or_else(|| Some("unwound".to_owned()));
    match phase.as_str() {
        "closed" => world.reached(format!("closed {}", outcome().unwrap())),
        "stage" => {
            let step = text("/rotation/phase/step/step").unwrap_or_default();
            world.reached(format!("phase stage {step}"));
        }
        phase => world.reached(format!("phase {phase}")),
    }
    let forced = world.kv.look(at, "/rotation/forced").unwrap_or_default();
    for rule in forced.as_array().into_iter().flatten().filter_map(|one| one["rule"].as_str()) {
        world.reached(format!("forced {rule}"));
    }
    if let Some(trigger) = text("/rotation/trigger/kind") {
        world.reached(format!("trigger {trigger}"));
    }
}

/// The same once something of the secret has leaked: what that changed in its record.
fn exposures(world: &World, name: &SecretName) {
    let forced = world.kv.look(&state_of(name), "/rotation/forced/0").is_some();
    let leaked = world.state().exposures.contains_key(name);
    if !leaked && !forced {
        return;
    }
    let before = world.last_seen(name);
    let Some(after) = world.record(name) else { return };
    if let Some(before) = before.as_deref().filter(|_| leaked) {
        exposed::after_write(world, before, &after);
    }
    forced::after_write(world, before.as_deref(), &after);
}
