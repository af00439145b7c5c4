//! Answers that are no success: which status code, which stable code, which words.

use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::mpsc::error::TrySendError;

use crate::api::{REPLY_WITHIN, wire};
use crate::engine::command::{Refusal, RefusalKind};
use crate::engine::scan::ScanError;
use crate::engine::snapshot::CannotTell;
use crate::http::body::BodyError;
use crate::model::id::{IncidentId, SecretName};
use crate::model::reason::Reason;
use crate::model::time::Span;

/// The name in the path is no secret of ours.
pub const NO_SUCH_SECRET: &str = "no_such_secret";
/// The scan has ended, or nobody used it for a while.
pub const NO_SUCH_SCAN: &str = "no_such_scan";
/// The id in the path is no incident at hand.
pub const NO_SUCH_INCIDENT: &str = "no_such_incident";
/// The path means nothing.
pub const NO_SUCH_PATH: &str = "no_such_path";
/// The path cannot be asked this way.
pub const WRONG_METHOD: &str = "wrong_method";
/// A parameter is missing, unknown or wrong.
pub const BAD_PARAMETER: &str = "bad_parameter";
/// A body came where none belongs, in another form, or not whole.
pub const BAD_BODY: &str = "bad_body";
/// The body is larger than its cap.
pub const TOO_LARGE: &str = "too_large";
/// The caller may not use the socket.
pub const DENIED: &str = "denied";
/// The engine's queue is full.
pub const BUSY: &str = "busy";
/// The records are not read yet, so nobody knows which secrets there are.
pub const STARTING: &str = "starting";
/// The daemon is on its way out.
pub const STOPPING: &str = "stopping";
/// The command was handed over and no answer came in time.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";
/// A defect in rotord.
pub const DEFECT: &str = "defect";

/// How far a name may differ from one that exists to be suggested: a slip or two.
const SLIPS_MAX: usize = 3;

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    body: wire::Error,
}

impl ApiError {
    fn new(status: StatusCode, code: &str, text: impl Into<String>) -> ApiError {
        let body = wire::Error { code: code.into(), text: text.into(), possible_at: None };
        ApiError { status, body }
    }

    pub(super) fn no_such_path() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, NO_SUCH_PATH, "no such path: docs/api.md has them all")
    }

    pub(super) fn wrong_method() -> ApiError {
        let text = "questions are asked with GET, commands given with POST";
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, WRONG_METHOD, text)
    }

    pub(super) fn denied(who: &str) -> ApiError {
        let text = format!(
            "{who} may not command rotord: become root, or a member of the group in the settings"
        );
        ApiError::new(StatusCode::FORBIDDEN, DENIED, text)
    }

    /// A parameter is wrong; the text names it.
    pub(super) fn parameter(text: impl fmt::Display) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, BAD_PARAMETER, text.to_string())
    }

    pub(super) fn body(error: BodyError) -> ApiError {
        match error {
            BodyError::TooLarge(_) => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, error.to_string())
            }
            BodyError::Broken | BodyError::NoRoom => {
                ApiError::new(StatusCode::BAD_REQUEST, BAD_BODY, error.to_string())
            }
        }
    }

    pub(super) fn bad_body(text: &str) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, BAD_BODY, text)
    }

    pub(super) fn wrong_content_type() -> ApiError {
        let text = "a value comes as its bare bytes, with content-type application/octet-stream";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, BAD_BODY, text)
    }

    pub(super) fn starting() -> ApiError {
        let text = "the records are not read yet: try again, or look at `rotord status`";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, STARTING, text)
    }

    /// A question about what is ours, before that is known.
    pub(super) fn cannot_tell(why: CannotTell) -> ApiError {
        let code = Reason::NoLease.code();
        match why {
            CannotTell::Loading => ApiError::starting(),
            why => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, why.to_string()),
        }
    }

    /// A command before the records are read, and what keeps them from being read.
    pub(super) fn not_started(reason: Reason) -> ApiError {
        let text = format!(
            "rotord has not begun yet ({}), the command was not taken: try again, or look at \
             `rotord status`",
            reason.meaning().trim().trim_end_matches('.')
        );
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason.code(), text)
    }

    /// No secret of that name; one that is spelled nearly so is suggested.
    pub(super) fn no_such_secret<'a>(
        name: &str,
        known: impl Iterator<Item = &'a SecretName>,
    ) -> ApiError {
        let near = known
            .map(|known| (strsim::damerau_levenshtein(name, known.as_str()), known))
            .filter(|(slips, _)| *slips <= SLIPS_MAX)
            .min();
        let text = match near {
            Some((_, near)) => format!("no secret is called {name:?}: did you mean {near}?"),
            None => format!("no secret is called {name:?}: `rotord status` lists them"),
        };
        ApiError::new(StatusCode::NOT_FOUND, NO_SUCH_SECRET, text)
    }

    /// No incident of that id among the open ones and the last that are over.
    pub(super) fn no_such_incident(id: &IncidentId) -> ApiError {
        let text = format!(
            "no incident {id} is at hand: `rotord incident list` has the open ones and the last \
             that are over; older ones lie in Vault, below incident/ in rotord's mount"
        );
        ApiError::new(StatusCode::NOT_FOUND, NO_SUCH_INCIDENT, text)
    }

    /// This instance does not keep incidents at the moment.
    pub(super) fn desk_away() -> ApiError {
        let text = "this instance does not hold the lease, or is still reading the incidents: ask \
                    the one that leads, or try again";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Reason::NoLease.code(), text)
    }

    /// The queue did not take it: nothing happened.
    pub(super) fn not_queued<T>(error: TrySendError<T>) -> ApiError {
        match error {
            TrySendError::Full(_) => {
                let text = "too many commands wait already, this one was not taken: try again";
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, BUSY, text)
            }
            TrySendError::Closed(_) => {
                let text = "the daemon is stopping, the command was not taken";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, STOPPING, text)
            }
        }
    }

    /// The answer did not come; `look` is the command that shows what became of it.
    pub(super) fn outcome_unknown(look: &str) -> ApiError {
        let text = format!(
            "no answer within {}: it may still be carried out, so look first: {look}",
            Span::from(REPLY_WITHIN)
        );
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, OUTCOME_UNKNOWN, text)
    }

    /// A scan cannot be begun or gone on with.
    pub(super) fn scan(error: &ScanError) -> ApiError {
        let (status, code) = match error {
            ScanError::TooMany => (StatusCode::TOO_MANY_REQUESTS, BUSY),
            ScanError::Over => (StatusCode::NOT_FOUND, NO_SUCH_SCAN),
            ScanError::CannotTell(why) => return ApiError::cannot_tell(*why),
            ScanError::Store(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.failure().reason.code())
            }
        };
        ApiError::new(status, code, error.to_string())
    }

    pub(super) fn defect() -> ApiError {
        let text = "a defect in rotord: please report it with the log around this moment";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, DEFECT, text)
    }

    /// The status code of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code of the answer.
    pub fn code(&self) -> &str {
        &self.body.code
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let status = match refusal.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = wire::Error {
            code: refusal.reason.code().into(),
            text: refusal.text,
            possible_at: refusal.possible_at,
        };
        ApiError { status, body }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let again =
            matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let mut response = (self.status, Json(self.body)).into_response();
        if again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
