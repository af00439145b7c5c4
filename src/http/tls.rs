//! What a TLS listener shows: its certificate and key, exchanged while it runs.
//!
//! Decides the protocol versions (1.2 and 1.3, as rustls has them by default) and that only
//! HTTP/1.1 is spoken. Must not know where certificates lie.

use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::model::material::SecretBytes;

/// The one protocol that is offered.
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate and key of a listener. A clone shows the same.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// Why a certificate cannot be shown.
#[derive(Debug, Error)]
pub enum TlsError {
    /// There is none in the text.
    #[error("there is no certificate in PEM")]
    NoCertificate,
    /// There is none in the text, or another kind of it.
    #[error("there is no private key in PEM (PKCS #8, PKCS #1 or SEC1)")]
    NoKey,
    /// They are there and cannot be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
}

impl Tls {
    /// Shows this chain, the leaf first.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(chain_pem: &[u8], key_pem: &SecretBytes) -> Result<Tls, TlsError> {
        Ok(Tls(Arc::new(ArcSwap::from_pointee(config(chain_pem, key_pem)?))))
    }

    /// Shows another one from the next connection on.
    ///
    /// # Errors
    /// [`TlsError`]; the one before is shown on.
    pub fn renew(&self, chain_pem: &[u8], key_pem: &SecretBytes) -> Result<(), TlsError> {
        self.0.store(Arc::new(config(chain_pem, key_pem)?));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn config(chain_pem: &[u8], key_pem: &SecretBytes) -> Result<ServerConfig, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.expose()).map_err(|_| TlsError::NoKey)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_nothing_is_shown_of_it() {
        let secret = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
        let refused = Tls::new(b"", &secret("a key")).err().unwrap().to_string();
        assert_eq!(refused, "there is no certificate in PEM");
        let cert = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let refused = Tls::new(cert, &secret("rk_live_0123")).err().unwrap().to_string();
        assert!(refused.starts_with("there is no private key"), "{refused}");
        assert!(!refused.contains("rk_live"));
    }
}
