//! X-Pi: one lower-case hexadecimal HMAC-SHA256 over `{timestamp}.{body}`, split over two headers.
//!
//! The timestamp is whole seconds since 1970 in decimal, signed exactly as sent; the key is the
//! value as in [`super::key`]. The scheme signs no message id: whoever must tell repeats apart
//! finds one in the body.

use crate::model::time::Timestamp;
use crate::signing::key::{MAC_LEN, SigningKey};
use crate::signing::{Refusal, first_that_signed, judge_timestamp};

/// Whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-pi-timestamp";
/// The signature.
pub const SIGNATURE_HEADER: &str = "x-pi-signature";

/// A received message, header values as they came.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// [`TIMESTAMP_HEADER`].
    pub timestamp: &'a str,
    /// [`SIGNATURE_HEADER`].
    pub signature: &'a str,
    /// The body, before anything parsed it.
    pub body: &'a [u8],
}

/// The signature header of a message.
pub fn sign(key: &SigningKey, at: Timestamp, body: &[u8]) -> String {
    hex::encode(key.mac(&[at.seconds().to_string().as_bytes(), b".", body]))
}

/// Judges a message: first its signature, then its timestamp. Answers the place of the key that
/// signed it.
///
/// # Errors
/// [`Refusal`].
pub fn verify(
    keys: &[SigningKey],
    message: &Message<'_>,
    now: Timestamp,
) -> Result<usize, Refusal> {
    let Message { timestamp, signature, body } = *message;
    let given = read_signature(signature);
    let parts = [timestamp.as_bytes(), b".", body];
    let signer = first_that_signed(keys, &parts, given.as_slice()).ok_or(Refusal::BadSignature)?;
    judge_timestamp(timestamp, now)?;
    Ok(signer)
}

fn read_signature(text: &str) -> Option<[u8; MAC_LEN]> {
    let mut mac = [0; MAC_LEN];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut mac).is_ok()).then_some(mac)
}
