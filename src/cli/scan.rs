//! `rotord scan`: looks for our values in files, directories or a stream. The text goes to the
//! daemon piece by piece, since only there the values are; nothing of it is kept.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::api::wire::alerts as wire;
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{Out, alert, human};

const EXAMPLES: &str = "\
Examples:
  rotord scan /var/log                        whole directories, links not followed
  kubectl get secrets -A -o yaml | rotord scan -
  rotord scan --act --fail-on-match ./build   what is found is treated as leaked

Exit codes:
  0 searched  10 --fail-on-match and something was found  1 something could not be read";

/// Pieces on their way at once: one is read while another is sent and others are looked at.
const PIECES: usize = 4;

/// Sightings in one request.
const BATCH: usize = 200;

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
}

/// A piece of a file, and what has to be known of it when the answer comes.
struct Piece {
    text: Bytes,
    seen: usize,
    /// Line breaks before it, and bytes since the last one.
    lines: u64,
    column: u64,
}

impl Scan {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let begun = daemon.begin_scan().await?;
        let mut total = Total {
            versions: begun.versions,
            unread_versions: begun.unread.len(),
            ..Total::default()
        };
        for version in &begun.unread {
            warn(&format!("{version}: its value could not be read, it is not looked for"));
        }
        let mut seen = Vec::new();
        let mut waiting: Vec<PathBuf> = self.paths.iter().rev().cloned().collect();
        while let Some(path) = waiting.pop() {
            match self.enter(&path, &mut waiting) {
                Ok(None) => {}
                Ok(Some(source)) => {
                    let pieces = Pieces::new(&path, source, &begun);
                    match self.look(daemon, out, pieces, &mut total).await {
                        Ok(found) => seen.extend(found),
                        Err(CliError::Input(text)) => {
                            total.unread_files += 1;
                            warn(&text);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => {
                    total.unread_files += 1;
                    warn(&format!("{}: {error}", path.display()));
                }
            }
        }
        if self.act {
            hand_in(daemon, out, begun.scan, &seen, self.json).await?;
        }
        daemon.end_scan(begun.scan).await?;
        self.close(out, &total)
    }

    fn close(&self, out: Out<'_>, total: &Total) -> Result<Exit, CliError> {
        if self.json {
            writeln!(out, "{}", serde_json::json!({ "total": total }))?;
        } else {
            let Total { files, bytes, found, versions, unread_files, unread_versions } = total;
            writeln!(
                out,
                "scan: files={files} bytes={bytes} versions={versions} found={found} \
                 unread_files={unread_files} unread_versions={unread_versions}"
            )?;
        }
        Ok(if self.fail_on_match && total.found > 0 {
            Exit::Found
        } else if total.unread_files > 0 || total.unread_versions > 0 {
            Exit::Failed
        } else {
            Exit::Ok
        })
    }

    /// Opens a file; puts what is in a directory on the list instead. Links and devices within a
    /// directory are passed over, named ones are opened.
    fn enter(
        &self,
        path: &Path,
        waiting: &mut Vec<PathBuf>,
    ) -> io::Result<Option<Box<dyn Read + Send>>> {
        if path == Path::new("-") {
            return Ok(Some(Box::new(io::stdin())));
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
        if !kind.is_file() && !named {
            return Ok(None);
        }
        Ok(Some(Box::new(File::open(path)?)))
    }

    /// Looks through one file.
    async fn look(
        &self,
        daemon: &Client,
        out: Out<'_>,
        pieces: Pieces,
        total: &mut Total,
    ) -> Result<Vec<Seen>, CliError> {
        let (path, scan) = (pieces.path.clone(), pieces.scan);
        let read = stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces = pieces?;
            let next = tokio::task::spawn_blocking(move || (pieces.next(), pieces)).await;
            match next {
                Ok((Ok(Some(piece)), pieces)) => Some((Ok(piece), Some(pieces))),
                Ok((Ok(None), _)) => None,
                Ok((Err(error), _)) => Some((Err(error), None)),
                Err(_) => Some((Err(io::Error::other("reading broke off")), None)),
            }
        });
        let asked = read.map(|piece| async {
            let piece = piece.map_err(|e| CliError::Input(format!("{path}: {e}")))?;
            let found = daemon.piece(scan, piece.seen, piece.text.clone()).await?;
            Ok::<_, CliError>((piece, found))
        });
        let mut answers = std::pin::pin!(asked.buffered(PIECES));
        let mut all = Vec::new();
        total.files += 1;
        while let Some(answer) = answers.next().await {
            let (piece, answer) = answer?;
            total.bytes += (piece.text.len() - piece.seen) as u64;
            if answer.cut {
                warn(&format!("{path}: there is more than is told near line {}", piece.lines + 1));
            }
            for found in answer.found {
                total.found += 1;
                let one = piece.place(&path, found);
                self.say(out, &one)?;
                all.push(one);
            }
        }
        Ok(all)
    }

    fn say(&self, out: Out<'_>, one: &Seen) -> Result<(), CliError> {
        if self.json {
            serde_json::to_writer(&mut *out, one).map_err(io::Error::from)?;
            return Ok(writeln!(out)?);
        }
        let Seen { path, line, column, secret, version, stage, written } = one;
        let written = if written == "plain" { String::new() } else { format!(", as {written}") };
        let place = human::clean(&format!("{path}:{line}:{column}"));
        Ok(writeln!(out, "{place}  {secret} v{version} ({stage}{written})")?)
    }
}

/// Has what was found judged: each version at each place once.
async fn hand_in(
    daemon: &Client,
    out: Out<'_>,
    scan: u64,
    seen: &[Seen],
    json: bool,
) -> Result<(), CliError> {
    let live: Vec<wire::Sighting> = seen
        .iter()
        .filter(|one| one.stage != "revoked")
        .map(|one| wire::Sighting {
            secret: one.secret.clone(),
            version: one.version,
            found_at: format!("{}:{}", one.path, one.line),
        })
        .collect();
    let mut told = BTreeSet::new();
    for batch in live.chunks(BATCH) {
        let sightings = wire::Sightings { id: "scan".into(), sightings: batch.to_vec() };
        for verdict in daemon.report_scan(scan, &sightings).await?.verdicts {
            for one in verdict.ours {
                if !told.insert((one.secret.clone(), one.version)) {
                    continue;
                }
                if json {
                    serde_json::to_writer(&mut *out, &one).map_err(io::Error::from)?;
                    writeln!(out)?;
                } else {
                    writeln!(out, "{}", human::clean(&alert::whose(&one)))?;
                }
            }
        }
    }
    Ok(())
}

/// A file cut into pieces, each beginning with the end of the one before.
struct Pieces {
    path: String,
    scan: u64,
    source: Box<dyn Read + Send>,
    piece_bytes_max: usize,
    overlap: usize,
    tail: Vec<u8>,
    lines: u64,
    column: u64,
    ended: bool,
}

impl Pieces {
    fn new(path: &Path, source: Box<dyn Read + Send>, begun: &wire::Begun) -> Pieces {
        let (piece_bytes_max, overlap) = (begun.piece_bytes_max, begun.overlap);
        Pieces {
            path: path.display().to_string(),
            scan: begun.scan,
            source,
            piece_bytes_max,
            overlap,
            tail: Vec::new(),
            lines: 0,
            column: 0,
            ended: false,
        }
    }

    fn next(&mut self) -> io::Result<Option<Piece>> {
        if self.ended {
            return Ok(None);
        }
        let seen = self.tail.len();
        let mut text = Vec::with_capacity(self.piece_bytes_max);
        text.extend_from_slice(&self.tail);
        let room = (self.piece_bytes_max - seen) as u64;
        (&mut self.source).take(room).read_to_end(&mut text)?;
        let filled = text.len();
        self.ended = filled < self.piece_bytes_max;
        if filled == seen && seen > 0 {
            return Ok(None);
        }
        let piece_lines = (self.lines, self.column);
        let kept = filled.saturating_sub(self.overlap.min(self.piece_bytes_max / 2));
        (self.lines, self.column) = advance(piece_lines, &text[..kept]);
        self.tail = text[kept..].to_vec();
        let (lines, column) = piece_lines;
        Ok(Some(Piece { text: Bytes::from(text), seen, lines, column }))
    }
}

impl Piece {
    fn place(&self, path: &str, found: wire::Found) -> Seen {
        let before = &self.text[..found.start.min(self.text.len())];
        let (lines, column) = advance((self.lines, self.column), before);
        let wire::Found { secret, version, stage, written, .. } = found;
        let (line, column) = (lines + 1, column + 1);
        Seen { path: path.to_owned(), line, column, secret, version, stage, written }
    }
}

/// Line breaks and bytes since the last one, after some more text.
fn advance((lines, column): (u64, u64), text: &[u8]) -> (u64, u64) {
    let breaks = memchr::memchr_iter(b'\n', text).count() as u64;
    match memchr::memrchr(b'\n', text) {
        Some(last) => (lines + breaks, (text.len() - last - 1) as u64),
        None => (lines, column + text.len() as u64),
    }
}

fn warn(text: &str) {
    // If nobody can be told, the exit code still says it.
    let _ = writeln!(io::stderr(), "rotord: {}", human::clean(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(piece_bytes_max: usize, overlap: usize) -> wire::Begun {
        wire::Begun { scan: 1, piece_bytes_max, overlap, versions: 0, unread: Vec::new() }
    }

    /// Whatever the pieces, each place of the text has the same line and column.
    #[test]
    fn places_are_those_of_the_whole_text() {
        let text = b"one\ntwo two\n\nfour-NEEDLE\nfive NEEDLE".to_vec();
        for piece in 14..60 {
            let mut pieces = Pieces::new(
                Path::new("f"),
                Box::new(io::Cursor::new(text.clone())),
                &begun(piece, 5),
            );
            let mut places = Vec::new();
            let mut told = 0;
            while let Some(piece) = pieces.next().unwrap() {
                told += piece.text.len() - piece.seen;
                for start in 0..piece.text.len() {
                    let end = start + 6;
                    if piece.text.get(start..end) == Some(b"NEEDLE") && end > piece.seen {
                        let found = wire::Found {
                            start,
                            end,
                            secret: "a".into(),
                            version: 1,
                            stage: "current".into(),
                            written: "plain".into(),
                        };
                        let seen = piece.place("f", found);
                        places.push((seen.line, seen.column));
                    }
                }
            }
            assert_eq!(places, [(4, 6), (5, 6)], "pieces of {piece}");
            assert_eq!(told, text.len());
        }
    }

    #[test]
    fn an_empty_file_is_one_empty_piece() {
        let mut pieces = Pieces::new(Path::new("f"), Box::new(io::empty()), &begun(16, 4));
        assert_eq!(pieces.next().unwrap().map(|piece| piece.text.len()), Some(0));
        assert!(pieces.next().unwrap().is_none());
    }
}
