//! What several sources read with: one header, a token, an object in JSON, an id.
//!
//! Decides how little is said of what cannot be read: a place and a rule, never the content, for
//! the content may be the leaked value. Must not know any source.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;

use crate::intake::keyring::Keyring;
use crate::intake::reading::{self, Text};
use crate::intake::{Delivery, Rejected};
use crate::model::material::SecretBytes;
use crate::signing::token;

/// A header that may be there once.
///
/// # Errors
/// [`Rejected::Malformed`] if it is there twice, or is no text.
pub(super) fn header<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, Rejected> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| all.next().is_none());
    let malformed = || Rejected::Malformed(format!("header {name}: one line of ASCII"));
    text.ok_or_else(malformed).map(Some)
}

/// Lets pass who brings one of the tokens.
///
/// # Errors
/// [`Rejected`], as [`Keyring::judge`] and [`header`] say.
pub(super) async fn bearer(keyring: &Keyring, delivery: &Delivery<'_>) -> Result<(), Rejected> {
    let given = header(delivery.headers, AUTHORIZATION.as_str())?;
    let given = token::without_bearer(given.unwrap_or_default().as_bytes());
    keyring.judge(delivery.at, |tokens| token::verify(tokens, given)).await?;
    Ok(())
}

/// A body that is an object in JSON.
///
/// # Errors
/// [`Rejected::Malformed`] with the place where it is something else.
pub(super) fn object<'b, T: Deserialize<'b>>(body: &'b SecretBytes) -> Result<T, Rejected> {
    // A list would be read as an object's members in their order.
    if !body.expose().trim_ascii_start().starts_with(b"{") {
        return Err(Rejected::Malformed("the body is no object in JSON".to_owned()));
    }
    reading::parse(body)
}

/// A text with anything in it.
pub(super) fn some(text: &Text) -> Option<&str> {
    text.0.as_deref().filter(|text| !text.is_empty())
}

/// A text that can only be an id, and never a value.
pub(super) fn uuid(text: &str) -> Option<&str> {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (hex && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_stands_once_or_is_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(header(&headers, "x-a").unwrap(), None);
        headers.append("x-a", "rk_live_leaked".parse().unwrap());
        assert_eq!(header(&headers, "x-a").unwrap(), Some("rk_live_leaked"));
        headers.append("x-a", "again".parse().unwrap());
        let error = header(&headers, "x-a").unwrap_err().to_string();
        assert_eq!(error, "header x-a: one line of ASCII");
    }

    #[test]
    fn an_object_is_no_list_and_an_id_no_value() {
        let body = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
        assert!(object::<serde_json::Value>(&body(" {\"a\": 1}")).is_ok());
        for other in ["[\"rk_live\"]", "\"rk_live\"", "", "{\"rk_live\": "] {
            let error = object::<serde_json::Value>(&body(other)).unwrap_err().to_string();
            assert!(!error.contains("rk_live"), "{error}");
        }
        assert!(uuid("7bf73129-1428-4cd3-a780-95db273d1602").is_some());
        for other in ["", "rk_live_0123", "0123456789abcdef0123456789abcdef", "12-34", "-"] {
            assert!(uuid(other).is_none(), "{other}");
        }
    }
}
