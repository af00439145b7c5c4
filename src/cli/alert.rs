//! `rotord alert`: scanners' reports, line by line: what is ours, and what was done.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::api::wire::alerts as wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};
use crate::incident::alert::Finding;
use crate::intake::report::{self, REPORT_BYTES_MAX, Report};
use crate::model::material::SecretBytes;

const EXAMPLES: &str = "\
Examples:
  gitleaks git --report-format json --report-path - | rotord alert -
  rotord alert --dry-run trufflehog.jsonl     whose are they? nothing is done
  rotord alert --fail-on-match --json gl-secret-detection-report.json

Exit codes:
  0 read and judged  10 --fail-on-match and something is ours
  2 one of them is no report that is known: none was handed in";

/// Findings in one request.
const BATCH: usize = 200;

/// Hand in a scanner's report.
///
/// Reads reports of gitleaks (JSON, CSV, SARIF), TruffleHog (JSON Lines, SARIF), detect-secrets,
/// ggshield (JSON, SARIF) and GitLab. Values stay in this process: the daemon gets digests. What
/// is ours is rotated, retired or reported as the policy of the secret says.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Alert {
    /// Reports; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only say whose the findings are; nothing is done.
    #[arg(long)]
    dry_run: bool,
    /// End with exit code 10 if anything is ours.
    #[arg(long)]
    fail_on_match: bool,
    /// One JSON object a finding, and one at the end.
    #[arg(long)]
    json: bool,
}

/// A line of the output as JSON.
#[derive(Serialize)]
struct Line<'a> {
    report: &'a str,
    found_at: Option<&'a str>,
    label: &'a str,
    ours: &'a [wire::Ours],
}

/// The last line.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Total {
    findings: usize,
    ours: usize,
    acted: usize,
    waiting: usize,
    already_revoked: usize,
    skipped: usize,
    /// Lines of a tool's log among its findings.
    other_lines: usize,
}

impl Alert {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let mut total = Total::default();
        // All of them before the first is handed in: one that is no report must not leave half of
        // the others done.
        let read = |file: &PathBuf| Ok((file.display().to_string(), read(file)?));
        let reports: Vec<(String, Report)> =
            self.files.iter().map(read).collect::<Result<_, CliError>>()?;
        for (name, report) in &reports {
            total.skipped += report.skipped.len();
            total.other_lines += report.other_lines;
            total.add(&self.hand_in(daemon, out, name, report).await?);
            for skipped in &report.skipped {
                let found_at = skipped.found_at.as_ref().map_or("", |place| place.as_str());
                let place = human::clean(&format!("{} {found_at}", skipped.place));
                // On standard error, so that the output stays what programs read.
                let _ = writeln!(io::stderr(), "{name}: {place}: skipped: {}", skipped.why);
            }
        }
        if self.json {
            let line = serde_json::json!({ "total": total });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", total.say(self.dry_run))?;
        }
        Ok(match total {
            Total { ours: 1.., .. } if self.fail_on_match => Exit::Found,
            // Nothing is known of what could not be read: that is no all-clear.
            Total { skipped: 1.., .. } => Exit::Failed,
            _ => Exit::Ok,
        })
    }

    async fn hand_in(
        &self,
        daemon: &Client,
        out: Out<'_>,
        name: &str,
        report: &Report,
    ) -> Result<Total, CliError> {
        let mut total = Total::default();
        let source = report.tool.map_or_else(|| "report".to_owned(), |tool| tool.to_string());
        let id = Path::new(name).file_name().map_or_else(|| name.into(), |n| n.to_string_lossy());
        for batch in report.findings.chunks(BATCH) {
            let alert =
                wire::Alert { id: id.to_string(), findings: batch.iter().map(sent).collect() };
            let verdicts = daemon.alert(&alert, &source, self.dry_run).await?.verdicts;
            for (finding, verdict) in batch.iter().zip(&verdicts) {
                total.count(&verdict.ours);
                if self.json {
                    let found_at = finding.found_at.as_ref().map(|place| place.as_str());
                    let line =
                        Line { report: name, found_at, label: &finding.label, ours: &verdict.ours };
                    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
                    writeln!(out)?;
                } else {
                    say(out, finding, &verdict.ours)?;
                }
            }
        }
        Ok(total)
    }
}

fn read(file: &Path) -> Result<Report, CliError> {
    let name = file.display();
    let wrong = |error: io::Error| CliError::Input(format!("{name}: {error}"));
    let mut whole = zeroize::Zeroizing::new(Vec::new());
    let cap = REPORT_BYTES_MAX as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(cap).read_to_end(&mut whole).map_err(wrong)?;
    } else {
        File::open(file).map_err(wrong)?.take(cap).read_to_end(&mut whole).map_err(wrong)?;
    }
    let text = SecretBytes::new(std::mem::take(&mut *whole));
    report::read(&text).map_err(|error| CliError::Input(format!("{name}: {error}")))
}

fn sent(finding: &Finding) -> wire::Finding {
    wire::Finding {
        clues: finding.clues.iter().map(wire::Clue::from).collect(),
        label: finding.label.clone(),
        found_at: finding.found_at.as_ref().map(|place| place.as_str().to_owned()),
        claim: finding.claim,
    }
}

/// One finding: where, what, and whose it is.
fn say(out: Out<'_>, finding: &Finding, ours: &[wire::Ours]) -> Result<(), CliError> {
    let place = finding.found_at.as_ref().map_or("(no place)", |place| place.as_str());
    let head = human::clean(&format!("{place}  {}", finding.label));
    if ours.is_empty() {
        writeln!(out, "{head}  not ours")?;
    }
    for one in ours {
        writeln!(out, "{head}  {}", human::clean(&whose(one)))?;
    }
    Ok(())
}

/// `billing v8 (current): a new version is brought in ... (incident ..., rotation ...)`.
pub(super) fn whose(one: &wire::Ours) -> String {
    let mut text = format!("{} v{} ({})", one.secret, one.version, one.stage);
    if let Some(done) = &one.text {
        text = format!("{text}: {done}");
    }
    let ids = [("incident", &one.incident), ("rotation", &one.rotation)];
    let ids: Vec<String> =
        ids.iter().filter_map(|(word, id)| Some(format!("{word} {}", id.as_ref()?))).collect();
    if ids.is_empty() { text } else { format!("{text} [{}]", ids.join(", ")) }
}

impl Total {
    fn add(&mut self, more: &Total) {
        self.findings += more.findings;
        self.ours += more.ours;
        self.acted += more.acted;
        self.waiting += more.waiting;
        self.already_revoked += more.already_revoked;
        self.skipped += more.skipped;
        self.other_lines += more.other_lines;
    }

    fn count(&mut self, ours: &[wire::Ours]) {
        self.findings += 1;
        self.ours += usize::from(!ours.is_empty());
        let any = |word: fn(&str) -> bool| {
            usize::from(ours.iter().any(|one| one.action.as_deref().is_some_and(word)))
        };
        self.acted += any(|word| matches!(word, "rotate" | "retire" | "remint" | "join"));
        self.waiting += any(|word| word == "ask");
        self.already_revoked += usize::from(ours.iter().any(|one| one.stage == "revoked"));
    }

    fn say(&self, dry_run: bool) -> String {
        let Total { findings, ours, acted, waiting, already_revoked, skipped, other_lines } = self;
        let done = if dry_run {
            String::new()
        } else {
            format!(" acted={acted} waiting_for_a_person={waiting}")
        };
        let others = match other_lines {
            0 => String::new(),
            1 => ", 1 line was no finding".to_owned(),
            more => format!(", {more} lines were no findings"),
        };
        format!(
            "alert: findings={findings} ours={ours}{done} already_revoked={already_revoked} \
             skipped={skipped}{others}"
        )
    }
}
