//! `rotord scan`: looks for our values in files, directories or a stream. The text goes to the
//! daemon piece by piece, since only there the values are; nothing of it is kept.

mod pieces;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::timeout;

use crate::api::wire::Why;
use crate::api::wire::alerts as wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::scan::pieces::{Piece, Pieces, Source};
use crate::cli::{Out, alert, human};
use crate::engine::scan::SCAN_IDLE;

const EXAMPLES: &str = "\
Examples:
  rotord scan /var/log                        whole directories, links not followed
  kubectl get secrets -A -o yaml | rotord scan -
  tail -f app.log | rotord scan --act -       a line is looked at within seconds
  rotord scan --act --fail-on-match ./build   what is found is treated as leaked

Exit codes:
  0 searched  10 --fail-on-match and something was found
  1 something could not be read, or --act could not act on it";

/// Pieces on their way at once: one is read while another is sent and others are looked at.
const PIECES: usize = 4;

/// Sightings in one request.
const BATCH: usize = 200;

/// How often the daemon hears from a scan that has nothing to send: three times within the time
/// after which it would take the scan for over.
const KEEP_ALIVE: Duration = Duration::from_millis(SCAN_IDLE.0 / 3);

/// Look for values of managed secrets in files, directories or standard input.
///
/// Finds every live version as it is and as it is written in URLs, JSON and Base64, and words whose
/// digest is that of a version that is gone. By itself it changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Scan {
    /// Files and directories; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Treat what is found as leaked: as if an alert had come for it.
    #[arg(long)]
    act: bool,
    /// End with exit code 10 if anything was found.
    #[arg(long)]
    fail_on_match: bool,
    /// One JSON object a finding, and one at the end.
    #[arg(long)]
    json: bool,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
struct Seen {
    path: String,
    line: u64,
    column: u64,
    secret: String,
    version: u64,
    stage: String,
    written: String,
}

/// What was looked at, and what came of it.
#[derive(Debug, Default, Serialize)]
struct Total {
    files: u64,
    bytes: u64,
    found: u64,
    versions: usize,
    unread_files: u64,
    unread_versions: usize,
    /// Findings that `--act` could not act on.
    not_acted: u64,
}

/// A finding that was handed in and not acted on.
#[derive(Debug, Serialize)]
struct NotActed<'a> {
    path: &'a str,
    line: u64,
    secret: &'a str,
    version: u64,
    not_acted: &'a Why,
}

impl Scan {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let begun = daemon.begin_scan().await?;
        for version in &begun.unread {
            warn(&format!("{version}: its value could not be read, it is not looked for"));
        }
        let mut run = Run::new(&self, daemon, &begun);
        let mut waiting: Vec<PathBuf> = self.paths.iter().rev().cloned().collect();
        while let Some(path) = waiting.pop() {
            match self.enter(&path, &mut waiting) {
                Ok(None) => {}
                Ok(Some(source)) => {
                    let looked = run.look(out, Pieces::new(&path, source, &begun)).await;
                    // What was found before it broke off was found.
                    run.hand_in(out).await?;
                    match looked {
                        Err(CliError::Input(text)) => run.unread(&text),
                        looked => looked?,
                    }
                }
                Err(error) => run.unread(&format!("{}: {error}", path.display())),
            }
        }
        daemon.end_scan(begun.scan).await?;
        self.close(out, &run.total)
    }

    fn close(&self, out: Out<'_>, total: &Total) -> Result<Exit, CliError> {
        if self.json {
            writeln!(out, "{}", serde_json::json!({ "total": total }))?;
        } else {
            let Total { files, bytes, found, versions, .. } = total;
            let Total { unread_files, unread_versions, not_acted, .. } = total;
            writeln!(
                out,
                "scan: files={files} bytes={bytes} versions={versions} found={found} \
                 unread_files={unread_files} unread_versions={unread_versions} \
                 not_acted={not_acted}"
            )?;
        }
        let failures = total.unread_files + total.unread_versions as u64 + total.not_acted;
        Ok(match () {
            () if self.fail_on_match && total.found > 0 => Exit::Found,
            () if failures > 0 => Exit::Failed,
            () => Exit::Ok,
        })
    }

    /// Opens a file; puts what is in a directory on the list instead. Links and devices within a
    /// directory are passed over, named ones are opened.
    fn enter(&self, path: &Path, waiting: &mut Vec<PathBuf>) -> io::Result<Option<Source>> {
        if path == Path::new("-") {
            return Ok(Some(Source::stdin()));
        }
        let named = self.paths.iter().any(|given| given == path);
        let kind = if named { fs::metadata(path)? } else { fs::symlink_metadata(path)? };
        if kind.is_dir() {
            let mut inner: Vec<PathBuf> =
                fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            inner.sort();
            waiting.extend(inner.into_iter().rev());
            return Ok(None);
        }
        match (kind.is_file(), named) {
            (true, _) => Source::file(path).map(Some),
            (false, true) => Ok(Some(Source::pipe(path))),
            (false, false) => Ok(None),
        }
    }
}

/// A scan while it goes on.
struct Run<'a> {
    scan: &'a Scan,
    daemon: &'a Client,
    number: u64,
    total: Total,
    /// Findings that are still to be handed in.
    waiting: Vec<Seen>,
    /// The versions of which it was said what is done.
    told: BTreeSet<(String, u64)>,
}

impl Run<'_> {
    fn new<'a>(scan: &'a Scan, daemon: &'a Client, begun: &wire::Begun) -> Run<'a> {
        let (versions, unread_versions) = (begun.versions, begun.unread.len());
        let total = Total { versions, unread_versions, ..Total::default() };
        let (waiting, told) = (Vec::new(), BTreeSet::new());
        Run { scan, daemon, number: begun.scan, total, waiting, told }
    }

    /// Looks through one file.
    async fn look(&mut self, out: Out<'_>, pieces: Pieces) -> Result<(), CliError> {
        let (daemon, number) = (self.daemon, self.number);
        let path = pieces.path().to_owned();
        let read = stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces = pieces?;
            match pieces.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(pieces))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let asked = read.map(|piece| async {
            let piece = piece.map_err(|e| CliError::Input(format!("{path}: {e}")))?;
            let found = daemon.piece(number, piece.seen, piece.text.clone()).await?;
            Ok::<_, CliError>((piece, found))
        });
        let mut answers = std::pin::pin!(asked.buffered(PIECES));
        self.total.files += 1;
        let still_here = || async { daemon.piece(number, 0, Bytes::new()).await.map(drop) };
        while let Some(answer) = kept_alive(answers.next(), still_here).await? {
            let (piece, answer) = answer?;
            self.take_in(out, &path, (piece, answer)).await?;
        }
        Ok(())
    }

    /// Says what was found in a piece, and hands it in when there is enough of it, or when it may
    /// be long until there is more.
    async fn take_in(
        &mut self,
        out: Out<'_>,
        path: &str,
        (piece, answer): (Piece, wire::Piece),
    ) -> Result<(), CliError> {
        self.total.bytes += piece.fresh();
        if answer.cut {
            warn(&format!("{path}: there is more than is told near line {}", piece.line()));
        }
        for found in answer.found {
            self.total.found += 1;
            let (line, column) = piece.place(found.start);
            let wire::Found { secret, version, stage, written, .. } = found;
            let path = path.to_owned();
            let one = Seen { path, line, column, secret, version, stage, written };
            self.say(out, &one)?;
            if self.scan.act && one.stage != "revoked" {
                self.waiting.push(one);
            }
        }
        if piece.is_last || self.waiting.len() >= BATCH {
            self.hand_in(out).await?;
        }
        Ok(())
    }

    fn say(&self, out: Out<'_>, one: &Seen) -> Result<(), CliError> {
        if self.scan.json {
            return json(out, one);
        }
        let Seen { path, line, column, secret, version, stage, written } = one;
        let written = if written == "plain" { String::new() } else { format!(", as {written}") };
        let place = human::clean(&format!("{path}:{line}:{column}"));
        Ok(writeln!(out, "{place}  {secret} v{version} ({stage}{written})")?)
    }

    /// Has what was found judged, and says of each version once what is done, and of each finding
    /// that is not acted on why.
    async fn hand_in(&mut self, out: Out<'_>) -> Result<(), CliError> {
        for batch in std::mem::take(&mut self.waiting).chunks(BATCH) {
            let sightings = batch.iter().map(|one| wire::Sighting {
                secret: one.secret.clone(),
                version: one.version,
                found_at: format!("{}:{}", one.path, one.line),
            });
            let sightings = wire::Sightings { id: "scan".into(), sightings: sightings.collect() };
            let verdicts = self.daemon.report_scan(self.number, &sightings).await?.verdicts;
            for (one, verdict) in batch.iter().zip(verdicts) {
                self.judged(out, one, verdict)?;
            }
        }
        out.flush()?;
        Ok(())
    }

    fn judged(&mut self, out: Out<'_>, one: &Seen, verdict: wire::Verdict) -> Result<(), CliError> {
        for ours in verdict.ours {
            if !self.told.insert((ours.secret.clone(), ours.version)) {
                continue;
            }
            if self.scan.json {
                json(out, &ours)?;
            } else {
                writeln!(out, "{}", human::clean(&alert::whose(&ours)))?;
            }
        }
        let Some(why) = verdict.why else { return Ok(()) };
        self.total.not_acted += 1;
        let Seen { path, line, secret, version, .. } = one;
        let (line, version) = (*line, *version);
        if self.scan.json {
            return json(out, &NotActed { path, line, secret, version, not_acted: &why });
        }
        let text = format!("{path}:{line}  {secret} v{version}: not acted on: {}", why.text);
        Ok(writeln!(out, "{}", human::clean(&text))?)
    }

    /// Something could not be read, or not to its end.
    fn unread(&mut self, text: &str) {
        self.total.unread_files += 1;
        warn(text);
    }
}

/// Waits, and lets be heard of the scan meanwhile: a stream may be silent for hours.
async fn kept_alive<T, F>(
    next: impl Future<Output = T>,
    still_here: impl Fn() -> F,
) -> Result<T, CliError>
where
    F: Future<Output = Result<(), CliError>>,
{
    let mut next = std::pin::pin!(next);
    loop {
        match timeout(KEEP_ALIVE, &mut next).await {
            Ok(next) => return Ok(next),
            Err(_) => still_here().await?,
        }
    }
}

fn json(out: Out<'_>, line: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn warn(text: &str) {
    // If nobody can be told, the exit code still says it.
    let _ = writeln!(io::stderr(), "rotord: {}", human::clean(text));
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scan_of_a_silent_stream_is_heard_of_before_it_counts_as_over() {
        let heard = Cell::new(0);
        let hour = sleep(SCAN_IDLE.to_std() * 60);
        let still_here = || {
            heard.set(heard.get() + 1);
            async { Ok(()) }
        };
        kept_alive(hour, still_here).await.unwrap();
        assert!(heard.get() > 60, "{} times within an hour", heard.get());
        assert!(KEEP_ALIVE < SCAN_IDLE.to_std());
    }
}
