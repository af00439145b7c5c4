//! The traffic as the programs themselves count it.
//!
//! Decides what a request is and what counts as rejected: everything that did not get the answer it
//! should have had, whoever noticed.

use std::collections::BTreeMap;

use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Fallible;
use crate::cast::Cast;

/// The counts of one moment.
#[derive(Clone, Default)]
pub(crate) struct Traffic {
    /// Webhooks sent, by the version that signed them.
    pub(crate) webhooks: BTreeMap<u64, u64>,
    /// Webhooks that the sender got another answer to than "thank you", or none.
    pub(crate) webhooks_rejected: u64,
    /// Webhooks that the receivers refused, the demo's own tries of old values among them.
    pub(crate) refused_by_receivers: u64,
    /// Times at which the sender had nothing to sign with.
    pub(crate) unsigned: u64,
    /// Requests to the key service, by the issuer's id of the key.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Requests that the key service refused, the demo's own tries of old keys among them.
    pub(crate) refused_by_service: u64,
}

#[derive(Deserialize)]
struct Sent {
    /// By version and status, such as `v3/204`.
    sent: BTreeMap<String, u64>,
    without_key: u64,
}

#[derive(Deserialize)]
struct Received {
    /// By status.
    refused: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Served {
    rejected: u64,
    keys: BTreeMap<String, ByKey>,
}

#[derive(Deserialize)]
struct ByKey {
    accepted: u64,
}

impl Traffic {
    /// Asks everybody.
    pub(crate) async fn now(http: &Client, cast: &Cast) -> Fallible<Traffic> {
        let mut traffic = Traffic::default();
        let Sent { sent, without_key } = stats(http, "the sender", &cast.sender).await?;
        traffic.unsigned = without_key;
        for (what, count) in sent {
            let (version, status) = what.split_once('/').ok_or("a count of nothing")?;
            *traffic.webhooks.entry(version.trim_start_matches('v').parse()?).or_default() += count;
            if status != "204" {
                traffic.webhooks_rejected += count;
            }
        }
        for receiver in &cast.receivers {
            let Received { refused } = stats(http, "a receiver", receiver).await?;
            traffic.refused_by_receivers += refused.values().sum::<u64>();
        }
        let Served { rejected, keys } = stats(http, "the key service", &cast.key_service).await?;
        traffic.refused_by_service = rejected;
        traffic.requests = keys.into_iter().map(|(id, key)| (id, key.accepted)).collect();
        Ok(traffic)
    }

    /// All requests so far.
    pub(crate) fn total(&self) -> u64 {
        self.webhooks.values().sum::<u64>() + self.requests.values().sum::<u64>()
    }
}

async fn stats<T: DeserializeOwned>(http: &Client, who: &str, address: &str) -> Fallible<T> {
    let answer = http.get(format!("{address}/stats")).send().await;
    let answer = answer.map_err(|_| format!("{who} does not answer any more"))?;
    Ok(answer.error_for_status()?.json().await?)
}
