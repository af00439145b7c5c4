//! What a service adds to be told its webhook secret by rotord: a keyring that takes in pushes,
//! and signs and verifies with what it was told. `docs/drivers.md` describes the protocol.
//!
//! The keyring is in memory only. After a restart it is empty, says so when it is asked, and is
//! told again within seconds: no secret needs to be written to a disk.

#![allow(dead_code, reason = "the receiver uses one half of the keyring, the sender the other")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;
use std::{fs, io};

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use rotord::model::id::{Generation, VersionId};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::signing::key::SigningKey;
use rotord::signing::proof::Statement;
use rotord::signing::standard::{self, Message, MessageId};
use rotord::signing::{Refusal, headers};
use serde::{Deserialize, Serialize};

/// Who this program is, in the words of rotord's config.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Identity {
    /// The target's name in rotord's config.
    #[arg(long)]
    pub(crate) target: String,
    /// The environment this program runs in.
    #[arg(long)]
    pub(crate) environment: String,
    /// This instance's name, unique within the target.
    #[arg(long)]
    pub(crate) instance: String,
    /// Answer for every instance of the target; right if there is only one.
    #[arg(long)]
    pub(crate) covers_all: bool,
    /// A file with the key of the push channel; during its own overlap with both, one a line.
    #[arg(long)]
    pub(crate) channel_key_file: PathBuf,
}

/// The secret's versions as rotord last told them.
#[derive(Default)]
struct Held {
    generation: Generation,
    accepted: Vec<(VersionId, SecretBytes)>,
    current: Option<VersionId>,
}

/// Receives pushes and keeps what they say.
pub(crate) struct Keyring {
    identity: Identity,
    held: RwLock<Held>,
}

/// A push, or the question what we hold (which has no `fields`). Unknown members are ignored.
#[derive(Deserialize)]
struct Push {
    r#type: String,
    target: String,
    environment: String,
    generation: Generation,
    accepted: Vec<Accepted>,
    current: Option<VersionId>,
    prove: Option<Prove>,
}

#[derive(Deserialize)]
struct Accepted {
    version: VersionId,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Prove {
    version: VersionId,
    field: String,
    nonce: String,
}

/// What we answer: who we are and what we hold, with the proof.
#[derive(Serialize)]
pub(crate) struct Reply {
    target: String,
    environment: String,
    instance: String,
    covers: &'static str,
    generation: Generation,
    accepted: Vec<VersionId>,
    current: Option<VersionId>,
    proof: Option<String>,
}

impl Keyring {
    /// An empty keyring that believes pushes signed with one of the keys in the file.
    pub(crate) fn new(identity: Identity) -> io::Result<Keyring> {
        read_keys(&identity.channel_key_file)?; // a missing file is better noticed now
        Ok(Keyring { identity, held: RwLock::default() })
    }

    /// Handles a request of rotord. The status tells it whether we took the push in; the reply says
    /// what we hold in any case.
    pub(crate) fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        // Read anew for each push: the channel's key is rotated, too.
        let channel = read_keys(&self.identity.channel_key_file)
            .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        verify(&channel, headers, body).map_err(status_of)?;
        let push: Push = serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let status = self.take_in(&push);
        Ok((status, Json(self.reply(push.prove))))
    }

    fn take_in(&self, push: &Push) -> StatusCode {
        let Identity { target, environment, .. } = &self.identity;
        if push.target != *target || push.environment != *environment {
            return StatusCode::MISDIRECTED_REQUEST; // somebody mixed up two addresses
        }
        if push.r#type != "rotord.push" {
            return StatusCode::OK;
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if push.generation < held.generation {
            return StatusCode::CONFLICT; // never backwards: a late or repeated old push
        }
        // Most secrets have a single field; of those with more, the one that proves is the secret.
        let field = push.prove.as_ref().map_or("value", |prove| &prove.field);
        let value = |one: &Accepted| {
            let value = one.fields.get(field)?.as_bytes().to_vec();
            Some((one.version, SecretBytes::new(value)))
        };
        *held = Held {
            generation: push.generation,
            accepted: push.accepted.iter().filter_map(value).collect(),
            current: push.current,
        };
        StatusCode::OK
    }

    fn reply(&self, prove: Option<Prove>) -> Reply {
        let held = self.held();
        let accepted: Vec<VersionId> = held.accepted.iter().map(|(version, _)| *version).collect();
        let Identity { target, environment, instance, covers_all, .. } = &self.identity;
        let proof = prove.and_then(|Prove { version, nonce, .. }| {
            let statement = Statement {
                target,
                environment,
                instance,
                covers_all: *covers_all,
                generation: held.generation,
                accepted: &accepted,
                current: held.current,
                nonce: &nonce,
            };
            let (_, value) = held.accepted.iter().find(|(held, _)| *held == version)?;
            statement.prove(value).ok()
        });
        Reply {
            target: target.clone(),
            environment: environment.clone(),
            instance: instance.clone(),
            covers: if *covers_all { "all" } else { "self" },
            generation: held.generation,
            current: held.current,
            accepted,
            proof,
        }
    }

    /// Checks a webhook against every accepted version; answers the one that signed it.
    pub(crate) fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<VersionId, Refusal> {
        let held = self.held();
        let usable = |(version, value): &(VersionId, SecretBytes)| {
            Some((*version, SigningKey::new(value).ok()?))
        };
        let (versions, keys): (Vec<_>, Vec<_>) = held.accepted.iter().filter_map(usable).unzip();
        verify(&keys, headers, body).map(|place| versions[place])
    }

    /// Signs a webhook with the version in use; `None` while we have not been told one.
    pub(crate) fn sign(&self, id: &MessageId, body: &[u8]) -> Option<(VersionId, SignedHeaders)> {
        let held = self.held();
        let current = held.current?;
        let (_, value) = held.accepted.iter().find(|(version, _)| *version == current)?;
        let key = SigningKey::new(value).ok()?;
        Some((current, headers(&[key], id, now(), body)))
    }

    /// The versions that we accept, and the one in use.
    pub(crate) fn holds(&self) -> (Vec<VersionId>, Option<VersionId>) {
        let held = self.held();
        (held.accepted.iter().map(|(version, _)| *version).collect(), held.current)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a push is answered with; the bare status to somebody who may be anybody.
pub(crate) type Answer = Result<(StatusCode, Json<Reply>), StatusCode>;

/// The headers of a signed message, names and values.
pub(crate) type SignedHeaders = Vec<(&'static str, String)>;

/// 401 without a right signature, 400 for a message that is too old or too new.
pub(crate) fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadSignature => StatusCode::UNAUTHORIZED,
        Refusal::BadTimestamp | Refusal::OutOfTolerance => StatusCode::BAD_REQUEST,
    }
}

/// The moment, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "a program has to read the clock somewhere")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn verify(keys: &[SigningKey], headers: &HeaderMap, body: &[u8]) -> Result<usize, Refusal> {
    // A header that came twice is nobody's: which one was signed cannot be told.
    let header = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none());
        only.and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let message = Message {
        id: header(standard::ID_HEADER),
        timestamp: header(standard::TIMESTAMP_HEADER),
        signature: header(standard::SIGNATURE_HEADER),
        body,
    };
    standard::verify(keys, &message, now())
}

fn read_keys(file: &Path) -> io::Result<Vec<SigningKey>> {
    let text = SecretBytes::new(fs::read(file)?);
    let lines = text.expose_str().unwrap_or_default().lines().filter(|line| !line.is_empty());
    lines
        .map(|line| SigningKey::new(&SecretBytes::new(line.trim().as_bytes().to_vec())))
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)
}
