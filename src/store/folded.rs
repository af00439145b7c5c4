//! How a document of many parts lies in Vault: as one text.
//!
//! OpenBao refuses JSON with a thousand names and texts or more, before it looks at anything else
//! (the listener's `max_request_json_strings`); HashiCorp Vault has limits of that kind, too. A
//! record gets there within weeks. A text counts as one, however long it is.
//!
//! Decides the form only; must not know what is folded.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::vault::document::{Document, Malformed};

/// The form: JSON in a field of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folded {
    json: String,
}

/// Writes a value as a document of one text.
///
/// # Errors
/// The line and column of what cannot be written.
pub fn encode(value: &impl Serialize) -> Result<Document, Malformed> {
    let inside = Document::encode(value)?;
    let json = String::from_utf8_lossy(inside.expose()).into_owned();
    Document::encode(&Folded { json })
}

/// The document inside one of one text, if it is one. For those who read it more than once.
pub fn unfold(document: &Document) -> Option<Document> {
    let Folded { json } = document.decode().ok()?;
    Some(Document::from_json(json.into_bytes()))
}

/// Reads a value from a document of one text, or from one that was written unfolded.
///
/// # Errors
/// The line and column of what does not fit, inside the text if there is one.
pub fn decode<T: DeserializeOwned>(document: &Document) -> Result<T, Malformed> {
    match unfold(document) {
        Some(inside) => inside.decode(),
        None => document.decode(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_was_folded_is_one_text_and_is_read_again() {
        let value = json!({ "texts": ["a \"b\"", "\\ \n \u{fc}"], "number": 7 });
        let document = encode(&value).unwrap();
        let outside: Value = document.decode().unwrap();
        assert_eq!(outside, json!({ "json": value.to_string() }));
        assert_eq!(decode::<Value>(&document).unwrap(), value);
    }

    #[test]
    fn what_was_written_unfolded_is_read_as_it_is() {
        let value = json!({ "json": "is a field of its own", "another": 1 });
        assert_eq!(decode::<Value>(&Document::encode(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn what_is_broken_inside_is_an_error_that_shows_nothing() {
        let broken = Document::encode(&json!({ "json": "{ hunter2" })).unwrap();
        let error = decode::<Value>(&broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        decode::<Value>(&Document::from_json(b"hunter2".to_vec())).unwrap_err();
    }
}
