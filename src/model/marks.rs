//! What stays in the record of a version's value, so that a report about it is recognised.
//!
//! Decides which parts of some material are secret enough to be looked for, and what is kept of
//! them. Without the fingerprint key a mark confirms no guess: a copy of the records is no oracle,
//! however weak the value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::model::clue::{Form, ValueDigest};
use crate::model::fingerprint::{Fingerprint, FingerprintKey};
use crate::model::material::{Material, SecretBytes};

/// Fewest bytes of a field that is looked for: a user name, a region or a short id stands in
/// reports by chance, and is no secret.
pub const RECOGNISED_LEN_MIN: usize = 12;

/// Most values of one version that are looked for: an AWS key has two fields, a certificate with
/// its chain a handful. Bounds what a version adds to its record.
pub const RECOGNISED_MAX: usize = 16;

/// What Standard Webhooks puts before a key. Receivers store it with and without.
const WEBHOOK_PREFIX: &[u8] = b"whsec_";

/// The marks of one version's values, all under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// The id of the fingerprint key.
    pub key: String,
    /// The fingerprint of all fields together: what finds a value that is given out twice.
    pub whole: Fingerprint,
    /// One mark a value for each form, in the order of the values.
    pub forms: BTreeMap<Form, Vec<Fingerprint>>,
    /// The SHA-256 of each value, sealed under the key: for reports whose digest is of more than
    /// the value, so that it is in no index. Empty once the version is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<SealedDigest>,
}

/// A digest that only the fingerprint key opens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedDigest([u8; 32]);

impl FingerprintKey {
    /// The marks of some material in these forms.
    pub fn marks(&self, material: &Material, forms: &[Form]) -> Marks {
        let values = values(material);
        let mark = |form, value| self.mark(&ValueDigest::of(form, value));
        let marks = |form: &Form| {
            (*form, values.iter().map(|value| mark(*form, value)).collect::<Vec<_>>())
        };
        Marks {
            key: self.id.clone(),
            whole: self.of(material),
            forms: forms.iter().map(marks).collect(),
            sealed: values.iter().map(|value| self.sealed(value)).collect(),
        }
    }

    /// The SHA-256 digests of the values that these marks are of. None if they are of another key,
    /// or the version is revoked.
    pub fn open(&self, marks: &Marks) -> Vec<Zeroizing<[u8; 32]>> {
        let Some(of) = marks.forms.get(&Form::Sha256).filter(|_| marks.key == self.id) else {
            return Vec::new();
        };
        let pairs = of.iter().zip(&marks.sealed);
        pairs.map(|(mark, sealed)| Zeroizing::new(self.seal(*mark, &sealed.0))).collect()
    }

    fn sealed(&self, value: &SecretBytes) -> SealedDigest {
        let digest = ValueDigest::of(Form::Sha256, value);
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(digest.expose());
        SealedDigest(self.seal(self.mark(&digest), &bytes))
    }
}

impl Marks {
    /// Whether all of these forms are there, under this key.
    pub fn cover<'f>(
        &self,
        key: &FingerprintKey,
        forms: impl IntoIterator<Item = &'f Form>,
    ) -> bool {
        self.key == key.id && forms.into_iter().all(|form| self.forms.contains_key(form))
    }

    /// How many marks there are.
    pub fn count(&self) -> usize {
        self.forms.values().map(Vec::len).sum()
    }
}

/// The values that are looked for: every field that is long enough, and a webhook key without its
/// prefix as well.
fn values(material: &Material) -> Vec<SecretBytes> {
    let long = |bytes: &[u8]| bytes.len() >= RECOGNISED_LEN_MIN;
    let fields = material.fields().map(|(_, bytes)| bytes.expose());
    fields
        .flat_map(|field| [Some(field), field.strip_prefix(WEBHOOK_PREFIX)])
        .flatten()
        .filter(|value| long(value))
        .take(RECOGNISED_MAX)
        .map(|value| SecretBytes::new(value.to_vec()))
        .collect()
}

impl fmt::Debug for SealedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealed]")
    }
}

impl Serialize for SealedDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SealedDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SealedDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom("expected 64 hexadecimal digits"))?;
        Ok(SealedDigest(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clue::QUICK_FORMS;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn key(id: &str, byte: u8) -> FingerprintKey {
        FingerprintKey::new(id, &SecretBytes::new(vec![byte; 32]))
    }

    fn material(fields: &[(&str, &str)]) -> Material {
        let bytes = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), bytes(text)));
        Material::from_fields(fields.collect())
    }

    fn is_marked(marks: &Marks, key: &FingerprintKey, form: Form, text: &str) -> bool {
        let value = SecretBytes::new(text.as_bytes().to_vec());
        marks.forms[&form].contains(&key.mark(&ValueDigest::of(form, &value)))
    }

    #[test]
    fn every_field_that_is_long_enough_is_marked_in_every_form() {
        let key = key("1", 7);
        let fields = [("id", "AKIAIOSFODNN7EXAMPLE"), ("region", "eu-west-1"), ("value", SECRET)];
        let forms = [QUICK_FORMS.as_slice(), &[Form::Hmsl]].concat();
        let marks = key.marks(&material(&fields), &forms);
        for form in forms {
            assert!(is_marked(&marks, &key, form, "AKIAIOSFODNN7EXAMPLE"), "{form}");
            assert!(is_marked(&marks, &key, form, SECRET), "{form}");
            assert!(is_marked(&marks, &key, form, &SECRET[6..]), "{form}");
            assert_eq!(marks.forms[&form].len(), 3, "{form}");
        }
        let short = key.marks(&material(&[("value", "eleven-char")]), &QUICK_FORMS);
        assert_eq!(short.count(), 0);
        assert!(short.cover(&key, &QUICK_FORMS), "it is not looked for again");
        let many: Vec<(String, String)> =
            (0..40).map(|n| (format!("f{n:02}"), format!("{SECRET}{n}"))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let marks = key.marks(&material(&many), &QUICK_FORMS);
        assert_eq!(marks.count(), RECOGNISED_MAX * QUICK_FORMS.len());
    }

    #[test]
    fn what_is_kept_confirms_no_guess_without_the_key() {
        let (mine, other) = (key("1", 7), key("2", 8));
        let material = material(&[("value", SECRET)]);
        let marks = mine.marks(&material, &[Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl]);
        let kept = serde_json::to_string(&marks).unwrap();
        assert!(!kept.contains(SECRET) && !kept.contains(&SECRET[6..]));
        for text in [SECRET, &SECRET[6..]] {
            for form in [Form::Sha256, Form::Sha1, Form::Ggshield, Form::Hmsl] {
                let digest = ValueDigest::of(form, &SecretBytes::new(text.as_bytes().to_vec()));
                let digest = hex::encode(digest.expose());
                assert!(!kept.contains(&digest) && !kept.contains(&digest[..32]), "{form}");
            }
        }
        let theirs = serde_json::to_string(&other.marks(&material, &QUICK_FORMS)).unwrap();
        let marks_in = |text: &str| -> Vec<String> {
            let hex = |part: &&str| part.len() >= 32;
            text.split('"').filter(hex).map(str::to_owned).collect()
        };
        assert!(marks_in(&kept).len() > 8);
        assert!(marks_in(&kept).iter().all(|mark| !theirs.contains(mark)));
    }

    #[test]
    fn the_key_opens_the_digests_and_no_other_does() {
        let mine = key("1", 7);
        let mut marks = mine.marks(&material(&[("value", SECRET)]), &QUICK_FORMS);
        let again: Marks = serde_json::from_str(&serde_json::to_string(&marks).unwrap()).unwrap();
        assert_eq!(again, marks);
        let opened: Vec<String> =
            mine.open(&marks).iter().map(|d| hex::encode(d.as_ref())).collect();
        let digest = ValueDigest::of(Form::Sha256, &SecretBytes::new(SECRET.as_bytes().to_vec()));
        assert_eq!(opened.len(), 2);
        assert_eq!(opened[0], hex::encode(digest.expose()));
        assert!(key("2", 8).open(&marks).is_empty());
        marks.sealed.clear();
        assert!(mine.open(&marks).is_empty());
    }
}
