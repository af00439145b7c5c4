//! What a program writes down while it works: lines of JSON, for a checker that believes nothing
//! else. Written before the answer leaves where it is about secrets, counted up where it is about
//! traffic.
//!
//! Decides what such a line looks like. Values never stand in it, only their SHA-256.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// How often counts are written. A program that is stopped in order writes the rest.
pub(crate) const EVERY: Duration = Duration::from_millis(100);

/// An open journal.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Mutex<Open>>);

struct Open {
    file: File,
    counts: BTreeMap<Counted, Count>,
}

/// What is counted together: something that happened with a version or value, and how it ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Counted {
    what: &'static str,
    with: String,
    status: u16,
}

struct Count {
    count: u64,
    from: u64,
    to: u64,
}

impl Journal {
    /// A new, empty one.
    pub(crate) fn create(path: &Path) -> io::Result<Journal> {
        let open = Open { file: File::create(path)?, counts: BTreeMap::new() };
        Ok(Journal(Arc::new(Mutex::new(open))))
    }

    /// Writes a line about something that happened now.
    ///
    /// # Panics
    /// If that fails: a program that cannot say what it does proves nothing.
    pub(crate) fn line(&self, what: &str, mut members: Value) {
        members["what"] = json!(what);
        if members["at"].is_null() {
            members["at"] = json!(now());
        }
        writeln!(self.open().file, "{members}").expect("the journal can be written");
    }

    /// Counts something that began at a moment and ends now; status 0 stands for no answer.
    pub(crate) fn count(&self, what: &'static str, with: &str, status: u16, began: u64) {
        let ended = now();
        let fresh = || Count { count: 0, from: began, to: ended };
        let mut open = self.open();
        let counted = Counted { what, with: with.to_owned(), status };
        let count = open.counts.entry(counted).or_insert_with(fresh);
        count.count += 1;
        count.from = count.from.min(began);
        count.to = count.to.max(ended);
    }

    /// Writes down what was counted.
    ///
    /// # Panics
    /// As [`Journal::line`] does.
    pub(crate) fn flush(&self) {
        let mut open = self.open();
        for (Counted { what, with, status }, Count { count, from, to }) in
            std::mem::take(&mut open.counts)
        {
            let line = json!({ "what": what, "with": with, "status": status, "count": count,
                               "from": from, "to": to });
            writeln!(open.file, "{line}").expect("the journal can be written");
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The moment in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a program has to read the clock somewhere")]
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What stands for a value.
pub(crate) fn digest_of(value: &[u8]) -> String {
    hex::encode(digest(&SHA256, value).as_ref())
}
