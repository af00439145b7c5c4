//! Live: the engine's loop turns. Ready: it could act, or knows which replica does. Metrics.
//!
//! Neither counts failures of rotations: a broken issuer is no reason to restart the daemon.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};

use crate::api::{Api, Shared, view, wire};
use crate::engine::snapshot::{ALIVE_WITHIN, Health};
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::telemetry::metrics::CONTENT_TYPE;

pub(super) async fn live(State(api): Shared) -> Response {
    let missing = missing_for_life(&api.handle.snapshots.borrow().health, api.clock.now());
    answer(&api, missing)
}

pub(super) async fn ready(State(api): Shared) -> Response {
    let mut missing = missing_for_work(&api.handle.snapshots.borrow().health, api.clock.now());
    // Nothing may be changed without a line: it could as well not be there.
    let unwritable = Reason::AuditUnwritable;
    if api.audit.alarms.borrow().iter().any(|alarm| alarm.reason == unwritable) {
        missing.push(unwritable.code());
    }
    answer(&api, missing)
}

pub(super) async fn metrics(State(api): Shared) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.metrics.encode()).into_response()
}

/// What keeps the daemon from being alive.
pub(super) fn missing_for_life(health: &Health, now: Timestamp) -> Vec<&'static str> {
    match now.since(health.turned_at) > ALIVE_WITHIN {
        true => vec!["loop_stalled"],
        false => Vec::new(),
    }
}

/// What keeps the daemon from being of use. A replica that waits for another's lease is of use: it
/// answers questions and takes over.
pub(super) fn missing_for_work(health: &Health, now: Timestamp) -> Vec<&'static str> {
    let mut missing = missing_for_life(health, now);
    if !health.loaded {
        missing.push("records_not_loaded");
    }
    match health.trouble {
        None | Some((Reason::NoLease, _)) => {}
        Some((reason, _)) => missing.push(reason.code()),
    }
    missing
}

fn answer(api: &Api, missing: Vec<&'static str>) -> Response {
    let ok = missing.is_empty();
    let alarms = view::alarms(&api.audit.alarms.borrow());
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing = missing.into_iter().map(str::to_owned).collect();
    (status, Json(wire::Health { ok, missing, alarms })).into_response()
}
