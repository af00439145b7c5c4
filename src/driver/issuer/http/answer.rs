//! What an answer means: the classes of failure, and the rules a preset adds.
//!
//! Decides what may have happened at the issuer. Looks into bodies, and never quotes one.

use crate::driver::error::DriverError;
use crate::driver::issuer::http::pointer::{Answered, Pointer};
use crate::model::failure::Class;
use crate::model::id::KeyId;
use crate::model::reason::Reason;
use crate::net::NetError;
use crate::net::answer::Answer;

/// Longest id of a key that is believed: ids stand in records, URLs and status.
pub(super) const KEY_ID_LEN_MAX: usize = 512;

/// What an answer's body has to be like.
#[derive(Clone, Debug)]
pub(super) enum BodyTest {
    /// Anything.
    Any,
    /// This text stands in it.
    Contains(String),
    /// This stands there; with `None`, anything does.
    At(Pointer, Option<serde_json::Value>),
}

/// Recognises an answer.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub(super) status: u16,
    pub(super) body: BodyTest,
}

impl Matcher {
    fn matches(&self, answer: &Answer) -> bool {
        let body = answer.body.expose();
        answer.status.as_u16() == self.status
            && match &self.body {
                BodyTest::Any => true,
                BodyTest::Contains(text) => {
                    body.windows(text.len()).any(|window| window == text.as_bytes())
                }
                BodyTest::At(pointer, wanted) => Answered::parse(body).is_some_and(|answered| {
                    let found = pointer.find(answered.value());
                    match wanted {
                        Some(wanted) => found == Some(wanted),
                        None => found.is_some(),
                    }
                }),
            }
    }
}

/// Whether any of them recognises the answer.
pub(super) fn any(matchers: &[Matcher], answer: &Answer) -> bool {
    matchers.iter().any(|matcher| matcher.matches(answer))
}

/// Whether a request changes something at the issuer: only then can a lost answer hide a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// It changes something.
    Deed,
    /// It only looks.
    Question,
}

/// The error for a request without an answer. `place` names preset and table.
///
/// The client judges by the method; a preset knows better: a lookup may be a POST.
pub(super) fn lost(error: &NetError, nature: Nature, place: &str) -> DriverError {
    let reason = error.failure.reason;
    let text = format!("{place}: {}", error.what);
    match (error.failure.class, nature) {
        (Class::Ambiguous, Nature::Question) => match reason {
            Reason::AnswerTooLarge => DriverError::refused(reason, text),
            _ => DriverError::transient(reason, text),
        },
        (Class::Transient, Nature::Deed) if error.sent => doubtful(nature, reason, text),
        (_, Nature::Deed) if reason == Reason::AnswerTooLarge => doubtful(nature, reason, text),
        (class, _) => DriverError::new(class, reason, text),
    }
}

/// The error for an answer that no rule of the preset expects.
pub(super) fn unexpected(answer: &Answer, nature: Nature, place: &str) -> DriverError {
    let status = answer.status.as_u16();
    let text = |what: &str| format!("{place}: status {status}, {what}");
    match status {
        401 | 403 => DriverError::refused(
            Reason::Denied,
            text("the issuer does not let rotord do this: check its credential and rights"),
        ),
        404 | 410 => DriverError::refused(
            Reason::Gone,
            text("the issuer does not know this: check the parameters"),
        ),
        408 => doubtful(nature, Reason::TimedOut, text("the issuer gave up waiting")),
        400..=499 => DriverError::refused(
            Reason::Refused,
            text("the issuer refuses the request as it is: check the parameters"),
        ),
        500.. => doubtful(nature, Reason::Unavailable, text("the issuer failed")),
        _ => doubtful(nature, Reason::BadAnswer, text("which the preset does not expect")),
    }
}

/// The error for an answer with the right status that does not hold what it must.
pub(super) fn unusable(nature: Nature, place: &str, what: &str) -> DriverError {
    doubtful(nature, Reason::BadAnswer, format!("{place}: the answer cannot be used: {what}"))
}

/// The error for an answer that a preset's `refuse` rule recognises.
pub(super) fn refusal(place: &str) -> DriverError {
    let text = format!("{place}: the issuer refuses, as the preset's refuse rule recognises");
    DriverError::refused(Reason::Refused, text)
}

/// A key's id as it was found in an answer: short, printable and not empty.
pub(super) fn key_id(
    text: Option<String>,
    nature: Nature,
    place: &str,
) -> Result<KeyId, DriverError> {
    let printable =
        |text: &String| text.len() <= KEY_ID_LEN_MAX && text.chars().all(|c| !c.is_control());
    let id = text.filter(printable).map(KeyId);
    id.ok_or_else(|| unusable(nature, place, "it does not hold the key's id"))
}

fn doubtful(nature: Nature, reason: Reason, text: String) -> DriverError {
    match nature {
        Nature::Deed => DriverError::ambiguous(reason, format!("{text}; it may have been done")),
        Nature::Question => DriverError::transient(reason, text),
    }
}
