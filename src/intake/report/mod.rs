//! Reports that scanners leave in files: gitleaks, TruffleHog, detect-secrets, ggshield, GitLab.
//!
//! Decides which tool wrote a report and turns what it found into findings without values; must not
//! know what is done about them. It runs where the file is read, so that values stay there. A
//! finding that cannot be used (redacted by the tool, without a value) is named and skipped, and
//! never keeps the others from being read. Texts are freed of every value of the whole report.

mod detect_secrets;
mod ggshield;
mod gitlab;
mod gitleaks;
mod sarif;
#[cfg(test)]
mod tests;
mod trufflehog;

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::model::clue::Clue;
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;

/// Largest report in bytes: a scan of a large company's history has below a hundred MiB.
pub const REPORT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The tools whose reports are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// gitleaks: JSON, CSV, SARIF.
    Gitleaks,
    /// TruffleHog: JSON Lines, SARIF.
    TruffleHog,
    /// detect-secrets: a baseline.
    DetectSecrets,
    /// ggshield: JSON, SARIF.
    Ggshield,
    /// GitLab's secret-detection report, whichever analyzer wrote it.
    GitLab,
}

/// A report as it was read.
#[derive(Debug, Default)]
pub struct Report {
    /// Which tool wrote it; none for an empty list, which every tool writes.
    pub tool: Option<Tool>,
    /// What can be recognised, in the order of the report.
    pub findings: Vec<Finding>,
    /// What cannot.
    pub skipped: Vec<Skipped>,
    /// Lines that were no findings, where a tool writes other lines among them.
    pub other_lines: usize,
}

/// A finding that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it stands in the report: a line, or its number in the list.
    pub place: String,
    /// Where the tool had found it.
    pub found_at: Option<FoundAt>,
    /// Why it cannot be used, and what helps.
    pub why: &'static str,
}

/// Why a report cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReportError {
    /// Larger than [`REPORT_BYTES_MAX`].
    #[error("the report has more than {} MiB", REPORT_BYTES_MAX / (1024 * 1024))]
    TooLarge,
    /// No format that is known.
    #[error(
        "this is no report of gitleaks (JSON, CSV, SARIF), TruffleHog (JSON Lines, SARIF), \
         detect-secrets, ggshield (JSON, SARIF) or GitLab"
    )]
    UnknownFormat,
    /// SARIF of another tool.
    #[error(
        "SARIF of a tool that is not known: the driver's name must be gitleaks, trufflehog or \
         ggshield"
    )]
    UnknownTool,
    /// The format is known, and broken.
    #[error("{tool}: line {line}: {what}")]
    Broken {
        /// The tool.
        tool: Tool,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, without content.
        what: &'static str,
    },
}

/// Reads a report, whichever tool wrote it.
///
/// # Errors
/// [`ReportError`]: nothing of it is used.
pub fn read(text: &SecretBytes) -> Result<Report, ReportError> {
    if text.len() > REPORT_BYTES_MAX {
        return Err(ReportError::TooLarge);
    }
    let bytes = text.expose();
    // Tools on Windows put a byte order mark in front.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    let report = match bytes.first() {
        None | Some(b'[') => read_list(bytes),
        Some(b'{') => read_object(bytes),
        Some(_) if gitleaks::is_csv(bytes) => gitleaks::csv(bytes),
        Some(_) => Err(ReportError::UnknownFormat),
    };
    // Whatever stands before the first finding, TruffleHog's lines are told by themselves.
    report.or_else(|error| trufflehog::lines(bytes).ok_or(error))
}

/// A list is gitleaks', or the empty one that says that nothing was found.
fn read_list(bytes: &[u8]) -> Result<Report, ReportError> {
    if bytes.is_empty() || bytes[1..].trim_ascii_start() == b"]" {
        return Ok(Report::default());
    }
    gitleaks::json(bytes)
}

/// What tells the formats apart that are one object, or one a line.
#[derive(Deserialize)]
struct Outline {
    runs: Option<de::IgnoredAny>,
    plugins_used: Option<de::IgnoredAny>,
    results: Option<de::IgnoredAny>,
    entities_with_incidents: Option<de::IgnoredAny>,
    scans: Option<de::IgnoredAny>,
    total_incidents: Option<de::IgnoredAny>,
    vulnerabilities: Option<de::IgnoredAny>,
}

fn read_object(bytes: &[u8]) -> Result<Report, ReportError> {
    let mut first = serde_json::Deserializer::from_slice(bytes).into_iter::<Outline>();
    let Some(Ok(outline)) = first.next() else { return Err(ReportError::UnknownFormat) };
    match outline {
        Outline { runs: Some(_), .. } => sarif::read(bytes),
        Outline { plugins_used: Some(_), results: Some(_), .. } => detect_secrets::read(bytes),
        Outline { entities_with_incidents: Some(_), .. }
        | Outline { scans: Some(_), .. }
        | Outline { total_incidents: Some(_), .. } => ggshield::read(bytes),
        Outline { vulnerabilities: Some(_), .. } => gitlab::read(bytes),
        _ => Err(ReportError::UnknownFormat),
    }
}

/// Reads one document of a tool.
fn parse<'de, T: Deserialize<'de>>(tool: Tool, bytes: &'de [u8]) -> Result<T, ReportError> {
    serde_json::from_slice(bytes).map_err(|error| broken(tool, &error))
}

/// The place of a mistake, without serde's text: that quotes what it read.
fn broken(tool: Tool, error: &serde_json::Error) -> ReportError {
    use serde_json::error::Category;

    let what = match error.classify() {
        Category::Data => "a member is missing or of the wrong type",
        Category::Eof => "the report ends in the middle",
        Category::Syntax | Category::Io => "this is no JSON",
    };
    ReportError::Broken { tool, line: error.line().max(1), what }
}

/// A value in a report.
struct Raw(SecretBytes);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Raw(SecretBytes::new(text.into_bytes())))
    }
}

impl Raw {
    /// Why a tool's value is none, if it was redacted on the way.
    fn unusable(&self) -> Option<&'static str> {
        let text = self.0.expose();
        if text.trim_ascii().is_empty() {
            return Some("it has no value");
        }
        let hidden = text == b"REDACTED" || text.ends_with(b"...");
        let stars = text.iter().filter(|byte| **byte == b'*').count() * 2 > text.len();
        (hidden || stars).then_some("the tool has hidden the value: run it without redaction")
    }
}

/// A mask for all values of a report.
fn mask_of<'a>(values: impl IntoIterator<Item = &'a Raw>) -> Mask {
    Mask::of(values.into_iter().filter(|raw| raw.unusable().is_none()).map(|raw| &raw.0))
}

/// A finding by its value, or why it is none.
fn by_value(
    raw: &Raw,
    label: &str,
    place: impl fmt::Display,
    found_at: &str,
    mask: &Mask,
) -> Result<Finding, Skipped> {
    let found_at = FoundAt::new(found_at, mask);
    if let Some(why) = raw.unusable() {
        return Err(Skipped { place: place.to_string(), found_at, why });
    }
    let (clues, label) = (Clue::of_value(&raw.0), mask.cover(label));
    Ok(Finding { clues, label, found_at, claim: Claim::Leaked })
}

/// `file:line`, or what there is of it.
fn file_and_line(file: &str, line: Option<u64>) -> String {
    match line.filter(|line| *line > 0) {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

impl Report {
    fn of(tool: Tool) -> Report {
        Report { tool: Some(tool), ..Report::default() }
    }

    fn take(&mut self, finding: Result<Finding, Skipped>) {
        match finding {
            Ok(finding) => self.findings.push(finding),
            Err(skipped) => self.skipped.push(skipped),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Tool::Gitleaks => "gitleaks",
            Tool::TruffleHog => "trufflehog",
            Tool::DetectSecrets => "detect-secrets",
            Tool::Ggshield => "ggshield",
            Tool::GitLab => "gitlab",
        })
    }
}
