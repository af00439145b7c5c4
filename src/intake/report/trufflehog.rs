//! TruffleHog: JSON Lines, one finding a line. Source: trufflehog's `JSONPrinter`, version 3.
//!
//! `Raw` may be an identifier and not the secret (of an AWS key it is the key's id), so the parts
//! and `RawV2` are tried too: any one that fits is enough.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{Raw, Report, ReportError, Skipped, Tool, broken, file_and_line};
use crate::model::clue::Clue;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    detector_name: String,
    #[serde(default)]
    raw: Option<Raw>,
    #[serde(default)]
    raw_v2: Option<Raw>,
    #[serde(default)]
    secret_parts: Option<BTreeMap<String, Raw>>,
    #[serde(default)]
    source_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// One member, named after the kind of source (`Git`, `Filesystem`, `Docker`, ...).
    data: Option<BTreeMap<String, Place>>,
}

/// What the kinds of source have in common; everything else of them is left alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    file: Option<String>,
    line: Option<u64>,
    link: Option<String>,
    commit: Option<String>,
    repository: Option<String>,
    bucket: Option<String>,
    image: Option<String>,
}

/// Reads the lines. What is no finding (log lines have no detector) is passed over.
pub(super) fn lines(bytes: &[u8]) -> Result<Report, ReportError> {
    let mut report = Report::of(Tool::TruffleHog);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() || is_log_line(line) {
            continue;
        }
        let item: Item =
            serde_json::from_slice(line).map_err(|e| broken(Tool::TruffleHog, &e, at))?;
        report.take(finding(&item, at + 1));
    }
    Ok(report)
}

fn is_log_line(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Log {
        level: Option<serde::de::IgnoredAny>,
        #[serde(rename = "DetectorName")]
        detector: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Log>(line)
        .is_ok_and(|log| log.level.is_some() && log.detector.is_none())
}

fn finding(item: &Item, line: usize) -> Result<Finding, Skipped> {
    let parts = item.secret_parts.iter().flatten().map(|(_, part)| part);
    let values: Vec<&Raw> = parts.chain(&item.raw_v2).chain(&item.raw).collect();
    let bytes: Vec<_> = values.iter().map(|raw| &raw.0).collect();
    let found_at = FoundAt::new(&place(item), &bytes);
    let usable: Vec<&&Raw> = values.iter().filter(|raw| raw.unusable().is_none()).collect();
    if usable.is_empty() {
        let why = values.first().and_then(|raw| raw.unusable()).unwrap_or("it has no value");
        return Err(Skipped { place: format!("line {line}"), found_at, why });
    }
    let mut clues: Vec<Clue> = usable.iter().flat_map(|raw| Clue::of_value(&raw.0)).collect();
    clues.sort();
    clues.dedup();
    Ok(Finding { clues, label: item.detector_name.clone(), found_at, claim: Claim::Leaked })
}

fn place(item: &Item) -> String {
    let data = item.source_metadata.as_ref().and_then(|metadata| metadata.data.as_ref());
    let Some((kind, place)) = data.and_then(|data| data.first_key_value()) else {
        return String::new();
    };
    if let Some(link) = place.link.as_deref().filter(|link| !link.is_empty()) {
        return link.to_owned();
    }
    let holder = [&place.repository, &place.bucket, &place.image].into_iter().flatten().next();
    let file = place.file.as_deref().unwrap_or_default();
    let mut text = match holder.filter(|holder| !holder.is_empty()) {
        Some(holder) => format!("{holder} {}", file_and_line(file, place.line)),
        None => file_and_line(file, place.line),
    };
    if let Some(commit) = place.commit.as_deref().filter(|commit| !commit.is_empty()) {
        text = format!("{text} in commit {commit}");
    }
    if text.trim().is_empty() { kind.clone() } else { text }
}
