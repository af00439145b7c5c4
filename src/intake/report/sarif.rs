//! SARIF 2.1.0 as gitleaks, TruffleHog and ggshield write it: told apart by the driver's name.
//!
//! gitleaks puts the value into the snippet; the other two give a fingerprint. TruffleHog's is
//! SHA-256 of `rule:uri:line:` and the value's own digest, so what stands before is given along.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{
    Raw, Report, ReportError, Skipped, Tool, by_value, file_and_line, mask_of, parse,
};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;

/// The names under which the tools put their fingerprints.
const TRUFFLEHOG: &str = "trufflehogFingerprint/v1";
const GGSHIELD: &str = "secret/v1";

#[derive(Deserialize)]
struct Document {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    tool: ToolBox,
    #[serde(default)]
    results: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct ToolBox {
    driver: Driver,
}

#[derive(Deserialize)]
struct Driver {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default)]
    rule_id: String,
    #[serde(default)]
    locations: Vec<Location>,
    #[serde(default)]
    partial_fingerprints: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    #[serde(default)]
    region: Region,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    uri: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(default)]
    start_line: Option<u64>,
    #[serde(default)]
    snippet: Option<Snippet>,
}

#[derive(Deserialize)]
struct Snippet {
    #[serde(default)]
    text: Option<Raw>,
}

/// Reads a report of one or several runs.
pub(super) fn read(bytes: &[u8]) -> Result<Report, ReportError> {
    // Until the driver is known, mistakes are named as gitleaks': the commonest writer of SARIF.
    let document: Document = parse(Tool::Gitleaks, bytes)?;
    let mut report = Report::default();
    let items = document.runs.iter().flat_map(|run| run.results.iter().flatten());
    let mask = mask_of(items.filter_map(Item::snippet));
    for run in &document.runs {
        let tool = tool(&run.tool.driver.name).ok_or(ReportError::UnknownTool)?;
        report.tool = Some(tool);
        for (at, item) in run.results.iter().flatten().enumerate() {
            report.take(finding(tool, at, item, &mask));
        }
    }
    Ok(report)
}

fn tool(driver: &str) -> Option<Tool> {
    let known = [Tool::Gitleaks, Tool::TruffleHog, Tool::Ggshield];
    known.into_iter().find(|tool| driver.eq_ignore_ascii_case(&tool.to_string()))
}

impl Item {
    fn physical(&self) -> Option<&Physical> {
        self.locations.first().map(|location| &location.physical_location)
    }

    fn snippet(&self) -> Option<&Raw> {
        self.physical()?.region.snippet.as_ref()?.text.as_ref()
    }
}

fn finding(tool: Tool, at: usize, item: &Item, mask: &Mask) -> Result<Finding, Skipped> {
    let place = format!("result {}", at + 1);
    let physical = item.physical();
    let uri = physical.map(|physical| physical.artifact_location.uri.as_str()).unwrap_or_default();
    let line = physical.and_then(|physical| physical.region.start_line);
    let found_at = file_and_line(uri, line);
    let missing =
        |why| Skipped { place: place.clone(), found_at: FoundAt::new(&found_at, mask), why };
    let clue = match tool {
        Tool::Gitleaks => {
            let raw = item.snippet();
            let raw = raw.ok_or_else(|| missing("it has no snippet: use gitleaks' JSON"))?;
            return by_value(raw, &item.rule_id, place, &found_at, mask);
        }
        Tool::TruffleHog => {
            let digest = fingerprint(item, TRUFFLEHOG).and_then(|text| {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
            });
            let digest = digest.ok_or_else(|| missing("it has no TruffleHog fingerprint"))?;
            let prefix = format!("{}:{uri}:{}:", item.rule_id, line.unwrap_or(0));
            Clue::Placed { prefix, digest }
        }
        _ => {
            let digest = fingerprint(item, GGSHIELD);
            let digest = digest.and_then(|text| ValueDigest::parse(Form::Ggshield, text));
            Clue::Digest(digest.ok_or_else(|| missing("it has no ggshield fingerprint"))?)
        }
    };
    let (label, found_at) = (mask.cover(&item.rule_id), FoundAt::new(&found_at, mask));
    Ok(Finding { clues: vec![clue], label, found_at, claim: Claim::Leaked })
}

fn fingerprint<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.partial_fingerprints.get(name)?.as_str()
}
