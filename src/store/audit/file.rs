//! The chain in files of the state directory: one JSON object a line, the newest file growing.
//!
//! Decides when a line is on disk, when a file is full, what to do with a line that a crash tore
//! and where files go that cannot be continued; must not know what the lines mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::model::id::InstanceId;
use crate::model::time::Timestamp;
use crate::store::audit::owed::Owed;
use crate::store::audit::{
    AuditError, AuditSink, Entry, EntryKind, Head, Seq, next_line, verify::check_line,
};

/// Size at which a file is closed: quick to copy and to verify, and months of routine work.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Full files that are kept. Older ones are removed: a state directory must not fill a disk.
/// Whoever must keep more ships them elsewhere before that. A chain that begins late although there
/// are fewer was shortened: raising this number makes old chains look so.
pub const FULL_FILES_MAX: usize = 16;

/// Longest line in bytes, its end included: a note of [`super::NOTE_LEN_MAX`] bytes in the worst
/// escaping, and as much again for names and ids.
pub const LINE_LEN_MAX: usize = 16 * 1024;

/// The chain in files.
#[derive(Debug)]
pub struct FileAudit {
    dir: PathBuf,
    file: File,
    head: Head,
    /// The first line of the growing file, which names it once it is full.
    first: Seq,
    /// Length of the growing file up to its last whole line.
    len: u64,
    /// Something may lie behind `len`: a line that could not be written to its end.
    dirty: bool,
    owed: Owed,
}

/// The growing file.
pub(super) fn newest(dir: &Path) -> PathBuf {
    dir.join("audit.jsonl")
}

/// Every file of the chain that is there, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = full_files(dir)?;
    let newest = newest(dir);
    if newest.try_exists()? {
        files.push(newest);
    }
    Ok(files)
}

impl FileAudit {
    /// Continues the chain in a state directory, or begins one. A last line that a crash tore is
    /// cut off and noted. Blocks for a moment: meant for start-up.
    ///
    /// # Errors
    /// [`AuditError::Broken`] if the last line does not hold, which a crash cannot cause.
    pub fn open(dir: &Path, instance: &InstanceId, at: Timestamp) -> Result<FileAudit, AuditError> {
        let path = newest(dir);
        let said = |error| io_error(&path, &error);
        let mut file = create(&path).map_err(said)?;
        let len = file.metadata().map_err(said)?.len();
        let tail = tail(&mut file, len).map_err(said)?;
        let torn = torn(&tail);
        let len = len - torn;
        if torn > 0 {
            file.set_len(len).map_err(said)?;
        }
        let whole = &tail[..tail.len() - usize::try_from(torn).unwrap_or(tail.len())];
        let head = match last_line(&path, whole)? {
            Some(head) => head,
            None => head_of_full_files(dir)?,
        };
        let first = match len {
            0 => head.next(),
            _ => first_seq(&mut file, &path)?,
        };
        let (dirty, owed) = (false, Owed::default());
        let mut audit = FileAudit { dir: dir.to_owned(), file, head, first, len, dirty, owed };
        if torn > 0 {
            let note = format!("cut {torn} bytes of a line that was not finished");
            audit.append(Entry::new(at, instance, EntryKind::Chain).note(note))?;
        }
        Ok(audit)
    }

    /// Begins a new chain behind a head, in a directory where none is: what was there was
    /// [`set_aside`].
    ///
    /// # Errors
    /// [`AuditError`] of the file system.
    pub fn begin_behind(dir: &Path, head: Head) -> Result<FileAudit, AuditError> {
        let path = newest(dir);
        let said = |error| io_error(&path, &error);
        let file = create(&path).map_err(said)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(said)?;
        let (dir, first) = (dir.to_owned(), head.next());
        Ok(FileAudit { dir, file, head, first, len: 0, dirty: false, owed: Owed::default() })
    }

    /// Takes over the lines that another could not write.
    pub fn inherit(&mut self, other: &mut FileAudit) {
        self.owed = std::mem::take(&mut other.owed);
    }

    /// Writes the lines that are owed.
    ///
    /// # Errors
    /// [`AuditError`]; they are still owed.
    pub fn settle(&mut self) -> Result<(), AuditError> {
        let mut owed = std::mem::take(&mut self.owed);
        let paid = owed.pay(|entry| self.append_one(entry).map(drop));
        self.owed = owed;
        paid
    }

    /// Says no if what lies at our path is not the file that we write: it was moved or removed,
    /// and lines would go where nobody finds them.
    fn in_place(&self) -> Result<(), AuditError> {
        let path = newest(&self.dir);
        let said = |error| io_error(&path, &error);
        let ours = self.file.metadata().map_err(said)?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(said(error)),
            _ => Err(broken(&path, &"it was moved or removed while it grew")),
        }
    }

    fn write(&mut self, line: &str, durable: bool) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.len)?;
            self.dirty = false;
        }
        // Until all of it is there, something may lie behind the last whole line.
        self.dirty = true;
        self.file.write_all(line.as_bytes())?;
        if durable {
            self.file.sync_data()?;
        }
        self.dirty = false;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Closes the growing file under the name of its first line and begins another.
    fn turn_over(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // The next file is there before the full one leaves its place: without room for another
        // one nothing has happened, and the next line tries again.
        let next = newest(&self.dir).with_extension("next");
        let file = create(&next)?;
        fs::rename(newest(&self.dir), full_file(&self.dir, self.first))?;
        fs::rename(&next, newest(&self.dir))?;
        self.file = file;
        self.first = self.head.next();
        self.len = 0;
        File::open(&self.dir)?.sync_all()?;
        let full = full_files(&self.dir)?;
        for old in &full[..full.len().saturating_sub(FULL_FILES_MAX)] {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

impl FileAudit {
    fn append_one(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        let path = newest(&self.dir);
        let durable = entry.must_be_durable();
        self.in_place()?;
        let (mut line, head) = next_line(self.head, entry);
        line.push('\n');
        if line.len() > LINE_LEN_MAX {
            let what = format!("a line of {} bytes, {LINE_LEN_MAX} are allowed", line.len());
            return Err(AuditError::Io { path: path.display().to_string(), what });
        }
        if self.len > 0 && self.len + line.len() as u64 > FILE_BYTES_MAX {
            self.turn_over().map_err(|error| io_error(&path, &error))?;
        }
        if let Err(error) = self.write(&line, durable) {
            // Done again before the next line if it fails now.
            self.dirty = self.file.set_len(self.len).is_err();
            return Err(io_error(&path, &error));
        }
        self.head = head;
        Ok(head.seq)
    }
}

impl AuditSink for FileAudit {
    fn append(&mut self, entry: Entry) -> Result<Seq, AuditError> {
        self.settle()?;
        self.append_one(entry)
    }

    fn owe(&mut self, mut entry: Entry) {
        let (line, _) = next_line(self.head, entry.clone());
        if line.len() >= LINE_LEN_MAX {
            // It must not stand in the way of all others for ever.
            entry.note = Some("what it was about is too long for a line".to_owned());
            entry.effect = None;
        }
        self.owed.add(entry);
        // What cannot be written now is owed on; whoever needs a line next meets the error.
        let _ = self.settle();
    }

    fn head(&self) -> Head {
        self.head
    }

    fn durable_head(&mut self) -> Result<Head, AuditError> {
        self.settle()?;
        self.in_place()?;
        let path = newest(&self.dir);
        self.file.sync_data().map_err(|error| io_error(&path, &error))?;
        Ok(self.head)
    }
}

/// Moves every file of a chain into a directory beside it, each as it is. What lies there already,
/// of a move that a crash interrupted, stays too.
///
/// # Errors
/// [`AuditError`] of the file system.
pub fn set_aside(dir: &Path, under: &str) -> Result<(), AuditError> {
    let aside = dir.join(under);
    let said = |error| io_error(&aside, &error);
    match fs::DirBuilder::new().mode(0o700).create(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(said(error)),
        _ => {}
    }
    for file in files(dir).map_err(said)? {
        let Some(name) = file.file_name() else { continue };
        let mut to = aside.join(name);
        for copy in 1_u32.. {
            if !to.try_exists().map_err(said)? {
                break;
            }
            to = aside.join(format!("{}.{copy}", name.to_string_lossy()));
        }
        fs::rename(&file, &to).map_err(said)?;
    }
    let synced = File::open(&aside).and_then(|aside| aside.sync_all());
    synced.and_then(|()| File::open(dir)?.sync_all()).map_err(said)
}

#[cfg(test)]
impl FileAudit {
    /// As if the growing file were this long.
    pub(super) fn pretend_len(&mut self, len: u64) {
        self.len = len;
    }

    /// As if a write had failed half-way and the file could not be mended at once.
    pub(super) fn leave_half_a_line(&mut self) {
        self.file.write_all(b"{\"seq\":").unwrap();
        self.dirty = true;
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn full_file(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("audit.{:020}.jsonl", first.0))
}

pub(super) fn full_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("audit.").and_then(|rest| rest.strip_suffix(".jsonl"));
        if number.is_some_and(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit())) {
            found.push(dir.join(name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The end of a file: its last line whole, and a torn one behind it.
fn tail(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    let start = len.saturating_sub(2 * LINE_LEN_MAX as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(len - start).read_to_end(&mut tail)?;
    Ok(tail)
}

/// How many bytes there are behind the last line end.
fn torn(tail: &[u8]) -> u64 {
    let end = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    (tail.len() - end) as u64
}

/// What the last whole line says of the chain; none if there is no line.
fn last_line(path: &Path, whole: &[u8]) -> Result<Option<Head>, AuditError> {
    let Some(lines) = whole.strip_suffix(b"\n") else { return Ok(None) };
    let start = lines.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let line = str::from_utf8(&lines[start..]).map_err(|error| broken(path, &error))?;
    let link = check_line(line).map_err(|fault| broken(path, &fault))?;
    Ok(Some(Head { seq: link.seq, hash: link.hash }))
}

/// Where the chain stood when the last full file was closed.
fn head_of_full_files(dir: &Path) -> Result<Head, AuditError> {
    let full = full_files(dir).map_err(|error| io_error(dir, &error))?;
    let Some(path) = full.last() else { return Ok(Head::default()) };
    let read = |path: &Path| -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        tail(&mut file, len)
    };
    let tail = read(path).map_err(|error| io_error(path, &error))?;
    last_line(path, &tail)?.ok_or_else(|| broken(path, &"its last line is not whole"))
}

fn first_seq(file: &mut File, path: &Path) -> Result<Seq, AuditError> {
    let mut start = vec![0; LINE_LEN_MAX];
    let mut read = || -> io::Result<usize> {
        file.rewind()?;
        file.read(&mut start)
    };
    let len = read().map_err(|error| io_error(path, &error))?;
    let line = start[..len].split(|b| *b == b'\n').next().unwrap_or_default();
    let line = str::from_utf8(line).map_err(|error| broken(path, &error))?;
    Ok(check_line(line).map_err(|fault| broken(path, &fault))?.seq)
}

fn io_error(path: &Path, error: &io::Error) -> AuditError {
    let path = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AuditError::Full { path },
        _ => AuditError::Io { path, what: error.to_string() },
    }
}

fn broken(path: &Path, what: &dyn std::fmt::Display) -> AuditError {
    AuditError::Broken { path: path.display().to_string(), what: what.to_string() }
}
