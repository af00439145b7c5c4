//! Reading a TOML document without stopping at the first mistake.
//!
//! Decides how keys are looked up, how their values are taken, and what is said of a wrong one. A
//! [`Section`] is a table that remembers which keys were asked for; what is left over when its
//! reader is done is unknown, and refused with the nearest known name. A value that is absent or
//! wrong reads as `None`, with the wrong one noted, so that one pass finds everything. Must not
//! know what any key means.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::DateTime;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{Place, Problem};
use crate::model::time::{Span, Timestamp};

/// How alike (Jaro-Winkler, 0 to 1) a known name must be to be suggested: at 0.8 two swapped or
/// missing letters are still found, and unrelated words are not.
const ALIKE_MIN: f64 = 0.8;

/// What is found while reading, with what is needed to say where.
#[derive(Debug)]
pub(super) struct Findings {
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    known: RefCell<BTreeMap<String, bool>>,
    folder: PathBuf,
    used: RefCell<Vec<Used>>,
}

/// Something outside the config that it relies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// Where the config names it.
    pub(super) at: Place,
    /// What.
    pub(super) what: UsedThing,
}

/// The kinds of [`Used`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UsedThing {
    /// A file.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Whether it must be kept from others.
        secret: bool,
    },
    /// A file of authorities to trust: certificates in PEM.
    Authorities(PathBuf),
    /// A systemd credential, by name.
    Credential(String),
    /// A group of this machine, by name.
    Group(String),
}

/// A table being read.
pub(super) struct Section<'a> {
    findings: &'a Findings,
    table: &'a DeTable<'a>,
    at: Place,
    pattern: String,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    findings: &'a Findings,
    value: &'a DeValue<'a>,
    at: Place,
    pattern: String,
}

impl Findings {
    /// Nothing found yet in this text, whose relative paths start in `folder`.
    pub(super) fn new(text: &str, folder: &Path) -> Findings {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        Findings {
            line_starts: std::iter::once(0).chain(starts).collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
            folder: folder.to_owned(),
            used: RefCell::default(),
        }
    }

    /// The line of a byte of the text, counted from 1.
    pub(super) fn line(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    /// Notes something that is wrong.
    pub(super) fn problem(&self, at: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { at: at.clone(), what: what.into(), remedy: remedy.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Notes something that is allowed, and dangerous.
    pub(super) fn warning(&self, at: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        let problem = Problem { at: at.clone(), what: what.into(), remedy: remedy.into() };
        self.warnings.borrow_mut().push(problem);
    }

    /// Problems and warnings, each in the order of the file.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort();
            list.dedup();
            list
        };
        (sorted(self.problems), sorted(self.warnings))
    }

    /// Every key that was asked for, names replaced by `*`, and whether it was there.
    pub(super) fn known(&self) -> BTreeMap<String, bool> {
        self.known.borrow().clone()
    }

    /// What the config relies on outside itself.
    pub(super) fn used(&self) -> Vec<Used> {
        self.used.borrow().clone()
    }

    /// Reads a whole document.
    pub(super) fn read<'a, T>(
        &'a self,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> T {
        Section::open(self, table, Place::default(), String::new()).close_after(read)
    }
}

impl<'a> Section<'a> {
    fn open(
        findings: &'a Findings,
        table: &'a DeTable<'a>,
        at: Place,
        pattern: String,
    ) -> Section<'a> {
        Section { findings, table, at, pattern, asked: RefCell::default() }
    }

    fn close_after<T>(self, read: impl FnOnce(&Section<'a>) -> T) -> T {
        let read = read(&self);
        self.refuse_unknown_keys();
        read
    }

    /// Where the table begins.
    pub(super) fn at(&self) -> &Place {
        &self.at
    }

    /// Where a key stands, or would: below the last of its parents that is there.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut line = self.at.line;
        let mut table = Some(self.table);
        for part in key.split('.') {
            let found = table.and_then(|table| table.get_key_value(part));
            line = found.map_or(line, |(key, _)| self.findings.line(key.span().start));
            table = found.and_then(|(_, value)| value.get_ref().as_table());
        }
        Place { line, key: join(&self.at.key, key) }
    }

    /// Notes something that is wrong with a key of this table.
    pub(super) fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.problem(&self.place(key), what, remedy);
    }

    /// Notes something that is wrong with the table as a whole.
    pub(super) fn refuse(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.problem(&self.at, what, remedy);
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.borrow_mut().insert(key);
        let pattern = join(&self.pattern, key);
        let value = self.table.get(key);
        *self.findings.known.borrow_mut().entry(pattern.clone()).or_default() |= value.is_some();
        let value = value?.get_ref();
        Some(Entry { findings: self.findings, value, at: self.place(key), pattern })
    }

    /// The value of a key that must be there; `what` says what to write.
    pub(super) fn require(&self, key: &'static str, what: &str) -> Option<Entry<'a>> {
        let entry = self.get(key);
        if entry.is_none() {
            self.findings.problem(
                &self.at,
                format!("`{key}` is missing"),
                format!("add `{key}`: {what}"),
            );
        }
        entry
    }

    /// Reads the table under a key, which need not be there.
    pub(super) fn section<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Section<'a>) -> T,
    ) -> Option<T> {
        self.get(key)?.section(read)
    }

    /// The one key of several that is there. None, or more than one, is wrong.
    pub(super) fn exactly_one(&self, keys: &[&'static str]) -> Option<(&'static str, Entry<'a>)> {
        let mut found: Vec<_> =
            keys.iter().filter_map(|key| Some((*key, self.get(key)?))).collect();
        if found.len() == 1 {
            return found.pop();
        }
        let what = match found.len() {
            0 => "nothing is chosen here".to_owned(),
            n => format!("{n} ways are chosen here, and they exclude each other"),
        };
        self.findings.problem(&self.at, what, format!("give exactly one of {}", list(keys)));
        None
    }

    /// A key that stands elsewhere now. It is not known here, so no slip of the pen leads to it.
    pub(super) fn moved(&self, key: &'static str, remedy: &str) {
        if self.table.get(key).is_some() {
            self.asked.borrow_mut().insert(key);
            self.problem(key, "this is set elsewhere now, and is not read here", remedy);
        }
    }

    /// Whatever else stands in this table is not judged: what it should be depends on something
    /// that is wrong.
    pub(super) fn judge_no_further(&self) {
        let mut asked = self.asked.borrow_mut();
        asked.insert("*");
    }

    fn refuse_unknown_keys(&self) {
        let asked = self.asked.borrow();
        if asked.contains("*") {
            return;
        }
        for key in self.table.keys().map(Spanned::get_ref) {
            if !asked.contains(key.as_ref()) {
                let remedy = nearest(key, asked.iter().copied()).map_or_else(
                    || format!("keys known here: {}", list(&asked.iter().collect::<Vec<_>>())),
                    |near| format!("did you mean `{near}`?"),
                );
                self.problem(key, "unknown key", remedy);
            }
        }
    }
}

impl<'a> Entry<'a> {
    /// Where the value stands.
    pub(super) fn at(&self) -> &Place {
        &self.at
    }

    /// Notes something that is wrong with this value.
    pub(super) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.problem(&self.at, what, remedy);
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.problem(
            format!("expected {what}, found {}", kind(self.value)),
            format!("write {what}"),
        );
        None
    }

    /// Whether the value is a text: where a table was meant, it may be a secret.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// A text that is not empty.
    pub(super) fn text(self) -> Option<&'a str> {
        match self.value.as_str() {
            Some("") => self.expected("a text that is not empty"),
            Some(text) => Some(text),
            None => self.expected("a text in quotes"),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.expected("`true` or `false`"))
    }

    /// A whole number between two bounds.
    pub(super) fn number(self, least: u64, most: u64) -> Option<u64> {
        let number = self
            .value
            .as_integer()
            .and_then(|n| u64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok());
        let example = format!("a whole number from {least} to {most}");
        let Some(number) = number else { return self.expected(&example) };
        if !(least..=most).contains(&number) {
            self.problem(format!("{number} is out of bounds"), format!("write {example}"));
            return None;
        }
        Some(number)
    }

    /// A length of time between two bounds.
    pub(super) fn span(self, least: Span, most: Span) -> Option<Span> {
        let example = "a length of time in quotes, such as \"90s\", \"5m\" or \"1h 30m\"";
        let Some(text) = self.value.as_str() else { return self.expected(example) };
        let Ok(span) = humantime::parse_duration(text).map(Span::from) else {
            self.problem("this is no length of time", format!("write {example}"));
            return None;
        };
        if span < least || span > most {
            self.problem(
                format!("{span} is out of bounds"),
                format!("write a length of time from {least} to {most}"),
            );
            return None;
        }
        Some(span)
    }

    /// A moment: a date of TOML with its offset, or the same in quotes.
    pub(super) fn moment(self) -> Option<Timestamp> {
        let text = match self.value {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let moment = DateTime::parse_from_rfc3339(&text).ok();
        let moment = moment.map(|date| Timestamp(date.timestamp_millis()));
        moment.or_else(|| {
            self.expected("a moment with its offset, such as 2026-12-20T00:00:00+01:00")
        })
    }

    /// A text, number or boolean as JSON has it.
    pub(super) fn json(self) -> Option<serde_json::Value> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref().into()),
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Integer(_) => self.number(0, i64::MAX.unsigned_abs()).map(Into::into),
            _ => self.expected("a text, a whole number, `true` or `false`"),
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.clone().text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let near = nearest(text, known.iter().copied())
                .map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
            self.problem("unknown word", format!("{near}Write one of {}", list(&known)));
        }
        found.map(|(_, value)| *value)
    }

    /// A path of the file system; a relative one starts in the config file's folder.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.clone().text().map(|text| self.findings.folder.join(text))
    }

    /// Notes that the config relies on something outside itself.
    pub(super) fn uses(&self, what: UsedThing) {
        self.findings.used.borrow_mut().push(Used { at: self.at.clone(), what });
    }

    /// Anything that is made from a text and says itself what is wrong with it. Only for values
    /// whose error may quote them.
    pub(super) fn parsed<T: FromStr>(self, remedy: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.clone().text()?;
        text.parse().map_err(|e: T::Err| self.problem(e.to_string(), remedy)).ok()
    }

    /// Notes that the name in this value is that of nothing under `table`.
    pub(super) fn unknown_name<'n>(
        &self,
        thing: &str,
        table: &str,
        known: impl Iterator<Item = &'n String> + Clone,
    ) {
        let name = self.value.as_str().unwrap_or_default();
        let remedy = match nearest(name, known.clone().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                let known: Vec<_> = known.collect();
                let choice = if known.is_empty() {
                    String::new()
                } else {
                    format!(", or write {}", list(&known))
                };
                format!("add a table [{table}.{name}]{choice}")
            }
        };
        self.problem(format!("there is no {thing} of that name"), remedy);
    }

    /// The elements of a list.
    pub(super) fn list(self) -> Option<Vec<Entry<'a>>> {
        let Some(array) = self.value.as_array() else { return self.expected("a list") };
        let element = |(at, value): (usize, &'a Spanned<DeValue<'a>>)| Entry {
            findings: self.findings,
            value: value.get_ref(),
            at: Place {
                line: self.findings.line(value.span().start),
                key: format!("{}[{at}]", self.at.key),
            },
            pattern: format!("{}[]", self.pattern),
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// The values of a table whose keys are names that people chose.
    pub(super) fn named(self) -> Option<Vec<(&'a str, Entry<'a>)>> {
        let Some(table) = self.value.as_table() else { return self.expected("a table") };
        let value = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let entry = Entry {
                findings: self.findings,
                value: value.get_ref(),
                at: Place {
                    line: self.findings.line(key.span().start),
                    key: join(&self.at.key, name),
                },
                pattern: join(&self.pattern, "*"),
            };
            (name.as_ref(), entry)
        };
        Some(table.iter().map(value).collect())
    }

    /// Reads a table.
    pub(super) fn section<T>(self, read: impl FnOnce(&Section<'a>) -> T) -> Option<T> {
        let Some(table) = self.value.as_table() else { return self.expected("a table") };
        let section = Section::open(self.findings, table, self.at, self.pattern);
        Some(section.close_after(read))
    }
}

/// The known name that is most like this one, if any is like it.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Names for a sentence: `a`, `b` or `c`.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
