//! Signed push over HTTP to a dependent service that implements the protocol of `docs/drivers.md`.
//!
//! Decides what is sent to which instance and what their replies add up to. A reply that proves
//! itself is evidence of the fourth level; one that says it is somebody else's, or behind, is an
//! error however friendly its status.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod reply;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use url::Url;

use self::reply::{Expected, Said, proving};
use self::wire::{Kind, Message, Prove};
use crate::driver::error::DriverError;
use crate::driver::target::agreement::lowest_common;
use crate::driver::target::channel::Channel;
use crate::driver::target::{Order, Target, wiped};
use crate::model::failure::Class;
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::target::Observation;
use crate::net;
use crate::signing;
use crate::signing::key::SigningKey;

/// Largest reply that is read: a reply names a handful of versions and has some 500 bytes.
pub const REPLY_MAX: usize = 64 * 1024;

/// Most instances of one target: each is asked at once, with a connection of its own.
pub const INSTANCES_MAX: usize = 64;

/// Who answers for the target.
#[derive(Debug)]
pub enum Reach {
    /// One address, whose reply must say that it covers all instances.
    All(net::Client),
    /// Every instance by its name; all must answer, unless one says that it covers all.
    Each(BTreeMap<String, net::Client>),
}

/// How a service is pushed to.
#[derive(Debug)]
pub struct Settings {
    /// The environment that the service must be in.
    pub environment: String,
    /// Where it is.
    pub reach: Reach,
    /// The field of a version's material that proves it; without it the one that signs.
    pub proof_field: Option<String>,
}

/// A target of type `http`.
#[derive(Debug)]
pub struct Http {
    settings: Settings,
    channel: Arc<Channel>,
}

/// The client's settings for pushes to an address, before the config has its say.
pub fn client_settings(address: Url) -> net::Settings {
    net::Settings { answer_max: REPLY_MAX, ..net::Settings::new(address) }
}

impl Http {
    /// A target that is pushed to with the channel's keys.
    ///
    /// # Errors
    /// `misconfigured` without instances, with more than [`INSTANCES_MAX`], or with control
    /// characters in the environment's name.
    pub fn new(settings: Settings, channel: Arc<Channel>) -> Result<Http, DriverError> {
        let refuse = |text: &str| Err(DriverError::refused(Reason::Misconfigured, text));
        if let Reach::Each(instances) = &settings.reach
            && !(1..=INSTANCES_MAX).contains(&instances.len())
        {
            return refuse("list between 1 and 64 instances");
        }
        if settings.environment.is_empty() || settings.environment.chars().any(char::is_control) {
            return refuse("the environment needs a name without control characters");
        }
        Ok(Http { settings, channel })
    }

    /// Asks everybody at once and adds up what they say.
    async fn ask(&self, order: &Order<'_>, kind: Kind) -> Result<Observation, DriverError> {
        for (version, given) in order.given {
            wiped::check_text(*version, given.material)?;
        }
        let clients: Vec<(Option<&str>, &net::Client)> = match &self.settings.reach {
            Reach::All(client) => vec![(None, client)],
            Reach::Each(instances) => {
                instances.iter().map(|(name, client)| (Some(name.as_str()), client)).collect()
            }
        };
        let asked = clients.iter().map(|(name, client)| self.ask_one(order, kind, *name, client));
        let answers = join_all(asked).await;
        let names = clients.iter().map(|(name, client)| name.unwrap_or(client.place()));
        self.add_up(order, names.zip(answers).collect())
    }

    async fn ask_one(
        &self,
        order: &Order<'_>,
        kind: Kind,
        instance: Option<&str>,
        client: &net::Client,
    ) -> Result<Said, DriverError> {
        let answer = client.send(self.request(order, kind)?).await.map_err(of_net)?;
        let expected = Expected {
            order,
            kind,
            environment: &self.settings.environment,
            instance,
            proof_field: self.settings.proof_field.as_deref(),
            place: client.place(),
        };
        match answer.status.as_u16() {
            200 => expected.judge(&answer.body),
            202 => {
                let text = format!("{} took it and has not applied it yet", client.place());
                Err(DriverError::transient(Reason::NotYetApplied, text))
            }
            409 | 421 => match expected.explain(&answer.body) {
                Some(error) => Err(error),
                None => Err(refused(answer)),
            },
            _ => Err(refused(answer)),
        }
    }

    /// One signed request. Written anew for each instance: a body is wiped when it was sent.
    fn request(&self, order: &Order<'_>, kind: Kind) -> Result<net::request::Request, DriverError> {
        let environment = self.settings.environment.as_str();
        let message = Message {
            kind,
            target: order.target,
            environment,
            secret: order.secret,
            rotation: order.rotation,
            generation: order.wanted.generation,
            accepted: wire::accepted(order, kind),
            current: order.wanted.current,
            prove: self.prove(order)?,
        };
        let body = SecretBytes::new(wiped::to_json(&message)?);
        let id = wire::message_id(order, environment, kind);
        let sign = |keys: &[SigningKey]| signing::headers(keys, &id, order.now, body.expose());
        let headers = match kind {
            Kind::Push => self.channel.sign_values(sign)?,
            Kind::Observe => self.channel.sign_question(sign)?,
        };
        let request = net::request::Request::new(http::Method::POST, "");
        let request = headers.iter().fold(request, |r, (name, value)| r.header(name, value));
        Ok(request.body("application/json", body))
    }

    fn prove<'a>(&self, order: &Order<'a>) -> Result<Option<Prove<'a>>, DriverError> {
        let Some(version) = order.prove else { return Ok(None) };
        let given = order.given.get(&version);
        let configured = self.settings.proof_field.as_deref();
        match given.and_then(|given| proving(given.material, configured)) {
            Some((field, _)) => Ok(Some(Prove { version, field, nonce: order.nonce.to_string() })),
            None => Err(DriverError::refused(
                Reason::Misconfigured,
                format!(
                    "{version} of {} has no single field that proves it; set proof_field",
                    order.secret
                ),
            )),
        }
    }

    fn add_up(
        &self,
        order: &Order<'_>,
        answers: Vec<(&str, Result<Said, DriverError>)>,
    ) -> Result<Observation, DriverError> {
        let mut said = Vec::new();
        let mut failed = Vec::new();
        for (name, answer) in answers {
            match answer {
                Ok(one) => said.push(one),
                Err(error) => failed.push((name, error)),
            }
        }
        // A refusal is somebody's word, an absence is nobody's: the first counts even if another
        // instance speaks for all.
        let covered = said.iter().any(|one| one.covers_all);
        let mut refusals = failed.iter().filter(|(_, error)| !is_absence(error));
        // Of those that are ahead the furthest says how far one has to go.
        let furthest =
            refusals.clone().filter(|(_, e)| e.ahead.is_some()).max_by_key(|f| f.1.ahead);
        let refusal = furthest.or_else(|| refusals.next());
        if let Some((_, error)) = refusal {
            return Err(error.clone());
        }
        if !failed.is_empty() && !covered {
            return Err(missing(&failed, said.is_empty()));
        }
        if matches!(self.settings.reach, Reach::All(_)) && !covered {
            return Err(DriverError::refused(
                Reason::InstancesMissing,
                "the reply speaks for one instance only: list the instances in the config, or let \
                 the service answer covers = \"all\"",
            ));
        }
        let seen: Vec<Observation> = said.into_iter().map(|one| one.seen).collect();
        lowest_common(order.wanted, &seen)
            .ok_or_else(|| DriverError::refused(Reason::Defect, "no instance was asked"))
    }
}

#[async_trait]
impl Target for Http {
    async fn push(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        self.ask(order, Kind::Push).await
    }

    async fn observe(&self, order: &Order<'_>) -> Result<Observation, DriverError> {
        self.ask(order, Kind::Observe).await
    }
}

fn is_absence(error: &DriverError) -> bool {
    matches!(error.class, Class::Transient | Class::Throttled(_))
        && error.reason != Reason::GenerationBehind
}

/// Some instances did not answer. If nobody did, or one has only not applied it yet, that one's
/// own word says more than how many are missing; the longest pause asked for is kept.
fn missing(failed: &[(&str, DriverError)], nobody_answered: bool) -> DriverError {
    let slowest = failed.iter().map(|(_, error)| error).max_by_key(|error| match error.class {
        Class::Throttled(after) => (2, after),
        _ if error.reason == Reason::NotYetApplied => (1, Default::default()),
        _ => (0, Default::default()),
    });
    let unapplied = failed.iter().all(|(_, error)| error.reason == Reason::NotYetApplied);
    match slowest {
        Some(error) if nobody_answered || unapplied => error.clone(),
        slowest => {
            let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
            let class = slowest.map_or(Class::Transient, |error| error.class);
            let text = format!("no answer from {}", names.join(", "));
            DriverError::new(class, Reason::InstancesMissing, text)
        }
    }
}

fn refused(answer: net::answer::Answer) -> DriverError {
    match answer.success() {
        Err(error) => of_net(error),
        Ok(_) => DriverError::refused(Reason::BadAnswer, "only 200 and 202 are answers to a push"),
    }
}

/// A push is idempotent and may simply be sent again, so nothing about it is ambiguous.
fn of_net(error: net::NetError) -> DriverError {
    let text = error.to_string();
    match (error.failure.class, error.failure.reason) {
        (_, Reason::AnswerTooLarge) => DriverError::refused(Reason::AnswerTooLarge, text),
        (_, Reason::Ambiguous) => DriverError::transient(Reason::Unavailable, text),
        (Class::Ambiguous, reason) => DriverError::transient(reason, text),
        (Class::Gone, reason) => DriverError::refused(reason, text),
        (class, reason) => DriverError::new(class, reason, text),
    }
}
