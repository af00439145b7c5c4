//! rotord as any program can follow it: HTTP over its socket, as `docs/api.md` describes it.

#![allow(dead_code, reason = "not everybody who follows rotord asks it everything")]

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use rotord::api::wire::Detail;
use rotord::api::wire::incidents::IncidentDetail;
use rotord::model::time::Timestamp;
use tokio::time::{sleep, timeout};

use crate::Fallible;

/// rotord answers after ten seconds if there is no news.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// rotord opens its socket before anything else.
const OPENS_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// A follower of rotord.
pub(crate) struct Daemon {
    http: Client,
    socket: PathBuf,
}

impl Daemon {
    /// Follows the rotord behind this socket.
    pub(crate) fn new(socket: PathBuf) -> Fallible<Daemon> {
        let http = Client::builder().unix_socket(socket.as_path()).timeout(ANSWERS_WITHIN);
        Ok(Daemon { http: http.tls_certs_only([]).build()?, socket })
    }

    /// Waits for the socket.
    pub(crate) async fn until_there(&self) -> Fallible<()> {
        let there = timeout(OPENS_WITHIN, async {
            while tokio::net::UnixStream::connect(&self.socket).await.is_err() {
                sleep(LOOK).await;
            }
        });
        Ok(there.await.map_err(|_| "rotord does not open its socket")?)
    }

    /// An incident, once it is over; None before.
    pub(crate) async fn incident_that_is_over(&self, id: &str) -> Fallible<Option<IncidentDetail>> {
        let url = format!("http://rotord/v1/incidents/{id}");
        let answer = self.http.get(url).send().await?.error_for_status()?;
        let detail: IncidentDetail = answer.json().await?;
        Ok(Some(detail).filter(|detail| detail.incident.state == "done"))
    }

    /// Asks for a rotation. A refusal is an answer, too: false.
    pub(crate) async fn rotate(&self, secret: &str, reason: &str) -> Fallible<bool> {
        let url = format!("http://rotord/v1/secrets/{secret}/rotate?reason={reason}");
        Ok(self.http.post(url).send().await?.status().is_success())
    }

    /// Gives one of the answers to a secret that stands still, such as `retry`. False if it was
    /// refused.
    pub(crate) async fn resolve(&self, secret: &str, how: &str) -> Fallible<bool> {
        let url = format!("http://rotord/v1/secrets/{secret}/resolve?how={how}");
        Ok(self.http.post(url).send().await?.status().is_success())
    }

    /// Whether it leads.
    pub(crate) async fn leads(&self, secret: &str) -> Fallible<bool> {
        Ok(self.detail(secret, None).await?.is_none_or(|detail| detail.daemon.leader))
    }

    /// Everything about one secret, as soon as there is something newer; None while rotord does
    /// not know it yet.
    pub(crate) async fn detail(
        &self,
        secret: &str,
        newer_than: Option<Timestamp>,
    ) -> Fallible<Option<Detail>> {
        let newer = newer_than.map(|moment| format!("?newer_than={moment}")).unwrap_or_default();
        let url = format!("http://rotord/v1/status/{secret}{newer}");
        let answer = self.http.get(url).send().await?;
        match answer.status() {
            // Not read yet, or not there yet.
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE => Ok(None),
            _ => Ok(Some(answer.error_for_status()?.json().await?)),
        }
    }
}
