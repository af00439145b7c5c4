//! An answer as it came, within the limits; and what its status says where a driver has no rule
//! of its own.

use std::fmt;

use chrono::DateTime;
use http::{HeaderMap, StatusCode, header};

use crate::model::failure::{Class, Failure};
use crate::model::material::SecretBytes;
use crate::model::reason::Reason;
use crate::model::time::Span;
use crate::net::NetError;

/// The pause after a 429 that names none: most limits are counted by the minute or less.
const PAUSE_DEFAULT: Span = Span::from_secs(5);

/// Shortest pause that is believed; less would be a hot loop.
const PAUSE_MIN: Span = Span::from_secs(1);

/// Longest pause that is believed, so that no answer can stop a rotation for days.
const PAUSE_MAX: Span = Span::from_secs(3600);

/// An answer, whole.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, which may hold a secret: never logged, never part of an error.
    pub body: SecretBytes,
    pub(super) place: String,
    pub(super) safe: bool,
}

impl Answer {
    /// An answer that nobody gave.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn made(status: u16, headers: HeaderMap, body: &[u8]) -> Option<Answer> {
        let status = StatusCode::from_u16(status).ok()?;
        let body = SecretBytes::new(body.to_vec());
        Some(Answer {
            status,
            headers,
            body,
            place: "https://made.example".to_owned(),
            safe: false,
        })
    }

    /// The answer if it is a 2xx; otherwise what a status means where nothing better is known.
    ///
    /// # Errors
    /// 401 and 403 are `denied`; 404 and 410 `gone`; 408 and 5xx may have been carried out unless
    /// the method only asks; every other status is `refused`.
    pub fn success(self) -> Result<Answer, NetError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let unknown = if self.safe { Class::Transient } else { Class::Ambiguous };
        let (class, reason) = match self.status.as_u16() {
            401 | 403 => (Class::Refused, Reason::Denied),
            404 | 410 => (Class::Gone, Reason::Gone),
            408 => (unknown, Reason::TimedOut),
            500..=599 => (unknown, Reason::Unavailable),
            _ => (Class::Refused, Reason::Refused),
        };
        let what = format!("answered {}", self.status.as_u16());
        Err(NetError { failure: Failure { class, reason }, sent: true, place: self.place, what })
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The pause that a 429, or a 503 with `Retry-After` (RFC 9110 section 10.2.3), asks for: seconds,
/// or a date, counted from the answer's own `Date`.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Span> {
    let text = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    match (status, text) {
        (StatusCode::TOO_MANY_REQUESTS, None) => Some(PAUSE_DEFAULT),
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(text)) => {
            let pause = seconds(text).or_else(|| until(text, headers)).unwrap_or(PAUSE_DEFAULT);
            Some(pause.clamp(PAUSE_MIN, PAUSE_MAX))
        }
        _ => None,
    }
}

fn seconds(text: &str) -> Option<Span> {
    text.trim().parse::<u32>().ok().map(|seconds| Span::from_secs(u64::from(seconds)))
}

fn until(text: &str, headers: &HeaderMap) -> Option<Span> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let now = DateTime::parse_from_rfc2822(date).ok()?;
    let then = DateTime::parse_from_rfc2822(text).ok()?;
    let pause = u64::try_from((then - now).num_milliseconds()).unwrap_or(0);
    Some(Span(pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(status: u16, retry: Option<&str>) -> Option<Span> {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Sun, 22 Nov 2026 16:30:30 GMT".parse().unwrap());
        if let Some(retry) = retry {
            headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
        }
        retry_after(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn a_pause_is_read_in_seconds_or_as_a_date_and_kept_within_reason() {
        assert_eq!(pause(429, Some("17")), Some(Span::from_secs(17)));
        assert_eq!(pause(503, Some("17")), Some(Span::from_secs(17)));
        assert_eq!(pause(429, Some("Sun, 22 Nov 2026 16:31:00 GMT")), Some(Span::from_secs(30)));
        assert_eq!(pause(429, Some("Sun, 22 Nov 2026 16:00:00 GMT")), Some(PAUSE_MIN));
        assert_eq!(pause(429, Some("0")), Some(PAUSE_MIN));
        assert_eq!(pause(429, Some("9999999")), Some(PAUSE_MAX));
        assert_eq!(pause(429, Some("soon")), Some(PAUSE_DEFAULT));
        assert_eq!(pause(429, None), Some(PAUSE_DEFAULT));
    }

    #[test]
    fn other_statuses_ask_for_no_pause() {
        assert_eq!(pause(503, None), None);
        assert_eq!(pause(200, Some("17")), None);
        assert_eq!(pause(404, Some("17")), None);
    }

    #[test]
    fn each_status_has_one_meaning() {
        let failure = |status: u16, safe: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = SecretBytes::new(b"hunter2".to_vec());
            let headers = HeaderMap::new();
            let answer = Answer { status, headers, body, place: "https://h".to_owned(), safe };
            assert!(!format!("{answer:?}").contains("hunter2"));
            answer.success().err().map(|error| (error.failure.class, error.failure.reason))
        };
        assert_eq!(failure(200, false), None);
        assert_eq!(failure(204, false), None);
        assert_eq!(failure(401, false), Some((Class::Refused, Reason::Denied)));
        assert_eq!(failure(403, false), Some((Class::Refused, Reason::Denied)));
        assert_eq!(failure(404, false), Some((Class::Gone, Reason::Gone)));
        assert_eq!(failure(409, false), Some((Class::Refused, Reason::Refused)));
        assert_eq!(failure(500, false), Some((Class::Ambiguous, Reason::Unavailable)));
        assert_eq!(failure(500, true), Some((Class::Transient, Reason::Unavailable)));
        assert_eq!(failure(408, false), Some((Class::Ambiguous, Reason::TimedOut)));
    }
}
