//! Where something stands in an answer: a JSON pointer (RFC 6901) with filters, such as
//! `/data/key |b64decode |trim`.
//!
//! Decides how an answer is read; never shows what it reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::model::material::SecretBytes;
use crate::model::time::Timestamp;

/// An answer's JSON. It may hold secrets, so it cannot be printed, and is wiped when dropped.
pub(super) struct Answered(Value);

impl Answered {
    /// Reads a body; `None` if it is no JSON.
    pub(super) fn parse(body: &[u8]) -> Option<Answered> {
        serde_json::from_slice(body).ok().map(Answered)
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| wipe(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Base64Decode,
    Trim,
}

/// A place in an answer, checked when the preset is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    path: String,
    filters: Vec<Filter>,
}

impl Pointer {
    /// Reads `/a/b |filter`. The empty path is the whole answer.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) fn parse(text: &str) -> Result<Pointer, String> {
        let mut parts = text.split('|').map(str::trim);
        let path = parts.next().unwrap_or_default();
        if !(path.is_empty() || path.starts_with('/')) {
            return Err(format!("{text:?} is no JSON pointer: it starts with '/', as in /data/id"));
        }
        let escaped = |(at, _)| matches!(path.as_bytes().get(at + 1), Some(b'0' | b'1'));
        if !path.match_indices('~').all(escaped) {
            return Err(format!("{text:?}: in a JSON pointer '~' is written ~0 and '/' ~1"));
        }
        let filters = parts.map(|name| match name {
            "b64decode" => Ok(Filter::Base64Decode),
            "trim" => Ok(Filter::Trim),
            other => Err(format!("no filter {other:?}: there are b64decode and trim")),
        });
        Ok(Pointer { path: path.to_owned(), filters: filters.collect::<Result<_, _>>()? })
    }

    /// What stands there, before any filter.
    pub(super) fn find<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        answer.pointer(&self.path).filter(|value| !value.is_null())
    }

    /// A secret: a string, filtered.
    pub(super) fn secret(&self, answer: &Value) -> Option<SecretBytes> {
        let text = self.find(answer)?.as_str()?;
        let mut bytes = Zeroizing::new(text.as_bytes().to_vec());
        for filter in &self.filters {
            bytes = Zeroizing::new(match filter {
                Filter::Base64Decode => STANDARD.decode(&*bytes).ok()?,
                Filter::Trim => bytes.trim_ascii().to_vec(),
            });
        }
        Some(SecretBytes::new(std::mem::take(&mut *bytes)))
    }

    /// Something public: a string, or a number as text.
    pub(super) fn text(&self, answer: &Value) -> Option<String> {
        match self.find(answer)? {
            Value::String(_) => {
                self.secret(answer)?.expose_str().filter(|s| !s.is_empty()).map(str::to_owned)
            }
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A moment: RFC 3339, or seconds since 1970. `Ok(None)` if it is absent, empty or one of the
    /// zero times that some servers write for "never".
    ///
    /// # Errors
    /// Something stands there that is no moment.
    pub(super) fn moment(&self, answer: &Value) -> Result<Option<Timestamp>, NoMoment> {
        let moment = match self.find(answer) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => {
                let date = DateTime::parse_from_rfc3339(text).map_err(|_| NoMoment)?;
                Timestamp(date.timestamp_millis())
            }
            Some(Value::Number(seconds)) => {
                Timestamp::from_seconds(seconds.as_i64().ok_or(NoMoment)?)
            }
            Some(_) => return Err(NoMoment),
        };
        Ok(Some(moment).filter(|moment| moment.0 > 0))
    }
}

/// What should be a moment is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMoment;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).expect("legal")
    }

    #[test]
    fn pointers_follow_the_rfc() {
        let answer = json!({"a/b": [{"m~n": "x"}], "": "empty"});
        assert_eq!(at("/a~1b/0/m~0n").text(&answer).as_deref(), Some("x"));
        assert_eq!(at("/").text(&answer).as_deref(), Some("empty"));
        assert_eq!(at("").find(&answer), Some(&answer));
        for bad in ["a", "/a~2", "/a~", "/a |upper"] {
            assert!(Pointer::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn filters_apply_in_order() {
        let answer = json!({"k": "ICBoZWxsbyAg"});
        let secret = at("/k |b64decode |trim").secret(&answer).expect("decodes");
        assert_eq!(secret.expose(), b"hello");
        assert!(at("/k |b64decode").secret(&json!({"k": "%%"})).is_none());
        assert!(at("/k").secret(&json!({"k": 7})).is_none());
    }

    #[test]
    fn ids_may_be_numbers_but_not_nothing() {
        assert_eq!(at("/id").text(&json!({"id": 17})).as_deref(), Some("17"));
        assert_eq!(at("/id").text(&json!({"id": ""})), None);
        assert_eq!(at("/id").text(&json!({"id": null})), None);
        assert_eq!(at("/id").text(&json!({"id": {"x": 1}})), None);
    }

    #[test]
    fn moments_are_read_in_the_forms_servers_write() {
        let read = |value| at("/t").moment(&json!({"t": value}));
        assert_eq!(read(json!("1970-01-01T00:00:01.5Z")), Ok(Some(Timestamp(1500))));
        assert_eq!(read(json!(2)), Ok(Some(Timestamp(2000))));
        assert_eq!(read(json!("0001-01-01T00:00:00Z")), Ok(None));
        assert_eq!(read(json!("")), Ok(None));
        assert_eq!(read(json!(null)), Ok(None));
        assert_eq!(read(json!("yesterday")), Err(NoMoment));
    }
}
