//! GitHub's webhooks `secret_scanning_alert` and `secret_scanning_alert_location`.
//!
//! The message names an alert and not the value: that is asked for by the API ([`api`]). What each
//! action means is one table here; actions and events that mean nothing are accepted. GitHub does
//! not deliver again by itself: what is lost comes by the poll (`crate::intake::poll::github`).

pub mod api;

use async_trait::async_trait;
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::driver::error::DriverError;
use crate::driver::secret_ref::{SecretRef, Secrets};
use crate::engine::desk::Verdict;
use crate::incident::alert::{Claim, Finding};
use crate::intake::github::api::{Api, Details, Named, Place, Repository, Shown};
use crate::intake::keyring::Keyring;
use crate::intake::reading::{Text, finding, header, id_of, mask_of, parse};
use crate::intake::{Delivery, Message, Received, Rejected, Reply, Source};
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;
use crate::signing::hub;

/// Names the event.
const EVENT_HEADER: &str = "x-github-event";

/// Names the delivery; the same when somebody has it delivered again.
const DELIVERY_HEADER: &str = "x-github-delivery";

/// What such a source needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The secrets of the webhook, the one in use first.
    pub keys: Vec<SecretRef>,
    /// Where values are asked for.
    pub api: api::Settings,
    /// Whether it may act without proof of knowledge.
    pub trusted: bool,
}

/// Such a source.
#[derive(Debug)]
pub struct GitHub {
    keyring: Keyring,
    api: Api,
    trusted: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    action: Text,
    alert: Alerted,
    repository: Named,
    #[serde(default)]
    location: Option<Location>,
}

/// An alert in an event. There is no value in it; a member that had one would not be read.
#[derive(Deserialize)]
struct Alerted {
    number: u64,
    #[serde(default)]
    resolution: Text,
    #[serde(default)]
    validity: Text,
    #[serde(default)]
    publicly_leaked: Option<bool>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    details: Details,
}

impl GitHub {
    /// A source with these settings.
    ///
    /// # Errors
    /// `misconfigured`, with what is wrong.
    pub fn new(settings: Settings, secrets: Secrets) -> Result<GitHub, DriverError> {
        let Settings { keys, api, trusted } = settings;
        let keyring = Keyring::new(keys, secrets.clone());
        Ok(GitHub { keyring, api: Api::new(api, secrets)?, trusted })
    }

    async fn read(&self, delivery: &Delivery<'_>, located: bool) -> Result<Received, Rejected> {
        let About { repository, place, claim, at } = match about(delivery.body, located)? {
            Ok(about) => about,
            Err(event) => return Ok(nothing(event)),
        };
        let shown = self.api.alert(&place).await.map_err(|error| {
            tracing::warn!(alert = %place, "the value of an alert cannot be fetched: {error}");
            Rejected::Unavailable
        })?;
        let mask = mask_of(&shown.secret);
        let Some(finding) = found(&shown, &repository, claim, at.as_ref(), &mask) else {
            tracing::warn!(alert = %place, "GitHub shows the alert without its value: check the \
                rights of the token");
            return Err(Rejected::Unavailable);
        };
        let key = header(delivery, DELIVERY_HEADER).map(id_of);
        Ok(Received::Alert(Message {
            id: place.to_string(),
            key,
            findings: vec![finding],
            odd: Vec::new(),
        }))
    }
}

#[async_trait]
impl Source for GitHub {
    async fn receive(&self, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
        if delivery.method != Method::POST || !delivery.rest.trim_matches('/').is_empty() {
            return Err(Rejected::NoSuchEndpoint);
        }
        let signature = header(delivery, hub::SIGNATURE_HEADER).unwrap_or_default();
        self.keyring
            .judge(delivery.at, |keys| hub::verify(keys, signature, delivery.body.expose()))
            .await?;
        match header(delivery, EVENT_HEADER) {
            Some("ping") => Ok(nothing("ping")),
            Some("secret_scanning_alert") => self.read(delivery, false).await,
            Some("secret_scanning_alert_location") => self.read(delivery, true).await,
            Some("secret_scanning_scan") => Ok(nothing("secret_scanning_scan")),
            _ => Ok(nothing("other_event")),
        }
    }

    fn answer(&self, _: &Message, _: &[Verdict]) -> Reply {
        done()
    }

    fn trusted(&self) -> bool {
        self.trusted
    }
}

/// The alert that an event is about.
pub(in crate::intake) struct About {
    repository: Repository,
    place: Place,
    claim: Claim,
    at: Option<Details>,
}

/// Reads an event, which is `located` if it tells of a place. Within, the word for one that means
/// nothing here.
pub(in crate::intake) fn about(
    body: &SecretBytes,
    located: bool,
) -> Result<Result<About, &'static str>, Rejected> {
    let event: Event = parse(body)?;
    let claim = match (located, meaning(&event)) {
        (true, _) => Claim::Leaked,
        (false, Meaning::Report(claim)) => claim,
        (false, Meaning::Nothing(event)) => return Ok(Err(event)),
    };
    let repository = Repository::new(event.repository.full_name.as_str())
        .ok_or_else(|| Rejected::Malformed("repository.full_name: owner/name".to_owned()))?;
    let place = Place::new(repository.clone(), event.alert.number);
    let at = event.location.map(|location| location.details);
    Ok(Ok(About { repository, place, claim, at }))
}

/// What an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Report(Claim),
    Nothing(&'static str),
}

/// Most values of ours are `unknown` to GitHub, which can try those of its partners only. So
/// `unknown` is taken for working where the action says that somebody was found or found again.
fn meaning(event: &Event) -> Meaning {
    let alert = &event.alert;
    let seen = match (alert.validity.as_str(), alert.publicly_leaked) {
        ("inactive", _) => Claim::Withdrawn,
        (_, Some(true)) => Claim::Public,
        _ => Claim::Leaked,
    };
    match event.action.as_str() {
        "created" | "reopened" => Meaning::Report(seen),
        "publicly_leaked" => Meaning::Report(Claim::Public),
        "validated" if alert.validity.as_str() != "unknown" => Meaning::Report(seen),
        "validated" => Meaning::Nothing("validated"),
        "resolved" => match alert.resolution.as_str() {
            "false_positive" | "used_in_tests" => Meaning::Report(Claim::Withdrawn),
            _ => Meaning::Nothing("resolved"),
        },
        "assigned" => Meaning::Nothing("assigned"),
        "unassigned" => Meaning::Nothing("unassigned"),
        "revoked" => Meaning::Nothing("revoked"),
        _ => Meaning::Nothing("other_action"),
    }
}

/// The finding of an alert as the API shows it now; `None` if it shows no value. What changed since
/// the event was sent counts.
pub(in crate::intake) fn found(
    shown: &Shown,
    repository: &Repository,
    claim: Claim,
    at: Option<&Details>,
    mask: &Mask,
) -> Option<Finding> {
    let refuted = matches!(shown.resolution.as_str(), "false_positive" | "used_in_tests")
        && shown.state.as_str() == "resolved";
    let claim = match (claim, shown.publicly_leaked) {
        (Claim::Withdrawn, _) => Claim::Withdrawn,
        _ if refuted || shown.validity.as_str() == "inactive" => Claim::Withdrawn,
        (_, Some(true)) => Claim::Public,
        (claim, _) => claim,
    };
    let place = at.or(shown.first_location_detected.as_ref());
    let place = place
        .map(|details| details.place(repository))
        .filter(|place| !place.is_empty())
        .unwrap_or_else(|| shown.html_url.as_str().to_owned());
    let value = shown.secret.as_ref()?;
    Some(finding(value, shown.secret_type.as_str(), &place, claim, mask))
}

fn nothing(event: &'static str) -> Received {
    Received::Nothing { event, reply: done() }
}

fn done() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, body: None }
}
