//! Which Vault, and how it is reached.
//!
//! Decides what a client refuses to be made of: a token in clear text over a network, time-outs
//! that contradict each other. Must not know how a request is sent.

use thiserror::Error;
use url::{Host, Url};

use crate::model::time::Span;

/// Longest a request takes unless the config says otherwise: a hundred times what a busy cluster
/// needs, and a fraction of the lease.
pub const TIMEOUT_DEFAULT: Span = Span::from_secs(10);

/// Longest a connection takes to be made: three tries of a lost SYN, and shorter than a request.
pub const CONNECT_TIMEOUT_DEFAULT: Span = Span::from_secs(5);

/// Which Vault, and how it is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host, port, and a prefix of paths if a proxy adds one.
    pub address: Url,
    /// Lets the token travel in clear text beyond this machine. Loopback needs no permission.
    pub allow_http: bool,
    /// The namespace, without slashes at either end.
    pub namespace: Option<String>,
    /// The only authorities to trust, in PEM; without it the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest time for a request, waiting for its turn included.
    pub timeout: Span,
    /// Longest time until a connection stands; shorter than `timeout`.
    pub connect_timeout: Span,
    /// Hosts that a standby may point to, as `host` (the port of `address`) or `host:port`.
    pub redirect_hosts: Vec<String>,
}

impl Settings {
    /// The defaults for an address.
    pub fn new(address: Url) -> Settings {
        Settings {
            address,
            allow_http: false,
            namespace: None,
            ca_pem: None,
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            redirect_hosts: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), SetupError> {
        let loopback = match self.address.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(SetupError::Address),
        };
        match self.address.scheme() {
            "https" => {}
            "http" if self.allow_http || loopback => {}
            "http" => return Err(SetupError::PlainHttp),
            _ => return Err(SetupError::Address),
        }
        let bare = self.address.username().is_empty()
            && self.address.password().is_none()
            && self.address.query().is_none()
            && self.address.fragment().is_none();
        if !bare {
            return Err(SetupError::Address);
        }
        if self.connect_timeout >= self.timeout || self.connect_timeout == Span::ZERO {
            return Err(SetupError::Timeouts);
        }
        Ok(())
    }
}

/// Why a client cannot be made of its settings.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not an address of a Vault.
    #[error("the address of Vault must be https://host:port, without user, query or fragment")]
    Address,
    /// Clear text over a network.
    #[error("the token would travel in clear text: use https, or allow_http = true to insist")]
    PlainHttp,
    /// The two time-outs contradict each other.
    #[error("the time-out for connecting must be above zero and shorter than the whole time-out")]
    Timeouts,
    /// Not the PEM of a certificate.
    #[error("Vault's CA file holds no certificate in PEM")]
    Ca,
    /// A namespace with control characters.
    #[error("the namespace has characters that cannot be sent")]
    Namespace,
    /// The TLS set-up failed.
    #[error("TLS cannot be set up: {cause}; if the system has no CA certificates, name a CA file")]
    Tls {
        /// What the TLS library says of its configuration.
        cause: String,
    },
}
