//! The API-key service of the demo: keys, what they may do, and who used them.
//!
//! A small service as a vendor might run it. Three ways of minting, one at a time:
//!
//! | mode  | route                                  | the old key                       |
//! | ----- | -------------------------------------- | --------------------------------- |
//! | slots | `POST /keys` `{name}`                  | lives until `DELETE /keys/{id}`   |
//! | roll  | `POST /keys/roll` `{name}`             | dies at once                      |
//! | set   | `PUT /keys/{name}/value` `{value}`     | dies at once; the caller's value  |
//!
//! `GET /keys` and `DELETE /keys/{id}` complete the administration, under a bearer token of its
//! own. Holders of a key call `GET /whoami` (is it good?) and `POST /work` (which is counted).
//! `GET /stats` shows the counts. Only digests of keys are kept: a value is shown once, at birth.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest request body: a name or a value, generously.
const BODY_LEN_MAX: usize = 16 * 1024;

/// Shortest value that a caller may install.
const VALUE_LEN_MIN: usize = 16;

/// How keys are minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Several keys live side by side.
    Slots,
    /// One key; minting another ends it.
    Roll,
    /// One value per name; the caller makes it.
    Set,
}

/// The service's state.
pub(crate) struct Keys {
    mode: Mode,
    capacity: usize,
    admin: Digest,
    now: fn() -> DateTime<Utc>,
    table: Mutex<Table>,
}

type Digest = Vec<u8>;

#[derive(Default)]
struct Table {
    keys: BTreeMap<String, Key>,
    /// Requests with a key that this service never made.
    strangers: u64,
}

struct Key {
    name: String,
    digest: Digest,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    /// Ended keys stay in the table, so that requests with them are counted under their id.
    ended: bool,
    accepted: u64,
    rejected: u64,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Valued {
    value: String,
}

impl Keys {
    /// A service without keys. `admin` is the token of whoever mints and ends them.
    pub(crate) fn new(
        mode: Mode,
        capacity: usize,
        admin: &str,
        now: fn() -> DateTime<Utc>,
    ) -> Arc<Keys> {
        let admin = digest_of(admin);
        Arc::new(Keys { mode, capacity, admin, now, table: Mutex::default() })
    }

    /// The service.
    pub(crate) fn router(self: Arc<Keys>) -> Router {
        let routes = match self.mode {
            Mode::Slots => Router::new().route("/keys", post(mint)),
            Mode::Roll => Router::new().route("/keys/roll", post(roll)),
            Mode::Set => Router::new().route("/keys/{name}/value", put(set)),
        };
        routes
            .route("/keys", get(list))
            .route("/keys/{id}", delete(end))
            .route("/whoami", get(whoami))
            .route("/work", post(work))
            .route("/stats", get(stats))
            .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
            .with_state(self)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, table: &mut Table, name: String, value: &str) -> String {
        let id = format!("key-{}", table.keys.len() + 1);
        let key = Key {
            name,
            digest: digest_of(value),
            created_at: (self.now)(),
            last_used_at: None,
            ended: false,
            accepted: 0,
            rejected: 0,
        };
        table.keys.insert(id.clone(), key);
        id
    }
}

impl Table {
    fn alive(&self) -> impl Iterator<Item = (&String, &Key)> {
        self.keys.iter().filter(|(_, key)| !key.ended)
    }

    fn find(&mut self, value: &str) -> Option<(&String, &mut Key)> {
        let digest = digest_of(value);
        self.keys.iter_mut().find(|(_, key)| key.digest == digest)
    }
}

/// A request that shows the admin token. Digests are compared, so the time it takes says nothing
/// about the token.
struct Admin;

impl FromRequestParts<Arc<Keys>> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, keys: &Arc<Keys>) -> Result<Admin, Response> {
        match bearer(&parts.headers) {
            Some(token) if digest_of(token) == keys.admin => Ok(Admin),
            _ => Err(refusal(StatusCode::UNAUTHORIZED, "not the admin token")),
        }
    }
}

async fn mint(_: Admin, State(keys): State<Arc<Keys>>, Json(named): Json<Named>) -> Response {
    let mut table = keys.table();
    if table.alive().count() >= keys.capacity {
        return refusal(StatusCode::CONFLICT, "no room: delete a key first");
    }
    let value = fresh_value();
    let id = keys.add(&mut table, named.name, &value);
    (StatusCode::CREATED, Json(json!({ "id": id, "key": value }))).into_response()
}

async fn roll(_: Admin, State(keys): State<Arc<Keys>>, Json(named): Json<Named>) -> Response {
    let mut table = keys.table();
    table.keys.values_mut().for_each(|key| key.ended = true);
    let value = fresh_value();
    let id = keys.add(&mut table, named.name, &value);
    (StatusCode::CREATED, Json(json!({ "id": id, "key": value }))).into_response()
}

/// The same value again changes nothing, so a caller that lost the answer just repeats.
async fn set(
    _: Admin,
    State(keys): State<Arc<Keys>>,
    Path(name): Path<String>,
    Json(Valued { value }): Json<Valued>,
) -> Response {
    if value.len() < VALUE_LEN_MIN {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "the value is too short");
    }
    let mut table = keys.table();
    if let Some((id, _)) = table.find(&value).filter(|(_, key)| key.name == name && !key.ended) {
        return (StatusCode::OK, Json(json!({ "id": id }))).into_response();
    }
    table.keys.values_mut().filter(|key| key.name == name).for_each(|key| key.ended = true);
    let id = keys.add(&mut table, name, &value);
    (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
}

async fn list(_: Admin, State(keys): State<Arc<Keys>>) -> Response {
    let table = keys.table();
    let item = |(id, key): (&String, &Key)| {
        json!({
            "id": id,
            "name": key.name,
            "created_at": rfc3339(key.created_at),
            "last_used_at": key.last_used_at.map(rfc3339),
        })
    };
    Json(json!({ "keys": table.alive().map(item).collect::<Vec<_>>() })).into_response()
}

async fn end(_: Admin, State(keys): State<Arc<Keys>>, Path(id): Path<String>) -> Response {
    match keys.table().keys.get_mut(&id) {
        Some(key) if !key.ended => {
            key.ended = true;
            StatusCode::NO_CONTENT.into_response()
        }
        _ => refusal(StatusCode::NOT_FOUND, "no such key"),
    }
}

/// Says whether a key is good. Neither counted nor a use: a probe must not look like traffic.
async fn whoami(State(keys): State<Arc<Keys>>, headers: HeaderMap) -> Response {
    let mut table = keys.table();
    match bearer(&headers).and_then(|value| table.find(value)) {
        Some((id, key)) if !key.ended => {
            Json(json!({ "id": id, "name": key.name })).into_response()
        }
        _ => refusal(StatusCode::UNAUTHORIZED, "not a key of this service"),
    }
}

/// What the service is there for.
async fn work(State(keys): State<Arc<Keys>>, headers: HeaderMap) -> Response {
    let now = (keys.now)();
    let mut table = keys.table();
    match bearer(&headers).and_then(|value| table.find(value)) {
        Some((_, key)) if !key.ended => {
            key.accepted += 1;
            key.last_used_at = Some(now);
            return Json(json!({ "done": true })).into_response();
        }
        Some((_, key)) => key.rejected += 1,
        None => table.strangers += 1,
    }
    refusal(StatusCode::UNAUTHORIZED, "not a key of this service")
}

/// Holds nothing secret, so anybody may look.
async fn stats(State(keys): State<Arc<Keys>>) -> Json<Value> {
    let table = keys.table();
    let by_id: BTreeMap<&String, Value> = table
        .keys
        .iter()
        .map(|(id, key)| {
            let alive = !key.ended;
            let counts = (key.accepted, key.rejected);
            (id, json!({ "alive": alive, "accepted": counts.0, "rejected": counts.1 }))
        })
        .collect();
    let accepted: u64 = table.keys.values().map(|key| key.accepted).sum();
    let rejected: u64 = table.keys.values().map(|key| key.rejected).sum();
    let rejected = rejected + table.strangers;
    Json(json!({ "accepted": accepted, "rejected": rejected, "keys": by_id }))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn digest_of(value: &str) -> Digest {
    digest(&SHA256, value.as_bytes()).as_ref().to_vec()
}

fn fresh_value() -> String {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    format!("demo_{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn refusal(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
