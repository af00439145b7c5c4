//! For the tests of every source: a request made by hand, and what it was taken for.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, Method};

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::incident::alert::Finding;
use crate::intake::{Delivery, Received, Rejected, Reply, Source};
use crate::model::material::SecretBytes;
use crate::model::time::Timestamp;
use crate::vault::document::Document;
use crate::vault::error::VaultError;
use crate::vault::{Kv, KvPath, Metadata, Read};

/// When every request comes.
pub(super) const NOW: Timestamp = Timestamp(1_790_000_000_000);

pub(super) fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

/// Where keys lie, and a Vault in which they do: each is the content of a document named by it.
pub(super) fn keys(texts: &[&str]) -> (Vec<SecretRef>, Secrets) {
    let place = |text: &&str| SecretRef::Vault {
        at: KvPath { mount: "kv".to_owned(), path: (*text).to_owned() },
        field: "key".to_owned(),
    };
    (texts.iter().map(place).collect(), Secrets::new(Arc::new(Echo), None))
}

/// A Vault whose documents hold their own path. The path `away` cannot be read.
struct Echo;

#[async_trait]
impl Kv for Echo {
    async fn read(&self, at: &KvPath) -> Result<Option<Read>, VaultError> {
        if at.path == "away" {
            return Err(VaultError::Unavailable { what: "away".to_owned() });
        }
        let content = serde_json::json!({ "key": at.path });
        let document = Document::encode(&content).expect("it is JSON");
        Ok(Some(Read { document, version: 1 }))
    }

    async fn read_version(&self, _: &KvPath, _: u64) -> Result<Option<Read>, VaultError> {
        unreachable!("keys are read as they are now")
    }

    async fn write(&self, _: &KvPath, _: &Document, _: u64) -> Result<u64, VaultError> {
        unreachable!("nothing is written")
    }

    async fn patch(&self, _: &KvPath, _: &Document, _: u64) -> Result<u64, VaultError> {
        unreachable!("nothing is written")
    }

    async fn list(&self, _: &KvPath) -> Result<Vec<String>, VaultError> {
        unreachable!("nothing is looked for")
    }

    async fn metadata(&self, _: &KvPath) -> Result<Option<Metadata>, VaultError> {
        unreachable!("nothing is looked for")
    }

    async fn destroy(&self, _: &KvPath, _: &[u64]) -> Result<(), VaultError> {
        unreachable!("nothing is taken away")
    }

    async fn delete_metadata(&self, _: &KvPath) -> Result<(), VaultError> {
        unreachable!("nothing is taken away")
    }
}

/// A request.
pub(super) struct Asked {
    method: Method,
    rest: &'static str,
    headers: HeaderMap,
    body: SecretBytes,
}

impl Asked {
    pub(super) fn post(body: impl AsRef<[u8]>) -> Asked {
        let body = SecretBytes::new(body.as_ref().to_vec());
        Asked { method: Method::POST, rest: "", headers: HeaderMap::new(), body }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Asked {
        let name: HeaderName = name.parse().expect("the name of a header");
        self.headers.append(name, value.parse().expect("the text of a header"));
        self
    }

    pub(super) fn by(mut self, method: Method) -> Asked {
        self.method = method;
        self
    }

    pub(super) fn at(mut self, rest: &'static str) -> Asked {
        self.rest = rest;
        self
    }

    pub(super) async fn of(&self, source: &dyn Source) -> Result<Received, Rejected> {
        let Asked { method, rest, headers, body } = self;
        source.receive(&Delivery { method, rest, headers, body, at: NOW }).await
    }

    /// The findings of a request that is an alert.
    pub(super) async fn findings(&self, source: &dyn Source) -> Vec<Finding> {
        match self.of(source).await {
            Ok(Received::Alert(message)) => message.findings,
            Ok(Received::Nothing { event, .. }) => panic!("{event} is no alert"),
            Err(rejected) => panic!("{rejected}"),
        }
    }

    /// The event of a request that means nothing here, and its answer.
    pub(super) async fn nothing(&self, source: &dyn Source) -> (&'static str, Reply) {
        match self.of(source).await {
            Ok(Received::Nothing { event, reply }) => (event, reply),
            Ok(Received::Alert(_)) => panic!("an alert"),
            Err(rejected) => panic!("{rejected}"),
        }
    }

    /// Why a request was rejected.
    pub(super) async fn rejected(&self, source: &dyn Source) -> Rejected {
        match self.of(source).await {
            Err(rejected) => rejected,
            Ok(_) => panic!("it was taken"),
        }
    }
}
