//! What an answer of Vault means. Vault says several things with one status, so the text decides
//! where it must; a text is compared with known ones and never passed on.

use chrono::DateTime;
use http::{HeaderMap, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::model::time::{Span, Timestamp};
use crate::vault::document::{Document, Malformed};
use crate::vault::error::VaultError;
use crate::vault::order::Order;

/// The pause when Vault asks for one and does not say how long: quotas refill by the second.
const PAUSE_DEFAULT: Span = Span::from_secs(1);

/// Longest pause that is believed: the lease would be lost long before.
const PAUSE_MAX: Span = Span::from_secs(60);

/// An answer, whole.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The server's clock.
    pub(super) date: Option<Timestamp>,
    retry_after: Option<Span>,
    location: Option<String>,
    body: Document,
}

/// What became of a request that Vault understood.
pub(super) enum Settled {
    /// Done; the answer has what was asked for.
    Done(Answer),
    /// There is nothing at the path, and never was.
    Absent,
}

impl Answer {
    /// What is kept of an answer.
    pub(super) fn new(status: u16, headers: &HeaderMap, body: Zeroizing<Vec<u8>>) -> Answer {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(header::DATE).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        let seconds = text(header::RETRY_AFTER).and_then(|text| text.parse::<u32>().ok());
        Answer {
            status,
            date: date.map(|date| Timestamp(date.timestamp_millis())),
            retry_after: seconds.map(|seconds| Span::from_secs(u64::from(seconds))),
            location: text(header::LOCATION).map(str::to_owned),
            body: Document::from_wiped(body),
        }
    }

    /// Where a standby points that does not forward.
    pub(super) fn redirect(&self) -> Option<&str> {
        if self.status == 307 { self.location.as_deref() } else { None }
    }

    /// The body as a value.
    pub(super) fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Malformed> {
        self.body.decode()
    }

    /// Says what the answer means for the request it answers.
    pub(super) fn settle(self, order: &Order<'_>) -> Result<Settled, VaultError> {
        let path = || order.place();
        let says = Says::of(&self);
        match self.status {
            200..=299 => Ok(Settled::Done(self)),
            307 => Err(VaultError::Refused {
                path: path(),
                what: "307: it points to a host that is not in redirect_hosts".to_owned(),
            }),
            400 => Err(says.bad_request(path())),
            403 => Err(VaultError::Denied { path: path() }),
            404 => says.not_found(order),
            412 => Err(VaultError::Throttled { after: self.pause() }),
            429 => Err(VaultError::Throttled { after: self.pause() }),
            472 | 473 => Err(VaultError::Unavailable { what: self.status.to_string() }),
            500..=599 => Err(self.server_error(order, &says)),
            status => Err(VaultError::Refused { path: path(), what: status.to_string() }),
        }
    }

    fn pause(&self) -> Span {
        self.retry_after.unwrap_or(PAUSE_DEFAULT).clamp(PAUSE_DEFAULT, PAUSE_MAX)
    }

    /// A server error hides whether a change was made, unless Vault says why it never began.
    fn server_error(&self, order: &Order<'_>, says: &Says) -> VaultError {
        let what = self.status.to_string();
        if self.status == 503 && says.any("sealed") {
            return VaultError::Sealed;
        }
        if order.changes() && !says.any("active cluster node not found") {
            return VaultError::Ambiguous { path: order.place(), what };
        }
        VaultError::Unavailable { what }
    }

    /// Whether a 403 speaks of the policies: a token that Vault does not know is told so in other
    /// words ("permission denied" alone by OpenBao, "invalid token" beside it by Vault).
    pub(super) fn denied_by_policy(&self) -> bool {
        self.status == 403 && Says::of(self).first().starts_with("1 error occurred:")
    }
}

/// The part of a failed answer that says why.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Says {
    errors: Option<Vec<String>>,
    data: Option<Remains>,
}

/// What a 404 tells of a version whose content is gone: a read has it one level deeper than a
/// patch.
#[derive(Deserialize)]
struct Remains {
    version: Option<u64>,
    metadata: Option<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Remains {
    fn version(&self) -> Option<u64> {
        let deeper = || self.metadata.as_ref().map(|metadata| metadata.version);
        self.version.or_else(deeper)
    }
}

impl Says {
    fn of(answer: &Answer) -> Says {
        if answer.status < 400 { Says::default() } else { answer.decode().unwrap_or_default() }
    }

    fn first(&self) -> &str {
        self.errors.as_deref().and_then(<[String]>::first).map_or("", String::as_str)
    }

    fn any(&self, text: &str) -> bool {
        self.errors.iter().flatten().any(|error| error.contains(text))
    }

    fn bad_request(&self, path: String) -> VaultError {
        if self.any("check-and-set parameter did not match") {
            return VaultError::Conflict { path };
        }
        // A mount that was just made, or just upgraded from version 1, says so for a moment.
        if self.any("Upgrading from non-versioned") {
            return VaultError::Unavailable { what: "the mount is being made".to_owned() };
        }
        let known = BAD_REQUESTS.iter().find(|(text, _)| self.any(text));
        let what = match known {
            Some((_, what)) => format!("400: {what}"),
            None => "400".to_owned(),
        };
        VaultError::Refused { path, what }
    }

    fn not_found(&self, order: &Order<'_>) -> Result<Settled, VaultError> {
        let path = order.place();
        let gone = self.data.as_ref().and_then(Remains::version);
        if let Some(version) = gone {
            return Err(VaultError::Deleted { path, version });
        }
        match (&self.errors, order) {
            // Vault answers a patch of nothing with a 404 without a body.
            (None, Order::Patch { .. }) => Err(VaultError::Conflict { path }),
            (Some(errors), Order::Patch { .. }) if errors.is_empty() => {
                Err(VaultError::Conflict { path })
            }
            (Some(errors), _) if errors.is_empty() => Ok(Settled::Absent),
            (Some(_), _) if self.any("no handler for route") || self.any("namespace not found") => {
                Err(VaultError::NoMount { path })
            }
            // Somebody else's 404, a proxy's perhaps, must not pass for "never written".
            _ => Err(VaultError::BadAnswer { path, what: "a 404 that is not Vault's".to_owned() }),
        }
    }
}

/// Texts of refusals that we know, and how we put them.
const BAD_REQUESTS: &[(&str, &str)] = &[
    ("check-and-set parameter required", "the mount demands check-and-set"),
    ("invalid role or secret ID", "the role id or the secret id is not valid"),
    ("invalid role ID", "the role id is not valid"),
    ("invalid secret id", "the secret id is not valid"),
    ("batch tokens cannot be renewed", "the token cannot be renewed"),
    ("lease is not renewable", "the token cannot be renewed"),
    ("unconvertible type", "the document is not a JSON object"),
    ("path ending in '/'", "the path ends in '/'"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::KvPath;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(status, &HeaderMap::new(), Zeroizing::new(body.as_bytes().to_vec()))
    }

    fn place() -> KvPath {
        KvPath { mount: "kv".to_owned(), path: "a/b".to_owned() }
    }

    fn read(status: u16, body: &str) -> Result<&'static str, VaultError> {
        let at = place();
        settle(answer(status, body), &Order::Read { at: &at, version: None })
    }

    fn write(status: u16, body: &str) -> Result<&'static str, VaultError> {
        let at = place();
        let document = Document::from_json(b"{}".to_vec());
        settle(answer(status, body), &Order::Write { at: &at, document: &document, cas: 1 })
    }

    fn patch(status: u16, body: &str) -> Result<&'static str, VaultError> {
        let at = place();
        let patch = Document::from_json(b"{}".to_vec());
        settle(answer(status, body), &Order::Patch { at: &at, patch: &patch, cas: 1 })
    }

    fn settle(answer: Answer, order: &Order<'_>) -> Result<&'static str, VaultError> {
        answer.settle(order).map(|settled| match settled {
            Settled::Done(_) => "done",
            Settled::Absent => "absent",
        })
    }

    fn path() -> String {
        "kv/a/b".to_owned()
    }

    #[test]
    fn a_conflict_is_told_from_other_bad_requests_by_its_text() {
        let lost = r#"{"errors":["check-and-set parameter did not match the current version"]}"#;
        assert_eq!(write(400, lost), Err(VaultError::Conflict { path: path() }));
        let missing = r#"{"errors":["check-and-set parameter required for this call"]}"#;
        let refused = |what: &str| Err(VaultError::Refused { path: path(), what: what.to_owned() });
        assert_eq!(write(400, missing), refused("400: the mount demands check-and-set"));
        assert_eq!(write(400, r#"{"errors":["hunter2"]}"#), refused("400"));
        assert_eq!(write(400, "hunter2"), refused("400"));
        let upgrading = r#"{"errors":["Upgrading from non-versioned to versioned data. Wait"]}"#;
        assert!(matches!(write(400, upgrading), Err(VaultError::Unavailable { .. })));
    }

    #[test]
    fn only_vaults_own_empty_404_means_never_written() {
        assert_eq!(read(404, r#"{"errors":[]}"#), Ok("absent"));
        for body in ["", "<html>", "{}", r#"{"errors":["hunter2"]}"#] {
            assert!(matches!(read(404, body), Err(VaultError::BadAnswer { .. })), "{body}");
        }
        for text in
            [r#"no handler for route \"kv/data/a\". route entry not found."#, "namespace not found"]
        {
            let body = format!(r#"{{"errors":["{text}"]}}"#);
            assert_eq!(read(404, &body), Err(VaultError::NoMount { path: path() }), "{body}");
        }
    }

    #[test]
    fn a_deleted_version_is_not_absent() {
        let deleted = Err(VaultError::Deleted { path: path(), version: 2 });
        let body = r#"{"data":{"data":null,"metadata":{"version":2,"destroyed":false}}}"#;
        assert_eq!(read(404, body), deleted);
        assert_eq!(patch(404, r#"{"data":{"version":2,"destroyed":true}}"#), deleted);
    }

    #[test]
    fn a_patch_of_nothing_is_a_conflict() {
        assert_eq!(patch(404, ""), Err(VaultError::Conflict { path: path() }));
        assert_eq!(patch(404, r#"{"errors":[]}"#), Err(VaultError::Conflict { path: path() }));
        let no_mount = r#"{"errors":["no handler for route \"x\""]}"#;
        assert_eq!(patch(404, no_mount), Err(VaultError::NoMount { path: path() }));
    }

    #[test]
    fn a_server_error_leaves_a_write_in_doubt_unless_it_never_began() {
        let sealed = r#"{"errors":["Vault is sealed"]}"#;
        assert_eq!(write(503, sealed), Err(VaultError::Sealed));
        assert_eq!(read(503, sealed), Err(VaultError::Sealed));
        for status in [500, 502, 503, 504] {
            let what = status.to_string();
            assert_eq!(
                write(status, "hunter2"),
                Err(VaultError::Ambiguous { path: path(), what: what.clone() })
            );
            assert_eq!(read(status, "hunter2"), Err(VaultError::Unavailable { what }));
        }
        let nobody = r#"{"errors":["local node not active but active cluster node not found"]}"#;
        assert_eq!(write(500, nobody), Err(VaultError::Unavailable { what: "500".to_owned() }));
    }

    #[test]
    fn a_pause_is_taken_from_the_answer_within_reason() {
        let pause = |retry: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(retry) = retry {
                headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
            }
            let at = place();
            let answer = Answer::new(429, &headers, Zeroizing::new(Vec::new()));
            match answer.settle(&Order::Read { at: &at, version: None }) {
                Err(VaultError::Throttled { after }) => after,
                _ => panic!("not throttled"),
            }
        };
        assert_eq!(pause(None), PAUSE_DEFAULT);
        assert_eq!(pause(Some("0")), PAUSE_DEFAULT);
        assert_eq!(pause(Some("7")), Span::from_secs(7));
        assert_eq!(pause(Some("86400")), PAUSE_MAX);
    }

    #[test]
    fn the_words_of_a_403_tell_a_policy_from_a_dead_token() {
        let policy = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert!(answer(403, policy).denied_by_policy());
        let dead = r#"{"errors":["permission denied"]}"#;
        assert!(!answer(403, dead).denied_by_policy());
        let dead_at_vault =
            r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#;
        assert!(!answer(403, dead_at_vault).denied_by_policy());
    }

    #[test]
    fn the_servers_clock_is_read_from_the_date() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Sun, 22 Nov 2026 16:30:30 GMT".parse().unwrap());
        let answer = Answer::new(200, &headers, Zeroizing::new(Vec::new()));
        assert_eq!(answer.date.unwrap().to_string(), "2026-11-22T16:30:30.000Z");
    }
}
