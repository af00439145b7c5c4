//! gitleaks: JSON and CSV, whose columns are the same members. Source: gitleaks' `report` package,
//! version 8.

use serde::Deserialize;

use crate::incident::alert::Finding;
use crate::intake::report::{
    Raw, Report, ReportError, Skipped, Tool, by_value, file_and_line, mask_of, parse,
};
use crate::model::mask::Mask;

/// The columns of the CSV report begin with this one.
const FIRST_COLUMN: &[u8] = b"RuleID,";

/// One finding; what is not needed is not read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    #[serde(rename = "RuleID")]
    rule: String,
    secret: Raw,
    #[serde(default)]
    file: String,
    #[serde(default)]
    start_line: Option<u64>,
    #[serde(default)]
    commit: String,
}

/// Reads the JSON report: one list.
pub(super) fn json(bytes: &[u8]) -> Result<Report, ReportError> {
    let items: Vec<Item> = parse(Tool::Gitleaks, bytes)?;
    let items = items.into_iter().enumerate();
    Ok(report(items.map(|(at, item)| (format!("finding {}", at + 1), item)).collect()))
}

fn report(items: Vec<(String, Item)>) -> Report {
    let mask = mask_of(items.iter().map(|(_, item)| &item.secret));
    let mut report = Report::of(Tool::Gitleaks);
    for (place, item) in items {
        report.take(finding(&item, place, &mask));
    }
    report
}

/// Whether it begins as the CSV report does.
pub(super) fn is_csv(bytes: &[u8]) -> bool {
    bytes.starts_with(FIRST_COLUMN)
}

/// Reads the CSV report.
pub(super) fn csv(bytes: &[u8]) -> Result<Report, ReportError> {
    let mut items = Vec::new();
    let mut reader = csv::Reader::from_reader(bytes);
    let headers = reader.headers().cloned().unwrap_or_default();
    let mut row = csv::StringRecord::new();
    loop {
        let line = usize::try_from(reader.position().line()).unwrap_or(usize::MAX);
        let what = "this is no row of gitleaks' report";
        let broken = |_| ReportError::Broken { tool: Tool::Gitleaks, line, what };
        if !reader.read_record(&mut row).map_err(broken)? {
            return Ok(report(items));
        }
        let item = row.deserialize(Some(&headers)).map_err(broken)?;
        items.push((format!("line {line}"), item));
    }
}

fn finding(item: &Item, place: String, mask: &Mask) -> Result<Finding, Skipped> {
    let mut found_at = file_and_line(&item.file, item.start_line);
    if !item.commit.is_empty() {
        found_at = format!("{found_at} in commit {}", item.commit);
    }
    by_value(&item.secret, &item.rule, place, &found_at, mask)
}
