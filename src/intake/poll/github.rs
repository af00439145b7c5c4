//! GitHub's list of open alerts as a [`Poll`].
//!
//! The list has no "since": it is read from the last changed backwards until what was seen before,
//! over several rounds if need be. The cursor's mark says where in such a walk we are; a walk that
//! is done leaves the validator of the first page, so that asking costs GitHub and us nothing as
//! long as nothing changes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::driver::error::DriverError;
use crate::driver::secret_ref::Secrets;
use crate::incident::alert::Claim;
use crate::intake::Odd;
use crate::intake::github::api::{self, Api, Listed, Place, Repository, Scope, Shown};
use crate::intake::github::found;
use crate::intake::poll::book::Cursor;
use crate::intake::poll::{Page, Poll, Sighting, Told};
use crate::intake::reading::{Each, mask_of};
use crate::model::failure::Class;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;

/// Longest mark or validator of GitHub that is kept, in bytes; both have below 200.
const MARK_MAX: usize = 1_000;

/// What such a poll needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the API is reached.
    pub api: api::Settings,
    /// Whose alerts.
    pub scope: Scope,
    /// Whether alerts about revoked versions are closed there.
    pub close: bool,
}

/// Such a poll.
#[derive(Debug)]
pub struct GitHubPoll {
    api: Api,
    scope: Scope,
    close: bool,
}

/// What the cursor's mark holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The validator of the first page, as it was when the last walk began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// A walk under way: the page to read next, and the newest change it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    walk: Option<Walk>,
    /// The alerts that changed at the very moment of `since`: seen already.
    #[serde(default)]
    seen: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    after: String,
    newest: Timestamp,
    newest_ids: Vec<String>,
}

impl GitHubPoll {
    /// A poll with these settings.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn new(settings: Settings, secrets: Secrets) -> Result<GitHubPoll, DriverError> {
        let Settings { api, scope, close } = settings;
        Ok(GitHubPoll { api: Api::new(api, secrets)?, scope, close })
    }

    fn place(&self, shown: &Shown) -> Option<(Repository, Place)> {
        let repository = match &self.scope {
            Scope::Repository(repository) => repository.clone(),
            Scope::Organisation(_) => Repository::new(shown.repository.full_name.as_str())?,
        };
        let place = Place::new(repository.clone(), shown.number);
        Some((repository, place))
    }

    /// The page's alerts that are new, and the cursor after it.
    ///
    /// # Errors
    /// `denied`: no alert of it shows its value. It is asked for again until the token may see
    /// them.
    fn turn(&self, cursor: &Cursor, mark: Mark, listed: Listed) -> Result<Page, DriverError> {
        let Listed { alerts: Each { read: alerts, mut odd }, after, etag } = listed;
        let is_empty = alerts.is_empty() && odd.is_empty();
        // A list that nothing can be read of is asked for again, until somebody has seen to it.
        let is_read = is_empty || !alerts.is_empty();
        let mask = mask_of(alerts.iter().filter_map(|(_, shown)| shown.secret.as_ref()));
        let changed = |shown: &Shown| shown.updated_at.or(shown.created_at).unwrap_or(cursor.since);
        let mut walk = mark.walk.unwrap_or_else(|| {
            let newest =
                alerts.iter().map(|(_, shown)| changed(shown)).max().unwrap_or(cursor.since);
            Walk { after: String::new(), newest: newest.max(cursor.since), newest_ids: Vec::new() }
        });
        let etag = if walk.after.is_empty() {
            etag.filter(|etag| is_short(etag) && is_read)
        } else {
            mark.etag
        };
        let reached = alerts.iter().any(|(_, shown)| changed(shown) < cursor.since);
        let (mut sightings, mut hidden) = (Vec::new(), 0_usize);
        for (at, shown) in alerts.iter().filter(|(_, shown)| changed(shown) >= cursor.since) {
            let Some((repository, place)) = self.place(shown) else {
                odd.push(Odd { at: *at, why: "repository.full_name: owner/name".to_owned() });
                continue;
            };
            let id = place.to_string();
            if changed(shown) == walk.newest {
                walk.newest_ids.push(id.clone());
            }
            if changed(shown) == cursor.since && mark.seen.contains(&id) {
                continue;
            }
            match found(shown, &repository, Claim::Leaked, None, &mask) {
                Some(finding) => sightings.push(Sighting { id, findings: vec![finding] }),
                None => {
                    hidden += 1;
                    odd.push(Odd { at: *at, why: format!("{id} is listed without its value") });
                }
            }
        }
        if hidden > 0 && sightings.is_empty() {
            let text = "no new alert is listed with its value: let the token see secrets";
            return Err(DriverError::new(Class::Refused, Reason::Denied, text));
        }
        odd.sort_by_key(|odd| odd.at);
        // A page that leads to itself, or nowhere, is the last one.
        let goes_on = !reached && !is_empty;
        let next = after.filter(|mark| goes_on && is_short(mark) && *mark != walk.after);
        let (since, mark) = match next {
            Some(after) => {
                let walk = Some(Walk { after, ..walk });
                (cursor.since, Mark { etag, walk, seen: mark.seen })
            }
            None => {
                let mut seen = walk.newest_ids;
                if walk.newest == cursor.since {
                    seen.extend(mark.seen);
                    seen.sort();
                    seen.dedup();
                }
                (walk.newest, Mark { etag, walk: None, seen })
            }
        };
        let more = mark.walk.is_some();
        Ok(Page { sightings, odd, next: Cursor { since, mark: mark.write() }, more })
    }
}

#[async_trait]
impl Poll for GitHubPoll {
    async fn page(&self, cursor: &Cursor) -> Result<Page, DriverError> {
        let mark = Mark::read(cursor);
        let after = mark.walk.as_ref().map(|walk| walk.after.as_str());
        let etag = mark.etag.as_deref().filter(|_| after.is_none());
        match self.api.open(&self.scope, after, etag).await? {
            Some(listed) => self.turn(cursor, mark, listed),
            None => Ok(Page {
                sightings: Vec::new(),
                odd: Vec::new(),
                next: cursor.clone(),
                more: false,
            }),
        }
    }

    async fn settle(&self, told: &Told<'_>) -> Result<(), DriverError> {
        if !self.close {
            return Ok(());
        }
        let place = Place::parse(told.alert).ok_or_else(|| {
            let text = format!("{} is no alert of GitHub's", told.alert);
            DriverError::refused(Reason::BadAnswer, text)
        })?;
        self.api.resolve(&place, &told.comment()).await
    }
}

impl Mark {
    /// A mark that cannot be read is none: the walk begins again at the newest.
    fn read(cursor: &Cursor) -> Mark {
        let read = cursor.mark.as_deref().and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }

    fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok().filter(|_| *self != Mark::default())
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= MARK_MAX
}
