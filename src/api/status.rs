//! Questions about secrets, answered from the newest snapshot without asking the engine.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::params::{Name, Newer, Nothing, Params};
use crate::api::view::Picture;
use crate::api::{Api, NEWER_WITHIN, Shared, view, wire};
use crate::engine::snapshot::Snapshot;
use crate::model::time::Timestamp;

pub(super) async fn all(
    State(api): Shared,
    Params(Newer { newer_than }): Params<Newer>,
) -> Json<wire::Status> {
    Json(view::status(&picture(&api, newer_than).await))
}

pub(super) async fn one(
    State(api): Shared,
    Name(name): Name,
    Params(Newer { newer_than }): Params<Newer>,
) -> Result<Json<wire::Detail>, ApiError> {
    let picture = picture(&api, newer_than).await;
    let Snapshot { health, secrets, .. } = &*picture.snapshot;
    match secrets.get(&name) {
        Some(secret) => Ok(Json(view::detail(&picture, secret))),
        None if !health.loaded => Err(ApiError::starting()),
        None => Err(ApiError::no_such_secret(name.as_str(), secrets.keys())),
    }
}

pub(super) async fn plan(
    State(api): Shared,
    Params(Nothing {}): Params<Nothing>,
) -> Json<wire::Plan> {
    Json(view::plan(&picture(&api, None).await))
}

/// The newest snapshot; if one newer than a moment is asked for, waits a bounded time for it.
async fn picture(api: &Api, newer_than: Option<Timestamp>) -> Picture {
    let mut snapshots = api.handle.snapshots.clone();
    if let Some(moment) = newer_than {
        let newer = snapshots.wait_for(|snapshot| snapshot.at > moment);
        // Late, or the engine has ended: the picture there is serves as well.
        let _ = tokio::time::timeout(NEWER_WITHIN, newer).await.map(|newer| newer.is_ok());
    }
    let snapshot = Arc::clone(&snapshots.borrow());
    let alarms = api.audit.alarms.borrow().clone();
    let login = *api.login.borrow();
    Picture { now: api.clock.now(), snapshot, login, alarms, desk: api.desk.picture() }
}
