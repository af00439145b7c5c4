//! GitLab's secret-detection report. `raw_source_code_extract` is the value where GitLab's own
//! analyzer wrote it; others put the line there, or nothing, so the digest within `cve`
//! (`path:SHA-256:rule`) is taken too. Source: GitLab's report schemas, version 15.

use serde::Deserialize;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{
    Raw, Report, ReportError, Skipped, Tool, file_and_line, mask_of, parse,
};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;

#[derive(Deserialize)]
struct Document {
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    cve: Option<String>,
    #[serde(default)]
    raw_source_code_extract: Option<Raw>,
    #[serde(default)]
    location: Location,
    #[serde(default)]
    identifiers: Vec<Identifier>,
}

#[derive(Default, Deserialize)]
struct Location {
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    start_line: Option<u64>,
    #[serde(default)]
    commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    sha: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(default)]
    value: Option<String>,
}

/// Reads a report. Findings of other scanners (a merged report) are passed over.
pub(super) fn read(bytes: &[u8]) -> Result<Report, ReportError> {
    let document: Document = parse(Tool::GitLab, bytes)?;
    let mut report = Report::of(Tool::GitLab);
    let all = document.vulnerabilities.iter();
    let mask = mask_of(all.filter_map(|item| item.raw_source_code_extract.as_ref()));
    for (at, item) in document.vulnerabilities.iter().enumerate() {
        if item.category.as_deref().is_none_or(|category| category == "secret_detection") {
            report.take(finding(at, item, &mask));
        }
    }
    Ok(report)
}

fn finding(at: usize, item: &Vulnerability, mask: &Mask) -> Result<Finding, Skipped> {
    let raw = item.raw_source_code_extract.as_ref();
    let found_at = FoundAt::new(&place(&item.location), mask);
    let mut clues = Vec::new();
    if let Some(raw) = raw.filter(|raw| raw.unusable().is_none()) {
        clues.extend(Clue::of_value(&raw.0));
    }
    let cve = item.cve.as_deref().unwrap_or_default();
    let digests = cve.split(':').filter_map(|part| ValueDigest::parse(Form::Sha256, part));
    clues.extend(digests.map(Clue::Digest));
    clues.sort();
    clues.dedup();
    if clues.is_empty() {
        let (place, why) = (format!("vulnerability {}", at + 1), "it has neither value nor digest");
        return Err(Skipped { place, found_at, why });
    }
    let rule = item.identifiers.first().and_then(|identifier| identifier.value.clone());
    let label = mask.cover(&rule.or_else(|| item.name.clone()).unwrap_or_default());
    Ok(Finding { clues, label, found_at, claim: Claim::Leaked })
}

fn place(location: &Location) -> String {
    let text = file_and_line(location.file.as_deref().unwrap_or_default(), location.start_line);
    // GitLab writes a commit of zeros where there is none.
    let commit = location.commit.as_ref().and_then(|commit| commit.sha.as_deref());
    match commit.filter(|sha| !sha.trim_matches('0').is_empty()) {
        Some(sha) => format!("{text} in commit {sha}"),
        None => text,
    }
}
