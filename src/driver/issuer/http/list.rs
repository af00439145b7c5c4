//! Listing: every key of the principal, page by page.
//!
//! Decides where a list ends. A list that cannot be read whole is an error, never a short list:
//! what is missing from it would be taken for an orphan that is gone.

use serde_json::Value;

use crate::driver::error::DriverError;
use crate::driver::issuer::Listed;
use crate::driver::issuer::http::answer::{Nature, any, key_id, unexpected, unusable};
use crate::driver::issuer::http::page::{Here, Next, Paging, PagingError};
use crate::driver::issuer::http::parts::{Detail, Facts, List};
use crate::driver::issuer::http::pointer::{Answered, NoMoment, Pointer};
use crate::driver::issuer::http::template::Filling;
use crate::driver::issuer::http::{HttpIssuer, KEYS_MAX, PAGES_MAX};
use crate::model::id::KeyId;
use crate::model::reason::Reason;

impl HttpIssuer {
    pub(super) async fn list_all(&self, list: &List) -> Result<Vec<Listed>, DriverError> {
        let place = self.place(&list.call);
        let mut number = match list.paging {
            Paging::Number { start } => start,
            Paging::Single | Paging::LinkHeader | Paging::Cursor { .. } => 0,
        };
        let mut path = self.numbered(list, number)?;
        let mut keys = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.send_to(&list.call, path.clone(), Filling::default()).await?;
            if any(&list.empty, &answer) {
                return Ok(keys);
            }
            if !any(&list.ok, &answer) {
                return Err(unexpected(&answer, Nature::Question, &place));
            }
            let answered = Answered::parse(answer.body.expose())
                .ok_or_else(|| unusable(Nature::Question, &place, "it is no JSON"))?;
            let room = KEYS_MAX - keys.len();
            let (found, items) = self.keys_on_page(list, answered.value(), room).await?;
            keys.extend(found);
            let here = Here { base: &self.compiled.base, path: &path, number, items };
            let next = list.paging.next(here, &answer.headers, answered.value());
            path = match next.map_err(|error| bad_next(error, &place))? {
                Next::End => return Ok(keys),
                Next::Path(next) => next,
                Next::Number(next) => {
                    number = next;
                    self.numbered(list, number)?
                }
            };
        }
        Err(too_many(&place))
    }

    fn numbered(&self, list: &List, number: u64) -> Result<String, DriverError> {
        let page = number.to_string();
        self.address(&list.call, Filling { page: Some(&page), ..Filling::default() })
    }

    /// The keys of one page, and how many items it had.
    async fn keys_on_page(
        &self,
        list: &List,
        page: &Value,
        room: usize,
    ) -> Result<(Vec<Listed>, usize), DriverError> {
        let place = self.place(&list.call);
        let items = match list.items.find(page) {
            Some(Value::Array(items)) => items.as_slice(),
            // Some issuers leave an empty list out, or write null.
            None if page.is_object() => &[],
            _ => return Err(unusable(Nature::Question, &place, "items is no list")),
        };
        if items.len() > room {
            return Err(too_many(&place));
        }
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            let key_id = key_id(list.item_id.text(item), Nature::Question, &place)?;
            match &list.detail {
                None => keys.push(listed(key_id, &list.facts, item, &place)?),
                Some(detail) => keys.extend(self.detail(detail, key_id).await?),
            }
        }
        Ok((keys, items.len()))
    }

    async fn detail(&self, detail: &Detail, key_id: KeyId) -> Result<Option<Listed>, DriverError> {
        let filling = Filling { key_id: Some(&key_id), ..Filling::default() };
        let place = self.place(&detail.call);
        let answer = self.send(&detail.call, filling).await?;
        if any(&detail.gone, &answer) {
            return Ok(None);
        }
        if !any(&detail.ok, &answer) {
            return Err(unexpected(&answer, Nature::Question, &place));
        }
        let answered = Answered::parse(answer.body.expose())
            .ok_or_else(|| unusable(Nature::Question, &place, "it is no JSON"))?;
        listed(key_id, &detail.facts, answered.value(), &place).map(Some)
    }
}

fn too_many(place: &str) -> DriverError {
    DriverError::refused(
        Reason::AnswerTooLarge,
        format!("{place}: more than {KEYS_MAX} keys or {PAGES_MAX} pages: remove unused keys"),
    )
}

fn bad_next(error: PagingError, place: &str) -> DriverError {
    match error {
        PagingError::Elsewhere => DriverError::refused(
            Reason::Redirected,
            format!("{place}: the next page is not below the base address; it was not asked for"),
        ),
        PagingError::Unreadable => {
            unusable(Nature::Question, place, "the link to the next page is no address")
        }
    }
}

pub(super) fn listed(
    key_id: KeyId,
    facts: &Facts,
    answer: &Value,
    place: &str,
) -> Result<Listed, DriverError> {
    let moment = |pointer: &Option<Pointer>| match pointer {
        None => Ok(None),
        Some(pointer) => pointer.moment(answer).map_err(|NoMoment| {
            unusable(Nature::Question, place, "a moment in it is neither RFC 3339 nor seconds")
        }),
    };
    Ok(Listed {
        mark: facts.mark.as_ref().and_then(|mark| mark.text(answer)),
        created_at: moment(&facts.created)?,
        last_used_at: moment(&facts.last_used)?,
        key_id,
    })
}
