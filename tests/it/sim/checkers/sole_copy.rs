//! P3: new material is durable in Vault before anything but a probe uses it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rotord::model::id::{SecretName, VersionId};
use rotord::vault::KvPath;

use crate::sim::world::World;

pub(in crate::sim) fn durable(
    world: &World,
    secret: &SecretName,
    version: VersionId,
    value: &[u8],
) {
    let path = format!("material/{secret}/{}", version.0);
    let saved = world.kv.peek(&KvPath { mount: "rotord".to_owned(), path });
    let text = saved.map(|content| content.to_string()).unwrap_or_default();
    if !text.contains(&STANDARD.encode(value)) {
        world.violate("P3 no sole copy", &format!("{secret} {version} is used and not in Vault"));
    }
}
