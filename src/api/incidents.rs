//! Incidents: what there is, and what people decide about them.
//!
//! Questions are answered from the desk's newest picture; wishes go to the desk and are answered
//! when what they did is durable.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::api::error::ApiError;
use crate::api::params::{self, NoBody, Nothing, Params};
use crate::api::wire::incidents::{IncidentDetail, Incidents};
use crate::api::{Api, Shared, settle, view, wire};
use crate::engine::command::Actor;
use crate::engine::desk::{Ask, Picture, Wish};
use crate::http::peer::Peer;
use crate::incident::record::{Incident, parse_id};
use crate::incident::report;
use crate::model::id::IncidentId;

type Answer = Result<Json<wire::Done>, ApiError>;

/// Parameters of `approve` and `close`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    reason: String,
}

/// Parameters of `waive`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waive {
    target: String,
    reason: String,
}

/// The id in the path.
pub(super) struct Id(IncidentId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::parameter(rejection.body_text()))?;
        parse_id(&text)
            .map(Id)
            .ok_or_else(|| ApiError::parameter("id: write it as `rotord incident list` shows it"))
    }
}

pub(super) async fn list(
    State(api): Shared,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Incidents>, ApiError> {
    let picture = api.desk.picture();
    ready(&picture)?;
    Ok(Json(view::incidents::list(&picture, &api.desk.told(), api.clock.now())))
}

pub(super) async fn show(
    State(api): Shared,
    Id(id): Id,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<IncidentDetail>, ApiError> {
    let now = api.clock.now();
    find(&api, &id, |incident| view::incidents::detail(incident, now)).map(Json)
}

/// The report, as Markdown.
pub(super) async fn report(
    State(api): Shared,
    Id(id): Id,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Response, ApiError> {
    let now = api.clock.now();
    let page = find(&api, &id, |incident| report::markdown(incident, now))?;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page).into_response())
}

pub(super) async fn approve(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Params(Because { reason }): Params<Because>,
    _: NoBody,
) -> Answer {
    wish(&api, peer.actor(), id, (Wish::Approve, reason)).await
}

pub(super) async fn waive(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Params(Waive { target, reason }): Params<Waive>,
    _: NoBody,
) -> Answer {
    let target = params::target(&target)?;
    wish(&api, peer.actor(), id, (Wish::Waive(target), reason)).await
}

pub(super) async fn close(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Id(id): Id,
    Params(Because { reason }): Params<Because>,
    _: NoBody,
) -> Answer {
    wish(&api, peer.actor(), id, (Wish::Close, reason)).await
}

async fn wish(api: &Api, actor: Actor, id: IncidentId, what: (Wish, String)) -> Answer {
    let (wish, reason) = what;
    let reason = params::reason(Some(reason))?;
    if reason.trim().is_empty() {
        return Err(ApiError::parameter("reason: say why, it goes into the report"));
    }
    // Whether there is such an incident is said first, in the words for that.
    find(api, &id, |_| ())?;
    let look = format!("rotord incident show {id}");
    let (reply, answer) = oneshot::channel();
    api.desk.ask(Ask { actor, incident: id, wish, reason, reply })?;
    let done = settle(answer, &look).await??;
    Ok(Json(wire::Done { rotation: done.rotation.map(|id| id.to_string()), text: done.text }))
}

fn ready(picture: &Picture) -> Result<(), ApiError> {
    if picture.ready { Ok(()) } else { Err(ApiError::desk_away()) }
}

fn find<T>(api: &Api, id: &IncidentId, show: impl FnOnce(&Incident) -> T) -> Result<T, ApiError> {
    let picture = api.desk.picture();
    match picture.incidents.get(id) {
        Some(incident) => Ok(show(incident)),
        None => {
            ready(&picture)?;
            Err(ApiError::no_such_incident(id))
        }
    }
}
