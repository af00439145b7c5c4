//! Sources of alerts against what their senders really send: recorded signatures, keys that change,
//! servers that fail; and a value that must be nowhere afterwards.

mod fake;
mod generic;
mod gitguardian;
mod github;
mod github_partner;
mod gitlab;
mod keyring;
mod poll;

use std::io;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rotord::driver::secret_ref::{SecretRef, Secrets};
use rotord::incident::alert::Finding;
use rotord::intake::{Delivery, Message, Received, Rejected, Reply, Source};
use rotord::model::clue::{Clue, Form, ValueDigest};
use rotord::model::material::SecretBytes;
use rotord::model::time::Timestamp;
use rotord::vault::KvPath;
use serde_json::json;
use tracing::subscriber::DefaultGuard;

use crate::support::mem_kv::MemKv;

/// The moment of the recorded messages: 2026-11-22T03:12:00Z.
const THEN: i64 = 1_795_317_120;

/// A value with all that JSON, URLs and shells make of characters.
const CANARY: &str = "rk_live_4eC39HqLyjWDä\"\\";

/// A message on its way.
struct Sent {
    method: Method,
    rest: &'static str,
    headers: HeaderMap,
    body: SecretBytes,
    at: Timestamp,
}

impl Sent {
    fn post(body: impl Into<Vec<u8>>) -> Sent {
        Sent {
            method: Method::POST,
            rest: "",
            headers: HeaderMap::new(),
            body: SecretBytes::new(body.into()),
            at: Timestamp::from_seconds(THEN),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Sent {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    fn later(mut self, seconds: i64) -> Sent {
        self.at = Timestamp::from_seconds(THEN + seconds);
        self
    }

    async fn to(&self, source: &dyn Source) -> Result<Received, Rejected> {
        let Sent { method, rest, headers, body, at } = self;
        source.receive(&Delivery { method, rest, headers, body, at: *at }).await
    }

    /// The message that it is taken for.
    async fn alert(&self, source: &dyn Source) -> Message {
        match self.to(source).await {
            Ok(Received::Alert(message)) => message,
            Ok(Received::Nothing { event, .. }) => panic!("taken for {event}"),
            Err(rejected) => panic!("{rejected}"),
        }
    }

    /// What it is taken for, if it means nothing.
    async fn nothing(&self, source: &dyn Source) -> (&'static str, Reply) {
        match self.to(source).await {
            Ok(Received::Nothing { event, reply }) => (event, reply),
            Ok(Received::Alert(_)) => panic!("taken for an alert"),
            Err(rejected) => panic!("{rejected}"),
        }
    }

    /// Why it is not taken.
    async fn refused(&self, source: &dyn Source) -> Rejected {
        match self.to(source).await {
            Ok(_) => panic!("it was believed"),
            Err(rejected) => rejected,
        }
    }
}

/// A Vault with one document of secrets, and where each lies.
struct Vault {
    kv: Arc<MemKv>,
}

impl Vault {
    fn new(fields: &[(&str, &str)]) -> Vault {
        let vault = Vault { kv: Arc::new(MemKv::default()) };
        vault.hold(fields);
        vault
    }

    fn at() -> KvPath {
        KvPath { mount: "kv".to_owned(), path: "alerts/hook".to_owned() }
    }

    fn hold(&self, fields: &[(&str, &str)]) {
        let document = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        self.kv.put(&Vault::at(), document.collect());
    }

    fn secrets(&self) -> Secrets {
        Secrets::new(self.kv.clone(), None)
    }

    /// Requests since the last time.
    fn asked(&self) -> u64 {
        self.kv.take_requests().values().sum()
    }
}

fn field(name: &str) -> SecretRef {
    SecretRef::Vault { at: Vault::at(), field: name.to_owned() }
}

/// What was recorded from other libraries.
#[derive(serde::Deserialize)]
struct Recorded {
    made_by: String,
    scheme: String,
    secret: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    timestamp: i64,
    body: String,
    signature: String,
}

fn recorded(scheme: &str) -> Vec<Recorded> {
    let all: Vec<Recorded> =
        serde_json::from_str(include_str!("../../fixtures/alerts/recorded.json")).unwrap();
    all.into_iter().filter(|recorded| recorded.scheme == scheme).collect()
}

fn digest_of(value: &str) -> Clue {
    let value = SecretBytes::new(value.as_bytes().to_vec());
    Clue::Digest(ValueDigest::of(Form::Sha256, &value))
}

/// Everything that a source says of a message, in every way it can say it.
fn said(message: &Message, replies: &[Reply]) -> String {
    let Message { id, key, findings, odd } = message;
    format!("{id:?} {key:?} {findings:?} {odd:?} {replies:?}")
}

fn place(finding: &Finding) -> &str {
    finding.found_at.as_ref().map(|place| place.as_str()).unwrap_or_default()
}

/// All log lines of this test, of every level.
struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Log {
    fn listen() -> Log {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        Log { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails if a text holds the value, as it is or as JSON writes it.
fn assert_silent(text: &str) {
    assert!(!text.contains("4eC39HqLyjWD"), "the value stands in: {text}");
}

const NO_CONTENT: Reply = Reply { status: StatusCode::NO_CONTENT, body: None };
