//! Many secrets at once: which ones, in which order, and what will break. Changes nothing: the
//! commands are given one by one by whoever asked.

use axum::Json;
use axum::extract::State;
use globset::{Glob, GlobMatcher};
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::params::Params;
use crate::api::{Shared, wire};
use crate::engine::snapshot::SecretView;
use crate::incident::scope::{self, Member};
use crate::model::capability::OldDies;
use crate::model::policy::{Lane, OnLeak};
use crate::model::reason::Reason;
use crate::model::time::{Span, Timestamp};
use crate::rotation::Rotation;

/// Rotations that are under way at once, for the estimate: about what the engine's lanes grant
/// emergencies.
const AT_ONCE: usize = 16;

/// Which secrets: exactly one of the first three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    all: bool,
    tag: Option<String>,
    #[serde(rename = "match")]
    glob: Option<String>,
    #[serde(default)]
    emergency: bool,
}

enum Filter {
    All,
    Tag(String),
    Glob(GlobMatcher),
}

pub(super) async fn scope(
    State(api): Shared,
    Params(which): Params<Which>,
) -> Result<Json<wire::scope::Scope>, ApiError> {
    let lane = if which.emergency { Lane::Emergency } else { Lane::Routine };
    let filter = filter(which)?;
    let now = api.clock.now();
    let snapshot = api.handle.snapshots.borrow().clone();
    if !snapshot.health.loaded {
        return Err(ApiError::starting());
    }
    let chosen: Vec<&SecretView> = snapshot
        .secrets
        .values()
        .map(AsRef::as_ref)
        .filter(|secret| secret.managed && filter.takes(secret))
        .collect();
    let members: Vec<Member> = chosen.iter().map(|secret| member(secret)).collect();
    let order = scope::order(&members, AT_ONCE);
    let mut shown = Vec::with_capacity(chosen.len());
    for (wave, names) in order.waves.iter().enumerate() {
        for name in names {
            let Some(secret) = snapshot.secrets.get(name) else { continue };
            shown.push(show(secret, wave + 1, lane, now));
        }
    }
    Ok(Json(wire::scope::Scope { now, members: shown, about: order.about }))
}

fn filter(which: Which) -> Result<Filter, ApiError> {
    match (which.all, which.tag, which.glob) {
        (true, None, None) => Ok(Filter::All),
        (false, Some(tag), None) => Ok(Filter::Tag(tag)),
        (false, None, Some(glob)) => Glob::new(&glob)
            .map(|glob| Filter::Glob(glob.compile_matcher()))
            .map_err(|error| ApiError::parameter(format_args!("match: {}", error.kind()))),
        _ => Err(ApiError::parameter("all, tag, match: say exactly one of them")),
    }
}

impl Filter {
    fn takes(&self, secret: &SecretView) -> bool {
        match self {
            Filter::All => true,
            Filter::Tag(tag) => secret.tags.contains(tag),
            Filter::Glob(glob) => glob.is_match(secret.name.as_str()),
        }
    }
}

fn member(secret: &SecretView) -> Member {
    let planning = secret.planning.as_ref();
    let targets = secret.rotation.iter().flat_map(|rotation| rotation.targets.values());
    Member {
        name: secret.name.clone(),
        priority: planning.map_or(0, |planning| planning.priority),
        after: planning.map(|planning| planning.after.clone()).unwrap_or_default(),
        propagation: targets.map(|target| target.terms.propagation).max().unwrap_or(Span::ZERO),
    }
}

fn show(secret: &SecretView, wave: usize, lane: Lane, now: Timestamp) -> wire::scope::Member {
    let rotation = secret.rotation.as_deref();
    let current = rotation.and_then(|rotation| {
        let id = rotation.current()?;
        Some((id, rotation.versions.get(&id)?.promoted_at))
    });
    let planning = secret.planning.as_ref();
    let after = planning.iter().flat_map(|planning| &planning.after).map(ToString::to_string);
    wire::scope::Member {
        name: secret.name.to_string(),
        wave,
        priority: planning.map_or(0, |planning| planning.priority),
        after: after.collect(),
        current: current.map(|(id, _)| id.0),
        since: current.and_then(|(_, since)| since),
        refused: refused(secret, lane).map(|reason| wire::Why {
            code: reason.code().to_owned(),
            text: reason.meaning().to_owned(),
        }),
        warnings: rotation.map(|rotation| warnings(rotation, lane, now)).unwrap_or_default(),
    }
}

fn refused(secret: &SecretView, lane: Lane) -> Option<Reason> {
    let Some(rotation) = secret.rotation.as_deref() else { return Some(Reason::NotAdopted) };
    let in_the_way = secret.planning.as_ref().and_then(|planning| planning.in_the_way);
    let open = lane == Lane::Routine && !rotation.is_closed();
    in_the_way.or_else(|| open.then_some(Reason::RotationOpen))
}

/// What a person must know before: in words, each with its place.
fn warnings(rotation: &Rotation, lane: Lane, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let terms = &rotation.terms;
    if lane == Lane::Emergency && terms.policy.on_leak == OnLeak::Contain {
        warnings.push("contain: the old version goes at once, consumers fail until then".into());
    }
    if terms.capabilities.old_dies == OldDies::OnMint {
        warnings.push("the issuer ends the old version when it makes the new one".into());
    }
    if let Some(hold) = rotation.hold.as_ref().filter(|hold| hold.binds(lane, now)) {
        warnings.push(format!("held by {} until {}: nothing is taken away", hold.by, hold.until));
    }
    if !rotation.is_closed() {
        let word = if lane == Lane::Emergency { "hurried or superseded" } else { "in the way" };
        warnings.push(format!("rotation {} is open: {word}", rotation.id));
    }
    for (name, target) in &rotation.targets {
        if let Some(last) = target.trouble.last {
            warnings.push(format!("target {name} has trouble: {}", last.reason));
        }
        if target.terms.unattested {
            warnings.push(format!("target {name} shows nothing: it is assumed to follow"));
        }
    }
    warnings
}
