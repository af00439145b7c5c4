//! The part of GitHub's REST API that alerts need: one alert, the open ones, and closing one
//! (docs.github.com/rest/secret-scanning).
//!
//! Decides how it is asked and what of its answers is used; must not know what an alert leads to.
//! Answers hold values: they are read in wiped memory and nothing of them is repeated.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::intake::reading::{Each, Raw, Text, parse};
use crate::model::failure::Class;
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::net::answer::Answer;
use crate::net::request::Request;
use crate::net::{self, Client, NetError};

/// Longest time of one request: GitHub waits 10 s for our answer to a webhook, and making the alert
/// durable comes after this.
pub const ASK_WITHIN: Span = Span::from_secs(4);

/// Largest answer: a page of fifty alerts with their repositories is some 400 KiB.
const ANSWER_MAX: usize = 2 * 1024 * 1024;

/// Alerts of one page.
pub const PER_PAGE: usize = 50;

/// Longest name of an owner or a repository; GitHub allows 39 and 100.
const NAME_MAX: usize = 100;

/// Longest comment that GitHub keeps with a closed alert.
const COMMENT_MAX: usize = 280;

/// Pause after a limit without a word of when it ends: GitHub's documentation asks for a minute.
const LIMIT_PAUSE: Span = Span::from_secs(60);

/// How the API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://api.github.com`, or an Enterprise Server's `https://HOST/api/v3`.
    pub base: Url,
    /// A token that may read secret-scanning alerts, and write them if alerts are closed.
    pub token: SecretRef,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
}

/// The API.
pub struct Api {
    client: Client,
    token: SecretRef,
    secrets: Secrets,
}

/// One alert's place: `owner/repository#number`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    repository: Repository,
    number: u64,
}

/// `owner/repository`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository(String);

/// Whose alerts are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All repositories of an organisation.
    Organisation(String),
    /// One repository.
    Repository(Repository),
}

/// An alert as the API shows it.
#[derive(Deserialize)]
pub(in crate::intake) struct Shown {
    #[serde(default)]
    pub(in crate::intake) number: u64,
    #[serde(default)]
    pub(in crate::intake) secret: Option<Raw>,
    #[serde(default)]
    pub(in crate::intake) secret_type: Text,
    #[serde(default)]
    pub(in crate::intake) html_url: Text,
    #[serde(default)]
    pub(in crate::intake) state: Text,
    #[serde(default)]
    pub(in crate::intake) resolution: Text,
    #[serde(default)]
    pub(in crate::intake) validity: Text,
    #[serde(default)]
    pub(in crate::intake) publicly_leaked: Option<bool>,
    pub(in crate::intake) updated_at: Option<Timestamp>,
    pub(in crate::intake) created_at: Option<Timestamp>,
    #[serde(default)]
    pub(in crate::intake) repository: Named,
    #[serde(default)]
    pub(in crate::intake) first_location_detected: Option<Details>,
}

/// A repository in an answer or an event.
#[derive(Default, Deserialize)]
pub(in crate::intake) struct Named {
    #[serde(default)]
    pub(in crate::intake) full_name: Text,
}

/// Where a value was seen: a line of a commit, or a text of an issue and the like.
#[derive(Default, Deserialize)]
pub(in crate::intake) struct Details {
    #[serde(default)]
    path: Text,
    start_line: Option<u64>,
    #[serde(default)]
    commit_sha: Text,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, serde_json::Value>,
}

/// A page of a list.
pub(in crate::intake) struct Listed {
    /// The alerts.
    pub(in crate::intake) alerts: Each<Shown>,
    /// GitHub's mark of the next page.
    pub(in crate::intake) after: Option<String>,
    /// The validator of this page.
    pub(in crate::intake) etag: Option<String>,
}

impl Repository {
    /// Takes `owner/repository`; nothing in it could lead elsewhere when it becomes a path.
    pub fn new(full_name: &str) -> Option<Repository> {
        let (owner, name) = full_name.split_once('/')?;
        (is_name(owner) && is_name(name)).then(|| Repository(full_name.to_owned()))
    }
}

impl Scope {
    /// Takes `organisation` or `owner/repository`.
    pub fn new(text: &str) -> Option<Scope> {
        match Repository::new(text) {
            Some(repository) => Some(Scope::Repository(repository)),
            None => is_name(text).then(|| Scope::Organisation(text.to_owned())),
        }
    }

    fn path(&self) -> String {
        match self {
            Scope::Organisation(name) => format!("/orgs/{name}"),
            Scope::Repository(repository) => format!("/repos/{repository}"),
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != ".."
}

impl Place {
    /// The alert of that number.
    pub fn new(repository: Repository, number: u64) -> Place {
        Place { repository, number }
    }

    /// Takes `owner/repository#number`, as [`Place`] is shown.
    pub fn parse(text: &str) -> Option<Place> {
        let (repository, number) = text.split_once('#')?;
        Some(Place::new(Repository::new(repository)?, number.parse().ok()?))
    }

    fn path(&self) -> String {
        format!("/repos/{}/secret-scanning/alerts/{}", self.repository, self.number)
    }
}

impl Details {
    /// One line for people.
    pub(in crate::intake) fn place(&self, repository: &Repository) -> String {
        if !self.path.as_str().is_empty() {
            let commit: String = self.commit_sha.as_str().chars().take(12).collect();
            let line = self.start_line.map(|line| format!(":{line}")).unwrap_or_default();
            return format!("{repository}@{commit} {}{line}", self.path.as_str());
        }
        let links = self.rest.iter().filter(|(name, _)| name.ends_with("_url"));
        links.filter_map(|(_, link)| link.as_str()).next().unwrap_or_default().to_owned()
    }
}

impl Api {
    /// The API at the address of the settings.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn new(settings: Settings, secrets: Secrets) -> Result<Api, DriverError> {
        let Settings { base, token, ca_file, allow_http } = settings;
        let client = client(base, ca_file, allow_http)?;
        Ok(Api { client, token, secrets })
    }

    /// One alert with its value.
    ///
    /// # Errors
    /// [`DriverError`]; `gone` also if the token may not see it.
    pub(in crate::intake) async fn alert(&self, place: &Place) -> Result<Shown, DriverError> {
        let answer = self.ask(Request::new(Method::GET, place.path())).await?;
        self.read(&answer.success().map_err(told)?)
    }

    /// A page of the open alerts, the last changed first. `after` is the mark of the page before;
    /// `None` is answered if nothing differs from the page with that `etag`.
    ///
    /// # Errors
    /// [`DriverError`].
    pub(in crate::intake) async fn open(
        &self,
        scope: &Scope,
        after: Option<&str>,
        etag: Option<&str>,
    ) -> Result<Option<Listed>, DriverError> {
        let mut path = format!(
            "{}/secret-scanning/alerts?state=open&sort=updated&direction=desc&per_page={PER_PAGE}",
            scope.path()
        );
        if let Some(after) = after {
            let plain = percent_encoding::NON_ALPHANUMERIC;
            path.push_str("&after=");
            path.extend(percent_encoding::utf8_percent_encode(after, plain));
        }
        let mut request = Request::new(Method::GET, path);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH.as_str(), etag);
        }
        let answer = self.ask(request).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let answer = answer.success().map_err(told)?;
        let alerts = self.read(&answer)?;
        let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let after = text(header::LINK).and_then(|links| next_mark(links, "after"));
        Ok(Some(Listed { alerts, after, etag: text(header::ETAG).map(str::to_owned) }))
    }

    /// Closes an alert as revoked, unless it is closed already.
    ///
    /// # Errors
    /// [`DriverError`].
    pub(in crate::intake) async fn resolve(
        &self,
        place: &Place,
        comment: &str,
    ) -> Result<(), DriverError> {
        let path = format!("{}?hide_secret=true", place.path());
        let answer = self.ask(Request::new(Method::GET, path)).await?;
        let shown: Shown = self.read(&answer.success().map_err(told)?)?;
        if shown.state.as_str() == "resolved" {
            return Ok(());
        }
        let comment: String = comment.chars().take(COMMENT_MAX).collect();
        let body = json!({
            "state": "resolved", "resolution": "revoked", "resolution_comment": comment,
        });
        let request = Request::new(Method::PATCH, place.path())
            .body("application/json", SecretBytes::new(body.to_string().into_bytes()));
        self.ask(request).await?.success().map_err(told)?;
        Ok(())
    }

    async fn ask(&self, request: Request) -> Result<Answer, DriverError> {
        let token = self.secrets.fetch(&self.token).await?;
        let bearer = SecretBytes::new([b"Bearer ", token.expose()].concat());
        let request = request
            .secret_header(header::AUTHORIZATION.as_str(), &bearer)
            .header(header::ACCEPT.as_str(), "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28");
        let answer = self.client.send(request).await.map_err(told)?;
        // GitHub says 403 where others say 429 (docs.github.com, "Rate limits for the REST API").
        let spent = answer.headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
        let pause = answer.headers.get(header::RETRY_AFTER);
        if answer.status == StatusCode::FORBIDDEN && (spent || pause.is_some()) {
            let seconds = pause.and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
            let after = seconds.map_or(LIMIT_PAUSE, |seconds| Span::from_secs(u64::from(seconds)));
            let text = format!("{}: its limit is reached", self.client.place());
            return Err(DriverError::new(Class::Throttled(after), Reason::Throttled, text));
        }
        Ok(answer)
    }

    fn read<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, DriverError> {
        parse(&answer.body).map_err(|rejected| {
            let text = format!("{}: its answer cannot be read: {rejected}", self.client.place());
            DriverError::transient(Reason::BadAnswer, text)
        })
    }
}

/// A client for an address that is asked about alerts.
///
/// # Errors
/// `misconfigured`, with what is wrong.
pub(in crate::intake) fn client(
    base: Url,
    ca_file: Option<PathBuf>,
    allow_http: bool,
) -> Result<Client, DriverError> {
    let wrong = |text: String| DriverError::refused(Reason::Misconfigured, text);
    let ca_pem = ca_file
        .map(|path| {
            fs::read(&path).map_err(|e| wrong(format!("{} cannot be read: {e}", path.display())))
        })
        .transpose()?;
    let settings = net::Settings {
        allow_http,
        timeout: ASK_WITHIN,
        connect_timeout: Span(ASK_WITHIN.0 / 2),
        answer_max: ANSWER_MAX,
        ca_pem,
        ..net::Settings::new(base)
    };
    Client::new(&settings).map_err(|error| wrong(error.to_string()))
}

/// What failed, for one who asks again.
pub(in crate::intake) fn told(error: NetError) -> DriverError {
    DriverError::new(error.failure.class, error.failure.reason, error.to_string())
}

/// The mark by this name in the link to the next page (RFC 8288). Only the mark is taken: where to
/// ask stays ours to say.
pub(in crate::intake) fn next_mark(links: &str, name: &str) -> Option<String> {
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let link = next.split_once('<')?.1.split_once('>')?.0;
    let link = Url::parse(link).ok()?;
    link.query_pairs().find(|(key, _)| key == name).map(|(_, mark)| mark.into_owned())
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("place", &self.client.place()).finish_non_exhaustive()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.repository, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        for bad in ["", "a", "a/", "/b", "a/..", "./b", "a/b/c", "a/b?x", "a/b#1", "a/b%2f", "ä/b"]
        {
            assert!(Repository::new(bad).is_none(), "{bad}");
        }
        let place = Place::parse("octo-org/hello.world#42").unwrap();
        assert_eq!(place.to_string(), "octo-org/hello.world#42");
        assert_eq!(place.path(), "/repos/octo-org/hello.world/secret-scanning/alerts/42");
        for bad in ["octo/a", "octo/a#", "octo/a#-1", "octo#1", "octo/a#1/../2"] {
            assert!(Place::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Scope::new("octo").map(|scope| scope.path()).unwrap(), "/orgs/octo");
        assert!(Scope::new("octo/../x").is_none());
    }

    #[test]
    fn the_next_page_is_taken_by_its_mark() {
        let links = "<https://evil.example/x?per_page=50&after=Y3Vyc29y%3D%3D>; rel=\"next\", \
                     <https://api.github.com/x?before=zz>; rel=\"prev\"";
        assert_eq!(next_mark(links, "after").unwrap(), "Y3Vyc29y==");
        assert!(next_mark("<https://api.github.com/x?before=zz>; rel=\"prev\"", "after").is_none());
        assert!(next_mark("rel=\"next\"", "after").is_none());
    }
}
