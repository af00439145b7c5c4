//! What the entries for fuzzing share: the mark that must never come out again, and how an input
//! that stands for an answer over HTTP is cut up. Knows no format of anybody.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Stands in the corpus where a secret stands. With its space and its capitals it is neither a
/// name nor a header, so that nothing rotord says may hold it.
pub(crate) const CANARY: &str = "Tr0ub4dor&3 canary";

/// Fails when a text repeats the mark.
#[track_caller]
pub(crate) fn silent(said: &impl fmt::Display) {
    let said = said.to_string();
    assert!(!said.contains(CANARY), "a secret is repeated: {said}");
}

/// Reads an input as an answer: the status, a line for each header, an empty line, the body.
pub(crate) fn answer(input: &[u8]) -> Option<(u16, HeaderMap, &[u8])> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let mut head = str::from_utf8(&input[..end]).ok()?.lines();
    let status = head.next()?.parse().ok()?;
    let header = |line: &str| -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = line.split_once(": ")?;
        Some((name.parse().ok()?, value.parse().ok()?))
    };
    Some((status, head.filter_map(header).collect(), &input[end + 2..]))
}
