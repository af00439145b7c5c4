//! Looking for our values in text that somebody brings: files, logs, whatever comes in.
//!
//! A scan fetches the values that are live into memory, prepares the [`search`] and keeps it for as
//! long as pieces of text come in; with the scan they are gone. Of versions that are gone only
//! keyed digests are left: [`tokens`] finds the words that are worth comparing, if there are such
//! versions. A scan changes nothing: what is done about a finding is the desk's to decide.

pub mod search;
#[cfg(test)]
mod tests;
pub mod texts;
pub mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use thiserror::Error;
use tokio::sync::watch;

use crate::engine::recognition::Recogniser;
use crate::engine::scan::search::Search;
use crate::engine::scan::texts::Texts;
use crate::engine::scan::tokens::Lengths;
use crate::engine::snapshot::{CannotTell, Snapshot};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::id::{SecretName, VersionId};
use crate::model::material::{Material, SecretBytes};
use crate::model::time::{Clock, Span, Steady};
use crate::model::version::Stage;
use crate::store::{Store, StoreError};

/// Scans at once: each holds every live value in memory.
pub const SCANS_MAX: usize = 4;

/// A scan whose sender says nothing for so long is over, and its values are gone.
pub const SCAN_IDLE: Span = Span::from_secs(60);

/// Values fetched from Vault at once: half of the requests that may be in flight. They take routine
/// turns, so emergencies go before them.
const FETCHES: usize = 32;

/// Findings in one piece of text after which the rest of it is not looked at: whoever scans a dump
/// of all secrets has seen enough.
pub const FOUND_MAX: usize = 1_000;

/// What makes scans.
pub struct Scanner {
    store: Arc<dyn Store>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    recogniser: Recogniser,
    clock: Arc<dyn Clock>,
    scans: Mutex<BTreeMap<u64, Kept>>,
    numbers: AtomicU64,
}

struct Kept {
    scan: Arc<Scan>,
    used: Steady,
}

/// One scan: every live value, ready to be searched for.
pub struct Scan {
    search: Search,
    places: Vec<Place>,
    /// Of the words to compare with digests; none if all that is recognised is searched for.
    lengths: Option<Lengths>,
    recogniser: Recogniser,
    /// The digests of the words that were found, by what they are: of a version that was made, or
    /// could be read, only after the scan had begun, nothing else is at hand.
    words: Mutex<BTreeMap<(SecretName, VersionId), ValueDigest>>,
    /// Memory for the pieces.
    pub texts: Texts,
    /// Versions whose values are searched for.
    pub versions: usize,
    /// Versions whose material could not be read: the scan says nothing about them.
    pub unread: Vec<(SecretName, VersionId)>,
}

/// Whose value a pattern is, and how it is written down.
#[derive(Clone)]
struct Place {
    secret: SecretName,
    version: VersionId,
    written: Written,
}

/// How a value was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    /// As it is.
    Plain,
    /// Escaped as in a URL.
    Url,
    /// Escaped as in JSON.
    Json,
    /// In Base64, as in a Kubernetes manifest.
    Base64,
    /// As a word with the digest of a version that is gone.
    Word,
}

impl Written {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Written::Plain => "plain",
            Written::Url => "url",
            Written::Json => "json",
            Written::Base64 => "base64",
            Written::Word => "word",
        }
    }
}

/// A value of ours in a piece of text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The secret.
    pub secret: SecretName,
    /// The version.
    pub version: VersionId,
    /// How it stands there.
    pub written: Written,
}

/// Why there is no scan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// [`SCANS_MAX`] are under way.
    #[error("{SCANS_MAX} scans are under way already: wait until one has ended")]
    TooMany,
    /// It has ended, or nothing came for [`SCAN_IDLE`].
    #[error("there is no such scan any more: start it again")]
    Over,
    /// It is not known yet what is ours: nothing found would not mean that there is nothing.
    #[error(transparent)]
    CannotTell(#[from] CannotTell),
    /// No value could be fetched.
    #[error("the values could not be read from Vault: {0}")]
    Store(#[from] StoreError),
}

impl Scanner {
    /// What makes scans. Holds no value itself.
    pub fn new(
        store: Arc<dyn Store>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        recogniser: Recogniser,
        clock: Arc<dyn Clock>,
    ) -> Scanner {
        let (scans, numbers) = (Mutex::default(), AtomicU64::new(1));
        Scanner { store, snapshots, recogniser, clock, scans, numbers }
    }

    /// Begins a scan: one request to Vault for each live version.
    ///
    /// # Errors
    /// [`ScanError`]; a version that alone cannot be read is named in [`Scan::unread`].
    pub async fn begin(&self) -> Result<(u64, Arc<Scan>), ScanError> {
        let live = live(&self.snapshots.borrow())?;
        if self.lock().len() >= SCANS_MAX {
            return Err(ScanError::TooMany);
        }
        let scan = Arc::new(Scan::prepare(&*self.store, self.recogniser.clone(), live).await?);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut scans = self.lock();
        if scans.len() >= SCANS_MAX {
            return Err(ScanError::TooMany);
        }
        scans.insert(number, Kept { scan: Arc::clone(&scan), used: self.clock.steady() });
        Ok((number, scan))
    }

    /// A scan that was begun, to look at another piece of text.
    ///
    /// # Errors
    /// [`ScanError::Over`].
    pub fn get(&self, number: u64) -> Result<Arc<Scan>, ScanError> {
        let mut scans = self.lock();
        let kept = scans.get_mut(&number).ok_or(ScanError::Over)?;
        kept.used = self.clock.steady();
        Ok(Arc::clone(&kept.scan))
    }

    /// Ends a scan; its values are wiped.
    pub fn end(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Ends scans that nobody has used for [`SCAN_IDLE`].
    pub fn end_idle(&self) {
        let now = self.clock.steady();
        self.lock().retain(|_, kept| now.since(kept.used) < SCAN_IDLE);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        let mut scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.steady();
        scans.retain(|_, kept| now.since(kept.used) < SCAN_IDLE);
        scans
    }
}

impl Scan {
    /// Fetches the values and prepares the search for them.
    async fn prepare(
        store: &dyn Store,
        recogniser: Recogniser,
        live: Vec<(SecretName, VersionId)>,
    ) -> Result<Scan, ScanError> {
        let fetched = stream::iter(live).map(|(name, version)| async move {
            let saved = store.material(&name, version).await;
            (name, version, saved)
        });
        let mut fetched = fetched.buffer_unordered(FETCHES);
        let (mut values, mut places, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut searched) = (Lengths::default(), BTreeSet::new());
        let mut failed = None;
        while let Some((secret, version, saved)) = fetched.next().await {
            match saved {
                Ok(Some(saved)) => {
                    for (written, value) in written(&saved.material, &mut lengths) {
                        values.push(value);
                        places.push(Place { secret: secret.clone(), version, written });
                    }
                    searched.insert((secret, version));
                }
                Ok(None) => unread.push((secret, version)),
                Err(error) => {
                    unread.push((secret, version));
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed.filter(|_| searched.is_empty()) {
            return Err(ScanError::Store(error));
        }
        unread.sort();
        // Some tens of milliseconds for ten thousand values: others must not wait for it.
        let search = tokio::task::spawn_blocking(move || Search::new(values)).await;
        let search = search.map_err(|_| ScanError::Over)?;
        let lengths = recogniser.has_others_than(&searched).then_some(lengths);
        let (versions, words, texts) = (searched.len(), Mutex::default(), Texts::default());
        Ok(Scan { search, places, lengths, recogniser, words, texts, versions, unread })
    }

    /// How many bytes at the end of one piece must stand again at the beginning of the next one, so
    /// that no value is cut in two.
    pub fn overlap(&self) -> usize {
        self.search.longest().max(tokens::LENGTH_MAX + 2).saturating_sub(1)
    }

    /// What recognises the value of a version that this scan looks for, or has found as a word.
    pub fn clues(&self, name: &SecretName, version: VersionId) -> Option<Vec<Clue>> {
        let of_it = |place: &Place| {
            (&place.secret, place.version, place.written) == (name, version, Written::Plain)
        };
        let values: Vec<usize> =
            (0..self.places.len()).filter(|place| of_it(&self.places[*place])).collect();
        if values.is_empty() {
            let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            let word = words.get(&(name.clone(), version)).cloned();
            return word.map(|digest| vec![Clue::Digest(digest)]);
        }
        let clues = values.iter().flat_map(|place| Clue::of_value(self.search.value(*place)));
        Some(clues.collect())
    }

    /// Looks at one piece of text. What ends within the first `seen` bytes was told of with the
    /// piece before. Takes as long as the piece is large: called where blocking is allowed.
    pub fn look(&self, text: &[u8], seen: usize) -> Vec<Match> {
        let mut found = Vec::new();
        self.search.each(text, |one| {
            if one.end > seen && found.len() < FOUND_MAX {
                let Place { secret, version, written } = self.places[one.value].clone();
                found.push(Match { start: one.start, end: one.end, secret, version, written });
            }
        });
        if let Some(lengths) = &self.lengths {
            tokens::each(text, lengths, |start, end| {
                if end > seen && found.len() < FOUND_MAX {
                    found.extend(self.gone(&text[start..end], start, end));
                }
            });
        }
        // A live version is found by both ways: the exact one counts.
        found.sort();
        found.dedup_by(|later, earlier| {
            (later.start, later.end, &later.secret, later.version)
                == (earlier.start, earlier.end, &earlier.secret, earlier.version)
        });
        found
    }

    fn gone(&self, word: &[u8], start: usize, end: usize) -> Vec<Match> {
        let digest = ValueDigest::of_bytes(Form::Sha256, word);
        let hits = self.recogniser.find(&Clue::Digest(digest.clone()));
        if !hits.is_empty() {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            let found = hits.iter().map(|hit| (hit.secret.clone(), hit.version));
            words.extend(found.map(|version| (version, digest.clone())));
        }
        let found = hits.into_iter().map(|hit| Match {
            start,
            end,
            secret: hit.secret,
            version: hit.version,
            written: Written::Word,
        });
        found.collect()
    }
}

/// The versions whose material lies in Vault.
fn live(snapshot: &Snapshot) -> Result<Vec<(SecretName, VersionId)>, ScanError> {
    if let Some(why) = snapshot.health.cannot_tell() {
        return Err(why.into());
    }
    let versions = snapshot.secrets.iter().flat_map(|(name, secret)| {
        let rotation = secret.rotation.iter();
        rotation.flat_map(move |rotation| {
            let live = rotation.versions.iter().filter(|(_, v)| v.stage != Stage::Revoked);
            live.map(move |(version, _)| (name.clone(), *version))
        })
    });
    Ok(versions.collect())
}

/// The ways in which each field of a version may stand in a text.
fn written(material: &Material, lengths: &mut Lengths) -> Vec<(Written, SecretBytes)> {
    let mut all = Vec::new();
    for (_, value) in material.fields() {
        if value.len() < search::VALUE_LEN_MIN {
            continue;
        }
        lengths.allow(value.len());
        let bytes = value.expose();
        let url = percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC);
        let forms = [
            (Written::Plain, bytes.to_vec()),
            (Written::Url, url.to_string().into_bytes()),
            (Written::Json, json(value)),
            (Written::Base64, base64_body(bytes)),
        ];
        for (written, form) in forms {
            let form = SecretBytes::new(form);
            if written == Written::Plain || !form.same(value) {
                all.push((written, form));
            }
        }
    }
    all
}

fn json(value: &SecretBytes) -> Vec<u8> {
    let quoted = value.expose_str().and_then(|text| serde_json::to_vec(text).ok());
    quoted.map_or_else(|| value.expose().to_vec(), |quoted| quoted[1..quoted.len() - 1].to_vec())
}

/// Base64 of the whole groups of three bytes: what follows differs with what is encoded behind it.
fn base64_body(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(&bytes[..bytes.len() / 3 * 3]).into_bytes()
}
