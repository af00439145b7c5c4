//! The public keys of a partner programme: fetched when they are needed, kept for a while.
//!
//! Decides which key may be believed at a moment. A key that is unknown may be new, so it is asked
//! for once, but forged messages must not send us asking again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::intake::Rejected;
use crate::intake::github::api::told;
use crate::intake::reading::{parse, parse_text};
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::net::Client;
use crate::net::request::Request;
use crate::signing::ecdsa::PublicKey;

/// How long keys are used without asking again: what PyPI does.
pub const KEEP: Span = Span::from_secs(30 * 60);

/// Shortest time between two requests for keys: sixty an hour is what GitHub allows to those
/// without a token.
pub const FLOOR: Span = Span::from_secs(60);

/// Most keys of a list: GitHub has shown up to four.
const KEYS_MAX: usize = 64;

/// The keys at one address.
pub(super) struct Keys {
    client: Client,
    token: Option<SecretRef>,
    secrets: Secrets,
    lately: Span,
    held: ArcSwap<Held>,
    fetching: Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: BTreeMap<String, Known>,
    etag: Option<String>,
    asked_at: Option<Timestamp>,
    failed: bool,
}

#[derive(Clone)]
struct Known {
    key: Arc<PublicKey>,
    /// When the list last called it current; never seen so: never believed.
    current_at: Option<Timestamp>,
    is_current: bool,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    public_keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry {
    key_identifier: String,
    key: String,
    is_current: bool,
}

impl Keys {
    /// The keys that this client's address lists; `lately` is how long one is believed after it was
    /// last seen to be current.
    pub(super) fn new(
        client: Client,
        token: Option<SecretRef>,
        secrets: Secrets,
        lately: Span,
    ) -> Keys {
        let (held, fetching) = Default::default();
        Keys { client, token, secrets, lately, held, fetching }
    }

    /// The key of that id, if it may be believed now.
    ///
    /// # Errors
    /// [`Rejected::Unauthenticated`] if there is none, [`Rejected::Unavailable`] if that cannot be
    /// known at the moment.
    pub(super) async fn get(&self, id: &str, now: Timestamp) -> Result<Arc<PublicKey>, Rejected> {
        self.fetch_if_older(now, KEEP).await;
        if !self.held.load().keys.contains_key(id) {
            self.fetch_if_older(now, FLOOR).await;
        }
        let held = self.held.load();
        let believed =
            |known: &&Known| known.current_at.is_some_and(|seen| now.since(seen) <= self.lately);
        match held.keys.get(id).filter(believed) {
            Some(known) => Ok(Arc::clone(&known.key)),
            None if held.failed => Err(Rejected::Unavailable),
            None => Err(Rejected::Unauthenticated),
        }
    }

    /// Fetches unless it was done within `age`. A failed try counts, but not for longer than the
    /// floor. Others wait for the one who fetches: they need the answer too.
    async fn fetch_if_older(&self, now: Timestamp, age: Span) {
        let is_due = |held: &Held| {
            let age = if held.failed { FLOOR } else { age };
            // A clock that was set back makes everything old rather than young.
            held.asked_at.is_none_or(|asked| asked > now || now.since(asked) >= age)
        };
        if !is_due(&self.held.load()) {
            return;
        }
        let _fetching = self.fetching.lock().await;
        let before = self.held.load_full();
        if !is_due(&before) {
            return;
        }
        let mut held = match self.fetch(&before, now).await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!("the public keys that alerts are signed with: {error}");
                Held { failed: true, ..Held::clone(&before) }
            }
        };
        held.asked_at = Some(now);
        self.held.store(Arc::new(held));
    }

    async fn fetch(&self, before: &Held, now: Timestamp) -> Result<Held, DriverError> {
        let mut request = Request::new(Method::GET, "").header("accept", "application/json");
        if let Some(etag) = &before.etag {
            request = request.header(header::IF_NONE_MATCH.as_str(), etag);
        }
        if let Some(token) = &self.token {
            let token = self.secrets.fetch(token).await?;
            let bearer = SecretBytes::new([b"Bearer ", token.expose()].concat());
            request = request.secret_header(header::AUTHORIZATION.as_str(), &bearer);
        }
        let answer = self.client.send(request).await.map_err(told)?;
        if answer.status == StatusCode::NOT_MODIFIED && before.etag.is_some() {
            let mut held = Held { failed: false, ..before.clone() };
            for known in held.keys.values_mut().filter(|known| known.is_current) {
                known.current_at = Some(now);
            }
            return Ok(held);
        }
        let answer = answer.success().map_err(told)?;
        let etag = answer.headers.get(header::ETAG).and_then(|value| value.to_str().ok());
        let list: List<'_> = parse(&answer.body).map_err(|rejected| {
            let text = format!("{}: the list cannot be read: {rejected}", self.client.place());
            DriverError::transient(Reason::BadAnswer, text)
        })?;
        let known = |raw: &&RawValue| {
            let entry: Entry = parse_text(raw.get()).ok()?;
            let key = Arc::new(PublicKey::from_pem(&entry.key).ok()?);
            let earlier = before.keys.get(&entry.key_identifier).and_then(|key| key.current_at);
            let current_at = if entry.is_current { Some(now) } else { earlier };
            Some((entry.key_identifier, Known { key, current_at, is_current: entry.is_current }))
        };
        // A key of another kind does not spoil the others.
        let keys = list.public_keys.iter().take(KEYS_MAX).filter_map(known).collect();
        Ok(Held { keys, etag: etag.map(str::to_owned), asked_at: None, failed: false })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("place", &self.client.place()).finish_non_exhaustive()
    }
}
