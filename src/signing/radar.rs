//! HCP Vault Radar's webhooks: `sha512=` and the HMAC-SHA512 of the body
//! (developer.hashicorp.com, "Vault Radar: webhook").
//!
//! The timestamp that comes beside it is not signed, so it is not looked at: whoever plays a
//! delivery back would write a fresh one. What it brings about must not depend on how often.

use aws_lc_rs::hmac;

use crate::model::material::SecretBytes;
use crate::signing::Refusal;

/// The signature.
pub const SIGNATURE_HEADER: &str = "x-hcp-radar-signature";

const PREFIX: &str = "sha512=";

/// Bytes of an HMAC-SHA512.
const MAC_LEN: usize = 64;

/// The signature header of a body.
pub fn sign(secret: &SecretBytes, body: &[u8]) -> String {
    format!("{PREFIX}{}", hex::encode(hmac::sign(&key(secret), body)))
}

/// Judges a body. Answers the place of the secret that signed it.
///
/// # Errors
/// [`Refusal::BadSignature`].
pub fn verify(secrets: &[&SecretBytes], signature: &str, body: &[u8]) -> Result<usize, Refusal> {
    let given = signature.strip_prefix(PREFIX).and_then(read).unwrap_or([0; MAC_LEN]);
    let mut signer = None;
    for (place, secret) in secrets.iter().enumerate() {
        let fits = hmac::verify(&key(secret), body, &given).is_ok();
        signer = signer.or_else(|| fits.then_some(place));
    }
    signer.ok_or(Refusal::BadSignature)
}

fn key(secret: &SecretBytes) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA512, secret.expose())
}

fn read(text: &str) -> Option<[u8; MAC_LEN]> {
    let mut mac = [0; MAC_LEN];
    hex::decode_to_slice(text, &mut mac).ok().map(|()| mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn it_is_what_other_tools_compute() {
        // printf 'hello' | openssl dgst -sha512 -hmac 0123456789abcdef0123456789abcdef
        let right = "sha512=210fd818124f2d653aa6ec4d52feb3b6a36ae3e8cf6268055a596c849830234b\
                     56221d675fdb28795b00f0aa6c337654af09a0ba97af30af175d15b5d4e82518";
        let key = secret("0123456789abcdef0123456789abcdef");
        assert_eq!(sign(&key, b"hello"), right);
        assert_eq!(verify(&[&secret("the one before it"), &key], right, b"hello"), Ok(1));
    }

    #[test]
    fn what_is_no_signature_fits_nothing() {
        let key = secret("0123456789abcdef0123456789abcdef");
        let right = sign(&key, b"hello");
        let refused = Err(Refusal::BadSignature);
        let zeros = format!("{PREFIX}{}", "0".repeat(128));
        for bad in ["", "sha512=", &right[7..], &right[..99], &zeros, &right.replace("512", "256")]
        {
            assert_eq!(verify(&[&key], bad, b"hello"), refused, "{bad}");
        }
        assert_eq!(verify(&[&key], &right, b"hello "), refused);
        assert_eq!(verify(&[], &right, b"hello"), refused);
    }
}
