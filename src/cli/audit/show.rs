//! `rotord audit show`: who did what, when, and what became of it.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveTime};
use clap::Args;

use crate::cli::audit::{directory, unread};
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, human};
use crate::engine::clock::SystemClock;
use crate::model::id::SecretName;
use crate::model::time::{Clock as _, Span, Timestamp};
use crate::store::audit::verify::Files;
use crate::store::audit::{Entry, EntryKind, Line};

const EXAMPLES: &str = "\
Examples:
  rotord audit show --since 1d
  rotord audit show --secret billing-webhook --since 2026-11-01
  rotord audit show --json | jq 'select(.kind == \"command\") | .actor'";

/// Print the lines of the audit chain for people.
///
/// Reads the state directory; needs no daemon and no Vault. Stops at the first line that does not
/// hold, with exit code 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Show {
    /// Lines about this secret only.
    #[arg(long, value_name = "NAME")]
    secret: Option<SecretName>,
    /// Lines from then on: a moment, a day, or a span back from now (7d).
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// One JSON object a line, as docs/operating.md describes it.
    #[arg(long)]
    json: bool,
    /// Another directory than the config's: lines that were shipped, or set aside.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Show {
    pub(super) fn act(self, config: &Path, out: Out<'_>) -> Result<Exit, CliError> {
        let directory = directory(self.directory.clone(), config)?;
        let files = Files::open(&directory);
        let mut written = Ok(());
        let checked = files.and_then(|files| {
            files.check(None, |_, line| {
                if written.is_ok() && self.wants(&line.entry) {
                    written = self.print(&line, out);
                }
            })
        });
        written?;
        match checked {
            Ok(_) => Ok(Exit::Ok),
            Err(broken) => Err(unread(&broken).unwrap_or_else(|| {
                let text = format!("{broken}; what follows is not shown: rotord audit verify");
                CliError::Unreadable(text)
            })),
        }
    }

    fn wants(&self, entry: &Entry) -> bool {
        let named = self.secret.as_ref().is_none_or(|name| entry.secret.as_ref() == Some(name));
        named && self.since.is_none_or(|since| entry.at >= since)
    }

    fn print(&self, line: &Line, out: Out<'_>) -> Result<(), CliError> {
        if !self.json {
            return Ok(writeln!(out, "{}", text(line))?);
        }
        let json = serde_json::to_string(line);
        let json = json.map_err(|error| CliError::NotUnderstood(error.to_string()))?;
        Ok(writeln!(out, "{json}")?)
    }
}

/// When, number, who, about which secret, what.
pub(super) fn text(line: &Line) -> String {
    let Line { seq, entry } = line;
    let secret = entry.secret.as_ref().map_or("-", SecretName::as_str);
    let actor = human::clean(&entry.actor);
    let mut text = format!("{} {seq:>6} {actor} {secret} {}", entry.at, entry.kind.word());
    if let Some(effect) = &entry.effect {
        text.push_str(&format!(" {}", human::clean(&effect.to_string())));
    }
    match (&entry.failure, entry.kind) {
        (Some(failure), _) => text.push_str(&format!(": {}", failure.reason)),
        (None, EntryKind::Outcome) => text.push_str(": ok"),
        (None, _) => {}
    }
    if let Some(note) = &entry.note {
        text.push_str(&format!(": {}", human::clean(note)));
    }
    text
}

fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(SystemClock.now() - Span::from(span));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc().into());
    }
    let moment = DateTime::parse_from_rfc3339(text).map(|moment| moment.to_utc().into());
    moment.map_err(|_| {
        "expected a moment (2026-12-01T08:00:00Z), a day (2026-12-01) or a span (7d)".to_owned()
    })
}
