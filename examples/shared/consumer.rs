//! A program that uses an API key which rotord rotates.
//!
//! All it takes: read the document again now and then, use `current`, and say so. Reading often
//! enough is the promise that the target's `propagation` stands for; saying so is what lets the
//! old key go without guessing.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest any request takes; both servers are near.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the consumer's two servers are.
pub(crate) struct Places {
    /// The service that wants the key, such as `http://127.0.0.1:4000`.
    pub(crate) service: String,
    /// Vault or OpenBao, such as `http://127.0.0.1:8200`.
    pub(crate) vault: String,
    /// A token that may read the document and write the acknowledgement.
    pub(crate) vault_token: String,
    /// The mount of both documents.
    pub(crate) mount: String,
    /// The document that rotord writes.
    pub(crate) path: String,
    /// The document in which this program acknowledges, if it does.
    pub(crate) ack_path: Option<String>,
}

/// What became of the work so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Requests that were served.
    pub(crate) accepted: u64,
    /// Requests that were turned away because of the key.
    pub(crate) rejected: u64,
    /// Requests that got no answer, or another one.
    pub(crate) failed: u64,
}

/// The document as rotord writes it; what is not needed here is not read.
#[derive(Deserialize)]
struct Document {
    /// None while a leaked key has no successor yet.
    current: Option<String>,
    current_version: Option<u64>,
    accepted_versions: Vec<u64>,
    generation: u64,
}

/// The consumer.
pub(crate) struct Consumer {
    client: Client,
    places: Places,
    using: Option<Document>,
    /// The last generation that was acknowledged.
    acknowledged: Option<u64>,
    counts: Counts,
}

impl Consumer {
    /// A consumer that has no key yet.
    pub(crate) fn new(places: Places) -> Result<Consumer, Box<dyn Error>> {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none());
        let plain = [&places.service, &places.vault].iter().all(|at| at.starts_with("http://"));
        // Without TLS the system's authorities need not be there.
        let client = if plain { client.tls_certs_only([]) } else { client };
        let client = client.timeout(TIMEOUT).build()?;
        Ok(Consumer { client, places, using: None, acknowledged: None, counts: Counts::default() })
    }

    /// Reads the document again. Answers the version in use if it is another one now.
    ///
    /// The order matters: first use the new key, then say so.
    pub(crate) async fn reread(&mut self) -> Result<Option<u64>, Box<dyn Error>> {
        let Places { vault, mount, path, vault_token, .. } = &self.places;
        let url = format!("{vault}/v1/{mount}/data/{path}");
        let answer = self.client.get(url).header("x-vault-token", vault_token).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        #[derive(Deserialize)]
        struct Envelope {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            data: Document,
        }
        let read = answer.error_for_status()?.json::<Envelope>().await?.data.data;
        let before = self.using.as_ref().and_then(|using| using.current_version);
        // A document that goes back in time is an old copy: never follow it.
        if self.using.as_ref().is_none_or(|using| using.generation < read.generation) {
            self.using = Some(read);
        }
        self.acknowledge().await?;
        let now = self.using.as_ref().and_then(|using| using.current_version);
        Ok(now.filter(|now| before != Some(*now)))
    }

    /// Says what is in use, until that was heard.
    async fn acknowledge(&mut self) -> Result<(), Box<dyn Error>> {
        let Places { vault, mount, vault_token, ack_path, .. } = &self.places;
        let (Some(path), Some(using)) = (ack_path, &self.using) else { return Ok(()) };
        if self.acknowledged == Some(using.generation) {
            return Ok(());
        }
        let url = format!("{vault}/v1/{mount}/data/{path}");
        let ack = json!({ "data": {
            "generation": using.generation,
            "accepted": using.accepted_versions,
            "current": using.current_version,
        } });
        let call = self.client.post(url).header("x-vault-token", vault_token).json(&ack);
        call.send().await?.error_for_status()?;
        self.acknowledged = Some(using.generation);
        Ok(())
    }

    /// Does one piece of work with the key in use. Answers whether the key was turned away, which
    /// is a reason to read the document at once.
    pub(crate) async fn work(&mut self) -> bool {
        let using = self.using.as_ref();
        let Some(key) = using.and_then(|using| using.current.as_ref()) else { return false };
        let url = format!("{}/work", self.places.service);
        let answer = self.client.post(url).bearer_auth(key).send().await;
        match answer.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => self.counts.accepted += 1,
            Ok(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                self.counts.rejected += 1;
                return true;
            }
            Ok(_) | Err(_) => self.counts.failed += 1,
        }
        false
    }

    /// What became of the work so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}
