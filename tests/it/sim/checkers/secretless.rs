//! P8: secret bytes are in Vault's material, at the issuer and in the target's channel, and
//! nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::sim::world::World;

/// Searches texts that people or programs may see for every value there ever was.
pub(in crate::sim) fn none_in<'a>(world: &World, texts: impl Iterator<Item = (&'a str, &'a str)>) {
    let values = world.state().values.clone();
    let needles: Vec<String> = values
        .iter()
        .flat_map(|value| {
            let raw = String::from_utf8_lossy(value).into_owned();
            [raw, hex::encode(value), STANDARD.encode(value), URL_SAFE_NO_PAD.encode(value)]
        })
        .collect();
    for (place, text) in texts {
        if needles.iter().any(|needle| text.contains(needle.as_str())) {
            world.violate("P8 secretless", &format!("a value stands in {place}"));
        }
    }
}
