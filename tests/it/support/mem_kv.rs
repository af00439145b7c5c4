//! KV v2 in memory, with the semantics that drivers and store rely on: check-and-set, merge
//! patches, soft delete, destruction, a history of ten, counters that start again with the
//! metadata, and its dislike of JSON with many parts. Deterministic: ordered maps, and the clock is
//! passed in. Passes the suite of `kv_contract` as the real Vault does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use rotord::model::time::{Clock, Timestamp};
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath, Metadata, Read, VersionMetadata};
use serde_json::{Map, Value};

/// How many versions KV v2 keeps unless the mount says otherwise.
const VERSIONS_KEPT: u64 = 10;

/// So many names and texts in a request OpenBao refuses, unless its listener says otherwise.
const PARTS_REFUSED: usize = 1_000;

/// KV v2 engines in memory: one for every mount there can be, unless told otherwise.
#[derive(Default)]
pub(crate) struct MemKv {
    clock: Option<Arc<dyn Clock>>,
    mounts: Option<BTreeSet<String>>,
    paths: Mutex<BTreeMap<KvPath, Versions>>,
    requests: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Default)]
struct Versions {
    newest: u64,
    all: BTreeMap<u64, Version>,
}

struct Version {
    content: Option<Value>,
    metadata: VersionMetadata,
}

impl MemKv {
    /// An engine whose versions bear this clock's time; without one they bear none.
    pub(crate) fn with_clock(clock: Arc<dyn Clock>) -> MemKv {
        MemKv { clock: Some(clock), ..MemKv::default() }
    }

    /// The same with these mounts and no others.
    pub(crate) fn mounted_at(self, mounts: &[&str]) -> MemKv {
        let mounts = mounts.iter().map(ToString::to_string).collect();
        MemKv { mounts: Some(mounts), ..self }
    }

    /// Writes as a person does: a whole document over whatever is there.
    pub(crate) fn put(&self, at: &KvPath, content: Value) -> u64 {
        let now = self.now();
        self.paths().entry(at.clone()).or_default().add(content, now)
    }

    /// Soft-deletes the newest version, as `kv delete` does.
    pub(crate) fn soft_delete(&self, at: &KvPath) -> u64 {
        let mut paths = self.paths();
        let versions = paths.get_mut(at).unwrap();
        versions.all.get_mut(&versions.newest).unwrap().metadata.deleted = true;
        versions.newest
    }

    /// Brings a soft-deleted version back, as `kv undelete` does.
    pub(crate) fn undelete(&self, at: &KvPath, version: u64) {
        let mut paths = self.paths();
        let found = paths.get_mut(at).and_then(|versions| versions.all.get_mut(&version));
        if let Some(version) = found {
            version.metadata.deleted = false;
        }
    }

    /// The newest version's content.
    pub(crate) fn peek(&self, at: &KvPath) -> Option<Value> {
        let paths = self.paths();
        let versions = paths.get(at)?;
        versions.live(versions.newest).map(unfolded)
    }

    /// The newest KV version; 0 if there is none.
    pub(crate) fn newest(&self, at: &KvPath) -> u64 {
        self.paths().get(at).map_or(0, |versions| versions.newest)
    }

    /// The newest content of every path of a mount below a folder.
    pub(crate) fn contents_under(&self, mount: &str, folder: &str) -> Vec<String> {
        let paths = self.paths();
        let below = paths.iter().filter(|(at, _)| at.mount == mount && at.path.starts_with(folder));
        below.filter_map(|(_, v)| Some(unfolded(v.live(v.newest)?).to_string())).collect()
    }

    /// One part of the newest version's content, by its JSON pointer.
    pub(crate) fn look(&self, at: &KvPath, pointer: &str) -> Option<Value> {
        let paths = self.paths();
        let versions = paths.get(at)?;
        unfolded(versions.live(versions.newest)?).pointer(pointer).cloned()
    }

    /// The numbers that are the last parts of the paths of a mount in a folder.
    pub(crate) fn paths_under(&self, mount: &str, folder: &str) -> Vec<u64> {
        let paths = self.paths();
        let below = paths.keys().filter(|at| at.mount == mount);
        below.filter_map(|at| at.path.strip_prefix(folder)?.parse().ok()).collect()
    }

    /// All that is kept, old versions included, as one text to search.
    pub(crate) fn everything(&self) -> String {
        let paths = self.paths();
        let versions = paths.values().flat_map(|versions| versions.all.values());
        versions.filter_map(|version| version.content.as_ref()).map(Value::to_string).collect()
    }

    /// Every place whose content mentions the text, soft-deleted versions included: what a search
    /// of all KV versions of all paths finds.
    pub(crate) fn mentions(&self, text: &str) -> Vec<(KvPath, u64)> {
        let paths = self.paths();
        let mut found = Vec::new();
        for (path, versions) in paths.iter() {
            for (number, version) in &versions.all {
                let content = version.content.as_ref().map(Value::to_string).unwrap_or_default();
                if content.contains(text) {
                    found.push((path.clone(), *number));
                }
            }
        }
        found
    }

    /// How many requests there were since this was last asked, by verb.
    pub(crate) fn take_requests(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn paths(&self) -> MutexGuard<'_, BTreeMap<KvPath, Versions>> {
        self.paths.lock().unwrap()
    }

    /// Counts a request and refuses what the real client or server refuses.
    fn admit(&self, verb: &'static str, at: &KvPath) -> Result<(), VaultError> {
        *self.requests.lock().unwrap().entry(verb).or_default() += 1;
        let whole = |part: &str| !matches!(part, "" | "." | "..");
        let path = (at.path.is_empty() && verb == "list") || at.path.split('/').all(whole);
        let plain = !at.path.chars().chain(at.mount.chars()).any(char::is_control);
        if !(path && plain && at.mount.split('/').all(whole)) {
            let what = "not a path".to_owned();
            return Err(VaultError::Refused { path: at.to_string(), what });
        }
        match &self.mounts {
            Some(mounts) if !mounts.contains(&at.mount) => {
                Err(VaultError::NoMount { path: at.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or(Timestamp(0), |clock| clock.now())
    }
}

impl Versions {
    fn add(&mut self, content: Value, created_at: Timestamp) -> u64 {
        self.newest += 1;
        let metadata = VersionMetadata { created_at, deleted: false, destroyed: false };
        self.all.insert(self.newest, Version { content: Some(content), metadata });
        self.all.retain(|number, _| number + VERSIONS_KEPT > self.newest);
        self.newest
    }

    fn live(&self, number: u64) -> Option<&Value> {
        let version = self.all.get(&number)?;
        version.content.as_ref().filter(|_| !version.metadata.deleted)
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let into = into.as_object_mut().unwrap();
    for (key, value) in patch {
        match value {
            Value::Null => drop(into.remove(&key)),
            value => merge(into.entry(key).or_insert(Value::Null), value),
        }
    }
}

fn read(version: u64, content: &Value) -> Read {
    Read { version, document: Document::encode(content).unwrap() }
}

/// A document as whoever wrote it meant it: read from its one text, if it is one.
fn unfolded(content: &Value) -> Value {
    let only = content.as_object().filter(|fields| fields.len() == 1);
    let text = only.and_then(|fields| fields.get("json")?.as_str());
    text.map_or_else(|| content.clone(), |text| serde_json::from_str(text).unwrap())
}

/// Refuses a document as the server's parser does, before anything is looked at.
fn simple(at: &KvPath, document: &Document) -> Result<(), VaultError> {
    fn parts(value: &Value) -> usize {
        match value {
            Value::String(_) => 1,
            Value::Array(items) => items.iter().map(parts).sum(),
            Value::Object(fields) => fields.values().map(|value| 1 + parts(value)).sum(),
            _ => 0,
        }
    }
    match parts(&document.decode().unwrap()) >= PARTS_REFUSED {
        true => Err(VaultError::Refused { path: at.to_string(), what: "400".to_owned() }),
        false => Ok(()),
    }
}

fn check(at: &KvPath, newest: u64, cas: u64) -> Result<(), VaultError> {
    if newest == cas { Ok(()) } else { Err(VaultError::Conflict { path: at.to_string() }) }
}

#[async_trait]
impl Kv for MemKv {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        self.admit("read", at)?;
        let paths = self.paths();
        let Some(versions) = paths.get(at) else { return Ok(None) };
        let newest = versions.newest;
        match versions.live(newest) {
            Some(content) => Ok(Some(read(newest, content))),
            None => Err(VaultError::Deleted { path: at.to_string(), version: newest }),
        }
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        self.admit("read_version", at)?;
        let paths = self.paths();
        let content = paths.get(at).and_then(|versions| versions.live(version));
        Ok(content.map(|content| read(version, content)))
    }

    async fn write(&self, at: &KvPath, new: &Document, cas: u64) -> Result<u64, VaultError> {
        self.admit("write", at)?;
        simple(at, new)?;
        let now = self.now();
        let mut paths = self.paths();
        check(at, paths.get(at).map_or(0, |versions| versions.newest), cas)?;
        Ok(paths.entry(at.clone()).or_default().add(new.decode().unwrap(), now))
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        self.admit("patch", at)?;
        simple(at, patch)?;
        let now = self.now();
        let mut paths = self.paths();
        let Some(versions) = paths.get_mut(at) else {
            return Err(VaultError::Conflict { path: at.to_string() });
        };
        let newest = versions.newest;
        let Some(mut content) = versions.live(newest).cloned() else {
            return Err(VaultError::Deleted { path: at.to_string(), version: newest });
        };
        check(at, newest, cas)?;
        merge(&mut content, patch.decode().unwrap());
        Ok(versions.add(content, now))
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        self.admit("list", at)?;
        let prefix = if at.path.is_empty() { String::new() } else { format!("{}/", at.path) };
        let paths = self.paths();
        let below = paths.keys().filter(|path| path.mount == at.mount).filter_map(|path| {
            let rest = path.path.strip_prefix(&prefix)?;
            Some(match rest.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => rest.to_owned(),
            })
        });
        let mut names: Vec<String> = below.collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        self.admit("metadata", at)?;
        Ok(self.paths().get(at).map(|versions| Metadata {
            current_version: versions.newest,
            versions: versions.all.iter().map(|(number, one)| (*number, one.metadata)).collect(),
        }))
    }

    async fn destroy(&self, at: &KvPath, numbers: &[u64]) -> Result<(), VaultError> {
        self.admit("destroy", at)?;
        if let Some(versions) = self.paths().get_mut(at) {
            for number in numbers {
                if let Some(version) = versions.all.get_mut(number) {
                    version.content = None;
                    version.metadata.destroyed = true;
                }
            }
        }
        Ok(())
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        self.admit("delete_metadata", at)?;
        self.paths().remove(at);
        Ok(())
    }
}
