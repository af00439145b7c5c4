//! How a request is refused: one form for all sources, with a fixed text for each reason.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::intake::guard::HeldBack;
use crate::intake::{Rejected, Reply};
use crate::model::time::Span;

/// Why a request has no answer of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// rotord cannot take it now.
    NotReady(Span),
    /// More bytes than anybody sends.
    TooLarge,
    /// Too often.
    TooMany(HeldBack),
    /// No source, or nothing of a source.
    NoSuchEndpoint,
    /// The body did not come in time.
    TooSlow,
    /// The body did not come whole.
    Broken,
    /// It cannot be read; the text is ours.
    Malformed(String),
    /// No signature or token is right.
    Unauthenticated,
    /// The signature is right, the moment is not.
    Stale,
    /// Its key came before with another body.
    Conflict,
    /// We are at fault.
    Defect,
}

impl From<HeldBack> for Refused {
    fn from(held: HeldBack) -> Refused {
        Refused::TooMany(held)
    }
}

impl From<Rejected> for Refused {
    fn from(rejected: Rejected) -> Refused {
        match rejected {
            Rejected::Unauthenticated => Refused::Unauthenticated,
            Rejected::Stale => Refused::Stale,
            Rejected::Malformed(text) => Refused::Malformed(text),
            Rejected::NoSuchEndpoint => Refused::NoSuchEndpoint,
            Rejected::TooMany { after } => Refused::TooMany(HeldBack { after, by: "source" }),
            Rejected::Unavailable => Refused::NotReady(super::LATER),
        }
    }
}

impl Refused {
    /// The word for metrics and in the answer.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Refused::NotReady(_) => "not_ready",
            Refused::TooLarge => "too_large",
            Refused::TooMany(_) => "too_many",
            Refused::NoSuchEndpoint => "not_found",
            Refused::TooSlow => "too_slow",
            Refused::Broken => "broken",
            Refused::Malformed(_) => "malformed",
            Refused::Unauthenticated => "unauthenticated",
            Refused::Stale => "stale",
            Refused::Conflict => "conflict",
            Refused::Defect => "defect",
        }
    }

    /// Whether it counts against who asked: none of these needs a key.
    pub(super) fn is_the_callers(&self) -> bool {
        match self {
            Refused::TooLarge
            | Refused::NoSuchEndpoint
            | Refused::TooSlow
            | Refused::Broken
            | Refused::Malformed(_)
            | Refused::Unauthenticated
            | Refused::Stale => true,
            Refused::NotReady(_) | Refused::TooMany(_) | Refused::Conflict | Refused::Defect => {
                false
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refused::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refused::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Refused::NoSuchEndpoint => StatusCode::NOT_FOUND,
            Refused::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refused::Broken | Refused::Malformed(_) | Refused::Stale => StatusCode::BAD_REQUEST,
            Refused::Unauthenticated => StatusCode::UNAUTHORIZED,
            Refused::Conflict => StatusCode::CONFLICT,
            Refused::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn text(&self) -> &str {
        match self {
            Refused::NotReady(_) => "rotord cannot take alerts at the moment: send it again",
            Refused::TooLarge => "the body is larger than 1 MiB",
            Refused::TooMany(_) => "too many requests",
            Refused::NoSuchEndpoint => "there is nothing here",
            Refused::TooSlow => "the body did not come in time",
            Refused::Broken => "the body did not come whole",
            Refused::Malformed(text) => text,
            Refused::Unauthenticated => "no signature or token that is right",
            Refused::Stale => "the timestamp is no number of seconds, or more than 300 s away",
            Refused::Conflict => "another body came under the same id before",
            Refused::Defect => "a defect of rotord: see its log",
        }
    }

    fn after(&self) -> Option<Span> {
        match self {
            Refused::NotReady(after) | Refused::TooMany(HeldBack { after, .. }) => Some(*after),
            _ => None,
        }
    }

    /// Whether the rest of what comes on the connection is not worth reading.
    fn ends_the_connection(&self) -> bool {
        matches!(self, Refused::TooLarge | Refused::TooSlow | Refused::Broken | Refused::TooMany(_))
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        let body = json!({ "error": self.word(), "message": self.text() });
        let mut response = response(&Reply { status: self.status(), body: Some(body) });
        let headers = response.headers_mut();
        if let Some(after) = self.after() {
            // Whole seconds, and never "at once".
            let seconds = after.0.div_ceil(1_000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.ends_the_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer that a source has made.
pub(super) fn response(reply: &Reply) -> Response {
    let body = reply.body.as_ref();
    let mut response =
        Response::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if body.is_some() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
