//! Checks a chain: finds a changed byte, a missing line, a cut tail and changed order, and names
//! the line.
//!
//! Decides from bytes alone; must not need what wrote them. A chain that was rewritten from some
//! line on is whole in itself: only the head in Vault tells it from the true one.
//!
//! Files are opened before any of them is read, so that a chain can be checked while it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::store::audit::file::{self, FULL_FILES_MAX, LINE_LEN_MAX};
use crate::store::audit::{HASH_KEY, Head, Line, Link, Seq, TAIL_LEN, digest};

/// A chain that holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first line there is; later than 1 once old files were removed.
    pub first: Seq,
    /// Where it ends.
    pub head: Head,
    /// Lines after the anchored one: whole, but no anchor vouches for them yet.
    pub after_anchor: u64,
    /// The last line has no end: it is being written, or a crash tore it. No line is lost by it.
    pub torn: bool,
}

/// Where a chain is broken.
#[derive(Debug, Error)]
#[error("{}, line {line}: {fault}", path.display())]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// The line in the file, from 1.
    pub line: u64,
    /// What is wrong there.
    pub fault: Fault,
    /// The last line before it that holds.
    pub good: Head,
}

/// What can be wrong with a chain.
#[derive(Debug, Error)]
pub enum Fault {
    /// Not a line of an audit chain.
    #[error("not an audit line")]
    Malformed,
    /// The line has no end: written while the machine stopped.
    #[error("the line was not finished")]
    Torn,
    /// The content does not fit the digest.
    #[error("the line was changed: its content does not fit its hash")]
    Changed,
    /// The number is not the next one.
    #[error("line {expected} of the chain should stand here, this is {found}")]
    Order {
        /// The number that should stand here.
        expected: Seq,
        /// The number that does.
        found: Seq,
    },
    /// The digest named is not that of the line before.
    #[error("it does not follow the line before it: lines were exchanged")]
    Unlinked,
    /// The anchored line is not there.
    #[error("the chain ends at {found}, but line {anchored} was anchored: its tail was cut")]
    Cut {
        /// Where it ends.
        found: Seq,
        /// The line anchored in Vault.
        anchored: Seq,
    },
    /// The anchored line is another one.
    #[error("line {0} is not the one that was anchored: the chain was written anew")]
    Rewritten(Seq),
    /// Lines before the first are gone, and not because they were old.
    #[error("the chain begins at {0}: lines before it were removed")]
    BeginsLate(Seq),
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

impl Fault {
    /// The stable code, as it stands in a [`super::breach::Breach`].
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Malformed => "malformed",
            Fault::Torn => "torn",
            Fault::Changed => "changed",
            Fault::Order { .. } => "order",
            Fault::Unlinked => "unlinked",
            Fault::Cut { .. } => "cut",
            Fault::Rewritten(_) => "rewritten",
            Fault::BeginsLate(_) => "begins_late",
            Fault::Io(_) => "io",
        }
    }
}

/// The files of a chain, opened.
pub struct Files {
    newest: PathBuf,
    full: usize,
    open: Vec<(PathBuf, File)>,
}

/// Where a line stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub path: &'a Path,
    /// The line in it, from 1.
    pub line: u64,
}

impl Files {
    /// Opens all files of the chain in a state directory.
    ///
    /// # Errors
    /// [`Broken`] if one cannot be opened: [`Fault::Io`].
    pub fn open(state_dir: &Path) -> Result<Files, Broken> {
        let newest = file::newest(state_dir);
        let broken = |path: &Path, error| Broken {
            path: path.to_owned(),
            line: 0,
            fault: Fault::Io(error),
            good: Head::default(),
        };
        let paths = file::files(state_dir).map_err(|error| broken(&newest, error))?;
        let full = paths.iter().filter(|path| **path != newest).count();
        let mut open = Vec::new();
        for path in paths {
            let file = File::open(&path).map_err(|error| broken(&path, error))?;
            open.push((path, file));
        }
        Ok(Files { newest, full, open })
    }

    /// Checks them, against the head anchored in Vault if it is known, and shows each line that
    /// holds.
    ///
    /// # Errors
    /// [`Broken`] with the first thing that is wrong.
    pub fn check(
        self,
        anchored: Option<Head>,
        mut each: impl FnMut(Place<'_>, Line),
    ) -> Result<Verified, Broken> {
        let mut chain = Chain::new(anchored);
        chain.may_begin_late = self.full >= FULL_FILES_MAX;
        let mut last = (self.newest.clone(), 0);
        for (path, file) in self.open {
            let lines = read_file(&path, file, &mut chain, &mut each)?;
            if chain.torn && path != self.newest {
                let (fault, good) = (Fault::Torn, chain.head);
                return Err(Broken { path, line: lines + 1, fault, good });
            }
            last = (path, lines);
        }
        let good = chain.head;
        chain.finish().map_err(|fault| Broken { path: last.0, line: last.1, fault, good })
    }
}

/// Checks all files of a chain in a state directory, against the head anchored in Vault if it is
/// known.
///
/// # Errors
/// [`Broken`] with the first thing that is wrong.
pub fn verify(state_dir: &Path, anchored: Option<Head>) -> Result<Verified, Broken> {
    Files::open(state_dir)?.check(anchored, |_, _| {})
}

/// Checks lines without their ends, as they stand in memory.
///
/// # Errors
/// The line (from 1) and what is wrong there.
pub fn verify_lines<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    anchored: Option<Head>,
) -> Result<Verified, (u64, Fault)> {
    let mut chain = Chain::new(anchored);
    let mut number = 0;
    for line in lines {
        number += 1;
        chain.take(line).map_err(|fault| (number, fault))?;
    }
    chain.finish().map_err(|fault| (number, fault))
}

/// Reads one file to its last whole line, and answers how many there are.
fn read_file(
    path: &Path,
    file: File,
    chain: &mut Chain,
    each: &mut impl FnMut(Place<'_>, Line),
) -> Result<u64, Broken> {
    let mut number = 0;
    let mut reader = BufReader::new(file);
    let mut buffer = Vec::new();
    let mut read = |number: &mut u64, chain: &mut Chain| -> Result<(), Fault> {
        loop {
            buffer.clear();
            let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
            let mut limited = io::Read::take(&mut reader, limit);
            let length = limited.read_until(b'\n', &mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let Some(line) = buffer.strip_suffix(b"\n") else {
                chain.torn = length < LINE_LEN_MAX;
                *number += u64::from(!chain.torn);
                return if chain.torn { Ok(()) } else { Err(Fault::Malformed) };
            };
            *number += 1;
            let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed)?;
            each(Place { path, line: *number }, chain.take(line)?);
        }
    };
    let result = read(&mut number, chain);
    let good = chain.head;
    let broken = |fault| Broken { path: path.to_owned(), line: number, fault, good };
    result.map(|()| number).map_err(broken)
}

/// A chain on its way through a verifier.
struct Chain {
    anchored: Option<Head>,
    may_begin_late: bool,
    first: Option<Seq>,
    head: Head,
    torn: bool,
}

impl Chain {
    fn new(anchored: Option<Head>) -> Chain {
        let head = Head::default();
        Chain { anchored, may_begin_late: false, first: None, head, torn: false }
    }

    fn take(&mut self, text: &str) -> Result<Line, Fault> {
        let link = check_line(text)?;
        let line: Line = serde_json::from_str(text).map_err(|_| Fault::Malformed)?;
        if self.first.is_none() {
            self.may_begin(&link, &line)?;
            self.first = Some(link.seq);
        } else {
            let expected = self.head.next();
            if link.seq != expected {
                return Err(Fault::Order { expected, found: link.seq });
            }
            if link.prev != self.head.hash {
                return Err(Fault::Unlinked);
            }
        }
        match self.anchored {
            Some(anchored) if anchored.seq == link.seq && anchored.hash != link.hash => {
                Err(Fault::Rewritten(link.seq))
            }
            _ => {
                self.head = Head { seq: link.seq, hash: link.hash };
                Ok(line)
            }
        }
    }

    /// A chain begins at 1, behind a break that its first line tells, or where older files were
    /// removed because there were many.
    fn may_begin(&self, link: &Link, line: &Line) -> Result<(), Fault> {
        let anchored = self.anchored.unwrap_or_default();
        if self.anchored.is_some() && link.seq == anchored.next() && link.prev != anchored.hash {
            return Err(Fault::Unlinked);
        }
        if let Some(breach) = &line.entry.breach {
            let follows = breach.resumed == link.seq
                && breach.anchored.next() == link.seq
                && breach.anchored.hash == link.prev;
            let vouched = self.anchored.is_none() || link.seq <= anchored.next();
            return if follows && vouched { Ok(()) } else { Err(Fault::Unlinked) };
        }
        let unanchored = self.anchored.is_some() && link.seq > anchored.next();
        match link.seq {
            Seq(1) if link.prev != Head::default().hash => Err(Fault::Unlinked),
            Seq(1) => Ok(()),
            late if unanchored || !self.may_begin_late => Err(Fault::BeginsLate(late)),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Verified, Fault> {
        let first = self.first.unwrap_or(Seq(1));
        let anchored = self.anchored.unwrap_or_default();
        if self.head.seq < anchored.seq {
            return Err(Fault::Cut { found: self.head.seq, anchored: anchored.seq });
        }
        let after_anchor = self.head.seq.0 - anchored.seq.0;
        Ok(Verified { first, head: self.head, after_anchor, torn: self.torn })
    }
}

/// Checks one line in itself and answers how it is bound to the others.
pub(super) fn check_line(line: &str) -> Result<Link, Fault> {
    let link = parse(line)?;
    let Some((content, _)) = split(line) else { return Err(Fault::Malformed) };
    if digest(link.prev, content) != link.hash { Err(Fault::Changed) } else { Ok(link) }
}

/// The content that the digest is over, and the digest.
fn split(line: &str) -> Option<(&str, &str)> {
    let (content, tail) = line.split_at_checked(line.len().checked_sub(TAIL_LEN)?)?;
    Some((content.strip_suffix(HASH_KEY)?, tail.strip_suffix("\"}")?))
}

fn parse(line: &str) -> Result<Link, Fault> {
    let link: Link = serde_json::from_str(line).map_err(|_| Fault::Malformed)?;
    // The digest read by the parser must be the one that ends the line, in the form we write.
    match split(line) {
        Some((_, hash)) if hash == link.hash.to_string() => Ok(link),
        _ => Err(Fault::Malformed),
    }
}
