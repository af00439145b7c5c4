//! GitGuardian's list of incidents as a [`Poll`] (api.gitguardian.com/docs, "Secret incidents").
//!
//! Asked for what was triggered since the last walk through the list ended: by that moment and not
//! by the date of what was found, which lies years back where a history was scanned. The list comes
//! in pages in whatever order; the cursor's mark says where in a walk we are. Incidents that were
//! reopened keep their moment, so only the webhook tells of them.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use http::{Method, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::github::api::{client, next_mark, told};
use crate::intake::poll::book::Cursor;
use crate::intake::poll::{Page, Poll, Sighting, Told};
use crate::intake::reading::{Each, Text, label_of, parse};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::net::Client;
use crate::net::answer::Answer;
use crate::net::request::Request;

/// Incidents of one page: some 3 KiB each.
const PER_PAGE: usize = 50;

/// Longest mark of theirs that is kept, in bytes; it has below 200.
const MARK_MAX: usize = 1_000;

/// Where the incidents are.
const INCIDENTS: &str = "/v1/incidents/secrets";

/// What such a poll needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://api.gitguardian.com`, or that of a self-hosted server.
    pub base: Url,
    /// A token that may read incidents, and write them if they are closed.
    pub token: SecretRef,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Lets plain HTTP leave this machine.
    pub allow_http: bool,
    /// Whether incidents about revoked versions are closed there.
    pub close: bool,
}

/// Such a poll.
pub struct GitGuardianPoll {
    client: Client,
    token: SecretRef,
    secrets: Secrets,
    close: bool,
}

/// What the cursor's mark holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// A walk under way: their mark of the page to read next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// The newest moment of the walk so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Timestamp>,
    /// The incidents of that moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newest_ids: Vec<u64>,
    /// The incidents of the very moment of `since`: seen already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Vec<u64>,
}

#[derive(Deserialize)]
struct Incident {
    id: u64,
    #[serde(default)]
    triggered_at: Option<Timestamp>,
    #[serde(default)]
    date: Option<Timestamp>,
    #[serde(default)]
    status: Text,
    #[serde(default)]
    hmsl_hash: Text,
    #[serde(default)]
    gitguardian_url: Text,
    #[serde(default)]
    detector: Option<Detector>,
    #[serde(default)]
    public_exposure: Option<Exposure>,
}

#[derive(Deserialize)]
struct Detector {
    #[serde(default)]
    name: Text,
}

#[derive(Deserialize)]
struct Exposure {
    #[serde(default)]
    source_publicly_visible: Option<bool>,
}

impl GitGuardianPoll {
    /// A poll with these settings.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn new(settings: Settings, secrets: Secrets) -> Result<GitGuardianPoll, DriverError> {
        let Settings { base, token, ca_file, allow_http, close } = settings;
        let client = client(base, ca_file, allow_http)?;
        Ok(GitGuardianPoll { client, token, secrets, close })
    }

    async fn ask(&self, request: Request) -> Result<Answer, DriverError> {
        let token = self.secrets.fetch(&self.token).await?;
        let token = SecretBytes::new([b"Token ", token.expose()].concat());
        let request = request.secret_header(header::AUTHORIZATION.as_str(), &token);
        self.client.send(request).await.map_err(told)?.success().map_err(told)
    }

    fn read<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, DriverError> {
        parse(&answer.body).map_err(|rejected| {
            let text = format!("{}: its answer cannot be read: {rejected}", self.client.place());
            DriverError::transient(Reason::BadAnswer, text)
        })
    }
}

/// The path of a page.
fn path(cursor: &Cursor, mark: &Mark) -> String {
    let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let since = plain(&cursor.since.to_string());
    let mut path = format!("{INCIDENTS}?per_page={PER_PAGE}&triggered_at_after={since}");
    if let Some(after) = &mark.after {
        path.push_str("&cursor=");
        path.push_str(&plain(after));
    }
    path
}

/// The page's incidents that are new, and the cursor after it.
fn turn(cursor: &Cursor, mark: Mark, incidents: Each<Incident>, after: Option<String>) -> Page {
    let since = cursor.since;
    let Mark { after: before, newest, mut newest_ids, seen } = mark;
    let mut newest = newest.unwrap_or(since);
    let mut sightings = Vec::new();
    for incident in incidents.iter() {
        let at = incident.triggered_at.or(incident.date).unwrap_or(since);
        if at > newest {
            (newest, newest_ids) = (at, Vec::new());
        }
        if at == newest && at > since {
            newest_ids.push(incident.id);
        }
        if at >= since && !(at == since && seen.contains(&incident.id)) && incident.is_open() {
            let findings = vec![incident.finding()];
            sightings.push(Sighting { id: incident.id.to_string(), findings });
        }
    }
    // A page that leads to itself, or nowhere, is the last one.
    let next = after.filter(|next| {
        incidents.len() > 0 && next.len() <= MARK_MAX && Some(next) != before.as_ref()
    });
    let more = next.is_some();
    let (since, mark) = if more {
        (since, Mark { after: next, newest: Some(newest), newest_ids, seen })
    } else if newest > since {
        (newest, Mark { seen: newest_ids, ..Mark::default() })
    } else {
        let here = incidents.iter().filter(|incident| incident.triggered_at == Some(since));
        let mut seen: Vec<u64> = seen.into_iter().chain(here.map(|incident| incident.id)).collect();
        seen.sort_unstable();
        seen.dedup();
        (since, Mark { seen, ..Mark::default() })
    };
    let odd = incidents.odd;
    Page { sightings, odd, next: Cursor { since, mark: mark.write() }, more }
}

impl Incident {
    fn is_open(&self) -> bool {
        !["resolved", "ignored"].iter().any(|word| self.status.as_str().eq_ignore_ascii_case(word))
    }

    fn finding(&self) -> Finding {
        let digest = ValueDigest::parse(Form::Hmsl, self.hmsl_hash.as_str());
        let exposure = self.public_exposure.as_ref();
        let public = exposure.and_then(|exposure| exposure.source_publicly_visible);
        let label = self.detector.as_ref().map_or("", |detector| detector.name.as_str());
        Finding {
            clues: digest.map(Clue::Digest).into_iter().collect(),
            label: label_of(label, &Mask::default()),
            found_at: FoundAt::new(self.gitguardian_url.as_str(), &Mask::default()),
            claim: if public == Some(true) { Claim::Public } else { Claim::Leaked },
        }
    }
}

#[async_trait]
impl Poll for GitGuardianPoll {
    async fn page(&self, cursor: &Cursor) -> Result<Page, DriverError> {
        let mark = Mark::read(cursor);
        let answer = self.ask(Request::new(Method::GET, path(cursor, &mark))).await?;
        let incidents: Each<Incident> = self.read(&answer)?;
        let links = answer.headers.get(header::LINK).and_then(|value| value.to_str().ok());
        let after = links.and_then(|links| next_mark(links, "cursor"));
        Ok(turn(cursor, mark, incidents, after))
    }

    async fn settle(&self, told: &Told<'_>) -> Result<(), DriverError> {
        if !self.close {
            return Ok(());
        }
        let id: u64 = told.alert.parse().map_err(|_| {
            let text = format!("{} is no incident of GitGuardian's", told.alert);
            DriverError::refused(Reason::BadAnswer, text)
        })?;
        let answer = self.ask(Request::new(Method::GET, format!("{INCIDENTS}/{id}"))).await?;
        let incident: Incident = self.read(&answer)?;
        if !incident.is_open() {
            return Ok(());
        }
        let body = json!({ "secret_revoked": true }).to_string();
        let request = Request::new(Method::POST, format!("{INCIDENTS}/{id}/resolve"))
            .body("application/json", SecretBytes::new(body.into_bytes()));
        self.ask(request).await.map(drop)
    }
}

impl Mark {
    /// A mark that cannot be read is none: the walk begins again.
    fn read(cursor: &Cursor) -> Mark {
        let read = cursor.mark.as_deref().and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }

    fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|_| *self != Mark::default())
    }
}

impl fmt::Debug for GitGuardianPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.client.place();
        f.debug_struct("GitGuardianPoll").field("place", &place).finish_non_exhaustive()
    }
}
