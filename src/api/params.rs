//! What comes in beside the path: parameters in the query string, values in the body.
//!
//! Every rule is checked here, so that what goes on to the engine is well formed, and every
//! refusal names the parameter.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use chrono::{DateTime, NaiveDate, NaiveTime};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::error::ApiError;
use crate::http::body::{self, VALUE_BYTES_MAX};
use crate::model::id::{KeyId, SecretName, TargetName};
use crate::model::material::Material;
use crate::model::time::{Span, Timestamp};

/// Longest reason in characters: it goes into every audit line of the rotation.
pub(super) const REASON_LEN_MAX: usize = 500;

/// Longest id of a key in characters: the longest known (a cloud's resource name) has about 200.
pub(super) const KEY_ID_LEN_MAX: usize = 300;

/// Longest hold: what should stand for more than a year is a decision for the config.
pub(super) const HOLD_MAX: Span = Span::from_secs(366 * 24 * 3600);

/// Parameters of `rotate`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    #[serde(default)]
    pub(super) emergency: bool,
    pub(super) reason: Option<String>,
}

/// Parameters of `hold`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    pub(super) until: String,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) routine_only: bool,
}

/// Parameters of `adopt` and `provide`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Value {
    pub(super) key_id: Option<String>,
}

/// Parameters of `resolve`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resolve {
    pub(super) how: How,
    pub(super) target: Option<String>,
    pub(super) key_id: Option<String>,
}

/// The words for [`Resolution`](crate::engine::command::Resolution).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Retry,
    Abandon,
    Supersede,
    Waive,
    AcceptKey,
}

/// Parameters of `acknowledge`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {
    pub(super) reason: String,
}

/// Parameters of the status paths.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Newer {
    pub(super) newer_than: Option<Timestamp>,
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The query string as `T`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(params)| Params(params))
            .map_err(|rejection| ApiError::parameter(rejection.body_text()))
    }
}

/// The name in the path.
pub(super) struct Name(pub(super) SecretName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::parameter(rejection.body_text()))?;
        SecretName::new(text)
            .map(Name)
            .map_err(|error| ApiError::parameter(format_args!("name: {error}")))
    }
}

/// A request that must not have a body: parameters sent as one would be lost in silence.
pub(super) struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<NoBody, ApiError> {
        if body::is_empty(request.body()) {
            return Ok(NoBody);
        }
        Err(ApiError::bad_body("this takes no body: parameters belong in the query string"))
    }
}

/// A secret value: the bare bytes of the body.
pub(super) struct Secret(pub(super) Material);

impl<S: Send + Sync> FromRequest<S> for Secret {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Secret, ApiError> {
        let bare =
            request.headers().get(CONTENT_TYPE).is_some_and(|t| t == "application/octet-stream");
        if !bare {
            return Err(ApiError::wrong_content_type());
        }
        let bytes =
            body::read(request.into_body(), VALUE_BYTES_MAX).await.map_err(ApiError::body)?;
        if bytes.is_empty() {
            return Err(ApiError::bad_body("the value is empty"));
        }
        Ok(Secret(Material::single(bytes)))
    }
}

/// A person's words for the audit line.
pub(super) fn reason(text: Option<String>) -> Result<String, ApiError> {
    let text = text.unwrap_or_default();
    plain("reason", &text, REASON_LEN_MAX)?;
    Ok(text)
}

/// An issuer's id of a key.
pub(super) fn key_id(text: Option<String>) -> Result<Option<KeyId>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() {
        return Err(ApiError::parameter("key_id: cannot be empty"));
    }
    plain("key_id", &text, KEY_ID_LEN_MAX)?;
    Ok(Some(KeyId(text)))
}

/// A target's name.
pub(super) fn target(text: &str) -> Result<TargetName, ApiError> {
    TargetName::new(text).map_err(|error| ApiError::parameter(format_args!("target: {error}")))
}

/// When a hold ends: a moment (`2026-12-01T08:00:00Z`), a day (its first instant in UTC) or a span
/// from now (`7d`).
pub(super) fn until(text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let until = if let Ok(span) = humantime::parse_duration(text) {
        now + Span::from(span)
    } else if let Ok(day) = text.parse::<NaiveDate>() {
        day.and_time(NaiveTime::MIN).and_utc().into()
    } else if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        moment.to_utc().into()
    } else {
        return Err(ApiError::parameter(
            "until: expected a moment (2026-12-01T08:00:00Z), a day (2026-12-01) or a span (7d)",
        ));
    };
    if until <= now {
        return Err(ApiError::parameter("until: this moment has passed"));
    }
    if until > now + HOLD_MAX {
        return Err(ApiError::parameter(
            "until: a hold lasts a year at most; renew it when it ends",
        ));
    }
    Ok(until)
}

/// Refuses what would break a line in a log or a terminal.
fn plain(place: &str, text: &str, len_max: usize) -> Result<(), ApiError> {
    if text.chars().count() > len_max {
        return Err(ApiError::parameter(format_args!("{place}: at most {len_max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::parameter(format_args!("{place}: one line, no control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000); // 2026-11-18T11:06:40Z

    #[test]
    fn the_end_of_a_hold_is_a_moment_a_day_or_a_span() {
        let day = Timestamp(1_796_083_200_000); // 2026-12-01T00:00:00Z
        assert_eq!(until("2026-12-01", NOW), Ok(day));
        assert_eq!(until("2026-12-01T01:00:00+01:00", NOW), Ok(day));
        assert_eq!(until("7d", NOW), Ok(NOW + Span::from_secs(7 * 24 * 3600)));
        for bad in ["", "tomorrow", "0s", "2026-11-18", "2020-01-01T00:00:00Z", "2y", "2026-13-01"]
        {
            let error = until(bad, NOW).unwrap_err();
            assert_eq!(error.code(), "bad_parameter", "{bad:?}");
        }
    }

    #[test]
    fn words_for_the_audit_line_stay_in_their_line() {
        assert_eq!(reason(None), Ok(String::new()));
        assert_eq!(reason(Some("it leaked".into())), Ok("it leaked".into()));
        for bad in ["a\nb", "a\u{1b}[2Jb", &"x".repeat(REASON_LEN_MAX + 1)] {
            assert!(reason(Some(bad.into())).is_err(), "{bad:?}");
        }
        assert!(key_id(Some(String::new())).is_err());
        assert_eq!(key_id(Some("AKIA7".into())), Ok(Some(KeyId("AKIA7".into()))));
    }
}
