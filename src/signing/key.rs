//! The key of a signature, from the two forms in which people keep it.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::material::{SecretBytes, VALUE_LEN_MIN};

/// What a Standard Webhooks secret starts with; the rest is base64 of the key.
pub const WHSEC: &str = "whsec_";

/// Fewest key bytes behind [`WHSEC`]: the Standard Webhooks specification asks for 24 to 64.
pub const WHSEC_LEN_MIN: usize = 24;

/// Bytes of an HMAC-SHA256.
pub const MAC_LEN: usize = 32;

/// Reads base64 with and without padding: some libraries write it, some do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key of HMAC-SHA256.
pub struct SigningKey(hmac::Key);

/// Why a value is no key. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadKey {
    /// It starts with [`WHSEC`] and goes on with something else than base64.
    #[error("what follows whsec_ is not base64")]
    NotBase64,
    /// Too few bytes to be a key.
    #[error("the key is too short")]
    Short,
}

impl SigningKey {
    /// The key of a value: what `whsec_` decodes to, or the bytes as they are.
    ///
    /// # Errors
    /// [`BadKey`] for fewer than [`WHSEC_LEN_MIN`] decoded or
    /// [`VALUE_LEN_MIN`] raw bytes, and for broken base64.
    pub fn new(value: &SecretBytes) -> Result<SigningKey, BadKey> {
        match value.expose().strip_prefix(WHSEC.as_bytes()) {
            Some(encoded) => {
                let mut key = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
                let len = BASE64.decode_slice(encoded, &mut key).map_err(|_| BadKey::NotBase64)?;
                if len < WHSEC_LEN_MIN {
                    return Err(BadKey::Short);
                }
                Ok(SigningKey::of(&key[..len]))
            }
            None if value.len() < VALUE_LEN_MIN => Err(BadKey::Short),
            None => Ok(SigningKey::of(value.expose())),
        }
    }

    fn of(bytes: &[u8]) -> SigningKey {
        SigningKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The HMAC-SHA256 of the parts, one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}
