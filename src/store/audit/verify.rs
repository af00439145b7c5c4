//! Checks a chain: finds a changed byte, a missing line, a cut tail and changed order, and names
//! the line.
//!
//! Decides from bytes alone; must not need what wrote them. A chain that was rewritten from some
//! line on is whole in itself: only the head in Vault tells it from the true one.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::store::audit::file::{self, LINE_LEN_MAX};
use crate::store::audit::{HASH_KEY, Head, Link, Seq, TAIL_LEN, digest};

/// A chain that holds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first line there is; later than 1 once old files were removed.
    pub first: Seq,
    /// Where it ends.
    pub head: Head,
    /// Lines after the anchored one: whole, but no anchor vouches for them yet.
    pub after_anchor: u64,
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
    /// The anchored line was removed together with older files.
    #[error("the chain begins at {0}, after the anchored line")]
    BeginsLate(Seq),
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

/// Checks all files of a chain in a state directory, against the head anchored in Vault if it is
/// known.
///
/// # Errors
/// [`Broken`] with the first thing that is wrong.
pub fn verify(state_dir: &Path, anchored: Option<Head>) -> Result<Verified, Broken> {
    let mut chain = Chain::new(anchored);
    let newest = file::newest(state_dir);
    let at_start = |error| Broken { path: newest.clone(), line: 0, fault: Fault::Io(error) };
    let mut last = (newest.clone(), 0);
    for path in file::files(state_dir).map_err(at_start)? {
        let lines = read_file(&path, &mut chain)?;
        last = (path, lines);
    }
    chain.finish().map_err(|fault| Broken { path: last.0, line: last.1, fault })
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

fn read_file(path: &Path, chain: &mut Chain) -> Result<u64, Broken> {
    let mut number = 0;
    let mut buffer = Vec::new();
    let mut read = || -> Result<u64, Fault> {
        let mut reader = BufReader::new(File::open(path)?);
        loop {
            buffer.clear();
            let limit = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
            let mut limited = io::Read::take(&mut reader, limit);
            if limited.read_until(b'\n', &mut buffer)? == 0 {
                return Ok(number);
            }
            number += 1;
            let Some(line) = buffer.strip_suffix(b"\n") else { return Err(Fault::Torn) };
            chain.take(std::str::from_utf8(line).map_err(|_| Fault::Malformed)?)?;
        }
    };
    let result = read();
    result.map_err(|fault| Broken { path: path.to_owned(), line: number, fault })
}

/// A chain on its way through a verifier.
struct Chain {
    anchored: Option<Head>,
    first: Option<Seq>,
    head: Head,
}

impl Chain {
    fn new(anchored: Option<Head>) -> Chain {
        Chain { anchored, first: None, head: Head::default() }
    }

    fn take(&mut self, line: &str) -> Result<(), Fault> {
        let link = check_line(line)?;
        match self.first {
            // Older files may be gone: whatever the first line follows is taken on trust.
            None if link.seq == Seq(1) && link.prev != Head::default().hash => {
                return Err(Fault::Unlinked);
            }
            None => self.first = Some(link.seq),
            Some(_) => {
                let expected = Seq(self.head.seq.0 + 1);
                if link.seq != expected {
                    return Err(Fault::Order { expected, found: link.seq });
                }
                if link.prev != self.head.hash {
                    return Err(Fault::Unlinked);
                }
            }
        }
        self.head = Head { seq: link.seq, hash: link.hash };
        match self.anchored {
            Some(anchored) if anchored.seq == link.seq && anchored.hash != link.hash => {
                Err(Fault::Rewritten(link.seq))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Verified, Fault> {
        let first = self.first.unwrap_or(Seq(1));
        let anchored = self.anchored.unwrap_or_default();
        if self.head.seq < anchored.seq {
            return Err(Fault::Cut { found: self.head.seq, anchored: anchored.seq });
        }
        if self.anchored.is_some() && first.0 > anchored.seq.0 + 1 {
            return Err(Fault::BeginsLate(first));
        }
        let after_anchor = self.head.seq.0 - anchored.seq.0;
        Ok(Verified { first, head: self.head, after_anchor })
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
