//! A recipient that is posted to, in the form of Standard Webhooks.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use url::Url;

use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::model::failure::Class;
use crate::model::time::Clock;
use crate::net::request::Request;
use crate::net::{Client, NetError, Settings};
use crate::notify::message::Message;
use crate::notify::{Address, Deliver, Undelivered};
use crate::signing::key::SigningKey;
use crate::signing::{self, standard};

/// The largest answer that is read: nothing in it is of use.
const ANSWER_MAX: usize = 16 * 1024;

/// A webhook. What it needs is fetched for each attempt, so that a key or an address that was
/// changed is used at once, and none is held longer than that.
pub(super) struct Webhook {
    pub(super) to: Address,
    pub(super) key: Option<SecretRef>,
    pub(super) allow_http: bool,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) secrets: Secrets,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl Deliver for Webhook {
    async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let client = self.client().await?;
        let keys = self.keys().await?;
        let now = self.clock.now();
        let mut headers = signing::headers(&keys, &message.id, now, message.body());
        if keys.is_empty() {
            headers.retain(|(name, _)| *name != standard::SIGNATURE_HEADER);
        }
        let request = Request::new(Method::POST, "").body("application/json", message.to_bytes());
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = client.send(request).await.map_err(undelivered)?;
        answer.success().map(drop).map_err(undelivered)
    }
}

impl Webhook {
    async fn client(&self) -> Result<Client, Undelivered> {
        let base = match &self.to {
            Address::Plain(url) => url.clone(),
            Address::Secret(place) => self.url(place).await?,
        };
        let ca_pem = match &self.ca_file {
            Some(path) => Some(tokio::fs::read(path).await.map_err(failed)?),
            None => None,
        };
        let allow_http = self.allow_http;
        let settings =
            Settings { allow_http, answer_max: ANSWER_MAX, ca_pem, ..Settings::new(base) };
        Client::new(&settings).map_err(failed)
    }

    /// An address that is secret. What is wrong with it is said without it.
    async fn url(&self, place: &SecretRef) -> Result<Url, Undelivered> {
        let value = self.secrets.fetch(place).await.map_err(failed)?;
        let url = value.expose_str().and_then(|text| Url::parse(text.trim()).ok());
        url.ok_or_else(|| failed(format!("{place} holds no URL")))
    }

    async fn keys(&self) -> Result<Vec<SigningKey>, Undelivered> {
        let Some(place) = &self.key else { return Ok(Vec::new()) };
        let value = self.secrets.fetch(place).await.map_err(failed)?;
        let key = SigningKey::new(&value);
        Ok(vec![key.map_err(|bad| failed(format!("{place}: {bad}")))?])
    }
}

fn undelivered(error: NetError) -> Undelivered {
    let after = match error.failure.class {
        Class::Throttled(after) => Some(after),
        _ => None,
    };
    Undelivered { text: error.to_string(), after }
}

fn failed(why: impl std::fmt::Display) -> Undelivered {
    Undelivered { text: why.to_string(), after: None }
}
