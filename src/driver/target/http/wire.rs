//! The messages of a push: what is sent and what comes back. `docs/drivers.md` is the protocol for
//! people who write a receiver; this is the same in types.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::driver::target::Order;
use crate::model::id::{Generation, KeyId, RotationId, SecretName, TargetName, VersionId};
use crate::model::time::Timestamp;
use crate::signing::standard::MessageId;

/// What is asked of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// Take this in and say what you hold.
    #[serde(rename = "rotord.push")]
    Push,
    /// Only say what you hold; carries no value.
    #[serde(rename = "rotord.observe")]
    Observe,
}

/// A message to a receiver.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) target: &'a TargetName,
    pub(super) environment: &'a str,
    pub(super) secret: &'a SecretName,
    pub(super) rotation: &'a RotationId,
    pub(super) generation: Generation,
    pub(super) accepted: Vec<Accepted<'a>>,
    pub(super) current: Option<VersionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prove: Option<Prove<'a>>,
}

/// One accepted version.
#[derive(Serialize)]
pub(super) struct Accepted<'a> {
    version: VersionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a KeyId>,
    staged_at: Timestamp,
}

/// What the receiver is to prove that it holds.
#[derive(Serialize)]
pub(super) struct Prove<'a> {
    pub(super) version: VersionId,
    pub(super) field: &'a str,
    pub(super) nonce: String,
}

/// The accepted versions of an order; with their values only in a push.
pub(super) fn accepted<'a>(order: &Order<'a>, kind: Kind) -> Vec<Accepted<'a>> {
    let of = |version: &VersionId| {
        let given = order.given.get(version)?;
        let fields = given.material.fields();
        let texts = fields.filter_map(|(name, bytes)| Some((name, bytes.expose_str()?)));
        Some(Accepted {
            version: *version,
            fields: (kind == Kind::Push).then(|| texts.collect()),
            key_id: given.key_id,
            staged_at: given.staged_at,
        })
    };
    order.wanted.accepted.iter().filter_map(of).collect()
}

/// The `webhook-id`: the same for every attempt to tell a target the same thing.
pub(super) fn message_id(order: &Order<'_>, environment: &str, kind: Kind) -> MessageId {
    let kind = match kind {
        Kind::Push => "push",
        Kind::Observe => "observe",
    };
    let generation = order.wanted.generation.0.to_string();
    let parts = [order.secret.as_str(), environment, order.target.as_str(), &generation, kind];
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let short = hex::encode(&context.finish().as_ref()[..16]);
    MessageId::new(format!("rotord_{short}")).expect("hexadecimal digits make an id")
}

/// A receiver's answer. Fields that it does not name are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    pub(super) target: String,
    pub(super) environment: String,
    pub(super) instance: String,
    pub(super) generation: Generation,
    pub(super) accepted: Vec<VersionId>,
    pub(super) current: Option<VersionId>,
    #[serde(default)]
    pub(super) covers: Covers,
    #[serde(default)]
    pub(super) proof: Option<String>,
}

/// For whom a reply speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Covers {
    /// The instance that answered.
    #[default]
    #[serde(rename = "self")]
    Itself,
    /// Every instance of the target.
    All,
}
