//! The proof: values that were in use once are used again, for real, and must be refused.
//!
//! Decides what "an old value still works" means. A value is tried while it is in use, too: a try
//! that never succeeds would show nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use reqwest::{Client, Response, StatusCode};
use rotord::model::material::SecretBytes;
use rotord::signing::headers;
use rotord::signing::key::SigningKey;
use rotord::signing::standard::MessageId;

use crate::Fallible;
use crate::cast::Cast;
use crate::scanner::now;

/// One of the two secrets of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Secret {
    /// `orders-webhook`.
    Webhook,
    /// `partner-key`.
    Key,
}

impl Secret {
    /// Both.
    pub(crate) const ALL: [Secret; 2] = [Secret::Webhook, Secret::Key];

    /// Its name in the config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Secret::Webhook => "orders-webhook",
            Secret::Key => "partner-key",
        }
    }
}

/// What a try came to: each place and its answer.
pub(crate) struct Tried(Vec<(&'static str, StatusCode)>);

impl Tried {
    /// Whether all took the value.
    pub(crate) fn is_accepted(&self) -> bool {
        self.0.iter().all(|(_, status)| status.is_success())
    }

    /// Whether all refused it, as they refuse a stranger.
    pub(crate) fn is_refused(&self) -> bool {
        self.0.iter().all(|(_, status)| *status == StatusCode::UNAUTHORIZED)
    }

    /// In words: `receiver-a 401, receiver-b 401`.
    pub(crate) fn words(&self) -> String {
        let one = |(place, status): &(&str, StatusCode)| format!("{place} {}", status.as_u16());
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The values that were seen in use, and how to try them.
pub(crate) struct Proof {
    http: Client,
    values: RefCell<BTreeMap<(Secret, u64), Rc<SecretBytes>>>,
    /// Refusals that the demo itself has asked for, at the receivers and at the key service.
    refused: [Cell<u64>; 2],
}

impl Proof {
    /// Nothing was seen yet.
    pub(crate) fn new(http: Client) -> Proof {
        Proof { http, values: RefCell::default(), refused: Default::default() }
    }

    /// Remembers a value that came into use, and tries it.
    pub(crate) async fn remember(
        &self,
        cast: &Cast,
        secret: Secret,
        version: u64,
    ) -> Fallible<Tried> {
        let value = cast.bao.value(secret.name(), version).await?;
        self.values.borrow_mut().insert((secret, version), Rc::new(value));
        self.try_again(cast, secret, version).await
    }

    /// The versions that were seen in use, in order.
    pub(crate) fn versions(&self) -> Vec<(Secret, u64)> {
        self.values.borrow().keys().copied().collect()
    }

    /// The value of a version that was seen in use.
    pub(crate) fn value(&self, secret: Secret, version: u64) -> Fallible<Rc<SecretBytes>> {
        let value = self.values.borrow().get(&(secret, version)).cloned();
        Ok(value.ok_or_else(|| format!("{} v{version} was never seen", secret.name()))?)
    }

    /// The newest value that was seen in use.
    pub(crate) fn newest(&self, secret: Secret) -> Fallible<Rc<SecretBytes>> {
        let values = self.values.borrow();
        let newest = values.range((secret, 0)..=(secret, u64::MAX)).next_back();
        Ok(newest.map(|(_, value)| Rc::clone(value)).ok_or("no value was seen yet")?)
    }

    /// How many refusals the demo has asked for: at the receivers, and at the key service.
    pub(crate) fn refusals(&self) -> [u64; 2] {
        self.refused.each_ref().map(Cell::get)
    }

    /// Uses the value of a version: signs a webhook to each receiver, or works with the key.
    pub(crate) async fn try_again(
        &self,
        cast: &Cast,
        secret: Secret,
        version: u64,
    ) -> Fallible<Tried> {
        let value = self.value(secret, version)?;
        let tried = match secret {
            Secret::Webhook => {
                let [a, b] = &cast.receivers;
                vec![
                    ("receiver-a", self.sign(a, &value).await?),
                    ("receiver-b", self.sign(b, &value).await?),
                ]
            }
            Secret::Key => vec![("key service", self.work(&cast.key_service, &value).await?)],
        };
        let [receivers, service] = &self.refused;
        let counter = if secret == Secret::Webhook { receivers } else { service };
        let refused = tried.iter().filter(|(_, status)| !status.is_success()).count();
        counter.set(counter.get() + u64::try_from(refused)?);
        Ok(Tried(tried))
    }

    async fn sign(&self, receiver: &str, value: &SecretBytes) -> Fallible<StatusCode> {
        let body = r#"{"type":"order.paid","number":0}"#;
        let key = SigningKey::new(value).map_err(|_| "a value that signs nothing")?;
        let signed = headers(&[key], &MessageId::new("demo_try")?, now(), body.as_bytes());
        let request = self.http.post(format!("{receiver}/webhook")).body(body);
        let request = signed.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        Ok(request.send().await.map(|answer: Response| answer.status())?)
    }

    async fn work(&self, key_service: &str, value: &SecretBytes) -> Fallible<StatusCode> {
        let key = value.expose_str().ok_or("a key that is no text")?;
        let request = self.http.post(format!("{key_service}/work")).bearer_auth(key);
        Ok(request.send().await?.status())
    }
}
