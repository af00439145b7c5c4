//! What is wrong with a config: every problem at once, each with its place and its remedy.
//!
//! Decides how a problem reads. Must not know what any key means. A problem never quotes a value
//! that stood where a secret could have stood.

use std::fmt;

use thiserror::Error;

/// Where something stands in a config file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// The path of keys, e.g. `secrets.billing.overlap`; empty for the file as a whole.
    pub key: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything that is wrong with a config. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigErrors {
    /// The file, as it was named.
    pub file: String,
    /// The problems, in the order of the file.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// What the process exits with: `EX_CONFIG` of sysexits.h.
    pub const EXIT_CODE: u8 = 78;
}

impl Problem {
    /// The problem as a line that editors understand, and its remedy below.
    pub fn in_file(&self, file: &str) -> String {
        let Problem { at: Place { line, key }, what, remedy } = self;
        let line = if *line == 0 { String::new() } else { format!("{line}:") };
        let key = if key.is_empty() { String::new() } else { format!(" {key}:") };
        format!("{file}:{line}{key} {what}\n    {remedy}")
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}", problem.in_file(&self.file))?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem in {}", self.file),
            n => write!(f, "{n} problems in {}", self.file),
        }
    }
}
