//! The wire to Vault: vaultrs' typed requests over our own transport. The only file that names
//! vaultrs or rustify.
//!
//! vaultrs knows paths and methods. Everything else is done here, because its own client follows
//! redirects with the token, prints bodies in its errors, and hides the headers of answers: status,
//! `Date`, `Retry-After` and the consistency index. Requests that vaultrs has no type for, or
//! whose type would copy a secret into memory that nobody wipes, are [`Plain`].

use std::error::Error as _;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use reqwest::redirect;
use rustify::endpoint::{Endpoint, MiddleWare};
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;
use url::Url;
use vaultrs::api::kv2::requests::{
    DeleteSecretMetadataRequest, DestroySecretVersionsRequest, ListSecretsRequest,
    ReadSecretMetadataRequest, ReadSecretRequest,
};
use vaultrs::api::token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest};
use zeroize::Zeroizing;

use crate::model::material::SecretBytes;
use crate::vault::answer::Answer;
use crate::vault::consistency::Consistency;
use crate::vault::document::Document;
use crate::vault::order::Order;
use crate::vault::settings::{Settings, SetupError};

/// Largest answer that is read: a list of 100,000 names is some 3 MiB.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// Largest document that is written: Raft takes 1 MiB an entry, and stores it in base64.
const DOCUMENT_MAX: usize = 512 * 1024;

/// Idle connections kept: as many as requests may be in flight.
const IDLE_MAX: usize = 64;

/// How long an idle connection is kept: below the five minutes after which Vault closes its own,
/// so that a write is not sent into a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// How often a silent connection is tested, so that a node that vanished is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The token as a header that is never shown, over bytes that are wiped when nobody uses it.
#[derive(Clone)]
pub(super) struct Token(HeaderValue);

impl Token {
    /// A token, unless it has characters that no header can carry.
    pub(super) fn new(token: SecretBytes) -> Option<Token> {
        if token.is_empty() {
            return None;
        }
        let bytes = Bytes::from_owner(Wiped(token));
        let mut header = HeaderValue::from_maybe_shared(bytes).ok()?;
        header.set_sensitive(true);
        Some(Token(header))
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum Lost {
    /// Nothing left this machine.
    #[error("{0}")]
    NotSent(String),
    /// The request is not one that can be sent.
    #[error("{0}")]
    Unfit(&'static str),
    /// It was sent; what became of it is not known.
    #[error("{0}")]
    Unknown(&'static str),
}

/// The connection to one Vault address.
pub(super) struct Wire {
    http: reqwest::Client,
    address: Url,
    namespace: Option<HeaderValue>,
    redirect_hosts: Vec<String>,
    consistency: Mutex<Consistency>,
}

impl Wire {
    /// A connection as the settings say. Nothing is sent yet.
    pub(super) fn new(settings: &Settings) -> Result<Wire, SetupError> {
        let namespace = match settings.namespace.as_deref().map(|name| name.trim_matches('/')) {
            None | Some("") => None,
            Some(name) => Some(HeaderValue::from_str(name).map_err(|_| SetupError::Namespace)?),
        };
        Ok(Wire {
            http: transport(settings)?,
            address: settings.address.clone(),
            namespace,
            redirect_hosts: settings.redirect_hosts.clone(),
            consistency: Mutex::new(Consistency::default()),
        })
    }

    /// Sends a request once and reads its answer whole, whatever its status. A standby's redirect
    /// is followed once, by hand, if it names a configured host.
    pub(super) async fn send(
        &self,
        order: &Order<'_>,
        token: Option<&Token>,
    ) -> Result<Answer, Lost> {
        let (head, body) = self.draft(order, token)?;
        let first = Url::parse(&head.uri.to_string()).map_err(|_| Lost::Unfit("its address"))?;
        let answer = self.exchange(&first, &head, body.clone()).await?;
        match answer.redirect().and_then(|location| self.elsewhere(&first, location)) {
            Some(second) => self.exchange(&second, &head, body).await,
            None => Ok(answer),
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        head: &http::request::Parts,
        body: Bytes,
    ) -> Result<Answer, Lost> {
        let call = self
            .http
            .request(head.method.clone(), url.clone())
            .headers(head.headers.clone())
            .body(body);
        let mut response = call.send().await.map_err(|error| lost(&error))?;
        let mut chunks = Vec::new();
        let mut length = 0usize;
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
            length = length.saturating_add(chunk.len());
            if length > ANSWER_MAX {
                return Err(Lost::Unknown("an answer above 4 MiB"));
            }
            chunks.push(chunk);
        }
        let status = response.status();
        if status.is_success() {
            self.note_index(response.headers());
        }
        Ok(Answer::new(status.as_u16(), response.headers(), Zeroizing::new(chunks.concat())))
    }

    /// Where a redirect points, if that is a configured host reached the same way. Only the host
    /// is taken from it: path and query stay ours.
    fn elsewhere(&self, from: &Url, location: &str) -> Option<Url> {
        let to = Url::parse(location).ok()?;
        let named = |host: &str| host == to.host_str().unwrap_or_default();
        let port = |url: &Url| url.port_or_known_default();
        let allowed = self.redirect_hosts.iter().any(|entry| match entry.rsplit_once(':') {
            Some((host, text)) if text.parse::<u16>().is_ok() => {
                named(host) && text.parse().ok() == port(&to)
            }
            _ => named(entry) && port(&to) == port(&self.address),
        });
        if !allowed || to.scheme() != from.scheme() {
            return None;
        }
        let mut url = from.clone();
        url.set_host(to.host_str()).ok()?;
        url.set_port(to.port()).ok()?;
        Some(url)
    }

    /// The head and the body of a request.
    fn draft(
        &self,
        order: &Order<'_>,
        token: Option<&Token>,
    ) -> Result<(http::request::Parts, Bytes), Lost> {
        let dress = Dress { wire: self, token };
        let owned = |text: &str| text.to_owned();
        let at = |at: &crate::vault::KvPath| (at.mount.clone(), at.path.clone());
        match order {
            Order::Read { at: place, version } => {
                let (mount, path) = at(place);
                dress.typed(ReadSecretRequest { mount, path, version: *version })
            }
            Order::Write { at, document, cas } => {
                let path = format!("{}/data/{}", at.mount, at.path);
                dress.plain(RequestMethod::POST, path, guarded(document, *cas)?)
            }
            Order::Patch { at, patch, cas } => {
                let path = format!("{}/data/{}", at.mount, at.path);
                dress.plain(RequestMethod::PATCH, path, guarded(patch, *cas)?)
            }
            Order::List { at: place } => {
                let (mount, path) = at(place);
                dress.typed(ListSecretsRequest { mount, path })
            }
            Order::Metadata { at: place } => {
                let (mount, path) = at(place);
                dress.typed(ReadSecretMetadataRequest { mount, path })
            }
            Order::Destroy { at: place, versions } => {
                let (mount, path) = at(place);
                let versions = versions.to_vec();
                dress.typed(DestroySecretVersionsRequest { mount, path, versions })
            }
            Order::DeleteMetadata { at: place } => {
                let (mount, path) = at(place);
                dress.typed(DeleteSecretMetadataRequest { mount, path })
            }
            Order::Capabilities { paths } => {
                let body = json(&Paths { paths })?;
                dress.plain(RequestMethod::POST, owned("sys/capabilities-self"), body)
            }
            Order::Health => dress.plain(RequestMethod::GET, owned("sys/health"), nothing()),
            Order::SealStatus => {
                dress.plain(RequestMethod::GET, owned("sys/seal-status"), nothing())
            }
            Order::LookupSelf => dress.typed(LookupTokenSelfRequest {}),
            Order::RenewSelf => dress.typed(RenewTokenSelfRequest { increment: None }),
            Order::AppRoleLogin { mount, role_id, secret_id } => {
                let secret_id =
                    secret_id.expose_str().ok_or(Lost::Unfit("a secret id that is not text"))?;
                let body = json(&Login { role_id, secret_id })?;
                dress.plain(RequestMethod::POST, format!("auth/{mount}/login"), body)
            }
        }
    }

    fn note_index(&self, headers: &HeaderMap) {
        if let (Some(index), Ok(mut seen)) = (headers.get(INDEX), self.consistency.lock()) {
            seen.note(index);
        }
    }
}

/// The state of replication that an answer shows, and that a request asks for. Sent by OpenBao
/// from 2.7 and by Vault Enterprise.
const INDEX: &str = "x-vault-index";

/// What a node does that has not got there yet. Without it, a read through a standby right after a
/// write is stale nearly always.
const INCONSISTENT: &str = "x-vault-inconsistent";

/// What every request carries besides its own.
struct Dress<'a> {
    wire: &'a Wire,
    token: Option<&'a Token>,
}

impl Dress<'_> {
    fn typed(&self, endpoint: impl Endpoint) -> Result<(http::request::Parts, Bytes), Lost> {
        let (head, body) = self.build(endpoint)?;
        Ok((head, Bytes::from(body)))
    }

    fn plain(
        &self,
        method: RequestMethod,
        path: String,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<(http::request::Parts, Bytes), Lost> {
        let (head, _) = self.build(Plain { method, path })?;
        Ok((head, Bytes::from_owner(body)))
    }

    fn build(&self, endpoint: impl Endpoint) -> Result<(http::request::Parts, Vec<u8>), Lost> {
        let mut base = self.wire.address.clone();
        base.set_path("/");
        let request = endpoint
            .with_middleware(self)
            .request(base.as_str())
            .map_err(|_| Lost::Unfit("its path"))?;
        Ok(request.into_parts())
    }
}

impl MiddleWare for Dress<'_> {
    fn request<E: Endpoint>(
        &self,
        endpoint: &E,
        request: &mut http::Request<Vec<u8>>,
    ) -> Result<(), ClientError> {
        let mut url = self.wire.address.clone();
        let prefix = self.wire.address.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}/v1{}", request.uri().path()));
        url.set_query(request.uri().query().filter(|query| !query.is_empty()));
        let uri = url.as_str().parse();
        *request.uri_mut() = uri.map_err(|source| ClientError::UrlBuildError { source })?;

        let media = match endpoint.method() {
            RequestMethod::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.wire.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        if let Some(Token(token)) = self.token {
            headers.insert("x-vault-token", token.clone());
        }
        let index = self.wire.consistency.lock().ok().and_then(|seen| seen.index());
        if let Some(index) = index {
            headers.insert(INDEX, index);
            headers.insert(INCONSISTENT, HeaderValue::from_static("forward-active-node"));
        }
        Ok(())
    }

    fn response<E: Endpoint>(
        &self,
        _: &E,
        _: &mut http::Response<Vec<u8>>,
    ) -> Result<(), ClientError> {
        Ok(())
    }
}

/// A request of our own; its body is added by the wire.
struct Plain {
    method: RequestMethod,
    path: String,
}

impl Endpoint for Plain {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        self.method.clone()
    }
}

#[derive(Serialize)]
struct Guarded<'a> {
    options: Options,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Options {
    cas: u64,
}

#[derive(Serialize)]
struct Paths<'a> {
    paths: &'a [String],
}

#[derive(Serialize)]
struct Login<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

/// A document with its check-and-set parameter.
fn guarded(document: &Document, cas: u64) -> Result<Zeroizing<Vec<u8>>, Lost> {
    let text = document.expose();
    if text.len() > DOCUMENT_MAX {
        return Err(Lost::Unfit("a document above 512 KiB"));
    }
    let data = serde_json::from_slice(text).map_err(|_| Lost::Unfit("not a JSON document"))?;
    json(&Guarded { options: Options { cas }, data })
}

fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Lost> {
    let document = Document::encode(value).map_err(|_| Lost::Unfit("a value that is not JSON"))?;
    Ok(document.into_wiped())
}

fn nothing() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::new())
}

/// Secret bytes that something else holds, wiped when it lets go.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn transport(settings: &Settings) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("rotord/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.connect_timeout.to_std())
        .pool_max_idle_per_host(IDLE_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE);
    if settings.address.scheme() == "https" {
        builder = builder.https_only(true).tls_version_min(reqwest::tls::Version::TLS_1_2);
        if let Some(pem) = &settings.ca_pem {
            let authorities = reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|list| !list.is_empty())
                .ok_or(SetupError::Ca)?;
            builder = builder.tls_certs_only(authorities);
        }
    } else {
        // Nothing will be verified, so the system's authorities need not be there.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| SetupError::Tls { cause: root_cause(&error) })
}

fn lost(error: &reqwest::Error) -> Lost {
    if error.is_connect() {
        return Lost::NotSent(format!("no connection: {}", root_cause(error)));
    }
    Lost::Unknown(if error.is_timeout() { "no answer in time" } else { "the answer broke off" })
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

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}
