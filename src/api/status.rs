//! Questions about secrets, answered from the newest snapshot without asking the engine.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::params::{Name, Newer, Nothing, Params};
use crate::api::{Api, NEWER_WITHIN, Shared, view, wire};
use crate::engine::snapshot::Snapshot;
use crate::model::time::Timestamp;

pub(super) async fn all(
    State(api): Shared,
    Params(Newer { newer_than }): Params<Newer>,
) -> Json<wire::Status> {
    let snapshot = picture(&api, newer_than).await;
    Json(view::status(&snapshot, &api.login.borrow(), api.clock.now()))
}

pub(super) async fn one(
    State(api): Shared,
    Name(name): Name,
    Params(Newer { newer_than }): Params<Newer>,
) -> Result<Json<wire::Detail>, ApiError> {
    let snapshot = picture(&api, newer_than).await;
    match snapshot.secrets.get(&name) {
        Some(secret) => {
            Ok(Json(view::detail(&snapshot, &api.login.borrow(), secret, api.clock.now())))
        }
        None if !snapshot.health.loaded => Err(ApiError::starting()),
        None => Err(ApiError::no_such_secret(name.as_str(), snapshot.secrets.keys())),
    }
}

pub(super) async fn plan(
    State(api): Shared,
    Params(Nothing {}): Params<Nothing>,
) -> Json<wire::Plan> {
    let snapshot = picture(&api, None).await;
    Json(view::plan(&snapshot, &api.login.borrow(), api.clock.now()))
}

/// The newest snapshot; if one newer than a moment is asked for, waits a bounded time for it.
async fn picture(api: &Api, newer_than: Option<Timestamp>) -> Arc<Snapshot> {
    let mut snapshots = api.handle.snapshots.clone();
    if let Some(moment) = newer_than {
        let newer = snapshots.wait_for(|snapshot| snapshot.at > moment);
        // Late, or the engine has ended: the picture there is serves as well.
        let _ = tokio::time::timeout(NEWER_WITHIN, newer).await.map(|newer| newer.is_ok());
    }
    Arc::clone(&snapshots.borrow())
}
