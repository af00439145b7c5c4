//! A KV whose answers get lost, by script: the write was done and nobody heard of it, or it never
//! arrived, or it arrives late.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rotord::vault::document::Document;
use rotord::vault::error::VaultError;
use rotord::vault::{Kv, KvPath, Metadata, Read};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Carried out and answered.
    Well,
    /// Carried out; the answer is lost.
    AnswerLost,
    /// Never arrives; the client cannot know.
    RequestLost,
    /// Nobody answers, and nothing was sent.
    Unavailable,
    /// The client gives up; the write arrives just before the next request.
    Late,
}

/// Reads and writes meet the fates of their scripts, then all goes well.
pub(crate) struct FaultKv {
    inner: Arc<dyn Kv>,
    pub(crate) writes: Mutex<VecDeque<Fate>>,
    pub(crate) reads: Mutex<VecDeque<Fate>>,
    late: Mutex<Option<(KvPath, Document, u64)>>,
    requests: AtomicU64,
}

impl FaultKv {
    pub(crate) fn over(inner: Arc<dyn Kv>) -> FaultKv {
        FaultKv {
            inner,
            writes: Mutex::default(),
            reads: Mutex::default(),
            late: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// What the next writes meet.
    pub(crate) fn script_writes(&self, fates: impl IntoIterator<Item = Fate>) {
        self.writes.lock().unwrap().extend(fates);
    }

    /// What the next reads meet.
    pub(crate) fn script_reads(&self, fates: impl IntoIterator<Item = Fate>) {
        self.reads.lock().unwrap().extend(fates);
    }

    /// How many requests there were since this was last asked.
    pub(crate) fn take_requests(&self) -> u64 {
        self.requests.swap(0, Ordering::SeqCst)
    }

    async fn begin(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let late = self.late.lock().unwrap().take();
        if let Some((at, document, cas)) = late {
            drop(self.inner.write(&at, &document, cas).await);
        }
    }
}

fn unavailable() -> VaultError {
    VaultError::Unavailable { what: "connect".into() }
}

#[async_trait]
impl Kv for FaultKv {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        self.begin().await;
        let fate = self.reads.lock().unwrap().pop_front();
        match fate {
            None | Some(Fate::Well) => self.inner.read(at).await,
            Some(_) => Err(unavailable()),
        }
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        self.begin().await;
        self.inner.read_version(at, version).await
    }

    async fn write(&self, at: &KvPath, new: &Document, cas: u64) -> Result<u64, VaultError> {
        self.begin().await;
        let lost = || Err(VaultError::Ambiguous { path: at.to_string(), what: "timed out".into() });
        let fate = self.writes.lock().unwrap().pop_front();
        match fate {
            None | Some(Fate::Well) => self.inner.write(at, new, cas).await,
            Some(Fate::AnswerLost) => {
                drop(self.inner.write(at, new, cas).await);
                lost()
            }
            Some(Fate::RequestLost) => lost(),
            Some(Fate::Unavailable) => Err(unavailable()),
            Some(Fate::Late) => {
                let copy = Document::from_json(new.expose().to_vec());
                *self.late.lock().unwrap() = Some((at.clone(), copy, cas));
                lost()
            }
        }
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        self.begin().await;
        self.inner.patch(at, patch, cas).await
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        self.begin().await;
        self.inner.list(at).await
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        self.begin().await;
        self.inner.metadata(at).await
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        self.begin().await;
        self.inner.destroy(at, versions).await
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        self.begin().await;
        self.inner.delete_metadata(at).await
    }
}
