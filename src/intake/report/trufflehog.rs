//! TruffleHog: JSON Lines, one finding a line. Source: trufflehog's `JSONPrinter`, version 3.
//!
//! `Raw` may be an identifier and not the secret (of an AWS key it is the key's id), so the parts
//! and `RawV2` are tried too: any one that fits is enough. Where both outputs of the program went
//! into one file, its banner and its log stand among the findings.

use std::collections::BTreeMap;

use memchr::memmem::find;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::report::{Raw, Report, Skipped, Tool, file_and_line, mask_of};
use crate::model::clue::Clue;
use crate::model::mask::Mask;

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

/// What a line of JSON is: a finding has a detector, a line of the log a logger.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "DetectorName")]
    detector: Option<IgnoredAny>,
    logger: Option<String>,
}

/// What the name of a detector stands behind, in a line that is cut off or broken.
const DETECTOR: &[u8] = b"\"DetectorName\"";

/// What the tool's own lines are told by: the name of its logger, in JSON and in plain text, and
/// its banner.
const LOGGER: &str = "trufflehog";
const PLAIN: [&[u8]; 2] = [b"\ttrufflehog\t", b"TruffleHog. Unearth your secrets."];

/// Reads the lines, if any is a finding or the tool's own. What is no finding is passed over and
/// counted; a finding that cannot be read is skipped and named.
pub(super) fn lines(bytes: &[u8]) -> Option<Report> {
    let mut report = Report::of(Tool::TruffleHog);
    let (mut items, mut is_ours) = (Vec::new(), false);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let outline = line.starts_with(b"{").then(|| serde_json::from_slice::<Outline>(line));
        let (is_finding, is_own) = match outline {
            Some(Ok(outline)) => {
                let logger = outline.logger.unwrap_or_default();
                (outline.detector.is_some(), logger.starts_with(LOGGER))
            }
            Some(Err(_)) => (find(line, DETECTOR).is_some(), false),
            None => (false, PLAIN.iter().any(|own| find(line, own).is_some())),
        };
        is_ours |= is_finding || is_own;
        if !is_finding {
            report.other_lines += 1;
            continue;
        }
        match serde_json::from_slice::<Item>(line) {
            Ok(item) => items.push((at + 1, item)),
            Err(_) => report.skipped.push(Skipped {
                place: format!("line {}", at + 1),
                found_at: None,
                why: "it is broken, or a member is missing or of the wrong type",
            }),
        }
    }
    let mask = mask_of(items.iter().flat_map(|(_, item)| item.values()));
    for (line, item) in &items {
        report.take(finding(item, *line, &mask));
    }
    is_ours.then_some(report)
}

impl Item {
    fn values(&self) -> impl Iterator<Item = &Raw> {
        let parts = self.secret_parts.iter().flatten().map(|(_, part)| part);
        parts.chain(&self.raw_v2).chain(&self.raw)
    }
}

fn finding(item: &Item, line: usize, mask: &Mask) -> Result<Finding, Skipped> {
    let found_at = FoundAt::new(&place(item), mask);
    let usable = item.values().filter(|raw| raw.unusable().is_none());
    let mut clues: Vec<Clue> = usable.flat_map(|raw| Clue::of_value(&raw.0)).collect();
    if clues.is_empty() {
        let why = item.values().next().and_then(Raw::unusable).unwrap_or("it has no value");
        return Err(Skipped { place: format!("line {line}"), found_at, why });
    }
    clues.sort();
    clues.dedup();
    let label = mask.cover(&item.detector_name);
    Ok(Finding { clues, label, found_at, claim: Claim::Leaked })
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
