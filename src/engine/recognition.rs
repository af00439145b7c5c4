//! Which version of which secret a clue is about.
//!
//! Decides how the clues of reports are looked up: one index over what all records remember, built
//! when they are read and brought up to date whenever one is. It answers at once and never waits
//! for the engine or for Vault. Must not know how a clue came in or what is done about it.
//!
//! - A **digest** is keyed and looked up: one step, however many versions there are.
//! - A **digest of more than the value** (TruffleHog's SARIF) is in no index, because what stands
//!   around the value differs from place to place. It is held against the SHA-256 of each live
//!   version, which lies sealed in the records and opened here, in memory that is wiped. To read
//!   the material of every secret for each line of a report would cost thousands of requests.
//! - A **key id** and a **place in Vault** are looked up as they are: they are no secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::fingerprint::{Fingerprint, FingerprintKey};
use crate::model::id::{KeyId, SecretName, TargetName, VersionId};
use crate::model::material::Material;
use crate::model::time::Span;
use crate::model::version::Stage;
use crate::store::recognition::{REMEMBER_REVOKED, Recognition};
use crate::store::record::Record;

/// What recognition depends on, as the config gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The slow forms that some configured source sends: computed for every live version, off the
    /// rotation's path.
    pub slow_forms: Vec<Form>,
    /// How long revoked versions are remembered.
    pub remember: Span,
    /// The namespace in Vault, if the server has them.
    pub namespace: Option<String>,
    /// rotord's own mount.
    pub mount: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            slow_forms: Vec::new(),
            remember: REMEMBER_REVOKED,
            namespace: None,
            mount: "rotord".to_owned(),
        }
    }
}

/// One version that a clue fits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The secret.
    pub secret: SecretName,
    /// The version. One that the secret's rotation does not list any more is revoked.
    pub version: VersionId,
}

/// The documents in Vault that targets of one secret are, as `mount/path`.
pub type Documents = BTreeMap<TargetName, String>;

/// The index of everything that is remembered, cheap to clone. Empty until the records are read.
#[derive(Clone, Default)]
pub struct Recogniser {
    index: Arc<RwLock<Index>>,
}

/// Who a mark, a key id or a document leads to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    secret: Arc<SecretName>,
    version: VersionId,
}

#[derive(Default)]
struct Index {
    /// The current key and those before it that records name; none if Vault has them no more.
    keys: BTreeMap<String, Option<Arc<FingerprintKey>>>,
    settings: Settings,
    secrets: BTreeMap<SecretName, Known>,
    marks: Marked,
    key_ids: BTreeMap<KeyId, Vec<Holder>>,
    documents: BTreeMap<String, Vec<(Arc<SecretName>, TargetName)>>,
}

/// What the index has of one secret: what to take out of it again.
struct Known {
    name: Arc<SecretName>,
    recognition: Arc<Recognition>,
    versions: BTreeMap<VersionId, Option<KeyId>>,
    documents: Documents,
    /// The hexadecimal SHA-256 of the values of live versions.
    opened: Vec<(VersionId, Zeroizing<[u8; 64]>)>,
}

#[expect(
    clippy::disallowed_types,
    reason = "looked up and never iterated; a look-up must not slow down with the number of secrets"
)]
type Marked = std::collections::HashMap<u128, Vec<Holder>, BuildHasherDefault<AsItIs>>;

/// Takes a mark for its own hash: marks are outputs of HMAC, so they are spread evenly, and nobody
/// without the key can choose two that collide.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, mark: u128) {
        // Sixty-four of a hundred and twenty-eight even bits.
        self.0 = (mark >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Recogniser {
    /// Begins with the key that new versions are recognised with.
    pub fn begin(&self, current: Arc<FingerprintKey>, settings: Settings) {
        let mut index = self.write();
        index.keys.insert(current.id.clone(), Some(current));
        index.settings = settings;
    }

    /// The versions that a clue fits, in the order of secrets and versions: none if it is not of
    /// ours, more than one if secrets share a value, issuers a key id, or versions a document.
    pub fn find(&self, clue: &Clue) -> Vec<Hit> {
        let index = self.read();
        let holders: BTreeSet<Holder> = match clue {
            Clue::Digest(digest) => index.of_digest(digest),
            Clue::Placed { prefix, digest } => index.of_placed(prefix, digest),
            Clue::KeyId(id) => index.key_ids.get(id).into_iter().flatten().cloned().collect(),
            Clue::VaultPlace { path, version } => index.of_place(path, *version),
        };
        let hit = |holder: Holder| Hit {
            secret: SecretName::clone(&holder.secret),
            version: holder.version,
        };
        holders.into_iter().map(hit).collect()
    }

    /// Whether a value can be recognised that is of none of these versions.
    pub fn has_others_than(&self, versions: &BTreeSet<(SecretName, VersionId)>) -> bool {
        let index = self.read();
        index.secrets.iter().any(|(name, known)| {
            let is_other = |(_, version)| !versions.contains(&(name.clone(), version));
            known.marks().any(is_other)
        })
    }

    /// Takes in what a record remembers, and where its targets' documents are.
    pub fn update(&self, record: &Record, documents: Documents) {
        let versions: BTreeMap<VersionId, Option<KeyId>> =
            record.rotation.versions.iter().map(|(id, v)| (*id, v.key_id.clone())).collect();
        let known = self.read().secrets.get(&record.name).is_some_and(|known| {
            Arc::ptr_eq(&known.recognition, &record.recognition)
                && known.versions == versions
                && known.documents == documents
        });
        if known {
            return;
        }
        let known = Known {
            name: Arc::new(record.name.clone()),
            recognition: Arc::clone(&record.recognition),
            versions,
            documents,
            opened: self.opened(record),
        };
        let mut index = self.write();
        index.remove(&record.name);
        index.insert(known);
    }

    /// Forgets a secret that has no record any more.
    pub fn remove(&self, name: &SecretName) {
        self.write().remove(name);
    }

    /// The ids of keys that a record names and that are not known yet.
    pub(super) fn unknown_keys(&self, record: &Record) -> BTreeSet<String> {
        let index = self.read();
        let marks = record.recognition.versions.values().filter_map(|known| known.marks.as_ref());
        marks
            .map(|marks| &marks.key)
            .chain([&record.fingerprint_key])
            .filter(|id| !index.keys.contains_key(*id))
            .cloned()
            .collect()
    }

    /// Takes in an older key, or that Vault does not have it any more.
    pub(super) fn learn(&self, id: String, key: Option<FingerprintKey>) {
        self.write().keys.insert(id, key.map(Arc::new));
    }

    /// Whether some material is that of a version that the record knows or remembers.
    pub(super) fn is_repeated(&self, record: &Record, material: &Material) -> bool {
        let index = self.read();
        let keys = index.keys.values().flatten();
        let prints: BTreeMap<&str, Fingerprint> =
            keys.map(|key| (key.id.as_str(), key.of(material))).collect();
        let versions = record.rotation.versions.values();
        let remembered = record.recognition.versions.values().filter_map(|r| r.marks.as_ref());
        // A version does not say which key its own fingerprint was made with.
        versions.map(|version| version.fingerprint).any(|f| prints.values().any(|p| *p == f))
            || remembered.into_iter().any(|m| prints.get(m.key.as_str()) == Some(&m.whole))
    }

    fn opened(&self, record: &Record) -> Vec<(VersionId, Zeroizing<[u8; 64]>)> {
        let index = self.read();
        let live = |id: &VersionId| {
            record.rotation.versions.get(id).is_some_and(|v| v.stage != Stage::Revoked)
        };
        let mut opened = Vec::new();
        for (id, known) in record.recognition.versions.iter().filter(|(id, _)| live(id)) {
            let Some(marks) = &known.marks else { continue };
            let key = index.keys.get(&marks.key).and_then(Option::as_ref);
            for digest in key.map(|key| key.open(marks)).unwrap_or_default() {
                let mut text = Zeroizing::new([0; 64]);
                hex::encode_to_slice(*digest, &mut *text).expect("64 digits are 32 bytes");
                opened.push((*id, text));
            }
        }
        opened
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn knows(&self, version: VersionId) -> bool {
        self.versions.contains_key(&version) || self.recognition.versions.contains_key(&version)
    }

    fn marks(&self) -> impl Iterator<Item = (u128, VersionId)> {
        let versions = self.recognition.versions.iter();
        versions.filter_map(|(id, known)| Some((*id, known.marks.as_ref()?))).flat_map(
            |(id, marks)| marks.forms.values().flatten().map(move |mark| (number(*mark), id)),
        )
    }

    fn key_ids(&self) -> BTreeSet<(KeyId, VersionId)> {
        let open = self.versions.iter().map(|(id, key)| (key.as_ref(), *id));
        let remembered = self.recognition.versions.iter().map(|(id, r)| (r.key_id.as_ref(), *id));
        open.chain(remembered).filter_map(|(key, id)| Some((key?.clone(), id))).collect()
    }
}

impl Index {
    fn insert(&mut self, known: Known) {
        let holder = |version| Holder { secret: Arc::clone(&known.name), version };
        for (mark, version) in known.marks() {
            self.marks.entry(mark).or_default().push(holder(version));
        }
        for (key, version) in known.key_ids() {
            self.key_ids.entry(key).or_default().push(holder(version));
        }
        for (target, path) in &known.documents {
            let place = (Arc::clone(&known.name), target.clone());
            self.documents.entry(path.clone()).or_default().push(place);
        }
        self.secrets.insert(SecretName::clone(&known.name), known);
    }

    fn remove(&mut self, name: &SecretName) {
        let Some(known) = self.secrets.remove(name) else { return };
        for (mark, _) in known.marks() {
            if let Some(holders) = self.marks.get_mut(&mark) {
                holders.retain(|holder| *holder.secret != *name);
                if holders.is_empty() {
                    self.marks.remove(&mark);
                }
            }
        }
        for (key, _) in known.key_ids() {
            if let Some(holders) = self.key_ids.get_mut(&key) {
                holders.retain(|holder| *holder.secret != *name);
                if holders.is_empty() {
                    self.key_ids.remove(&key);
                }
            }
        }
        for path in known.documents.values() {
            if let Some(places) = self.documents.get_mut(path) {
                places.retain(|(secret, _)| **secret != *name);
                if places.is_empty() {
                    self.documents.remove(path);
                }
            }
        }
    }

    fn of_digest(&self, digest: &ValueDigest) -> BTreeSet<Holder> {
        let keys = self.keys.values().flatten();
        keys.filter_map(|key| self.marks.get(&number(key.mark(digest))))
            .flatten()
            .cloned()
            .collect()
    }

    /// A place in rotord's own mount names its version; one in a users' mount is a document that
    /// held some versions at that KV version.
    fn of_place(&self, path: &str, version: Option<u64>) -> BTreeSet<Holder> {
        let path = path.trim_matches('/');
        let path = match &self.settings.namespace {
            None => Some(path),
            Some(namespace) => {
                path.strip_prefix(namespace.trim_matches('/')).and_then(|p| p.strip_prefix('/'))
            }
        };
        let Some(path) = path else { return BTreeSet::new() };
        let own = path
            .strip_prefix(self.settings.mount.trim_matches('/'))
            .and_then(|rest| rest.strip_prefix("/material/"))
            .and_then(|rest| rest.split_once('/'));
        if let Some((secret, number)) = own {
            let version = number.parse().ok().map(VersionId);
            let known = SecretName::new(secret).ok().and_then(|name| self.secrets.get(&name));
            return known
                .zip(version)
                .filter(|(known, version)| known.knows(*version))
                .map(|(known, version)| Holder { secret: Arc::clone(&known.name), version })
                .into_iter()
                .collect();
        }
        let documents = self.documents.get(path).into_iter().flatten();
        documents.flat_map(|(secret, target)| self.stored(secret, target, version)).collect()
    }

    fn of_placed(&self, prefix: &str, digest: &[u8; 32]) -> BTreeSet<Holder> {
        let mut before = Context::new(&SHA256);
        before.update(prefix.as_bytes());
        let fits = |text: &[u8; 64]| {
            let mut context = before.clone();
            context.update(text);
            context.finish().as_ref() == digest
        };
        let all = self.secrets.values().flat_map(|known| {
            known.opened.iter().map(move |(version, text)| (known, *version, text))
        });
        all.filter(|(_, _, text)| fits(text))
            .map(|(known, version, _)| Holder { secret: Arc::clone(&known.name), version })
            .collect()
    }

    /// The versions that a target's document held. Between two of our writes it may have been
    /// written by others, who leave our fields alone: then it held what the last one of ours did.
    fn stored(
        &self,
        secret: &Arc<SecretName>,
        target: &TargetName,
        version: Option<u64>,
    ) -> Vec<Holder> {
        let Some(known) = self.secrets.get(&**secret) else { return Vec::new() };
        let all = known.recognition.versions.iter();
        let runs: Vec<_> =
            all.filter_map(|(id, r)| r.stored.get(target).map(|run| (*id, *run))).collect();
        let asked = |at: &u64| version.is_none_or(|version| *at <= version);
        let Some(at) = runs.iter().flat_map(|(_, run)| [run.0, run.1]).filter(asked).max() else {
            return Vec::new();
        };
        runs.into_iter()
            .filter(|(_, run)| run.0 <= at && at <= run.1)
            .map(|(version, _)| Holder { secret: Arc::clone(secret), version })
            .collect()
    }
}

fn number(mark: Fingerprint) -> u128 {
    u128::from_be_bytes(mark.0)
}

#[cfg(test)]
pub(in crate::engine) mod tests;
