//! Judges one reply: whose it is, what it says, and whether the proof fits.

use std::collections::BTreeSet;

use crate::driver::error::DriverError;
use crate::driver::target::Order;
use crate::driver::target::http::wire::{Covers, Kind, Reply};
use crate::model::id::NAME_LEN_MAX;
use crate::model::material::{Material, SecretBytes, VALUE_FIELD};
use crate::model::reason::Reason;
use crate::model::target::{Level, Observation};
use crate::signing::proof::Statement;

/// What a reply is held against.
pub(super) struct Expected<'a> {
    pub(super) order: &'a Order<'a>,
    pub(super) kind: Kind,
    pub(super) environment: &'a str,
    /// The instance that was asked, where the config lists them.
    pub(super) instance: Option<&'a str>,
    /// The field under which a version is proved; see [`proving`].
    pub(super) proof_field: Option<&'a str>,
    /// Where the reply came from, for people.
    pub(super) place: &'a str,
}

/// What an instance holds, and whether it speaks for all.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) seen: Observation,
    pub(super) covers_all: bool,
}

impl Expected<'_> {
    /// Reads a reply and judges it.
    ///
    /// # Errors
    /// `bad_answer`, `wrong_identity`, `generation_ahead`, `wrong_proof`, and for a push
    /// `generation_behind`.
    pub(super) fn judge(&self, body: &SecretBytes) -> Result<Said, DriverError> {
        let reply = self.read(body)?;
        self.check_identity(&reply)?;
        let (place, wanted) = (self.place, self.order.wanted);
        if reply.generation > wanted.generation {
            return Err(DriverError::ahead(
                reply.generation,
                format!(
                    "{place} holds {}, and was last told {}; another rotord pushes to it",
                    reply.generation, wanted.generation
                ),
            ));
        }
        let level = self.level(&reply)?;
        if self.kind == Kind::Push && reply.generation < wanted.generation {
            return Err(DriverError::transient(
                Reason::GenerationBehind,
                format!("{place} was told {} and stays at {}", wanted.generation, reply.generation),
            ));
        }
        Ok(Said {
            seen: Observation {
                generation: reply.generation,
                accepted: reply.accepted,
                current: reply.current,
                level,
                by: reply.instance,
            },
            covers_all: reply.covers == Covers::All,
        })
    }

    /// What a refusal means if the receiver says why: it is another one, or further on.
    pub(super) fn explain(&self, body: &SecretBytes) -> Option<DriverError> {
        let reply = self.read(body).ok()?;
        if let Err(error) = self.check_identity(&reply) {
            return Some(error);
        }
        let wanted = self.order.wanted.generation;
        (reply.generation > wanted).then(|| {
            let place = self.place;
            DriverError::ahead(
                reply.generation,
                format!("{place} holds {} and refuses {wanted}", reply.generation),
            )
        })
    }

    fn read(&self, body: &SecretBytes) -> Result<Reply, DriverError> {
        let bad = |what: &str| {
            let text = format!("{} answered without a usable reply: {what}", self.place);
            DriverError::refused(Reason::BadAnswer, text)
        };
        // A list would be read as the reply's members in their order.
        if !body.expose().trim_ascii_start().starts_with(b"{") {
            return Err(bad("it is no object in JSON"));
        }
        let reply: Reply = serde_json::from_slice(body.expose())
            .map_err(|error| bad(&format!("line {} column {}", error.line(), error.column())))?;
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= NAME_LEN_MAX && !text.chars().any(char::is_control)
        };
        if !plain(&reply.instance) {
            return Err(bad("the instance has no proper name"));
        }
        let different: BTreeSet<_> = reply.accepted.iter().collect();
        if different.len() != reply.accepted.len() {
            return Err(bad("a version is listed twice"));
        }
        Ok(reply)
    }

    fn check_identity(&self, reply: &Reply) -> Result<(), DriverError> {
        let ours = reply.target == self.order.target.as_str()
            && reply.environment == self.environment
            && self.instance.is_none_or(|instance| reply.instance == instance);
        if ours {
            return Ok(());
        }
        let text = format!(
            "{} answers for another target, environment or instance than {} in {}{}",
            self.place,
            self.order.target,
            self.environment,
            self.instance.map(|name| format!(", instance {name}")).unwrap_or_default()
        );
        Err(DriverError::refused(Reason::WrongIdentity, text))
    }

    fn level(&self, reply: &Reply) -> Result<Level, DriverError> {
        let (Some(version), Some(proof)) = (self.order.prove, &reply.proof) else {
            return Ok(Level::Acknowledged);
        };
        let given = self.order.given.get(&version);
        let value = given.and_then(|given| proving(given.material, self.proof_field));
        let statement = Statement {
            target: &reply.target,
            environment: &reply.environment,
            instance: &reply.instance,
            covers_all: reply.covers == Covers::All,
            generation: reply.generation,
            accepted: &reply.accepted,
            current: reply.current,
            nonce: &self.order.nonce.to_string(),
        };
        match value {
            Some((_, value)) if statement.is_proved(value, proof) => Ok(Level::Proved),
            _ => Err(DriverError::refused(
                Reason::WrongProof,
                format!("{} cannot prove that it holds {version}", self.place),
            )),
        }
    }
}

/// The field whose value proves a version: the one configured, else the one that signs.
pub(super) fn proving<'a>(
    material: &'a Material,
    configured: Option<&str>,
) -> Option<(&'a str, &'a SecretBytes)> {
    let name = configured.unwrap_or(VALUE_FIELD);
    let named = material.fields().find(|(field, _)| *field == name);
    named.or_else(|| {
        let mut fields = material.fields();
        let first = fields.next();
        first.filter(|_| configured.is_none() && fields.next().is_none())
    })
}
