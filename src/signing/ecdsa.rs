//! ECDSA over a body, the public key in PEM: how GitHub's partner programme signs, and those who
//! took it over (P-256, P-384 and P-521, all with SHA-256).
//!
//! The signature is ASN.1 DER in base64. Its numbers have no fixed length, so nothing here counts
//! on one.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1,
    EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::signing::Refusal;

/// Longest PEM of a key that is read, in bytes: one of P-521 has some 270.
pub const PEM_LEN_MAX: usize = 2 * 1024;

/// The curves, in the order in which a key is tried on them.
const CURVES: [&EcdsaVerificationAlgorithm; 3] =
    [&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA256_ASN1, &ECDSA_P521_SHA256_ASN1];

/// A public key that signatures are checked with.
pub struct PublicKey(ParsedPublicKey);

/// A text is no public key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a public key of P-256, P-384 or P-521 in PEM (SubjectPublicKeyInfo)")]
pub struct BadPublicKey;

impl PublicKey {
    /// Reads a key from its PEM.
    ///
    /// # Errors
    /// [`BadPublicKey`].
    pub fn from_pem(pem: &str) -> Result<PublicKey, BadPublicKey> {
        if pem.len() > PEM_LEN_MAX {
            return Err(BadPublicKey);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| BadPublicKey)?;
        CURVES
            .iter()
            .find_map(|curve| ParsedPublicKey::new(*curve, der.as_ref()).ok())
            .map(PublicKey)
            .ok_or(BadPublicKey)
    }

    /// Judges a body by its signature in base64.
    ///
    /// # Errors
    /// [`Refusal::BadSignature`].
    pub fn verify(&self, signature: &str, body: &[u8]) -> Result<(), Refusal> {
        let signature = STANDARD.decode(signature).map_err(|_| Refusal::BadSignature)?;
        self.0.verify_sig(body, &signature).map_err(|_| Refusal::BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[public key]")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    const BODY: &[u8] = include_bytes!("../../tests/fixtures/alerts/github_partner/body.json");
    const KEYS: &str = include_str!("../../tests/fixtures/alerts/github_partner/public_keys.json");
    const SIGNATURE: &str = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt\
                             /AO1RtBY66YcAdjxji410VQV4xg==";

    #[derive(Deserialize)]
    struct Published {
        public_keys: Vec<PublishedKey>,
    }

    #[derive(Deserialize)]
    struct PublishedKey {
        key: String,
    }

    fn published() -> Vec<PublicKey> {
        let keys: Published = serde_json::from_str(KEYS).unwrap();
        keys.public_keys.iter().map(|key| PublicKey::from_pem(&key.key).unwrap()).collect()
    }

    #[test]
    fn the_published_vector_passes_whose_s_is_a_byte_short() {
        let keys = published();
        assert_eq!(keys[1].verify(SIGNATURE, BODY), Ok(()));
        let refused = Err(Refusal::BadSignature);
        assert_eq!(keys[0].verify(SIGNATURE, BODY), refused, "another key");
        let longer = [BODY, b"\n"].concat();
        assert_eq!(keys[1].verify(SIGNATURE, &longer), refused, "a line break more");
        for bad in ["", "MEQ", "AAAA", &SIGNATURE[4..], &format!("{SIGNATURE}AAAA")] {
            assert_eq!(keys[1].verify(bad, BODY), refused, "{bad}");
        }
    }

    macro_rules! made_by_openssl {
        ($curve:literal) => {
            (
                include_str!(concat!("../../tests/fixtures/alerts/ecdsa/", $curve, ".pem")),
                include_str!(concat!("../../tests/fixtures/alerts/ecdsa/", $curve, ".sig")),
            )
        };
    }

    #[test]
    fn each_curve_is_taken_with_sha_256() {
        let all = [made_by_openssl!("p256"), made_by_openssl!("p384"), made_by_openssl!("p521")];
        for (place, (pem, signature)) in all.iter().enumerate() {
            let key = PublicKey::from_pem(pem).unwrap();
            assert_eq!(key.verify(signature, BODY), Ok(()));
            assert_eq!(key.verify(signature, b"[]"), Err(Refusal::BadSignature));
            let other = all[(place + 1) % all.len()].1;
            assert_eq!(key.verify(other, BODY), Err(Refusal::BadSignature));
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let (good, _) = made_by_openssl!("p256");
        for bad in [
            String::new(),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(),
            good.replace("PUBLIC KEY", "PRIVATE KEY"),
            good[..60].to_owned(),
            format!("{good}{}", " ".repeat(PEM_LEN_MAX)),
        ] {
            assert_eq!(PublicKey::from_pem(&bad).unwrap_err(), BadPublicKey, "{bad}");
        }
    }
}
