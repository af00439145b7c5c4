//! What a report says about a leaked value, without the value.
//!
//! Decides in which forms a value is recognised, and how each is computed; must not know which
//! source sends which form. A [`Clue`] holds no secret bytes: whoever receives a raw value turns it
//! into clues at once and wipes it.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::model::id::KeyId;
use crate::model::material::SecretBytes;

/// A form in which scanners name a value: how the digest they send was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// SHA-256 of the value: GitLab's reports, GitHub's feedback, and every raw value that reaches
    /// us.
    Sha256,
    /// SHA-1 of the value: detect-secrets' baselines.
    Sha1,
    /// SHA-256 of `value,apikey`: ggshield's `ignore_sha` of a single-match detector.
    Ggshield,
    /// GitGuardian's `hmsl_hash`: scrypt (N 2048, r 8, p 1) under a fixed salt. Some
    /// milliseconds each, so computed off the rotation's path and only where it is asked for.
    Hmsl,
}

/// The forms that cost next to nothing: computed for every version when it is staged.
pub const QUICK_FORMS: [Form; 3] = [Form::Sha256, Form::Sha1, Form::Ggshield];

/// The match type that ggshield puts after a value with one match.
const GGSHIELD_MATCH_TYPE: &[u8] = b"apikey";

/// GitGuardian's salt is the SHA-256 of this word.
const HMSL_SALT: &[u8] = b"GitGuardian";

/// The digest of a value in one form. Unkeyed, so it is never kept and never shown: of a weak
/// value it would be as good as the value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueDigest {
    /// The form.
    pub form: Form,
    bytes: Vec<u8>,
}

/// One thing that a report says about what leaked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clue {
    /// A digest of the value. Only who knows the value (or was told by one who does) has it.
    Digest(ValueDigest),
    /// TruffleHog's SARIF fingerprint: SHA-256 of `rule:uri:line:` and the hexadecimal SHA-256 of
    /// the value. Differs from place to place, so it is compared with the live versions one by one.
    Placed {
        /// What stands before the value's own digest: `rule:uri:line:`.
        prefix: String,
        /// The SHA-256.
        digest: [u8; 32],
    },
    /// The issuer's public id of a key. Anybody may know it: it proves nothing.
    KeyId(KeyId),
    /// A place in Vault's KV. The sender's claim: it proves nothing.
    VaultPlace {
        /// The namespace, mount and path below it, joined by `/` without slashes at the ends.
        path: String,
        /// KV's own version.
        version: Option<u64>,
    },
}

impl Clue {
    /// The clues that a raw value gives: its digest as it stands, trimmed, and freed of URL, JSON
    /// and quotation escapes. The value may be dropped afterwards.
    pub fn of_value(value: &SecretBytes) -> Vec<Clue> {
        let mut clues: Vec<Clue> = variants(value)
            .iter()
            .map(|variant| Clue::Digest(ValueDigest::of(Form::Sha256, variant)))
            .collect();
        clues.sort();
        clues.dedup();
        clues
    }

    /// Whether nobody can have it who does not know the value.
    pub fn proves_knowledge(&self) -> bool {
        matches!(self, Clue::Digest(_) | Clue::Placed { .. })
    }
}

impl ValueDigest {
    /// Computes the digest of a value.
    pub fn of(form: Form, value: &SecretBytes) -> ValueDigest {
        ValueDigest::of_bytes(form, value.expose())
    }

    /// Computes the digest of bytes that stand in somebody else's text and may be a value.
    pub fn of_bytes(form: Form, value: &[u8]) -> ValueDigest {
        let bytes = match form {
            Form::Sha256 => sha256(&[value]),
            Form::Ggshield => sha256(&[value, b",", GGSHIELD_MATCH_TYPE]),
            Form::Sha1 => {
                digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, value).as_ref().to_vec()
            }
            Form::Hmsl => hmsl(value),
        };
        ValueDigest { form, bytes }
    }

    /// Takes a digest as a report gives it: hexadecimal digits in either case.
    pub fn parse(form: Form, text: &str) -> Option<ValueDigest> {
        let bytes = hex::decode(text.trim()).ok()?;
        (bytes.len() == form.digest_len()).then_some(ValueDigest { form, bytes })
    }

    /// The bytes, to be keyed.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl Form {
    /// Length of the digest in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Form::Sha1 => 20,
            Form::Sha256 | Form::Ggshield | Form::Hmsl => 32,
        }
    }

    /// The name as it stands in records and config.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Sha256 => "sha256",
            Form::Sha1 => "sha1",
            Form::Ggshield => "ggshield",
            Form::Hmsl => "hmsl",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ValueDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[digest]", self.form)
    }
}

/// A value as it may have been written down. Bounded: each step is applied once.
pub(super) fn variants(value: &SecretBytes) -> Vec<SecretBytes> {
    let raw = value.expose();
    let trimmed = trim(raw);
    let mut all = vec![SecretBytes::new(raw.to_vec()), SecretBytes::new(trimmed.to_vec())];
    let unquoted = unquote(trimmed);
    all.push(SecretBytes::new(unquoted.to_vec()));
    let url: Vec<u8> = percent_encoding::percent_decode(unquoted).collect();
    all.push(SecretBytes::new(trim(&url).to_vec()));
    if let Some(plain) = json_unescaped(unquoted) {
        all.push(plain);
    }
    all.retain(|variant| !variant.is_empty());
    all
}

fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

fn unquote(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] | [b'`', inner @ .., b'`'] => inner,
        _ => bytes,
    }
}

fn json_unescaped(bytes: &[u8]) -> Option<SecretBytes> {
    if !bytes.contains(&b'\\') {
        return None;
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(bytes);
    quoted.push(b'"');
    let quoted = SecretBytes::new(quoted);
    let text: String = serde_json::from_slice(quoted.expose()).ok()?;
    Some(SecretBytes::new(text.into_bytes()))
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn hmsl(value: &[u8]) -> Vec<u8> {
    let salt = sha256(&[HMSL_SALT]);
    let mut out = vec![0; 32];
    let params = scrypt::Params::new(11, 8, 1).expect("GitGuardian's numbers are legal");
    scrypt::scrypt(value, &salt, &params, &mut out).expect("32 bytes are a legal length");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn the_published_vectors_come_out() {
        let hmsl = ValueDigest::of(Form::Hmsl, &secret("password"));
        let published = "743d9fde380b7064cc6a8d3071184fc47905cf7440e5615cd46c7b6cbfb46d47";
        assert!(Some(hmsl) == ValueDigest::parse(Form::Hmsl, published));
        let sha1 = ValueDigest::of(Form::Sha1, &secret("abc"));
        let published = "A9993E364706816ABA3E25717850C26C9CD0D89D";
        assert!(Some(sha1) == ValueDigest::parse(Form::Sha1, published));
    }

    #[test]
    fn a_value_is_recognised_however_it_was_written_down() {
        let plain = Clue::Digest(ValueDigest::of(Form::Sha256, &secret("rk_a+b/c==\"d")));
        for written in [
            "rk_a+b/c==\"d",
            "  rk_a+b/c==\"d\r\n",
            "'rk_a+b/c==\"d'",
            "rk_a%2Bb%2Fc%3D%3D%22d",
            r#""rk_a+b\/c==\"d""#,
            r#"rk_a+b/c\u003d\u003d\u0022d"#,
        ] {
            assert!(Clue::of_value(&secret(written)).contains(&plain), "{written}");
        }
        assert!(!Clue::of_value(&secret("rk_a+b/c==d")).contains(&plain));
    }

    #[test]
    fn digests_are_not_shown_and_wrong_lengths_not_taken() {
        let shown = format!("{:?}", ValueDigest::of(Form::Sha1, &secret("abc")));
        assert_eq!(shown, "sha1:[digest]");
        assert!(ValueDigest::parse(Form::Sha256, "a9993e").is_none());
        assert!(ValueDigest::parse(Form::Sha1, "not hexadecimal").is_none());
    }
}
