//! GitGuardian's custom webhooks: `sha256=` and the HMAC-SHA256 of the body, under a key that is
//! the timestamp followed by the token (docs.gitguardian.com, "Custom webhook").
//!
//! The timestamp stands in the key, not in the message, and enters it as the very text that came:
//! read as a number and written again it would be another key. Nothing of it is signed twice, so a
//! delivery is believed for [`TOLERANCE`] and can be played back as long.

use aws_lc_rs::hmac;
use chrono::DateTime;
use zeroize::Zeroizing;

use crate::model::material::SecretBytes;
use crate::model::time::Timestamp;
use crate::signing::key::MAC_LEN;
use crate::signing::{Refusal, TOLERANCE};

/// The signature.
pub const SIGNATURE_HEADER: &str = "gitguardian-signature";
/// The same under the name it had before; still sent, and looked at where the other is missing.
pub const FORMER_SIGNATURE_HEADER: &str = "x-gitguardian-signature";
/// When it was signed.
pub const TIMESTAMP_HEADER: &str = "timestamp";

const PREFIX: &str = "sha256=";

/// Longest timestamp in bytes: one with date, fraction and offset has 32.
const TIMESTAMP_LEN_MAX: usize = 64;

/// Numbers from here on are milliseconds: as seconds they would lie past the year 5000.
const MILLIS_FROM: f64 = 1e11;

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

/// The signature header of a message with this timestamp.
pub fn sign(token: &SecretBytes, timestamp: &str, body: &[u8]) -> String {
    format!("{PREFIX}{}", hex::encode(hmac::sign(&key(token, timestamp), body)))
}

/// Judges a message: first its signature, then its timestamp. Answers the place of the token that
/// signed it.
///
/// # Errors
/// [`Refusal`].
pub fn verify(
    tokens: &[&SecretBytes],
    message: &Message<'_>,
    now: Timestamp,
) -> Result<usize, Refusal> {
    let Message { timestamp, signature, body } = *message;
    if timestamp.len() > TIMESTAMP_LEN_MAX {
        return Err(Refusal::BadSignature);
    }
    let given = signature.strip_prefix(PREFIX).and_then(read).unwrap_or_default();
    let mut signer = None;
    for (place, token) in tokens.iter().enumerate() {
        let fits = hmac::verify(&key(token, timestamp), body, &given).is_ok();
        signer = signer.or_else(|| fits.then_some(place));
    }
    let signer = signer.ok_or(Refusal::BadSignature)?;
    let signed_at = moment(timestamp).ok_or(Refusal::BadTimestamp)?;
    if signed_at.since(now).max(now.since(signed_at)) > TOLERANCE {
        return Err(Refusal::OutOfTolerance);
    }
    Ok(signer)
}

fn key(token: &SecretBytes, timestamp: &str) -> hmac::Key {
    let mut key = Zeroizing::new(Vec::with_capacity(timestamp.len() + token.len()));
    key.extend_from_slice(timestamp.as_bytes());
    key.extend_from_slice(token.expose());
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}

fn read(text: &str) -> Option<[u8; MAC_LEN]> {
    let mut mac = [0; MAC_LEN];
    hex::decode_to_slice(text, &mut mac).ok().map(|()| mac)
}

/// The unit is not published: seconds, with a fraction or without, milliseconds and a date of
/// RFC 3339 are understood.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(Timestamp(date.timestamp_millis()));
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = text.parse().ok().filter(|_| plain)?;
    let millis = if number < MILLIS_FROM { number * 1_000.0 } else { number };
    // As large as it may be: a float that fits no integer becomes the largest one.
    Some(Timestamp(millis as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_500);

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    fn judged(tokens: &[SecretBytes], timestamp: &str, signature: &str) -> Result<usize, Refusal> {
        let tokens: Vec<_> = tokens.iter().collect();
        verify(&tokens, &Message { timestamp, signature, body: b"bar" }, NOW)
    }

    #[test]
    fn the_published_vector_comes_out() {
        let published = "sha256=172fe3d694b734aa53dc892fd3b8d62163fc240064de570ba006900bb54a0fc2";
        assert_eq!(sign(&secret("foo"), "0", b"bar"), published);
        let message = Message { timestamp: "0", signature: published, body: b"bar" };
        assert_eq!(verify(&[&secret("foo")], &message, Timestamp(0)), Ok(0));
        assert_eq!(verify(&[&secret("foo")], &message, NOW), Err(Refusal::OutOfTolerance));
    }

    #[test]
    fn the_timestamp_is_used_as_it_came_whatever_its_form() {
        let tokens = [secret("the token in use"), secret("the token before")];
        for timestamp in [
            "1790000000",
            "1790000000.4837",
            "1790000000.0",
            "1790000299.9",
            "1790000000483",
            "2026-09-21T14:13:20Z",
            "2026-09-21T16:13:20.123456+02:00",
        ] {
            let signature = sign(&tokens[0], timestamp, b"bar");
            assert_eq!(judged(&tokens, timestamp, &signature), Ok(0), "{timestamp}");
            let signature = sign(&tokens[1], timestamp, b"bar");
            assert_eq!(judged(&tokens, timestamp, &signature), Ok(1), "{timestamp}");
        }
        let rewritten = sign(&tokens[0], "1790000000.0", b"bar");
        assert_eq!(judged(&tokens, "1790000000", &rewritten), Err(Refusal::BadSignature));
    }

    #[test]
    fn the_signature_is_judged_before_the_moment() {
        let tokens = [secret("the token in use")];
        for (timestamp, refusal) in [
            ("1789999700", Refusal::OutOfTolerance),
            ("1790000301", Refusal::OutOfTolerance),
            ("99999999999999999999999999", Refusal::OutOfTolerance),
            ("soon", Refusal::BadTimestamp),
            ("1e9", Refusal::BadTimestamp),
            ("-1790000000", Refusal::BadTimestamp),
            ("", Refusal::BadTimestamp),
            ("1.790.000", Refusal::BadTimestamp),
        ] {
            let signature = sign(&tokens[0], timestamp, b"bar");
            assert_eq!(judged(&tokens, timestamp, &signature), Err(refusal), "{timestamp}");
            let by_another = sign(&secret("another token"), timestamp, b"bar");
            let refused = Err(Refusal::BadSignature);
            assert_eq!(judged(&tokens, timestamp, &by_another), refused, "{timestamp}");
        }
    }

    #[test]
    fn what_is_no_signature_fits_nothing() {
        let tokens = [secret("the token in use")];
        let right = sign(&tokens[0], "1790000000", b"bar");
        let refused = Err(Refusal::BadSignature);
        let body_alone = {
            let key = hmac::Key::new(hmac::HMAC_SHA256, tokens[0].expose());
            format!("{PREFIX}{}", hex::encode(hmac::sign(&key, b"bar")))
        };
        let zeros = format!("{PREFIX}{}", "0".repeat(64));
        for bad in ["", "sha256=", &right[7..], &right[..70], &zeros, &body_alone, "sha1=00"] {
            assert_eq!(judged(&tokens, "1790000000", bad), refused, "{bad}");
        }
        assert_eq!(judged(&[], "1790000000", &right), refused);
        let long = "1".repeat(TIMESTAMP_LEN_MAX + 1);
        assert_eq!(judged(&tokens, &long, &sign(&tokens[0], &long, b"bar")), refused);
    }
}
