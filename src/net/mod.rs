//! The guarded client for everything outside Vault: issuers, targets, people's webhooks.
//!
//! Decides where a request may go and what of its answer is let in. One [`Client`] speaks to one
//! configured origin: it follows no redirect, asks no proxy from the environment, keeps no cookie,
//! retries nothing, and stops at a limit of time and of bytes. Must not know what a request means:
//! whether repeating it is safe is the driver's to say, and [`NetError`] tells it what is known.

pub mod answer;
pub mod request;

#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::redirect;
use thiserror::Error;
use url::{Host, Url};

use crate::model::failure::{Class, Failure};
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::net::answer::{Answer, retry_after};
use crate::net::request::Request;

/// Longest a whole exchange takes unless the config says otherwise: issuers that mint answer
/// within a few seconds, and an effect must end well inside the lease that allowed it.
pub const TIMEOUT_DEFAULT: Span = Span::from_secs(5);

/// Longest a connection takes to be made, name and TLS included: one retry of a lost SYN.
pub const CONNECT_TIMEOUT_DEFAULT: Span = Span::from_secs(4);

/// Largest answer that is read unless the config says otherwise: a page of a hundred keys with
/// their metadata is some 60 KiB.
pub const ANSWER_MAX_DEFAULT: usize = 256 * 1024;

/// Idle connections kept per origin: as many as one lane uses at once.
const IDLE_MAX: usize = 4;

/// How long an idle connection is kept: below the 60 s after which common servers close theirs,
/// so that a request is seldom written into a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// How often a silent connection is tested, so that a peer that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where a client may go and what it accepts.
#[derive(Debug)]
pub struct Settings {
    /// Scheme, host, port and the prefix of every path.
    pub base: Url,
    /// Lets plain HTTP leave this machine. Loopback needs no permission.
    pub allow_http: bool,
    /// Longest time from the first byte sent to the last one read.
    pub timeout: Span,
    /// Longest time until a connection stands; shorter than `timeout`.
    pub connect_timeout: Span,
    /// Largest answer in bytes.
    pub answer_max: usize,
    /// The only authorities to trust, in PEM; without it the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate and key to present, in one PEM.
    pub identity_pem: Option<SecretBytes>,
}

impl Settings {
    /// The defaults for an origin.
    pub fn new(base: Url) -> Settings {
        Settings {
            base,
            allow_http: false,
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            answer_max: ANSWER_MAX_DEFAULT,
            ca_pem: None,
            identity_pem: None,
        }
    }

    fn check(&self) -> Result<(), SetupError> {
        match self.base.scheme() {
            "https" => {}
            "http" if self.allow_http || is_loopback(&self.base) => {}
            "http" => return Err(SetupError::PlainHttp { host: origin(&self.base) }),
            _ => return Err(SetupError::Scheme),
        }
        if !self.base.username().is_empty() || self.base.password().is_some() {
            return Err(SetupError::Userinfo);
        }
        if self.base.fragment().is_some() || self.base.query().is_some() {
            return Err(SetupError::QueryOrFragment);
        }
        if self.base.host().is_none() {
            return Err(SetupError::Scheme);
        }
        if self.connect_timeout >= self.timeout || self.connect_timeout == Span::ZERO {
            return Err(SetupError::Timeouts);
        }
        Ok(())
    }
}

/// Why a client cannot be made of its settings. Texts name the setting and the remedy.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not a web address.
    #[error("the address must begin with https:// and name a host")]
    Scheme,
    /// Clear text over a network.
    #[error("{host} would carry secrets in clear text: use https, or allow_http = true to insist")]
    PlainHttp {
        /// The origin.
        host: String,
    },
    /// A password in the address.
    #[error("the address must not hold a user name or password")]
    Userinfo,
    /// More than a prefix of paths.
    #[error("the address must not have a query or a fragment")]
    QueryOrFragment,
    /// The two time-outs contradict each other.
    #[error("the time-out for connecting must be above zero and shorter than the whole time-out")]
    Timeouts,
    /// Not the PEM of a certificate.
    #[error("the CA file holds no certificate in PEM")]
    Ca,
    /// Not the PEM of a certificate and its key.
    #[error("the identity file must hold a certificate and its key in PEM")]
    Identity,
    /// The TLS set-up failed.
    #[error("TLS cannot be set up: {cause}; if the system has no CA certificates, name a CA file")]
    Tls {
        /// What the TLS library says of its configuration.
        cause: String,
    },
}

/// A client for one origin.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    place: String,
    answer_max: usize,
}

impl Client {
    /// A client that goes where the settings say and nowhere else.
    ///
    /// # Errors
    /// [`SetupError`] if the settings contradict themselves or would carry secrets in the clear.
    pub fn new(settings: &Settings) -> Result<Client, SetupError> {
        settings.check()?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("rotord/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .timeout(settings.timeout.to_std())
            .connect_timeout(settings.connect_timeout.to_std())
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_keepalive(KEEPALIVE);
        if settings.base.scheme() == "https" {
            builder = builder.https_only(true).tls_version_min(reqwest::tls::Version::TLS_1_2);
            if let Some(pem) = &settings.ca_pem {
                builder = builder.tls_certs_only(authorities(pem)?);
            }
            if let Some(pem) = &settings.identity_pem {
                let identity =
                    reqwest::Identity::from_pem(pem.expose()).map_err(|_| SetupError::Identity)?;
                builder = builder.identity(identity);
            }
        } else {
            // Nothing will be verified, so the system's authorities need not be there.
            builder = builder.tls_certs_only([]);
        }
        let http =
            builder.build().map_err(|error| SetupError::Tls { cause: root_cause(&error) })?;
        let place = origin(&settings.base);
        Ok(Client { http, base: settings.base.clone(), place, answer_max: settings.answer_max })
    }

    /// Sends a request once and reads its answer whole. Any status is an answer, except a
    /// redirect (304 is none), 429, and 503 with `Retry-After`, which are errors.
    ///
    /// # Errors
    /// [`NetError`], which says whether the request may have been carried out.
    ///
    /// # Cancellation
    /// A request dropped after it was sent may have been carried out.
    pub async fn send(&self, request: Request) -> Result<Answer, NetError> {
        let (method, url, headers, body) = self.admit(request)?;
        let exchange = Exchange { place: &self.place, safe: method.is_safe() };
        let mut call = self.http.request(method, url).headers(headers);
        if let Some(body) = body {
            call = call.body(Bytes::from_owner(Wiped(body)));
        }
        let answer = call.send().await.map_err(|error| exchange.lost(&error))?;
        let status = answer.status();
        // 304 points nowhere: it is what a conditional request asks for.
        if status.is_redirection() && status != http::StatusCode::NOT_MODIFIED {
            let what = format!("answered {} and points elsewhere", status.as_u16());
            return Err(exchange.refused(Reason::Redirected, what));
        }
        if let Some(after) = retry_after(status, answer.headers()) {
            return Err(exchange.throttled(status, after));
        }
        self.read(&exchange, answer).await
    }

    /// Where the client goes: scheme, host and port. Fit for logs.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn admit(&self, request: Request) -> Result<request::Parts, NetError> {
        let refuse = |what: String| NetError {
            failure: Failure { class: Class::Refused, reason: Reason::Misconfigured },
            sent: false,
            place: self.place.clone(),
            what,
        };
        request.into_parts(&self.base).map_err(|what| refuse(format!("not sent: {what}")))
    }

    async fn read(
        &self,
        exchange: &Exchange<'_>,
        mut answer: reqwest::Response,
    ) -> Result<Answer, NetError> {
        let mut chunks = Vec::new();
        let mut length = 0usize;
        while let Some(chunk) = answer.chunk().await.map_err(|error| exchange.lost(&error))? {
            length = length.saturating_add(chunk.len());
            if length > self.answer_max {
                return Err(exchange.too_large(self.answer_max));
            }
            chunks.push(chunk);
        }
        Ok(Answer {
            status: answer.status(),
            headers: std::mem::take(answer.headers_mut()),
            body: SecretBytes::new(chunks.concat()),
            place: self.place.clone(),
            safe: exchange.safe,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Why there is no answer to work with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {what}")]
pub struct NetError {
    /// What can be done, and the stable code. `Ambiguous` stands only where `sent` is true and
    /// the method can change something.
    pub failure: Failure,
    /// Whether the request may have reached the other side.
    pub sent: bool,
    /// The origin. Paths and queries are left out: people's webhooks carry secrets there.
    pub place: String,
    /// For people. Never holds anything of an answer.
    pub what: String,
}

/// One request on its way: what its errors need to say.
struct Exchange<'a> {
    place: &'a str,
    safe: bool,
}

impl Exchange<'_> {
    fn lost(&self, error: &reqwest::Error) -> NetError {
        if error.is_connect() {
            let reason = if error.is_timeout() { Reason::TimedOut } else { Reason::Unreachable };
            return NetError {
                failure: Failure { class: Class::Transient, reason },
                sent: false,
                place: self.place.to_owned(),
                what: format!("no connection: {}", root_cause(error)),
            };
        }
        if error.is_timeout() {
            return self.unknown(Reason::TimedOut, "no answer in time".to_owned());
        }
        let reason = if self.safe { Reason::BadAnswer } else { Reason::Ambiguous };
        self.unknown(reason, "the answer broke off or was not HTTP".to_owned())
    }

    /// It was sent; what became of it is not known. A safe method changes nothing either way.
    fn unknown(&self, reason: Reason, what: String) -> NetError {
        let class = if self.safe { Class::Transient } else { Class::Ambiguous };
        let failure = Failure { class, reason };
        NetError { failure, sent: true, place: self.place.to_owned(), what }
    }

    fn refused(&self, reason: Reason, what: String) -> NetError {
        let failure = Failure { class: Class::Refused, reason };
        NetError { failure, sent: true, place: self.place.to_owned(), what }
    }

    fn throttled(&self, status: http::StatusCode, after: Span) -> NetError {
        let class = Class::Throttled(after);
        NetError {
            failure: Failure { class, reason: Reason::Throttled },
            sent: true,
            place: self.place.to_owned(),
            what: format!("answered {} and asks for a pause of {after}", status.as_u16()),
        }
    }

    fn too_large(&self, limit: usize) -> NetError {
        let what = format!("the answer is larger than {limit} bytes");
        match self.safe {
            true => self.refused(Reason::AnswerTooLarge, what),
            false => self.unknown(Reason::AnswerTooLarge, what),
        }
    }
}

/// A body or a header's value that is wiped once it was written to the connection.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The innermost source: the system's or TLS's own words, without the address reqwest adds.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = String::from("unknown cause");
    while let Some(source) = cause {
        text = source.to_string();
        cause = source.source();
    }
    text
}

/// Whether these bytes are authorities that a client could trust.
///
/// # Errors
/// [`SetupError::Ca`] if they are not.
pub fn check_ca(pem: &[u8]) -> Result<(), SetupError> {
    authorities(pem).map(drop)
}

fn authorities(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, SetupError> {
    let all = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|list| !list.is_empty());
    all.ok_or(SetupError::Ca)
}
