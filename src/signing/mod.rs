//! Signatures of messages between programs: made for pushes, checked on pushes and webhooks.
//!
//! Decides which bytes are signed and when a signature counts; must not know HTTP, a clock or where
//! keys lie: header values, the moment and the keys are arguments.
//!
//! One request carries two schemes side by side, so that a receiver may check whichever it has a
//! library for: [`standard`] (Standard Webhooks, several signatures) and [`xpi`] (one signature).
//! What only comes in has the schemes of those who send it: [`hub`], [`ecdsa`], [`token`].

pub mod ecdsa;
pub mod gitguardian;
pub mod hub;
pub mod key;
pub mod proof;
pub mod radar;
pub mod standard;
pub mod token;
pub mod xpi;

use aws_lc_rs::constant_time;
use thiserror::Error;

use crate::model::time::{Span, Timestamp};
use crate::signing::key::{MAC_LEN, SigningKey};
use crate::signing::standard::MessageId;

/// How far a message's timestamp may lie from now, both ways: what every Standard Webhooks
/// library uses. A message signed five minutes ahead therefore lives for ten.
pub const TOLERANCE: Span = Span::from_secs(300);

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No signature fits any of the keys. Answered with 401.
    #[error("no signature fits any accepted key")]
    BadSignature,
    /// A signature fits, but the timestamp is not a decimal number of seconds. Answered with 400.
    #[error("the timestamp is not a decimal number of seconds")]
    BadTimestamp,
    /// A signature fits, but the message was signed more than [`TOLERANCE`] ago or ahead.
    /// Answered with 400.
    #[error("the timestamp is more than {TOLERANCE} away from now")]
    OutOfTolerance,
}

/// The headers of a message signed in both schemes. `keys` are those of the moment, newest first:
/// Standard Webhooks gets a signature of each, X-Pi, which has room for one, that of the first.
pub fn headers(
    keys: &[SigningKey],
    id: &MessageId,
    at: Timestamp,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let seconds = at.seconds().to_string();
    let mut headers = vec![
        (standard::ID_HEADER, id.as_str().to_owned()),
        (standard::TIMESTAMP_HEADER, seconds.clone()),
        (standard::SIGNATURE_HEADER, standard::sign(keys, id, at, body)),
    ];
    if let Some(newest) = keys.first() {
        headers.push((xpi::TIMESTAMP_HEADER, seconds));
        headers.push((xpi::SIGNATURE_HEADER, xpi::sign(newest, at, body)));
    }
    headers
}

/// The place of the first key that made one of the `given` signatures of `parts`. Every key is
/// tried on every signature whatever was found before, each comparison in constant time.
fn first_that_signed(
    keys: &[SigningKey],
    parts: &[&[u8]],
    given: &[[u8; MAC_LEN]],
) -> Option<usize> {
    let mut found = None;
    for (place, key) in keys.iter().enumerate() {
        let right = key.mac(parts);
        let mut fits = false;
        for signature in given {
            fits |= constant_time::verify_slices_are_equal(&right, signature).is_ok();
        }
        if fits && found.is_none() {
            found = Some(place);
        }
    }
    found
}

/// Judges a timestamp as it came. Only asked about messages whose signature is right, so that a
/// caller without a key learns nothing from the answer.
fn judge_timestamp(text: &str, now: Timestamp) -> Result<(), Refusal> {
    let seconds = parse_seconds(text).ok_or(Refusal::BadTimestamp)?;
    let signed_at = Timestamp::from_seconds(seconds);
    let this_second = Timestamp::from_seconds(now.seconds());
    let apart = signed_at.since(this_second).max(this_second.since(signed_at));
    if apart > TOLERANCE { Err(Refusal::OutOfTolerance) } else { Ok(()) }
}

/// Decimal digits without sign, space or leading zero; twelve of them reach the year 33658.
fn parse_seconds(text: &str) -> Option<i64> {
    let plain = matches!(text.len(), 1..=12) && text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
