//! A file or a stream cut into pieces, each beginning with the end of the one before.
//!
//! Decides when a piece is ready: when it is full, and a stream's also when the first of it has
//! waited for [`PATIENCE`], so that what trickles in is looked at all the same. Must not know what
//! is looked for, nor who is asked.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::api::wire::alerts as wire;

/// How long the first byte of a piece waits for more of a stream. Somebody who watches a log must
/// not wait long for its last line; a request every two seconds costs nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes asked of a stream at once: what a pipe holds.
const STREAM_READ_BYTES: usize = 64 * 1024;

/// Where bytes come from. Reading may block.
type Reader = Box<dyn Read + Send>;

/// What is read.
pub(super) enum Source {
    /// All of it is there: it is read in long strides.
    Whole(Reader),
    /// It comes when it comes.
    Stream(Reader),
}

/// A piece, and what has to be known of it when the answer comes.
pub(super) struct Piece {
    /// The bytes.
    pub(super) text: Bytes,
    /// So many of them stood in the piece before.
    pub(super) seen: usize,
    /// Whether nothing more is there behind it, at least for now.
    pub(super) is_last: bool,
    /// Line breaks before it, and bytes since the last one.
    lines: u64,
    column: u64,
}

/// The pieces of one file or stream.
pub(super) struct Pieces {
    path: String,
    reader: Option<Reader>,
    /// A read of a stream that has not come back yet.
    reading: Option<Reading>,
    is_stream: bool,
    piece_bytes_max: usize,
    overlap: usize,
    tail: Vec<u8>,
    lines: u64,
    column: u64,
    ended: bool,
    /// What broke the reading off, to be told after what came before it.
    failed: Option<io::Error>,
}

type Reading = JoinHandle<(Reader, io::Result<Vec<u8>>)>;

/// Why no more is read for a piece.
#[derive(PartialEq, Eq)]
enum Filled {
    Full,
    Paused,
    Ended,
}

impl Source {
    /// Standard input.
    pub(super) fn stdin() -> Source {
        Source::Stream(Box::new(io::stdin()))
    }

    /// A regular file.
    pub(super) fn file(path: &Path) -> io::Result<Source> {
        Ok(Source::Whole(Box::new(File::open(path)?)))
    }

    /// A pipe or a device.
    pub(super) fn pipe(path: &Path) -> Source {
        Source::Stream(Box::new(Unopened { path: path.to_owned(), file: None }))
    }
}

/// A pipe that is opened with the first read: that waits until somebody writes to it.
struct Unopened {
    path: PathBuf,
    file: Option<File>,
}

impl Read for Unopened {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        file.read(into)
    }
}

impl Pieces {
    pub(super) fn new(path: &Path, source: Source, begun: &wire::Begun) -> Pieces {
        let (reader, is_stream) = match source {
            Source::Whole(reader) => (reader, false),
            Source::Stream(reader) => (reader, true),
        };
        Pieces {
            path: path.display().to_string(),
            reader: Some(reader),
            reading: None,
            is_stream,
            piece_bytes_max: begun.piece_bytes_max,
            overlap: begun.overlap,
            tail: Vec::new(),
            lines: 0,
            column: 0,
            ended: false,
            failed: None,
        }
    }

    /// What it is called.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The next piece; none at the end. What was read before an error comes before the error.
    pub(super) async fn next(&mut self) -> io::Result<Option<Piece>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.ended {
            return Ok(None);
        }
        let seen = self.tail.len();
        let mut text = std::mem::take(&mut self.tail);
        text.reserve_exact(self.piece_bytes_max - seen);
        let filled = match self.is_stream {
            true => self.fill_from_stream(&mut text).await,
            false => self.fill(&mut text).await,
        };
        let filled = filled.or_else(|error| {
            if text.len() == seen {
                return Err(error);
            }
            self.failed = Some(error);
            Ok(Filled::Ended)
        });
        self.ended = !matches!(filled, Ok(Filled::Full | Filled::Paused));
        let filled = filled?;
        if text.len() == seen && seen > 0 {
            return Ok(None);
        }
        let (lines, column) = (self.lines, self.column);
        let kept = text.len().saturating_sub(self.overlap.min(self.piece_bytes_max / 2));
        (self.lines, self.column) = advance((lines, column), &text[..kept]);
        self.tail = text[kept..].to_vec();
        let is_last = filled != Filled::Full;
        Ok(Some(Piece { text: Bytes::from(text), seen, is_last, lines, column }))
    }

    /// Reads until the piece is full.
    async fn fill(&mut self, text: &mut Vec<u8>) -> io::Result<Filled> {
        let mut reader = self.reader.take().ok_or_else(broken_off)?;
        let mut whole = std::mem::take(text);
        let room = (self.piece_bytes_max - whole.len()) as u64;
        let read = spawn_blocking(move || {
            let read = (&mut reader).take(room).read_to_end(&mut whole);
            (reader, whole, read)
        });
        let (reader, whole, read) = read.await.map_err(panicked)?;
        self.reader = Some(reader);
        *text = whole;
        read?;
        Ok(if text.len() < self.piece_bytes_max { Filled::Ended } else { Filled::Full })
    }

    /// Reads until the piece is full, or its first new byte has waited long enough. A read that is
    /// under way then is the first of the next piece.
    async fn fill_from_stream(&mut self, text: &mut Vec<u8>) -> io::Result<Filled> {
        let mut upto = None;
        while text.len() < self.piece_bytes_max {
            let mut reading = match self.reading.take() {
                Some(reading) => reading,
                None => self.read_on(self.piece_bytes_max - text.len())?,
            };
            let read = match upto {
                None => (&mut reading).await,
                Some(upto) => match timeout_at(upto, &mut reading).await {
                    Ok(read) => read,
                    Err(_) => {
                        self.reading = Some(reading);
                        return Ok(Filled::Paused);
                    }
                },
            };
            let (reader, read) = read.map_err(panicked)?;
            self.reader = Some(reader);
            let more = read?;
            if more.is_empty() {
                return Ok(Filled::Ended);
            }
            text.extend_from_slice(&more);
            upto.get_or_insert_with(|| Instant::now() + PATIENCE);
        }
        Ok(Filled::Full)
    }

    /// Begins a read of a stream, of no more than the next piece has room for at any rate.
    fn read_on(&mut self, room: usize) -> io::Result<Reading> {
        let mut reader = self.reader.take().ok_or_else(broken_off)?;
        let most = room.min(STREAM_READ_BYTES).min(self.piece_bytes_max.div_ceil(2));
        Ok(spawn_blocking(move || {
            let mut more = vec![0; most];
            let read = loop {
                match reader.read(&mut more) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            let read = read.map(|read| {
                more.truncate(read);
                more
            });
            (reader, read)
        }))
    }
}

fn broken_off() -> io::Error {
    io::Error::other("reading broke off")
}

fn panicked(_: JoinError) -> io::Error {
    broken_off()
}

impl Piece {
    /// The bytes that no piece before had.
    pub(super) fn fresh(&self) -> u64 {
        (self.text.len() - self.seen) as u64
    }

    /// The line that it begins in, from 1.
    pub(super) fn line(&self) -> u64 {
        self.lines + 1
    }

    /// Line and column of one of its bytes, both from 1.
    pub(super) fn place(&self, byte: usize) -> (u64, u64) {
        let before = &self.text[..byte.min(self.text.len())];
        let (lines, column) = advance((self.lines, self.column), before);
        (lines + 1, column + 1)
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
