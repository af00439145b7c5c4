//! The conversation with the daemon: HTTP over its Unix socket, bounded in time and size.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use nix::unistd::{Uid, User};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use url::Url;

use crate::api::{REPLY_WITHIN, wire};
use crate::cli::exit::CliError;
use crate::http::peer::OPERATOR_HEADER;
use crate::model::material::SecretBytes;
use crate::model::time::Timestamp;

/// A local socket is connected to at once or not at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Shorter than the daemon keeps an idle connection, so that no request goes out on one that is
/// being closed.
const IDLE_WITHIN: Duration = Duration::from_secs(5);

/// Longer than the daemon waits for its engine, so that the daemon is the one to say it.
const ANSWER_WITHIN: Duration = Duration::from_secs(REPLY_WITHIN.as_secs() + 10);

/// Ten thousand values come from a Vault nearby in some seconds; the daemon's own limit is below.
const SCAN_BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// Largest answer taken: the status of ten thousand secrets is below a fifth of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The daemon, as seen from here.
pub(super) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Parameters in the order given; absent ones are left out.
pub(super) type Params<'a> = &'a [(&'a str, Option<&'a str>)];

impl Client {
    /// A client of this socket. Nothing is connected yet.
    pub(super) fn new(socket: PathBuf) -> Result<Client, CliError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE_WITHIN)
            .timeout(ANSWER_WITHIN)
            .default_headers(operator())
            .build()
            .map_err(|error| CliError::Runtime(io::Error::other(error)))?;
        Ok(Client { http, socket })
    }

    /// All secrets; with a moment, once there is a newer picture.
    pub(super) async fn status(
        &self,
        newer_than: Option<Timestamp>,
    ) -> Result<wire::Status, CliError> {
        self.get("v1/status", newer_than).await
    }

    /// One secret; with a moment, once there is a newer picture.
    pub(super) async fn detail(
        &self,
        name: &str,
        newer_than: Option<Timestamp>,
    ) -> Result<wire::Detail, CliError> {
        self.get(&format!("v1/status/{name}"), newer_than).await
    }

    /// What is planned.
    pub(super) async fn plan(&self) -> Result<wire::Plan, CliError> {
        self.get("v1/plan", None).await
    }

    /// A command about one secret.
    pub(super) async fn command(
        &self,
        name: &str,
        verb: &str,
        params: Params<'_>,
    ) -> Result<wire::Done, CliError> {
        let path = format!("v1/secrets/{name}/{verb}");
        self.answer(self.request(Method::POST, &path, params)).await
    }

    /// A command that carries a value.
    pub(super) async fn command_with_value(
        &self,
        name: &str,
        verb: &str,
        params: Params<'_>,
        value: SecretBytes,
    ) -> Result<wire::Done, CliError> {
        let path = format!("v1/secrets/{name}/{verb}");
        let request = self
            .request(Method::POST, &path, params)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Bytes::from_owner(Wiped(value)));
        self.answer(request).await
    }

    /// What a rotation of many secrets would do.
    pub(super) async fn scope(&self, params: Params<'_>) -> Result<wire::scope::Scope, CliError> {
        self.answer(self.request(Method::GET, "v1/scope", params)).await
    }

    /// Hands findings in, or only asks whose they are.
    pub(super) async fn alert(
        &self,
        alert: &wire::alerts::Alert,
        source: &str,
        dry_run: bool,
    ) -> Result<wire::alerts::Verdicts, CliError> {
        let dry_run = dry_run.then_some("true");
        let params = [("source", Some(source)), ("dry_run", dry_run)];
        self.answer(self.request(Method::POST, "v1/alerts", &params).json(alert)).await
    }

    /// Begins a scan.
    pub(super) async fn begin_scan(&self) -> Result<wire::alerts::Begun, CliError> {
        // Every live value is fetched from Vault first.
        let request = self.request(Method::POST, "v1/scans", &[]);
        self.answer(request.timeout(SCAN_BEGINS_WITHIN)).await
    }

    /// Has one piece of text looked at.
    pub(super) async fn piece(
        &self,
        scan: u64,
        seen: usize,
        text: Bytes,
    ) -> Result<wire::alerts::Piece, CliError> {
        let seen = seen.to_string();
        let path = format!("v1/scans/{scan}/pieces");
        let request = self.request(Method::POST, &path, &[("seen", Some(&seen))]);
        self.answer(request.body(text)).await
    }

    /// Has what a scan found judged.
    pub(super) async fn report_scan(
        &self,
        scan: u64,
        sightings: &wire::alerts::Sightings,
    ) -> Result<wire::alerts::Verdicts, CliError> {
        let path = format!("v1/scans/{scan}/report");
        self.answer(self.request(Method::POST, &path, &[]).json(sightings)).await
    }

    /// Ends a scan.
    pub(super) async fn end_scan(&self, scan: u64) -> Result<wire::Done, CliError> {
        self.answer(self.request(Method::POST, &format!("v1/scans/{scan}/end"), &[])).await
    }

    /// All incidents at hand.
    pub(super) async fn incidents(&self) -> Result<wire::incidents::Incidents, CliError> {
        self.get("v1/incidents", None).await
    }

    /// One incident in full.
    pub(super) async fn incident(
        &self,
        id: &str,
    ) -> Result<wire::incidents::IncidentDetail, CliError> {
        self.get(&format!("v1/incidents/{id}"), None).await
    }

    /// Its report, which is text and not JSON.
    pub(super) async fn incident_report(&self, id: &str) -> Result<String, CliError> {
        let request = self.request(Method::GET, &format!("v1/incidents/{id}/report"), &[]);
        let body = self.answered(request).await?;
        String::from_utf8(body).map_err(|error| CliError::NotUnderstood(error.to_string()))
    }

    /// What a person decides about it.
    pub(super) async fn incident_wish(
        &self,
        id: &str,
        verb: &str,
        params: Params<'_>,
    ) -> Result<wire::Done, CliError> {
        let path = format!("v1/incidents/{id}/{verb}");
        self.answer(self.request(Method::POST, &path, params)).await
    }

    /// Has the config read again.
    pub(super) async fn reload(&self) -> Result<wire::Done, CliError> {
        self.answer(self.request(Method::POST, "v1/reload", &[])).await
    }

    /// Says that a person has looked at the breaks of the audit chain.
    pub(super) async fn acknowledge(&self, reason: &str) -> Result<wire::Done, CliError> {
        let params = [("reason", Some(reason))];
        self.answer(self.request(Method::POST, "v1/audit/acknowledge", &params)).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        newer_than: Option<Timestamp>,
    ) -> Result<T, CliError> {
        let newer_than = newer_than.map(|moment| moment.to_string());
        self.answer(self.request(Method::GET, path, &[("newer_than", newer_than.as_deref())])).await
    }

    fn request(&self, method: Method, path: &str, params: Params<'_>) -> RequestBuilder {
        let mut url = Url::parse("http://rotord/").expect("a constant URL");
        url.set_path(path);
        for (key, value) in params {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, value);
            }
        }
        self.http.request(method, url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let body = self.answered(request).await?;
        serde_json::from_slice(&body).map_err(|error| CliError::NotUnderstood(error.to_string()))
    }

    /// The body of an answer that is a success.
    async fn answered(&self, request: RequestBuilder) -> Result<Vec<u8>, CliError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(error) => Err(CliError::Answer(status, error)),
            Err(_) if status == StatusCode::REQUEST_TIMEOUT => Err(CliError::Lost),
            Err(_) => Err(CliError::NotUnderstood(status.to_string())),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| CliError::Lost)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(CliError::NotUnderstood("the answer is too large".into()));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Told apart by what the system said to the attempt to connect.
    fn failed(&self, error: &reqwest::Error) -> CliError {
        if !error.is_connect() {
            return CliError::Lost;
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.kind() == io::ErrorKind::PermissionDenied
            {
                return CliError::NotAllowed(self.socket.clone());
            }
            cause = error.source();
        }
        CliError::NoDaemon(self.socket.clone())
    }
}

/// Who runs this, for a daemon that sees no user numbers of this machine.
fn operator() -> HeaderMap {
    let user = User::from_uid(Uid::current()).ok().flatten();
    let name = user.and_then(|user| HeaderValue::from_str(&user.name).ok());
    name.map(|name| (HeaderName::from_static(OPERATOR_HEADER), name)).into_iter().collect()
}

/// Bytes that are wiped when the request is done with them.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}
