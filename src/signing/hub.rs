//! X-Hub-Signature-256: `sha256=` and the HMAC-SHA256 of the body, as GitHub signs its webhooks
//! (docs.github.com, "Validating webhook deliveries").
//!
//! The key is the text of the secret as it stands, nothing decoded. Neither a moment nor an id is
//! signed: a delivery can be played back, so what it brings about must not depend on how often.

use aws_lc_rs::hmac;

use crate::model::material::SecretBytes;
use crate::signing::Refusal;
use crate::signing::key::MAC_LEN;

/// The signature. Its older sibling with SHA-1 is not looked at.
pub const SIGNATURE_HEADER: &str = "x-hub-signature-256";

const PREFIX: &str = "sha256=";

/// The signature header of a body.
pub fn sign(key: &SecretBytes, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    format!("{PREFIX}{}", hex::encode(hmac::sign(&key, body)))
}

/// Judges a body. Answers the place of the key that signed it; every key is tried, whatever was
/// found before, and each comparison takes the same time.
///
/// # Errors
/// [`Refusal::BadSignature`].
pub fn verify(keys: &[&SecretBytes], signature: &str, body: &[u8]) -> Result<usize, Refusal> {
    // Something to compare with stands in for what cannot be read, so that both take as long.
    let given = signature.strip_prefix(PREFIX).and_then(read).unwrap_or_default();
    let mut found = None;
    for (place, key) in keys.iter().enumerate() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let fits = hmac::verify(&key, body, &given).is_ok();
        if fits && found.is_none() {
            found = Some(place);
        }
    }
    found.ok_or(Refusal::BadSignature)
}

/// Hexadecimal in either case: other senders of this scheme write upper case.
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
    fn published_vectors_are_made_and_verified() {
        let vectors = crate::signing::tests::vectors("github-x-hub-signature-256");
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            let key = secret(&vector.secret.unwrap());
            let body = vector.body.unwrap();
            let header = vector.header.unwrap()["X-Hub-Signature-256"].clone();
            assert_eq!(sign(&key, body.as_bytes()), header);
            assert_eq!(verify(&[&key], &header, body.as_bytes()), Ok(0));
        }
    }

    #[test]
    fn either_key_of_an_overlap_fits_and_no_other() {
        let (new, old) = (secret("the new secret of the hook"), secret("the old secret"));
        let by_old = sign(&old, b"{}");
        assert_eq!(verify(&[&new, &old], &by_old, b"{}"), Ok(1));
        assert_eq!(verify(&[&new, &old], &sign(&new, b"{}"), b"{}"), Ok(0));
        let refused = Err(Refusal::BadSignature);
        assert_eq!(verify(&[&new], &by_old, b"{}"), refused);
        assert_eq!(verify(&[], &by_old, b"{}"), refused);
        assert_eq!(verify(&[&old], &by_old, b"{} "), refused);
        let zeros = format!("sha256={}", "0".repeat(64));
        for bad in ["", "sha256=", &by_old[7..], &by_old[..70], &zeros, "sha1=abcd", "sha256=zz"] {
            assert_eq!(verify(&[&old], bad, b"{}"), refused, "{bad}");
        }
        assert_eq!(verify(&[&old], &format!("{by_old}00"), b"{}"), refused);
    }
}
