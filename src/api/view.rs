//! From the engine's snapshot to the wire, field by field, by hand: what is not written here does
//! not leave the daemon.

pub(super) mod incidents;
mod outgoing;
mod planned;

use std::sync::Arc;

use crate::api::view::outgoing::outgoing;
use crate::api::view::planned::{RUNS_SHOWN, planned};
use crate::api::wire;
use crate::engine::desk;
use crate::engine::snapshot::{Alarm, FailureView, SecretView, Snapshot};
use crate::model::id::{TargetName, VersionId};
use crate::model::policy::{Hold, Kind, Lane, OnLeak};
use crate::model::reason::Reason;
use crate::model::target::{Level, Role, Wanted};
use crate::model::time::Timestamp;
use crate::model::version::Version;
use crate::rotation::evidence;
use crate::rotation::phase::{Outcome, Phase};
use crate::rotation::retry::Trouble;
use crate::rotation::{Forced, ForcedRule, Rotation, TargetState};
use crate::store::record::Past;
use crate::vault::auth::Status as Login;

/// What a view is made of.
pub(super) struct Picture {
    pub(super) now: Timestamp,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) login: Login,
    pub(super) alarms: Vec<Alarm>,
    pub(super) desk: Arc<desk::Picture>,
}

/// The whole picture.
pub(super) fn status(picture: &Picture) -> wire::Status {
    let Picture { now, snapshot, .. } = picture;
    let secrets = snapshot.secrets.values().map(|secret| summary(snapshot, secret, *now)).collect();
    wire::Status { now: *now, at: snapshot.at, daemon: daemon(picture), secrets }
}

/// One secret of it.
pub(super) fn detail(picture: &Picture, view: &SecretView) -> wire::Detail {
    let now = picture.now;
    let secret = secret(&picture.snapshot, view, now);
    wire::Detail { now, at: picture.snapshot.at, daemon: daemon(picture), secret }
}

/// The alarms that stand.
pub(super) fn alarms(alarms: &[Alarm]) -> Vec<wire::Trouble> {
    let one = |alarm: &Alarm| wire::Trouble {
        code: alarm.reason.code().to_owned(),
        text: alarm.text.clone(),
        since: alarm.since,
    };
    alarms.iter().map(one).collect()
}

/// What is planned.
pub(super) fn plan(picture: &Picture) -> wire::Plan {
    let Picture { now, snapshot, .. } = picture;
    let secrets = snapshot.secrets.values().map(|secret| planned(snapshot, secret, *now)).collect();
    wire::Plan { now: *now, at: snapshot.at, daemon: daemon(picture), secrets }
}

fn daemon(picture: &Picture) -> wire::Daemon {
    let Picture { snapshot, login, .. } = picture;
    let health = &snapshot.health;
    wire::Daemon {
        alarms: alarms(&picture.alarms),
        brakes: incidents::brakes(health.breaker_open, &picture.desk, picture.now),
        instance: health.instance.to_string(),
        started_at: health.started_at,
        turned_at: health.turned_at,
        leader: health.epoch.is_some(),
        epoch: health.epoch.map(|epoch| epoch.0),
        led_by: health.leader.as_ref().map(|leader| wire::LedBy {
            instance: leader.instance.to_string(),
            host: leader.host.clone(),
            epoch: leader.epoch.0,
            since: leader.since,
        }),
        lease_until: health.lease_until,
        destructive_from: health.destructive_from,
        token: token(login),
        loaded: health.loaded,
        trouble: health.trouble.map(|(reason, since)| trouble(reason, since)),
    }
}

fn token(login: &Login) -> wire::Token {
    match login {
        Login::Starting => wire::Token { until: None, trouble: None },
        Login::Ok { expires_at } => wire::Token { until: *expires_at, trouble: None },
        Login::Failing { since, failure, expires_at } => {
            wire::Token { until: *expires_at, trouble: Some(trouble(failure.reason, *since)) }
        }
    }
}

fn trouble(reason: Reason, since: Timestamp) -> wire::Trouble {
    let wire::Why { code, text } = why(reason);
    wire::Trouble { code, text, since }
}

fn summary(snapshot: &Snapshot, view: &SecretView, now: Timestamp) -> wire::Summary {
    let rotation = view.rotation.as_deref();
    wire::Summary {
        name: view.name.to_string(),
        kind: kind(view.kind).into(),
        tags: view.tags.clone(),
        managed: view.managed,
        rotation: rotation.map(run),
        current: rotation.and_then(current),
        targets: rotation.map_or_else(no_targets, progress),
        waiting: wire::Waiting {
            why: view.waiting.why.clone(),
            until: view.waiting.until,
            needs_human: view.waiting.needs_human.map(why),
            remedy: view.waiting.remedy.clone(),
        },
        held_until: rotation
            .and_then(|r| r.hold.as_ref())
            .map(|hold| hold.until)
            .filter(|until| now < *until),
        next_run: view.next_run(&snapshot.limits, now),
    }
}

fn secret(snapshot: &Snapshot, view: &SecretView, now: Timestamp) -> wire::Secret {
    let summary = summary(snapshot, view, now);
    let failures = view.failures.iter().map(failure).collect();
    let history = view.history.iter().map(past).collect();
    let runs = view.outlook(&snapshot.limits, now, RUNS_SHOWN).map(|outlook| outlook.runs);
    let next_runs = runs.iter().flatten().map(|run| run.at).collect();
    let Some(rotation) = view.rotation.as_deref() else {
        return wire::Secret {
            summary,
            policy: None,
            versions: Vec::new(),
            outgoing: Vec::new(),
            targets_detail: Vec::new(),
            under_way: Vec::new(),
            forced: Vec::new(),
            hold: None,
            failures,
            history,
            next_runs,
        };
    };
    wire::Secret {
        summary,
        policy: Some(policy(rotation)),
        versions: rotation.versions.iter().rev().map(|(id, v)| version(*id, v)).collect(),
        outgoing: outgoing(rotation, now),
        targets_detail: rotation.targets.iter().map(|(name, t)| target(name, t)).collect(),
        under_way: rotation
            .intent
            .iter()
            .flat_map(|intent| intent.pending.iter().map(ToString::to_string))
            .collect(),
        forced: rotation.forced.iter().map(forced).collect(),
        hold: rotation.hold.as_ref().filter(|hold| now < hold.until).map(hold),
        failures,
        history,
        next_runs,
    }
}

fn run(rotation: &Rotation) -> wire::Run {
    let ended = match &rotation.phase {
        Phase::Closed { outcome, .. } => Some(*outcome),
        _ => None,
    };
    wire::Run {
        id: rotation.id.to_string(),
        trigger: rotation.trigger.name().into(),
        lane: lane(rotation.lane).into(),
        opened_at: rotation.opened_at,
        phase: rotation.phase.name().into(),
        incoming: rotation.incoming().map(|version| version.0),
        outcome: ended.map(|ended| ended.name().into()),
        possible_orphan: ended.is_some_and(leaves_orphan),
    }
}

fn current(rotation: &Rotation) -> Option<wire::Current> {
    let id = rotation.current()?;
    let version = rotation.versions.get(&id)?;
    Some(wire::Current {
        version: id.0,
        since: version.promoted_at.unwrap_or(version.staged_at),
        tainted: version.taint.is_some(),
    })
}

fn no_targets() -> wire::Progress {
    wire::Progress { reached: 0, total: 0, evidence: None, assumed: false }
}

fn progress(rotation: &Rotation) -> wire::Progress {
    let reached: Vec<&TargetState> =
        rotation.bound_targets().map(|(_, t)| t).filter(|t| evidence::is_reached(t)).collect();
    let weakest = reached.iter().filter_map(|t| Some(t.evidence.as_ref()?.seen.level)).min();
    wire::Progress {
        reached: reached.len() as u64,
        total: rotation.bound_targets().count() as u64,
        evidence: weakest.map(|level| level.to_string()),
        assumed: reached.iter().any(|t| is_assumed(t)),
    }
}

/// Counts, but nobody said so: the config took propagation for evidence.
fn is_assumed(target: &TargetState) -> bool {
    let level = target.evidence.as_ref().map(|evidence| evidence.seen.level);
    target.terms.unattested && level.is_some_and(|level| level < Level::Acknowledged)
}

fn policy(rotation: &Rotation) -> wire::Policy {
    let policy = &rotation.terms.policy;
    wire::Policy {
        overlap: policy.overlap,
        evidence_max_age: policy.evidence_max_age,
        on_leak: match policy.on_leak {
            OnLeak::KeepServing => "keep_serving",
            OnLeak::Contain => "contain",
            OnLeak::Ask => "ask",
        }
        .into(),
        max_exposure: policy.max_exposure,
    }
}

fn version(id: VersionId, version: &Version) -> wire::Version {
    wire::Version {
        version: id.0,
        stage: version.stage.to_string(),
        key_id: version.key_id.as_ref().map(ToString::to_string),
        staged_at: version.staged_at,
        promoted_at: version.promoted_at,
        revoked_at: version.revoked_at,
        taint: version
            .taint
            .as_ref()
            .map(|taint| wire::Taint { by: taint.by.clone(), at: taint.at }),
    }
}

fn target(name: &TargetName, target: &TargetState) -> wire::Target {
    wire::Target {
        name: name.to_string(),
        role: role(target.terms.role).into(),
        wanted: wanted(&target.wanted),
        seen: target.evidence.as_ref().map(|evidence| wire::Holding {
            generation: evidence.seen.generation.0,
            accepted: evidence.seen.accepted.iter().map(|v| v.0).collect(),
            current: evidence.seen.current.map(|v| v.0),
        }),
        evidence: target.evidence.as_ref().map(|evidence| wire::Evidence {
            level: evidence.seen.level.to_string(),
            by: evidence.seen.by.clone(),
            at: evidence.at,
            since: evidence.since,
        }),
        needs: target.terms.needs.to_string(),
        reached: evidence::is_reached(target),
        assumed: is_assumed(target),
        settles_at: evidence::settles_at(target),
        removed: target.removed,
        waived_by: target.waived_by.clone(),
        trouble: attempts(&target.trouble),
    }
}

fn wanted(wanted: &Wanted) -> wire::Holding {
    wire::Holding {
        generation: wanted.generation.0,
        accepted: wanted.accepted.iter().map(|v| v.0).collect(),
        current: wanted.current.map(|v| v.0),
    }
}

fn attempts(trouble: &Trouble) -> Option<wire::Attempts> {
    (trouble.attempts > 0).then(|| wire::Attempts {
        attempts: u64::from(trouble.attempts),
        last: trouble.last.map(|failure| why(failure.reason)),
        next_at: trouble.not_before,
        since: trouble.since,
    })
}

fn forced(forced: &Forced) -> wire::Forced {
    wire::Forced {
        version: forced.version.0,
        rule: match forced.rule {
            ForcedRule::Contain => "contain",
            ForcedRule::MaxExposure => "max_exposure",
            ForcedRule::DiesOnMint => "dies_on_mint",
            ForcedRule::IssuerClock => "issuer_clock",
        }
        .into(),
        targets_without_evidence: forced
            .targets_without_evidence
            .iter()
            .map(ToString::to_string)
            .collect(),
        at: forced.at,
    }
}

fn hold(hold: &Hold) -> wire::Hold {
    wire::Hold {
        by: hold.by.clone(),
        reason: hold.reason.clone(),
        at: hold.at,
        until: hold.until,
        routine_only: hold.routine_only,
    }
}

fn failure(failure: &FailureView) -> wire::Failure {
    wire::Failure {
        effect: failure.effect.clone(),
        code: failure.reason.code().into(),
        text: failure.text.clone(),
        at: failure.at,
    }
}

fn past(past: &Past) -> wire::Past {
    wire::Past {
        id: past.id.to_string(),
        trigger: past.trigger.name().into(),
        opened_at: past.opened_at,
        closed_at: past.closed_at,
        outcome: past.outcome.map_or("superseded", |outcome| outcome.name()).into(),
        possible_orphan: past.outcome.is_some_and(leaves_orphan),
        forced: past.forced.iter().map(forced).collect(),
    }
}

/// A reason with its meaning: the documentation's first line, without its space and full stop.
fn why(reason: Reason) -> wire::Why {
    wire::Why {
        code: reason.code().into(),
        text: reason.meaning().trim().trim_end_matches('.').into(),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::WebhookHmac => "webhook_hmac",
        Kind::ApiKey => "api_key",
    }
}

fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Routine => "routine",
        Lane::Emergency => "emergency",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Verifier => "verifier",
        Role::Signer => "signer",
        Role::Both => "both",
    }
}

fn leaves_orphan(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Unwound { possible_orphan: true, .. })
}
