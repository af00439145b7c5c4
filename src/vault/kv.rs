//! [`Kv`] on a real Vault: what is sent for each verb, and what its answer holds.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::time::{Span, Timestamp};
use crate::vault::answer::{Answer, Settled};
use crate::vault::client::{Envelope, Vault, decode};
use crate::vault::document::{Document, Malformed};
use crate::vault::error::VaultError;
use crate::vault::order::Order;
use crate::vault::{Kv, KvPath, Metadata, Read, VersionMetadata};

/// Longest mount and path together; Vault's storages refuse keys from 32 KiB (Raft) on down to
/// some hundred bytes (others).
const PATH_MAX: usize = 512;

#[async_trait]
impl Kv for Vault {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        check(at)?;
        let order = Order::Read { at, version: None };
        match self.ask(&order).await? {
            Settled::Done(answer) => content(&order, &answer).map(Some),
            Settled::Absent => Ok(None),
        }
    }

    async fn read_version(&self, at: &KvPath, version: u64) -> Result<Option<Read>, VaultError> {
        check(at)?;
        // Vault takes version 0 for the newest.
        if version == 0 {
            return Ok(None);
        }
        let order = Order::Read { at, version: Some(version) };
        match self.ask(&order).await {
            Ok(Settled::Done(answer)) => content(&order, &answer).map(Some),
            Ok(Settled::Absent) | Err(VaultError::Deleted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, at: &KvPath, document: &Document, cas: u64) -> Result<u64, VaultError> {
        check(at)?;
        let order = Order::Write { at, document, cas };
        match self.done(&order).await {
            Ok(answer) => written(&order, &answer),
            // A policy with `create` and without `update` is applied before anything is compared.
            Err(VaultError::Denied { path }) if cas == 0 && self.is_there(at).await => {
                Err(VaultError::Conflict { path })
            }
            Err(error) => Err(error),
        }
    }

    async fn patch(&self, at: &KvPath, patch: &Document, cas: u64) -> Result<u64, VaultError> {
        check(at)?;
        let order = Order::Patch { at, patch, cas };
        written(&order, &self.done(&order).await?)
    }

    async fn list(&self, at: &KvPath) -> Result<Vec<String>, VaultError> {
        check_segments(&at.mount, at)?;
        if !at.path.is_empty() {
            check(at)?;
        }
        let order = Order::List { at };
        match self.ask(&order).await? {
            Settled::Done(answer) => names(&order, &answer),
            Settled::Absent => Ok(Vec::new()),
        }
    }

    async fn metadata(&self, at: &KvPath) -> Result<Option<Metadata>, VaultError> {
        check(at)?;
        let order = Order::Metadata { at };
        match self.ask(&order).await? {
            Settled::Done(answer) => {
                // By the server's clock, which its `Date` gives in whole seconds, rounded down.
                let date = answer.date.map(|date| date + Span(999));
                let now = date.unwrap_or_else(|| self.clock().now());
                history(&order, &answer, now).map(Some)
            }
            Settled::Absent => Ok(None),
        }
    }

    async fn destroy(&self, at: &KvPath, versions: &[u64]) -> Result<(), VaultError> {
        check(at)?;
        if versions.is_empty() {
            return Ok(());
        }
        self.ask(&Order::Destroy { at, versions }).await.map(|_| ())
    }

    async fn delete_metadata(&self, at: &KvPath) -> Result<(), VaultError> {
        check(at)?;
        self.ask(&Order::DeleteMetadata { at }).await.map(|_| ())
    }
}

impl Vault {
    /// Whether something was ever written at the path, as far as can be told.
    async fn is_there(&self, at: &KvPath) -> bool {
        matches!(self.read(at).await, Ok(Some(_)) | Err(VaultError::Deleted { .. }))
    }
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Written,
}

#[derive(Deserialize)]
struct Written {
    version: u64,
}

#[derive(Deserialize)]
struct Names {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct History {
    current_version: u64,
    versions: BTreeMap<u64, Fate>,
}

#[derive(Deserialize)]
struct Fate {
    created_time: String,
    deletion_time: String,
    destroyed: bool,
}

impl History {
    /// A deletion time that lies ahead is an appointment (`delete_version_after`), not a fact.
    fn metadata(self, now: Timestamp) -> Option<Metadata> {
        let moment = |text: &str| {
            let date = DateTime::parse_from_rfc3339(text).ok()?;
            Some(Timestamp(date.timestamp_millis()))
        };
        let version = |(number, fate): (u64, Fate)| {
            let deleted = match fate.deletion_time.as_str() {
                "" => false,
                text => moment(text)? <= now,
            };
            let created_at = moment(&fate.created_time)?;
            Some((number, VersionMetadata { created_at, deleted, destroyed: fate.destroyed }))
        };
        let versions = self.versions.into_iter().map(version).collect::<Option<_>>()?;
        Some(Metadata { current_version: self.current_version, versions })
    }
}

pub(super) fn content(order: &Order<'_>, answer: &Answer) -> Result<Read, VaultError> {
    let envelope: Envelope<Content<'_>> = decode(order, answer)?;
    let version = envelope.data.metadata.version;
    let Some(data) = envelope.data.data else {
        return Err(VaultError::Deleted { path: order.place(), version });
    };
    Ok(Read { version, document: Document::from_json(data.get().as_bytes().to_vec()) })
}

/// The version that a write made. An answer without one leaves the write in doubt.
pub(super) fn written(order: &Order<'_>, answer: &Answer) -> Result<u64, VaultError> {
    let envelope: Result<Envelope<Written>, Malformed> = answer.decode();
    envelope.map(|envelope| envelope.data.version).map_err(|_| VaultError::Ambiguous {
        path: order.place(),
        what: format!("{} without a version; is the mount KV version 2?", answer.status),
    })
}

pub(super) fn names(order: &Order<'_>, answer: &Answer) -> Result<Vec<String>, VaultError> {
    let envelope: Envelope<Names> = decode(order, answer)?;
    Ok(envelope.data.keys)
}

pub(super) fn history(
    order: &Order<'_>,
    answer: &Answer,
    now: Timestamp,
) -> Result<Metadata, VaultError> {
    let envelope: Envelope<History> = decode(order, answer)?;
    envelope.data.metadata(now).ok_or_else(|| VaultError::BadAnswer {
        path: order.place(),
        what: "a moment that is not one".to_owned(),
    })
}

/// Refuses what would be sent as another path than it reads: `.` and `..` are dropped by URL
/// parsers, empty segments by Vault.
fn check(at: &KvPath) -> Result<(), VaultError> {
    check_segments(&at.mount, at)?;
    check_segments(&at.path, at)
}

fn check_segments(text: &str, at: &KvPath) -> Result<(), VaultError> {
    let unfit = |what: &str| {
        let path = at.to_string().escape_debug().to_string();
        Err(VaultError::Refused { path, what: format!("not sent: {what}") })
    };
    if text.len() > PATH_MAX {
        return unfit("the path is too long");
    }
    if text.chars().any(char::is_control) {
        return unfit("the path has a control character");
    }
    if text.split('/').any(str::is_empty) {
        return unfit("the path has an empty segment, or a slash at an end");
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return unfit("the path has a segment '.' or '..'");
    }
    Ok(())
}
