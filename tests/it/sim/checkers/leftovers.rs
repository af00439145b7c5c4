//! What is revoked is nowhere in Vault any more, its history included; what is not, is there.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rotord::model::id::SecretName;
use rotord::model::version::Stage;
use rotord::vault::KvPath;

use crate::sim::world::World;

/// Once everything is at rest.
pub(in crate::sim) fn at_rest(world: &World) {
    let mut alive: BTreeSet<String> = BTreeSet::new();
    for name in world.names() {
        alive.extend(of_secret(world, &name));
    }
    let everything = world.kv.everything();
    let values = world.state().values.clone();
    for value in values {
        let text = STANDARD.encode(value);
        let living = alive.iter().any(|saved| saved.contains(&text));
        if !living && everything.contains(&text) {
            world.violate("P5 never destroy", "a revoked value is still in Vault");
        }
    }
}

/// Holds the material of one secret against its record; answers what may be there.
fn of_secret(world: &World, name: &SecretName) -> Vec<String> {
    let Some(record) = world.record(name) else { return Vec::new() };
    let folder = format!("material/{name}/");
    let saved: BTreeSet<u64> = world.kv.paths_under("rotord", &folder).into_iter().collect();
    let versions = &record.rotation.versions;
    let named: BTreeSet<u64> = versions
        .iter()
        .filter(|(_, version)| version.stage != Stage::Revoked)
        .map(|(id, _)| id.0)
        .collect();
    if record.rotation.is_closed() && saved != named {
        let what = format!("{name}: material of {saved:?} for versions {named:?}");
        world.violate("P5 never destroy", &what);
    }
    let texts = named.iter().filter_map(|id| {
        let at = KvPath { mount: "rotord".to_owned(), path: format!("{folder}{id}") };
        world.kv.peek(&at).map(|content| content.to_string())
    });
    texts.collect()
}
