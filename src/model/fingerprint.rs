//! Recognising a secret value without keeping it.
//!
//! A [`Fingerprint`] is a keyed digest: useless for guessing the value without the key, which
//! lives in Vault and is passed in. Each use of the key begins with its own label, so that what
//! one use gives says nothing about another.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::model::clue::ValueDigest;
use crate::model::material::{Material, SecretBytes};

/// The label of fingerprints of whole versions.
const WHOLE: &[u8] = b"rotord.fingerprint.v1";

/// The label of marks: fingerprints of one digest of one value.
const MARK: &[u8] = b"rotord.mark.v1";

/// The label of the streams that digests are sealed with.
const SEAL: &[u8] = b"rotord.seal.v1";

/// HMAC-SHA256 of a version's fields, or of a digest of one value, under the fingerprint key, cut
/// to 16 bytes: enough that two values never meet, and no longer than needed in every record.
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
        let fields = material.fields();
        shortened(
            &self.sign(WHOLE, fields.flat_map(|(name, bytes)| [name.as_bytes(), bytes.expose()])),
        )
    }

    /// The mark of a digest: what the digest that a report carries is found by.
    pub fn mark(&self, digest: &ValueDigest) -> Fingerprint {
        shortened(&self.sign(MARK, [digest.form.as_str().as_bytes(), digest.expose()]))
    }

    /// Seals 32 bytes, or opens what was sealed: the same twice over. The stream follows from the
    /// mark, which no other digest has, so that no two digests are ever sealed with the same one.
    pub fn seal(&self, mark: Fingerprint, bytes: &[u8; 32]) -> [u8; 32] {
        let stream = self.sign(SEAL, [&mark.0[..]]);
        let mut sealed = [0; 32];
        for (at, byte) in sealed.iter_mut().enumerate() {
            *byte = bytes[at] ^ stream.as_ref()[at];
        }
        sealed
    }

    /// HMAC-SHA256 over a label and parts, each after its length.
    fn sign<'p>(&self, label: &[u8], parts: impl IntoIterator<Item = &'p [u8]>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(label);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

fn shortened(tag: &hmac::Tag) -> Fingerprint {
    let mut short = [0; 16];
    short.copy_from_slice(&tag.as_ref()[..16]);
    Fingerprint(short)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clue::Form;

    fn key(byte: u8) -> FingerprintKey {
        FingerprintKey::new("1", &SecretBytes::new(vec![byte; 32]))
    }

    fn value() -> SecretBytes {
        SecretBytes::new(b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_vec())
    }

    // Computed with Python's hmac and hashlib; records out there depend on it.
    #[test]
    fn what_lies_in_records_never_changes() {
        let key = key(7);
        let whole = key.of(&Material::single(value()));
        assert_eq!(whole.to_string(), "dff46883f5cafea9b68564033797b8ac");
        for (form, mark) in [
            (Form::Sha256, "e30d87fbf1b771ecd819e717ddb563bf"),
            (Form::Sha1, "1d9adafae4361eee73ee7f297fa975dd"),
            (Form::Ggshield, "8a701b2d8810eb4a4520250f992d248a"),
            (Form::Hmsl, "69e03fc021ac89fc4511412b857269fc"),
        ] {
            assert_eq!(key.mark(&ValueDigest::of(form, &value())).to_string(), mark, "{form}");
        }
    }

    #[test]
    fn marks_of_one_value_are_unrelated_from_form_to_form_and_key_to_key() {
        let digest = ValueDigest::of(Form::Sha256, &value());
        let relabelled = ValueDigest::parse(Form::Hmsl, &hex::encode(digest.expose())).unwrap();
        let mut seen = vec![key(7).of(&Material::single(value()))];
        for mark in [key(7).mark(&digest), key(8).mark(&digest), key(7).mark(&relabelled)] {
            assert!(!seen.contains(&mark));
            seen.push(mark);
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_key_alone() {
        let digest = ValueDigest::of(Form::Sha256, &value());
        let bytes: [u8; 32] = digest.expose().try_into().unwrap();
        let mark = key(7).mark(&digest);
        let sealed = key(7).seal(mark, &bytes);
        assert_ne!(sealed, bytes);
        assert_eq!(key(7).seal(mark, &sealed), bytes);
        assert_ne!(key(8).seal(mark, &sealed), bytes);
    }
}
