//! How material and the fingerprint key lie in Vault: JSON strings only, because an audit device
//! writes numbers and booleans as they are and only strings as digests.
//!
//! Decides the encoding; must not know the paths. Bytes are Base64 whether or not they are text:
//! one rule, and any issuer's bytes survive it.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::model::id::{KeyId, RotationId};
use crate::model::material::{Material, SecretBytes};
use crate::store::{Placed, Saved, StoreError};
use crate::vault::document::Document;
use crate::vault::error::VaultError;

/// Bytes of a fingerprint key: as many as its digest has.
pub(super) const FINGERPRINT_KEY_LEN: usize = 32;

/// Largest material document in bytes of JSON: a private key with its chain fits, a mistake does
/// not.
const MATERIAL_BYTES_MAX: usize = 64 * 1024;

#[derive(Serialize)]
struct SavedRef<'a> {
    rotation: &'a RotationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a KeyId>,
    fields: BTreeMap<&'a str, Encoded<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedOwned {
    rotation: RotationId,
    #[serde(default)]
    key: Option<KeyId>,
    fields: BTreeMap<String, Decoded>,
}

#[derive(Serialize)]
struct KeyRef<'a> {
    key: Encoded<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyOwned {
    key: Decoded,
}

/// Material as the document for a place.
pub(super) fn encode(place: &impl Display, saved: &Saved) -> Result<Document, StoreError> {
    let fields = saved.material.fields().map(|(name, bytes)| (name, Encoded(bytes))).collect();
    let shape = SavedRef { rotation: &saved.rotation, key: saved.key.as_ref(), fields };
    to_document(place, &shape)
}

/// Material from the document at a place.
pub(super) fn decode(place: &impl Display, document: &Document) -> Result<Saved, StoreError> {
    let SavedOwned { rotation, key, fields } =
        document.decode().map_err(|error| StoreError::unreadable(place, error))?;
    let fields = fields.into_iter().map(|(name, Decoded(bytes))| (name, bytes)).collect();
    Ok(Saved { rotation, key, material: Material::from_fields(fields) })
}

/// What became of a write of material, told from what lies at its place.
pub(super) fn placed(given: &Saved, found: &Saved) -> Placed {
    match given.rotation == found.rotation {
        false => Placed::Taken,
        true if same(&given.material, &found.material) => Placed::Written,
        true => Placed::OursAlready,
    }
}

/// The bytes of a fingerprint key as the document for a place.
pub(super) fn encode_key(
    place: &impl Display,
    bytes: &SecretBytes,
) -> Result<Document, StoreError> {
    to_document(place, &KeyRef { key: Encoded(bytes) })
}

/// The bytes of a fingerprint key from the document at a place.
pub(super) fn decode_key(
    place: &impl Display,
    document: &Document,
) -> Result<SecretBytes, StoreError> {
    let KeyOwned { key: Decoded(bytes) } =
        document.decode().map_err(|error| StoreError::unreadable(place, error))?;
    match bytes.len() {
        FINGERPRINT_KEY_LEN => Ok(bytes),
        _ => Err(StoreError::unreadable(place, "it has another length than a fingerprint key")),
    }
}

fn same(a: &Material, b: &Material) -> bool {
    a.fields().count() == b.fields().count()
        && a.fields().zip(b.fields()).all(|((x, left), (y, right))| x == y && left.same(right))
}

/// Writes into a buffer that never grows: growing would leave copies of secrets in freed memory.
fn to_document(place: &impl Display, value: &impl Serialize) -> Result<Document, StoreError> {
    let mut buffer = Zeroizing::new(vec![0; MATERIAL_BYTES_MAX]);
    let mut free = buffer.as_mut_slice();
    serde_json::to_writer(&mut free, value).map_err(|_| VaultError::Refused {
        path: place.to_string(),
        what: format!("it is larger than {MATERIAL_BYTES_MAX} bytes and was not sent"),
    })?;
    let used = MATERIAL_BYTES_MAX - free.len();
    Ok(Document::from_json(buffer[..used].to_vec()))
}

/// Secret bytes on their way into JSON.
struct Encoded<'a>(&'a SecretBytes);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let room = self.0.len().div_ceil(3) * 4;
        let mut text = Zeroizing::new(String::with_capacity(room));
        STANDARD.encode_string(self.0.expose(), &mut text);
        serializer.serialize_str(&text)
    }
}

/// Secret bytes on their way out of JSON.
struct Decoded(SecretBytes);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Decoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Base64 string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decoded, E> {
                // The decoder's own error would name a byte of the text.
                STANDARD
                    .decode(text)
                    .map(|bytes| Decoded(SecretBytes::new(bytes)))
                    .map_err(|_| E::custom("not Base64"))
            }
        }

        deserializer.deserialize_str(Text).map_err(|_| D::Error::custom("not a Base64 string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(fields: &[(&str, &[u8])]) -> Saved {
        let fields = fields
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), SecretBytes::new(bytes.to_vec())))
            .collect();
        Saved {
            rotation: RotationId("r1".into()),
            key: Some(KeyId("AKIA\"1".into())),
            material: Material::from_fields(fields),
        }
    }

    #[test]
    fn material_survives_the_way_to_vault_and_back() {
        let before = saved(&[("id", b"AKIA1"), ("value", &[0, 255, 34, 92, 10]), ("none", b"")]);
        let after = decode(&"here", &encode(&"here", &before).unwrap()).unwrap();
        assert_eq!((&after.rotation, &after.key), (&before.rotation, &before.key));
        assert_eq!(placed(&before, &after), Placed::Written);
    }

    #[test]
    fn only_strings_reach_vault() {
        let document = encode(&"here", &saved(&[("value", b"0123456789")])).unwrap();
        let json: serde_json::Value = document.decode().unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "rotation": "r1", "key": "AKIA\"1", "fields": {"value": "MDEyMzQ1Njc4OQ=="}
            })
        );
    }

    #[test]
    fn errors_name_the_place_and_hold_no_content() {
        for text in [
            r#"{"rotation":"r1","fields":{"value":"hunter2!"}}"#,
            r#"{"rotation":"r1","fields":{"value":["hunter2"]}}"#,
            r#"{"rotation":"r1","fields":{},"hunter2":1}"#,
            r#"{"rotation":"r1"}"#,
        ] {
            let error = decode(&"here", &Document::from_json(text.as_bytes().to_vec()));
            let error = error.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2") && shown.contains("here"), "{shown}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        let error = encode(&"here", &saved(&[("value", &[7; MATERIAL_BYTES_MAX])])).unwrap_err();
        assert!(matches!(error, StoreError::Vault(VaultError::Refused { .. })), "{error}");
    }

    #[test]
    fn what_lies_there_is_told_by_rotation_and_content() {
        let given = saved(&[("a", b"x"), ("b", b"y")]);
        assert_eq!(placed(&given, &saved(&[("b", b"y"), ("a", b"x")])), Placed::Written);
        for other in [
            saved(&[("a", b"x"), ("b", b"z")]),
            saved(&[("a", b"x"), ("c", b"y")]),
            saved(&[("a", b"x")]),
        ] {
            assert_eq!(placed(&given, &other), Placed::OursAlready);
        }
        let foreign = Saved { rotation: RotationId("r2".into()), ..saved(&[("a", b"x")]) };
        assert_eq!(placed(&given, &foreign), Placed::Taken);
    }
}
