//! The checker. It believes what was written down at the time by those it happened to: the clients,
//! the services, the issuer, and OpenBao's own audit log.
//!
//! Decides what counts as rejected, orphaned, a sole copy, backwards. It shares no code with rotord
//! nor with what it checks, and must not know what rotord, or the rest of this program, thinks has
//! happened.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::AddAssign;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Requests that a client signed, or made with a key.
    pub(crate) requests: u64,
    /// Of these, those that got another answer than they should have had, or none.
    pub(crate) rejected: u64,
    /// Keys that live at the issuer and that nobody uses, at a moment at which nothing is open.
    pub(crate) orphans: u64,
    /// Times at which a value was in somebody's hands and not in Vault.
    pub(crate) sole_copies: u64,
    /// Times at which somebody went back to an older version or a lower generation.
    pub(crate) backwards: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.requests += other.requests;
        self.rejected += other.rejected;
        self.orphans += other.orphans;
        self.sole_copies += other.sole_copies;
        self.backwards += other.backwards;
    }
}

/// Where a line was written: the journal of one program, by its place in the list.
type Who = usize;

/// A span of time in milliseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    from: u64,
    to: u64,
}

/// Reads what was written about one secret.
pub(crate) struct Checker {
    journals: Vec<Tail>,
    audit: Tail,
    /// Where values lie in rotord's own mount, for reading and for deleting.
    stored_below: String,
    deleted_below: String,
    counted: Figures,
    /// Requests that went wrong, as the clients saw it, and as the services did.
    failed: u64,
    refused: u64,
    /// When each program used each version.
    versions: BTreeMap<(Who, u64), Time>,
    told: BTreeMap<Who, Told>,
    /// When which value was in somebody's hands; those that are let go of by now.
    hands: Vec<(String, Time)>,
    /// When a key was shown to the service.
    shown: BTreeMap<String, Time>,
    /// When which value lay at which place in Vault.
    places: BTreeMap<String, Vec<(String, Time)>>,
    issued: BTreeMap<String, Issued>,
    /// Everything that should not be there, once.
    found: BTreeSet<String>,
    words: Vec<String>,
}

/// What a program holds since it was told last.
#[derive(Default)]
struct Told {
    generation: u64,
    current: u64,
    /// Values, and since when it has them.
    values: BTreeMap<String, u64>,
}

/// A key at the issuer.
struct Issued {
    value: String,
    alive: bool,
}

impl Checker {
    /// A checker of the secret whose values lie in this mount, with the journals of all that have
    /// to do with it.
    pub(crate) fn new(journals: Vec<PathBuf>, audit: PathBuf, mount: &str) -> Checker {
        Checker {
            journals: journals.into_iter().map(Tail::new).collect(),
            audit: Tail::new(audit),
            stored_below: format!("{mount}/data/material/"),
            deleted_below: format!("{mount}/metadata/material/"),
            counted: Figures::default(),
            failed: 0,
            refused: 0,
            versions: BTreeMap::new(),
            told: BTreeMap::new(),
            hands: Vec::new(),
            shown: BTreeMap::new(),
            places: BTreeMap::new(),
            issued: BTreeMap::new(),
            found: BTreeSet::new(),
            words: Vec::new(),
        }
    }

    /// Reads what was written since it was asked last, at a moment at which no rotation is open.
    /// Answers what is new, with a line of words for everything that should not be there.
    ///
    /// # Errors
    /// If something cannot be read, or is no line of JSON.
    pub(crate) fn read(&mut self) -> io::Result<(Figures, Vec<String>)> {
        let before = self.counted;
        for who in 0..self.journals.len() {
            for line in self.journals[who].lines(|_| true)? {
                self.take(who, &serde_json::from_str(&line)?);
            }
        }
        // After the journals: the values that they speak of are in here by now.
        let (stored, deleted) = (&self.stored_below, &self.deleted_below);
        let ours = |line: &str| line.contains(stored) || line.contains(deleted);
        for line in self.audit.lines(ours)? {
            self.witness(&serde_json::from_str(&line)?);
        }
        self.judge();
        let now = self.counted;
        let new = Figures {
            requests: now.requests - before.requests,
            rejected: now.rejected - before.rejected,
            orphans: now.orphans - before.orphans,
            sole_copies: now.sole_copies - before.sole_copies,
            backwards: now.backwards - before.backwards,
        };
        Ok((new, std::mem::take(&mut self.words)))
    }

    /// One line of a program.
    fn take(&mut self, who: Who, line: &Value) {
        let number = |name: &str| line[name].as_u64().unwrap_or_default();
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let time = Time { from: number("from"), to: number("to") };
        let good = (200..300).contains(&number("status"));
        match line["what"].as_str().unwrap_or_default() {
            "signed" | "worked" => {
                self.counted.requests += number("count");
                self.failed += if good { 0 } else { number("count") };
                let version = text("with").parse().unwrap_or_default();
                span(self.versions.entry((who, version)), time);
            }
            "verified" => self.refused += if good { 0 } else { number("count") },
            "used" => {
                self.refused += if good { 0 } else { number("count") };
                span(self.shown.entry(text("with")), time);
            }
            "told" => self.tell(who, line),
            "minted" => {
                let issued = Issued { value: text("value"), alive: true };
                self.issued.insert(text("id"), issued);
            }
            "ended" => {
                if let Some(issued) = self.issued.get_mut(&text("id")) {
                    issued.alive = false;
                }
            }
            other => self.fault(&format!("a line about {other:?}"), |_| {}),
        }
    }

    /// A program took in what it was told.
    fn tell(&mut self, who: Who, line: &Value) {
        let at = line["at"].as_u64().unwrap_or_default();
        let generation = line["generation"].as_u64().unwrap_or_default();
        let current = line["current"].as_u64().unwrap_or_default();
        let told = self.told.entry(who).or_default();
        let values = line["values"].as_object().into_iter().flatten();
        let values: BTreeSet<&str> = values.filter_map(|(_, value)| value.as_str()).collect();
        let gone: Vec<String> =
            told.values.keys().filter(|value| !values.contains(value.as_str())).cloned().collect();
        for value in gone {
            let from = told.values.remove(&value).unwrap_or(at);
            self.hands.push((value, Time { from, to: at }));
        }
        for value in values {
            told.values.entry(value.to_owned()).or_insert(at);
        }
        let went_back = generation < told.generation || current < told.current;
        (told.generation, told.current) = (generation, current);
        if went_back {
            let words = format!("journal {who} at {at}: told v{current}, generation {generation}");
            self.fault(&words, |counted| counted.backwards += 1);
        }
    }

    /// One line of OpenBao's audit log.
    fn witness(&mut self, line: &Value) {
        if line["type"] != "response" || line.get("error").is_some() {
            return;
        }
        let request = &line["request"];
        let path = request["path"].as_str().unwrap_or_default();
        let at = line["time"].as_str().and_then(milliseconds).unwrap_or_default();
        let operation = request["operation"].as_str().unwrap_or_default();
        if let (Some(place), "create" | "update") =
            (path.strip_prefix(&self.stored_below), operation)
        {
            let value = request["data"]["data"]["fields"]["value"].as_str();
            let value = value.and_then(|value| STANDARD.decode(value).ok()).unwrap_or_default();
            let value = hex::encode(digest(&SHA256, &value).as_ref());
            let lies = (value, Time { from: at, to: u64::MAX });
            self.places.entry(place.to_owned()).or_default().push(lies);
        }
        if let (Some(place), "delete") = (path.strip_prefix(&self.deleted_below), operation) {
            let lay = self.places.get_mut(place).into_iter().flatten();
            lay.filter(|(_, time)| time.to == u64::MAX).for_each(|(_, time)| time.to = at);
        }
    }

    fn judge(&mut self) {
        self.counted.rejected = self.failed.max(self.refused);
        self.judge_hands();
        self.judge_versions();
        self.judge_keys();
    }

    /// What was in somebody's hands lay in Vault all that time.
    fn judge_hands(&mut self) {
        let held = self.told.values().flat_map(|told| &told.values);
        let held = held.map(|(value, from)| (value.clone(), Time { from: *from, to: u64::MAX }));
        let shown = self.shown.iter().filter(|(key, _)| !key.is_empty());
        let shown = shown.map(|(key, time)| (key.clone(), *time));
        let all: Vec<(String, Time)> = held.chain(shown).chain(self.hands.drain(..)).collect();
        for (value, time) in all {
            let mut lay = self.places.values().flatten().filter(|(lying, _)| *lying == value);
            let covered = lay.any(|(_, lay)| lay.from <= time.from && time.to <= lay.to);
            if !covered {
                let words = format!("value {value:.8} in use from {}: not in Vault", time.from);
                self.fault(&words, |counted| counted.sole_copies += 1);
            }
        }
    }

    /// Whoever had begun with a version never used an older one again.
    fn judge_versions(&mut self) {
        let mut back = Vec::new();
        for ((who, version), time) in &self.versions {
            let newer = self.versions.range((*who, version + 1)..=(*who, u64::MAX));
            if newer.into_iter().any(|(_, newer)| newer.from < time.to) {
                back.push(format!("journal {who}: v{version} used again at {}", time.to));
            }
        }
        for words in back {
            self.fault(&words, |counted| counted.backwards += 1);
        }
    }

    /// Of the keys that live, one is in use: the one that was shown last.
    fn judge_keys(&mut self) {
        let used = self.shown.iter().max_by_key(|(_, time)| time.to).map(|(key, _)| key.clone());
        let alive = self.issued.iter().filter(|(_, issued)| issued.alive);
        let idle = alive.filter(|(_, issued)| Some(&issued.value) != used.as_ref());
        let idle: Vec<String> =
            idle.map(|(id, _)| format!("{id} lives, and is not used")).collect();
        for words in idle {
            self.fault(&words, |counted| counted.orphans += 1);
        }
    }

    /// Counts something that should not be there, the first time that it is seen.
    fn fault(&mut self, words: &str, count: impl FnOnce(&mut Figures)) {
        if self.found.insert(words.to_owned()) {
            count(&mut self.counted);
            self.words.push(words.to_owned());
        }
    }
}

fn span<K: Ord>(entry: Entry<'_, K, Time>, time: Time) {
    let all = entry.or_insert(time);
    *all = Time { from: all.from.min(time.from), to: all.to.max(time.to) };
}

/// The milliseconds of a moment as OpenBao writes it.
fn milliseconds(moment: &str) -> Option<u64> {
    let moment = chrono::DateTime::parse_from_rfc3339(moment).ok()?;
    u64::try_from(moment.timestamp_millis()).ok()
}

/// A file that others append to.
struct Tail {
    path: PathBuf,
    read: u64,
}

impl Tail {
    fn new(path: PathBuf) -> Tail {
        Tail { path, read: 0 }
    }

    /// The whole lines since it was asked last, as far as they are wanted.
    fn lines(&mut self, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += u64::try_from(whole).unwrap_or_default();
        let lines = text.get(..whole).unwrap_or_default().lines();
        Ok(lines.filter(|line| wanted(line)).map(str::to_owned).collect())
    }
}
