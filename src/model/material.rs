//! Secret bytes: the one type that holds them.
//!
//! Decides what may be done with a secret: read it where it is needed, compare it in constant
//! time, digest it. It cannot be printed, cloned, serialised or compared any other way, and its
//! bytes are wiped when it is dropped. Everybody who handles a secret handles this type.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::constant_time;
use thiserror::Error;
use zeroize::Zeroizing;

/// Fewest bytes of a value that rotord stores: below it a broken issuer or generator is likelier
/// than a key (Standard Webhooks asks for at least 24 bytes of key; issuers' ids are shorter).
pub const VALUE_LEN_MIN: usize = 16;

/// The name under which a version with a single field keeps it.
pub const VALUE_FIELD: &str = "value";

/// Some secret bytes.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes; the vector must not have been grown, or earlier copies stay in memory.
    pub fn new(bytes: Vec<u8>) -> SecretBytes {
        SecretBytes(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who needs them: a driver, a digest, a signature.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes there are. Never shown beside a secret's name.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same bytes, in time that depends on their lengths only.
    pub fn same(&self, other: &SecretBytes) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secret bytes of one version: named fields (an AWS key has two, most have [`VALUE_FIELD`]).
pub struct Material {
    fields: BTreeMap<String, SecretBytes>,
}

/// Why a value was refused before it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WeakMaterial {
    /// No field, or a field without bytes.
    #[error("the value is empty")]
    Empty,
    /// A field has fewer than [`VALUE_LEN_MIN`] bytes.
    #[error("the value is shorter than {VALUE_LEN_MIN} bytes")]
    Short,
    /// A field has fewer than five different bytes: a broken generator, or a placeholder.
    #[error("the value has fewer than five different bytes")]
    Monotonous,
    /// Another version of the same secret has the same value.
    #[error("the value is that of another version of this secret")]
    Repeated,
}

impl Material {
    /// Material with the single field [`VALUE_FIELD`].
    pub fn single(value: SecretBytes) -> Material {
        Material { fields: BTreeMap::from([(VALUE_FIELD.to_owned(), value)]) }
    }

    /// Material of several named fields.
    pub fn from_fields(fields: BTreeMap<String, SecretBytes>) -> Material {
        Material { fields }
    }

    /// One field by name.
    pub fn field(&self, name: &str) -> Option<&SecretBytes> {
        self.fields.get(name)
    }

    /// The field that signs and is signed for: [`VALUE_FIELD`], or the only one there is.
    pub fn value(&self) -> Option<&SecretBytes> {
        self.fields.get(VALUE_FIELD).or_else(|| match self.fields.len() {
            1 => self.fields.values().next(),
            _ => None,
        })
    }

    /// All fields in order of their names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &SecretBytes)> {
        self.fields.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Refuses what no issuer would have meant: empty, short or monotonous values.
    ///
    /// # Errors
    /// [`WeakMaterial`] with the rule it breaks. Only the field that signs is held to the length
    /// rule; ids that come beside it may be short but not empty.
    pub fn check(&self) -> Result<(), WeakMaterial> {
        if self.fields.is_empty() || self.fields.values().any(SecretBytes::is_empty) {
            return Err(WeakMaterial::Empty);
        }
        let longest = self.fields.values().map(SecretBytes::len).max().unwrap_or(0);
        if self.value().map_or(longest, SecretBytes::len) < VALUE_LEN_MIN {
            return Err(WeakMaterial::Short);
        }
        let monotonous = |bytes: &SecretBytes| {
            let mut seen = [false; 256];
            bytes.expose().iter().for_each(|b| seen[usize::from(*b)] = true);
            seen.iter().filter(|s| **s).count() < 5
        };
        if self.value().is_some_and(monotonous) {
            return Err(WeakMaterial::Monotonous);
        }
        Ok(())
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(value: &[u8]) -> Material {
        Material::single(SecretBytes::new(value.to_vec()))
    }

    #[test]
    fn formatting_shows_names_and_never_bytes() {
        let shown = format!(
            "{:?} {:?}",
            single(b"hunter2-hunter2-hunter2"),
            SecretBytes::new(b"hunter2".to_vec())
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("value"));
    }

    #[test]
    fn weak_values_are_refused() {
        assert_eq!(single(b"").check(), Err(WeakMaterial::Empty));
        assert_eq!(single(b"short").check(), Err(WeakMaterial::Short));
        assert_eq!(single(&[0; 32]).check(), Err(WeakMaterial::Monotonous));
        assert_eq!(single(b"abcdefghijklmnop").check(), Ok(()));
    }
}
