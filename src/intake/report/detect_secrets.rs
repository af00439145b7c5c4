//! detect-secrets: a baseline, whose values are unsalted SHA-1. Source: detect-secrets 1.5,
//! `core/secrets_collection.py`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{Report, ReportError, Skipped, Tool, file_and_line, parse};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;

#[derive(Deserialize)]
struct Baseline {
    results: BTreeMap<String, Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    hashed_secret: String,
    #[serde(default)]
    line_number: Option<u64>,
    /// What a person said in an audit of the baseline.
    #[serde(default)]
    is_secret: Option<bool>,
}

/// Reads a baseline.
pub(super) fn read(bytes: &[u8]) -> Result<Report, ReportError> {
    let baseline: Baseline = parse(Tool::DetectSecrets, bytes)?;
    let mut report = Report::of(Tool::DetectSecrets);
    for (file, items) in &baseline.results {
        for (at, item) in items.iter().enumerate() {
            report.take(finding(file, at, item));
        }
    }
    Ok(report)
}

fn finding(file: &str, at: usize, item: &Item) -> Result<Finding, Skipped> {
    let found_at = FoundAt::new(&file_and_line(file, item.line_number), &Mask::default());
    let Some(digest) = ValueDigest::parse(Form::Sha1, &item.hashed_secret) else {
        let place = format!("finding {} of {file}", at + 1);
        return Err(Skipped { place, found_at, why: "its hashed_secret is no SHA-1" });
    };
    let claim = match item.is_secret {
        Some(false) => Claim::Withdrawn,
        Some(true) | None => Claim::Leaked,
    };
    Ok(Finding { clues: vec![Clue::Digest(digest)], label: item.kind.clone(), found_at, claim })
}
