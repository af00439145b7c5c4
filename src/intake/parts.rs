//! What several sources read with: a token, an object in JSON, an id.
//!
//! Decides how little is said of what cannot be read: a place and a rule, never the content, for
//! the content may be the leaked value. Must not know any source.

use http::header::AUTHORIZATION;
use serde::Deserialize;

use crate::intake::keyring::Keyring;
use crate::intake::reading::{self, Text};
use crate::intake::{Delivery, Rejected};
use crate::model::material::SecretBytes;
use crate::signing::token;

/// Lets pass who brings one of the tokens.
///
/// # Errors
/// [`Rejected`], as [`Keyring::judge`] says.
pub(super) async fn bearer(keyring: &Keyring, delivery: &Delivery<'_>) -> Result<(), Rejected> {
    let given = reading::header(delivery, AUTHORIZATION.as_str());
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
