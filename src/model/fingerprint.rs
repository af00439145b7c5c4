//! Recognising a secret value without keeping it.
//!
//! A [`Fingerprint`] is a keyed digest: useless for guessing the value without the key, which
//! lives in Vault and is passed in.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::model::material::{Material, SecretBytes};

/// HMAC-SHA256 of a version's fields under the fingerprint key, cut to 16 bytes: enough that two
/// values never meet, and no longer than needed in every record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// The key of all fingerprints, with an id so that it can be changed.
pub struct FingerprintKey {
    /// Names the key in records; part of its path in Vault.
    pub id: String,
    key: hmac::Key,
}

impl FingerprintKey {
    /// A key from its bytes (32, drawn once per installation).
    pub fn new(id: impl Into<String>, bytes: &SecretBytes) -> FingerprintKey {
        FingerprintKey { id: id.into(), key: hmac::Key::new(hmac::HMAC_SHA256, bytes.expose()) }
    }

    /// The fingerprint of some material: over every field, each with its name and length.
    pub fn of(&self, material: &Material) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"rotord.fingerprint.v1");
        for (name, bytes) in material.fields() {
            for part in [name.as_bytes(), bytes.expose()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        let mut short = [0; 16];
        short.copy_from_slice(&context.sign().as_ref()[..16]);
        Fingerprint(short)
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FingerprintKey({})", self.id)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom("expected 32 hexadecimal digits"))?;
        Ok(Fingerprint(bytes))
    }
}
