//! Commands: each is checked, given the caller's name, handed to the engine and waited for.

use axum::extract::State;
use axum::{Extension, Json};

use crate::api::error::ApiError;
use crate::api::params::{self, How, Name, NoBody, Nothing, Params, Secret};
use crate::api::{Shared, wire};
use crate::engine::command::{Actor, Command, Done, Resolution};
use crate::http::peer::Peer;
use crate::model::policy::Hold;

type Answer = Result<Json<wire::Done>, ApiError>;

pub(super) async fn rotate(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(params): Params<params::Rotate>,
    _: NoBody,
) -> Answer {
    let reason = params::reason(params.reason)?;
    let command = Command::Rotate { name: name.clone(), emergency: params.emergency, reason };
    answer(api.ask(peer.actor(), &name, command).await)
}

pub(super) async fn hold(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(params): Params<params::Hold>,
    _: NoBody,
) -> Answer {
    let at = api.clock.now();
    let actor = peer.actor();
    let Actor(by) = actor.clone();
    let hold = Hold {
        by,
        reason: params::reason(Some(params.reason))?,
        at,
        until: params::until(&params.until, at)?,
        routine_only: params.routine_only,
    };
    let command = Command::Hold { name: name.clone(), hold };
    answer(api.ask(actor, &name, command).await)
}

pub(super) async fn release(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(Nothing {}): Params<Nothing>,
    _: NoBody,
) -> Answer {
    let command = Command::Release { name: name.clone() };
    answer(api.ask(peer.actor(), &name, command).await)
}

pub(super) async fn adopt(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(params): Params<params::Value>,
    Secret(material): Secret,
) -> Answer {
    let key = params::key_id(params.key_id)?;
    let command = Command::Adopt { name: name.clone(), material, key };
    answer(api.ask(peer.actor(), &name, command).await)
}

pub(super) async fn provide(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(params): Params<params::Value>,
    Secret(material): Secret,
) -> Answer {
    let key = params::key_id(params.key_id)?;
    let command = Command::Provide { name: name.clone(), material, key };
    answer(api.ask(peer.actor(), &name, command).await)
}

pub(super) async fn resolve(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    Params(params): Params<params::Resolve>,
    _: NoBody,
) -> Answer {
    let command = Command::Resolve { name: name.clone(), how: resolution(params)? };
    answer(api.ask(peer.actor(), &name, command).await)
}

pub(super) async fn reload(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Params(Nothing {}): Params<Nothing>,
    _: NoBody,
) -> Answer {
    answer(api.ask_reload(peer.actor()).await)
}

pub(super) async fn acknowledge(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Params(params): Params<params::Acknowledge>,
    _: NoBody,
) -> Answer {
    let reason = params::reason(Some(params.reason))?;
    if reason.trim().is_empty() {
        return Err(ApiError::parameter("reason: say what you found"));
    }
    answer(api.ask_acknowledge(peer.actor(), reason).await)
}

/// The exit that the parameters name, with what it needs and nothing more.
fn resolution(params: params::Resolve) -> Result<Resolution, ApiError> {
    let params::Resolve { how, target, key_id } = params;
    let key_id = params::key_id(key_id)?;
    match (how, target, key_id) {
        (How::Retry, None, None) => Ok(Resolution::Retry),
        (How::Abandon, None, None) => Ok(Resolution::Abandon),
        (How::Supersede, None, None) => Ok(Resolution::Supersede),
        (How::Waive, Some(target), None) => Ok(Resolution::Waive(params::target(&target)?)),
        (How::AcceptKey, None, Some(key)) => Ok(Resolution::AcceptKey(key)),
        (How::Waive, None, _) => Err(ApiError::parameter("target: which one is waived?")),
        (How::AcceptKey, _, None) => Err(ApiError::parameter("key_id: which one is accepted?")),
        (_, Some(_), _) => Err(ApiError::parameter("target: belongs to how=waive only")),
        (_, _, Some(_)) => Err(ApiError::parameter("key_id: belongs to how=accept_key only")),
    }
}

fn answer(outcome: Result<Done, ApiError>) -> Answer {
    let Done { rotation, text } = outcome?;
    Ok(Json(wire::Done { rotation: rotation.map(|id| id.to_string()), text }))
}
