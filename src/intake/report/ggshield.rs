//! ggshield: JSON. Values are censored unless it ran with `--show-secrets`; `ignore_sha` is the
//! SHA-256 of `match,match_type` and fits where a detector has one match. Source: ggshield 1.56,
//! `verticals/secret/output`.

use serde::Deserialize;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{
    Raw, Report, ReportError, Skipped, Tool, file_and_line, mask_of, parse,
};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;

/// A scan; a scan of many commits holds a scan for each.
#[derive(Deserialize)]
struct Scan {
    #[serde(default)]
    entities_with_incidents: Vec<Entity>,
    #[serde(default)]
    scans: Vec<Scan>,
}

#[derive(Deserialize)]
struct Entity {
    #[serde(default)]
    filename: String,
    #[serde(default)]
    incidents: Vec<Incident>,
}

#[derive(Deserialize)]
struct Incident {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    ignore_sha: String,
    #[serde(default)]
    occurrences: Vec<Occurrence>,
}

#[derive(Deserialize)]
struct Occurrence {
    #[serde(rename = "match", default)]
    value: Option<Raw>,
    #[serde(default)]
    line_start: Option<u64>,
}

/// Reads a report.
pub(super) fn read(bytes: &[u8]) -> Result<Report, ReportError> {
    let scan: Scan = parse(Tool::Ggshield, bytes)?;
    let mut report = Report::of(Tool::Ggshield);
    let mut waiting = vec![&scan];
    let mut found = Vec::new();
    // A list and no recursion: how deep scans lie in each other is the report's choice.
    while let Some(scan) = waiting.pop() {
        for entity in &scan.entities_with_incidents {
            found.extend(entity.incidents.iter().enumerate().map(|one| (entity, one)));
        }
        waiting.extend(scan.scans.iter().rev());
    }
    let mask = mask_of(found.iter().flat_map(|(_, (_, incident))| incident.shown()));
    for (entity, (at, incident)) in found {
        report.take(finding(entity, at, incident, &mask));
    }
    Ok(report)
}

fn finding(
    entity: &Entity,
    at: usize,
    incident: &Incident,
    mask: &Mask,
) -> Result<Finding, Skipped> {
    let line = incident.occurrences.iter().find_map(|occurrence| occurrence.line_start);
    let found_at = FoundAt::new(&file_and_line(&entity.filename, line), mask);
    let mut clues: Vec<Clue> = incident.shown().flat_map(|raw| Clue::of_value(&raw.0)).collect();
    clues.extend(ValueDigest::parse(Form::Ggshield, &incident.ignore_sha).map(Clue::Digest));
    clues.sort();
    clues.dedup();
    if clues.is_empty() {
        let place = format!("incident {} of {}", at + 1, mask.cover(&entity.filename));
        let why = "it has neither ignore_sha nor a value: run ggshield with --show-secrets";
        return Err(Skipped { place, found_at, why });
    }
    Ok(Finding { clues, label: mask.cover(&incident.kind), found_at, claim: Claim::Leaked })
}

impl Incident {
    /// The values that are not censored.
    fn shown(&self) -> impl Iterator<Item = &Raw> {
        let values = self.occurrences.iter().filter_map(|occurrence| occurrence.value.as_ref());
        values.filter(|raw| raw.unusable().is_none() && !is_censored(raw))
    }
}

/// ggshield puts a run of stars where it hides the middle of a value.
fn is_censored(raw: &Raw) -> bool {
    raw.0.expose().windows(4).any(|window| window == b"****")
}
