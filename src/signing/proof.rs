//! The proof in the reply to a push: what only a holder of the asked version can compute.
//!
//! It is HMAC-SHA256, in lower-case hexadecimal, under the value *as it was pushed* (the text,
//! nothing decoded) over these lines, each ended by a line feed except the last:
//!
//! ```text
//! rotord-proof-v1
//! <target>
//! <environment>
//! <instance>
//! <covers: all or self>
//! <generation>
//! <accepted versions in the order of the reply, separated by commas>
//! <current version, or - if there is none>
//! <nonce>
//! ```
//!
//! No part can hold a line feed, so no two statements have the same text.

use aws_lc_rs::hmac;
use thiserror::Error;

use crate::model::id::{Generation, VersionId};
use crate::model::material::SecretBytes;

/// The first line: a signature made for anything else never passes as a proof.
pub const LABEL: &str = "rotord-proof-v1";

/// What a dependent service says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// The target's name.
    pub target: &'a str,
    /// The environment it runs in.
    pub environment: &'a str,
    /// The instance that speaks.
    pub instance: &'a str,
    /// Whether it speaks for all instances of the target, or for itself.
    pub covers_all: bool,
    /// The generation it has taken in.
    pub generation: Generation,
    /// The versions it accepts.
    pub accepted: &'a [VersionId],
    /// The version it uses.
    pub current: Option<VersionId>,
    /// What it was asked to cover, as it came.
    pub nonce: &'a str,
}

/// A part of a statement has a control character, so its text could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("target, environment, instance and nonce cannot hold control characters")]
pub struct Unclear;

impl Statement<'_> {
    /// The proof of this statement under a version's value.
    ///
    /// # Errors
    /// [`Unclear`].
    pub fn prove(&self, value: &SecretBytes) -> Result<String, Unclear> {
        Ok(hex::encode(hmac::sign(&key(value), self.text()?.as_bytes())))
    }

    /// Whether a proof is that of this statement under this value; compared in constant time.
    pub fn is_proved(&self, value: &SecretBytes, proof: &str) -> bool {
        let (Ok(text), Ok(given)) = (self.text(), hex::decode(proof)) else { return false };
        hmac::verify(&key(value), text.as_bytes(), &given).is_ok()
    }

    fn text(&self) -> Result<String, Unclear> {
        let free = [self.target, self.environment, self.instance, self.nonce];
        if free.iter().any(|part| part.chars().any(char::is_control)) {
            return Err(Unclear);
        }
        let covers = if self.covers_all { "all" } else { "self" };
        let accepted: Vec<String> = self.accepted.iter().map(|v| v.0.to_string()).collect();
        let current = self.current.map_or_else(|| "-".to_owned(), |v| v.0.to_string());
        let Statement { target, environment, instance, generation, nonce, .. } = self;
        Ok([
            LABEL,
            target,
            environment,
            instance,
            covers,
            &generation.0.to_string(),
            &accepted.join(","),
            &current,
            nonce,
        ]
        .join("\n"))
    }
}

fn key(value: &SecretBytes) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, value.expose())
}
