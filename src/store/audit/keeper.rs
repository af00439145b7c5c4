//! Holding the chain on disk against the head in Vault, at start and now and then.
//!
//! Decides what happens to a chain that was replaced, shortened or edited: Vault remembers the
//! break first, then the files are set aside as they are, then a new chain goes on behind the head
//! that Vault vouches for. That head is never written over by one that contradicts it. Must not
//! know who is told.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use tokio::task::JoinSet;

use crate::model::failure::{Class, Failure};
use crate::model::id::InstanceId;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::audit::anchor::Anchor;
use crate::store::audit::breach::Breach;
use crate::store::audit::file::{self, FileAudit};
use crate::store::audit::intents::Intents;
use crate::store::audit::verify::{Broken, Fault, Files, Verified};
use crate::store::audit::{AuditError, AuditSink as _, Entry, EntryKind, Head};

/// Who watches over one chain.
pub struct Keeper {
    dir: PathBuf,
    instance: InstanceId,
    /// The head in Vault.
    pub anchor: Anchor,
}

/// Why the chain could not be examined, or not be begun anew. Nothing was set aside, or the next
/// try goes on where this one ended.
#[derive(Debug, Error)]
pub enum KeepError {
    /// Vault does not say where the chain ended, or does not take note of its break.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system.
    #[error(transparent)]
    File(#[from] AuditError),
    /// The files cannot be read.
    #[error("{0}")]
    Unread(Broken),
}

impl KeepError {
    /// The class and the stable code.
    pub fn failure(&self) -> Failure {
        match self {
            KeepError::Store(error) => error.failure(),
            KeepError::File(error) => error.failure(),
            KeepError::Unread(_) => {
                Failure { class: Class::Transient, reason: Reason::AuditUnwritable }
            }
        }
    }
}

type Checked = (Result<Verified, Broken>, Intents);

impl Keeper {
    /// Of the chain in a state directory.
    pub fn new(dir: &Path, instance: &InstanceId, anchor: Anchor) -> Keeper {
        Keeper { dir: dir.to_owned(), instance: instance.clone(), anchor }
    }

    /// Continues the chain, or begins one; says what the process before left without an outcome.
    ///
    /// A Vault that answers and does not let us at the head does not keep the chain from going on:
    /// whoever examines it later meets the same again, and tells people.
    ///
    /// # Errors
    /// [`KeepError`]: nothing may be done in the world before it is mended.
    pub async fn open(&mut self, at: Timestamp) -> Result<FileAudit, KeepError> {
        let anchored = match self.anchored().await {
            Ok(anchored) => anchored,
            Err(error) if is_passing(&error.failure()) => return Err(error.into()),
            Err(_) => None,
        };
        let files = Files::open(&self.dir).map_err(KeepError::Unread)?;
        let (checked, intents) = check(files, anchored).await;
        let mut log = match checked {
            Ok(_) => FileAudit::open(&self.dir, &self.instance, at)?,
            Err(broken) => self.begin_anew(broken, anchored, at).await?,
        };
        let version = env!("CARGO_PKG_VERSION");
        log.owe(self.about(at).note(format!("rotord {version} started")));
        intents.give_up(&mut log, &self.instance, at);
        Ok(log)
    }

    /// Examines the chain that is being written. A break is answered, and the chain goes on.
    ///
    /// # Errors
    /// [`KeepError`]; if the chain is broken it is found so again.
    pub async fn examine(
        &mut self,
        log: &Mutex<FileAudit>,
        at: Timestamp,
    ) -> Result<Option<Breach>, KeepError> {
        let anchored = self.anchored().await?;
        let (files, ours) = {
            // No file is turned over while they are opened.
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            (Files::open(&self.dir).map_err(KeepError::Unread)?, log.head())
        };
        // What this process wrote is known better here than in Vault.
        let known = anchored.filter(|head| head.seq > ours.seq).unwrap_or(ours);
        let (mut checked, _) = check(files, anchored).await;
        if let Ok(verified) = &checked
            && verified.head.seq < known.seq
        {
            checked = Err(cut(&self.dir, verified, known));
        }
        let Err(broken) = checked else { return Ok(None) };
        let mut fresh = self.begin_anew(broken, Some(known), at).await?;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.inherit(&mut log);
        *log = fresh;
        let newest = self.anchor.anchored().and_then(|anchored| anchored.breaches.last());
        Ok(newest.map(|noted| noted.breach.clone()))
    }

    /// The writer of the chain.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// A line about the chain itself.
    pub fn about(&self, at: Timestamp) -> Entry {
        Entry::new(at, &self.instance, EntryKind::Chain)
    }

    async fn anchored(&mut self) -> Result<Option<Head>, StoreError> {
        Ok(self.anchor.load().await?.map(|anchored| anchored.head()))
    }

    async fn begin_anew(
        &mut self,
        broken: Broken,
        known: Option<Head>,
        at: Timestamp,
    ) -> Result<FileAudit, KeepError> {
        if let Fault::Io(_) = broken.fault {
            return Err(KeepError::Unread(broken));
        }
        let anchored = known.unwrap_or(broken.good);
        let resumed = anchored.next();
        let name = broken.path.file_name().unwrap_or_default();
        let breach = Breach {
            at,
            fault: broken.fault.code().to_owned(),
            file: name.to_string_lossy().into_owned(),
            line: broken.line,
            anchored,
            resumed,
            set_aside: format!("audit.broken.{:020}", resumed.0),
        };
        self.anchor.note(breach.clone()).await?;
        file::set_aside(&self.dir, &breach.set_aside)?;
        let mut log = FileAudit::begin_behind(&self.dir, anchored)?;
        let text = breach.text();
        let line = Entry { breach: Some(Box::new(breach)), ..self.about(at) };
        log.append(line.note(text))?;
        Ok(log)
    }
}

/// Whether it may be gone at the next try.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.class, Class::Transient | Class::Throttled(_) | Class::Ambiguous)
}

/// Reads whole files: beside the runtime's own threads.
async fn check(files: Files, anchored: Option<Head>) -> Checked {
    let mut reading = JoinSet::new();
    reading.spawn_blocking(move || {
        let mut intents = Intents::default();
        let checked = files.check(anchored, |_, line| intents.take(line));
        (checked, intents)
    });
    let read = reading.join_next().await.expect("one was spawned");
    read.expect("a verifier does not panic, whatever it reads")
}

/// The file ends before what this process has written.
fn cut(dir: &Path, verified: &Verified, known: Head) -> Broken {
    let fault = Fault::Cut { found: verified.head.seq, anchored: known.seq };
    Broken { path: file::newest(dir), line: 0, fault, good: verified.head }
}
