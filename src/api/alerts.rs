//! Alerts from people and pipelines, and scans: what comes over the control socket.
//!
//! Values stay with the caller: what comes is digests, ids and places. Whoever may use the socket
//! may rotate anything by hand, so what they report counts as trusted.

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use serde::Deserialize;

use crate::api::error::{ApiError, BAD_PARAMETER};
use crate::api::params::{NoBody, Nothing, Params};
use crate::api::{Api, Shared, wire};
use crate::engine::command::Actor;
use crate::engine::desk::{Judged, Verdict};
use crate::engine::scan::{FOUND_MAX, Match, Scan};
use crate::http::body;
use crate::http::peer::Peer;
use crate::incident::alert::{Alert, Claim, Finding, FoundAt};
use crate::model::id::{SecretName, SourceName, VersionId};
use crate::model::mask::Mask;
use crate::model::version::Stage;

/// Findings in one request: a report of more is sent in parts.
const FINDINGS_MAX: usize = 500;

/// Largest body of an alert: [`FINDINGS_MAX`] findings with some clues each.
const ALERT_BYTES_MAX: usize = 1024 * 1024;

/// Largest piece of text in a scan: large enough that the request around it costs nothing, and
/// small enough that some of them stay in the processor's cache between the socket and the search.
const PIECE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest label and id in characters: for people, so a line.
const LABEL_LEN_MAX: usize = 120;

/// The source that alerts have when the caller names none.
const SOURCE: &str = "command-line";

/// Why a sighting is not acted on: the scan never came across it.
const NOT_IN_SCAN: &str = "not_in_scan";

/// Why a sighting is not acted on: nothing of the version is remembered any more.
const FORGOTTEN: &str = "forgotten";

/// Parameters of an alert.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    source: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Parameters of a piece.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    #[serde(default)]
    seen: usize,
}

pub(super) async fn report(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Params(how): Params<How>,
    body: Body,
) -> Result<Json<wire::alerts::Verdicts>, ApiError> {
    let sent: wire::alerts::Alert = read(body).await?;
    let findings = findings(&sent.findings)?;
    if how.dry_run {
        if let Some(why) = api.handle.snapshots.borrow().health.cannot_tell() {
            return Err(ApiError::cannot_tell(why));
        }
        return Ok(Json(recognised(&api, &findings)));
    }
    let alert = alert(&api, how.source.as_deref(), &sent.id, findings)?;
    Ok(Json(judged(&api, peer.actor(), alert).await?))
}

pub(super) async fn begin(
    State(api): Shared,
    Params(Nothing {}): Params<Nothing>,
    _: NoBody,
) -> Result<Json<wire::alerts::Begun>, ApiError> {
    let (scan, begun) = api.scanner.begin().await.map_err(|error| ApiError::scan(&error))?;
    let unread = begun.unread.iter().map(|(name, version)| format!("{name} {version}")).collect();
    Ok(Json(wire::alerts::Begun {
        scan,
        piece_bytes_max: PIECE_BYTES_MAX,
        overlap: begun.overlap(),
        versions: begun.versions,
        unread,
    }))
}

pub(super) async fn piece(
    State(api): Shared,
    Path(scan): Path<u64>,
    Params(Seen { seen }): Params<Seen>,
    body: Body,
) -> Result<Json<wire::alerts::Piece>, ApiError> {
    let scan = api.scanner.get(scan).map_err(|error| ApiError::scan(&error))?;
    let mut text = scan.texts.take();
    body::read_into(&mut text, body, PIECE_BYTES_MAX).await.map_err(ApiError::body)?;
    let looked = tokio::task::spawn_blocking(move || {
        let found = scan.look(&text, seen);
        scan.texts.give_back(text);
        found
    });
    let found = looked.await.map_err(|_| ApiError::defect())?;
    let cut = found.len() >= FOUND_MAX;
    let found = found.into_iter().map(|found| shown(&api, found)).collect();
    Ok(Json(wire::alerts::Piece { found, cut }))
}

/// What a scan has found, as an alert: the clues are those of the values that it holds. Each
/// sighting is judged by itself; one that cannot be keeps none of the others.
pub(super) async fn report_scan(
    State(api): Shared,
    Extension(peer): Extension<Peer>,
    Path(scan): Path<u64>,
    Params(Nothing {}): Params<Nothing>,
    body: Body,
) -> Result<Json<wire::alerts::Verdicts>, ApiError> {
    let scan = api.scanner.get(scan).map_err(|error| ApiError::scan(&error))?;
    let sent: wire::alerts::Sightings = read(body).await?;
    at_most(sent.sightings.len())?;
    let mut findings = Vec::with_capacity(sent.sightings.len());
    let mut refused = Vec::with_capacity(sent.sightings.len());
    for sighting in &sent.sightings {
        match finding_of(&scan, sighting) {
            Ok(finding) => {
                findings.push(finding);
                refused.push(None);
            }
            Err(why) => refused.push(Some(why)),
        }
    }
    let judged = if findings.is_empty() {
        Vec::new()
    } else {
        let alert = alert(&api, None, &sent.id, findings)?;
        judged(&api, peer.actor(), alert).await?.verdicts
    };
    let mut judged = judged.into_iter();
    let verdicts = sent.sightings.iter().zip(refused).map(|(sighting, refused)| match refused {
        Some(why) => wire::alerts::Verdict { ours: Vec::new(), why: Some(why) },
        None => still_ours(sighting, judged.next().unwrap_or_default()),
    });
    Ok(Json(wire::alerts::Verdicts { verdicts: verdicts.collect() }))
}

fn finding_of(scan: &Scan, sighting: &wire::alerts::Sighting) -> Result<Finding, wire::Why> {
    let wire::alerts::Sighting { secret, version, found_at } = sighting;
    let why = |code: &str, text: String| wire::Why { code: code.to_owned(), text };
    let name = SecretName::new(secret.as_str())
        .map_err(|error| why(BAD_PARAMETER, format!("secret: {error}")))?;
    let clues = scan.clues(&name, VersionId(*version)).ok_or_else(|| {
        why(NOT_IN_SCAN, format!("this scan has not found v{version} of {name}: start it again"))
    })?;
    let found_at = FoundAt::new(found_at, &Mask::default());
    Ok(Finding { clues, label: "scan".to_owned(), found_at, claim: Claim::Leaked })
}

/// A version may have been forgotten between the moment that it was found and this one.
fn still_ours(
    sighting: &wire::alerts::Sighting,
    verdict: wire::alerts::Verdict,
) -> wire::alerts::Verdict {
    let wire::alerts::Sighting { secret, version, .. } = sighting;
    let is_it = |ours: &wire::alerts::Ours| (&ours.secret, ours.version) == (secret, *version);
    if verdict.ours.iter().any(is_it) {
        return verdict;
    }
    let text = format!("v{version} of {secret} is not known any more: its secret has gone");
    let why = wire::Why { code: FORGOTTEN.to_owned(), text };
    wire::alerts::Verdict { why: Some(why), ..verdict }
}

pub(super) async fn end(
    State(api): Shared,
    Path(scan): Path<u64>,
    Params(Nothing {}): Params<Nothing>,
    _: NoBody,
) -> Json<wire::Done> {
    api.scanner.end(scan);
    Json(wire::Done { rotation: None, text: "the scan is over".to_owned() })
}

async fn read<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let body = body::read(body, ALERT_BYTES_MAX).await.map_err(ApiError::body)?;
    // serde's own text may quote what it read.
    serde_json::from_slice(body.expose()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ApiError::bad_body(&format!("not as docs/api.md has it, at line {line} column {column}"))
    })
}

fn findings(sent: &[wire::alerts::Finding]) -> Result<Vec<Finding>, ApiError> {
    at_most(sent.len())?;
    let finding = |(at, sent): (usize, &wire::alerts::Finding)| {
        let clues: Option<Vec<_>> = sent.clues.iter().map(wire::alerts::Clue::read).collect();
        let clues = clues.filter(|clues| !clues.is_empty()).ok_or_else(|| {
            ApiError::bad_body(&format!("finding {at}: no clue, or a digest that is none"))
        })?;
        let found_at =
            sent.found_at.as_deref().and_then(|text| FoundAt::new(text, &Mask::default()));
        Ok(Finding { clues, label: line(&sent.label), found_at, claim: sent.claim })
    };
    sent.iter().enumerate().map(finding).collect()
}

fn at_most(findings: usize) -> Result<(), ApiError> {
    if findings <= FINDINGS_MAX {
        return Ok(());
    }
    Err(ApiError::bad_body(&format!("at most {FINDINGS_MAX} findings come at once: send parts")))
}

fn alert(
    api: &Api,
    source: Option<&str>,
    id: &str,
    findings: Vec<Finding>,
) -> Result<Alert, ApiError> {
    let source = SourceName::new(source.unwrap_or(SOURCE));
    let source = source.map_err(|error| ApiError::parameter(format_args!("source: {error}")))?;
    Ok(Alert { source, id: line(id), trusted: true, at: api.clock.now(), findings })
}

async fn judged(api: &Api, actor: Actor, alert: Alert) -> Result<wire::alerts::Verdicts, ApiError> {
    let verdicts = api.desk.report(actor, alert).await?;
    Ok(wire::alerts::Verdicts { verdicts: verdicts.into_iter().map(verdict).collect() })
}

fn verdict(verdict: Verdict) -> wire::alerts::Verdict {
    let ours = verdict.ours.into_iter().map(|judged| {
        let Judged { secret, version, stage, action, incident, rotation } = judged;
        wire::alerts::Ours {
            secret: secret.to_string(),
            version: version.0,
            stage: stage.to_string(),
            action: Some(action.code().to_owned()),
            text: Some(action.meaning().to_owned()),
            incident: incident.map(|id| id.to_string()),
            rotation: rotation.map(|id| id.to_string()),
        }
    });
    wire::alerts::Verdict { ours: ours.collect(), why: None }
}

/// What would be recognised, without anything being done.
fn recognised(api: &Api, findings: &[Finding]) -> wire::alerts::Verdicts {
    let verdict = |finding: &Finding| {
        let mut hits: Vec<_> =
            finding.clues.iter().flat_map(|clue| api.recogniser.find(clue)).collect();
        hits.sort();
        hits.dedup();
        let ours = hits.into_iter().map(|hit| wire::alerts::Ours {
            stage: stage(api, &hit.secret, hit.version).to_string(),
            secret: hit.secret.to_string(),
            version: hit.version.0,
            action: None,
            text: None,
            incident: None,
            rotation: None,
        });
        wire::alerts::Verdict { ours: ours.collect(), why: None }
    };
    wire::alerts::Verdicts { verdicts: findings.iter().map(verdict).collect() }
}

fn shown(api: &Api, found: Match) -> wire::alerts::Found {
    let stage = stage(api, &found.secret, found.version).to_string();
    wire::alerts::Found {
        start: found.start,
        end: found.end,
        secret: found.secret.to_string(),
        version: found.version.0,
        stage,
        written: found.written.as_str().to_owned(),
    }
}

/// Where a version stands now. What is so new that it is not in the picture yet has just been made.
fn stage(api: &Api, name: &SecretName, version: VersionId) -> Stage {
    let snapshot = api.handle.snapshots.borrow();
    let view = snapshot.secrets.get(name);
    view.map_or(Stage::Revoked, |view| view.stage(version).unwrap_or(Stage::Pending))
}

fn line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LABEL_LEN_MAX).collect()
}
