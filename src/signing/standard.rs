//! Standard Webhooks 1.0, symmetric form (`v1`): github.com/standard-webhooks/standard-webhooks.
//!
//! Signed is `{id}.{timestamp}.{body}`; the header lists signatures, so a sender signs with old and
//! new key during an overlap and receivers change over whenever they like.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::model::time::Timestamp;
use crate::signing::key::{MAC_LEN, SigningKey};
use crate::signing::{Refusal, first_that_signed, judge_timestamp};

/// Names the message; the same on every attempt to deliver it.
pub const ID_HEADER: &str = "webhook-id";
/// Whole seconds since 1970 of this attempt.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The signatures: `v1,<base64>`, separated by exactly one space.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// Most signatures read from one header: the largest sender known signs with eleven keys.
pub const SIGNATURES_MAX: usize = 16;

/// Longest id in bytes: it is a header, and is kept by receivers that look for repeats.
const ID_LEN_MAX: usize = 128;

/// The id of a message: letters, digits, `_` and `-`. A dot in it would let signed bytes be read
/// in two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId(String);

/// Why a text is no message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message id has 1 to {ID_LEN_MAX} letters, digits, '_' and '-'")]
pub struct BadMessageId;

impl MessageId {
    /// Checks the text and takes it as an id.
    ///
    /// # Errors
    /// [`BadMessageId`] if it is empty, too long or has another character.
    pub fn new(text: impl Into<String>) -> Result<MessageId, BadMessageId> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.is_empty() || text.len() > ID_LEN_MAX || !text.bytes().all(plain) {
            return Err(BadMessageId);
        }
        Ok(MessageId(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A received message, header values as they came.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// [`ID_HEADER`].
    pub id: &'a str,
    /// [`TIMESTAMP_HEADER`].
    pub timestamp: &'a str,
    /// [`SIGNATURE_HEADER`].
    pub signature: &'a str,
    /// The body, before anything parsed it.
    pub body: &'a [u8],
}

/// The signature header of a message: one signature for each key, in the order of the keys.
pub fn sign(keys: &[SigningKey], id: &MessageId, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.seconds().to_string();
    let parts = [id.as_str().as_bytes(), b".", seconds.as_bytes(), b".", body];
    let signatures: Vec<String> =
        keys.iter().map(|key| format!("v1,{}", STANDARD.encode(key.mac(&parts)))).collect();
    signatures.join(" ")
}

/// Judges a message: first its signature, then its timestamp. Answers the place of the key that
/// signed it. Signatures of versions other than `v1` are skipped, as the specification asks.
///
/// # Errors
/// [`Refusal`].
pub fn verify(
    keys: &[SigningKey],
    message: &Message<'_>,
    now: Timestamp,
) -> Result<usize, Refusal> {
    let Message { id, timestamp, signature, body } = *message;
    let given: Vec<[u8; MAC_LEN]> =
        signature.split(' ').filter_map(read_signature).take(SIGNATURES_MAX).collect();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signer = first_that_signed(keys, &parts, &given).ok_or(Refusal::BadSignature)?;
    if id.contains('.') {
        return Err(Refusal::BadSignature);
    }
    judge_timestamp(timestamp, now)?;
    Ok(signer)
}

fn read_signature(element: &str) -> Option<[u8; MAC_LEN]> {
    let encoded = element.strip_prefix("v1,")?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}
