//! A request as a driver writes it, and the rules that keep it on its origin.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

use crate::model::material::SecretBytes;
use crate::net::Wiped;

/// What [`Request::into_parts`] leaves: ready to be sent.
pub(super) type Parts = (Method, Url, HeaderMap, Option<SecretBytes>);

/// One request: a method, a place below the client's base, headers and perhaps a body.
pub struct Request {
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Option<SecretBytes>,
    fault: Option<String>,
}

impl Request {
    /// A request for a path (beginning with `/`, or empty for the base itself) and its query,
    /// already percent-encoded.
    pub fn new(method: Method, path_and_query: impl Into<String>) -> Request {
        Request {
            method,
            path_and_query: path_and_query.into(),
            headers: HeaderMap::new(),
            body: None,
            fault: None,
        }
    }

    /// Sets a header that may be seen.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.insert(name, HeaderValue::from_str(value).ok());
        self
    }

    /// Sets a header that must not be seen: it is kept out of every log below us and out of the
    /// tables that HTTP/2 keeps, and wiped once it was sent.
    pub fn secret_header(mut self, name: &str, value: &SecretBytes) -> Request {
        let copy = Wiped(SecretBytes::new(value.expose().to_vec()));
        let value =
            HeaderValue::from_maybe_shared(Bytes::from_owner(copy)).ok().map(|mut value| {
                value.set_sensitive(true);
                value
            });
        self.insert(name, value);
        self
    }

    /// Sets the body and its media type. It is wiped once it was sent.
    pub fn body(mut self, media_type: &'static str, body: SecretBytes) -> Request {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = Some(body);
        self
    }

    fn insert(&mut self, name: &str, value: Option<HeaderValue>) {
        match (HeaderName::from_bytes(name.as_bytes()), value) {
            (Ok(name), Some(value)) => {
                self.headers.insert(name, value);
            }
            (Ok(name), None) => {
                self.fault = Some(format!("the value of header {name} has control characters"));
            }
            (Err(_), _) => self.fault = Some("a header's name is not valid".to_owned()),
        }
    }

    /// The request below `base`, or what is wrong with it.
    pub(super) fn into_parts(self, base: &Url) -> Result<Parts, String> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let url = below(base, &self.path_and_query)?;
        Ok((self.method, url, self.headers, self.body))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [path]", self.method)
    }
}

/// The address of a path below the base. A path that would leave it is refused: a URL parser
/// resolves `..`, and takes `\` for `/`.
fn below(base: &Url, path_and_query: &str) -> Result<Url, String> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    if !path.is_empty() && !path.starts_with('/') {
        return Err("the path must begin with '/'".to_owned());
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '#');
    if !path_and_query.chars().all(plain) {
        return Err("the path has a character that must be percent-encoded".to_owned());
    }
    let dots = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if path.split('/').any(dots) {
        return Err("the path must not hold '.' or '..'".to_owned());
    }
    let mut url = base.clone();
    if !path.is_empty() {
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    }
    url.set_query(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, path: &str) -> Result<String, String> {
        below(&base.parse().unwrap(), path).map(String::from)
    }

    #[test]
    fn a_path_is_put_below_the_prefix_of_the_base() {
        let base = "https://api.example.com/v2/";
        assert_eq!(
            url(base, "/keys?x=1&y=%2F").unwrap(),
            "https://api.example.com/v2/keys?x=1&y=%2F"
        );
        assert_eq!(url(base, "/keys/a%2Fb").unwrap(), "https://api.example.com/v2/keys/a%2Fb");
        assert_eq!(
            url("https://hooks.example.com/T0/B0", "").unwrap(),
            "https://hooks.example.com/T0/B0"
        );
        assert_eq!(
            url("https://api.example.com", "//other.host/x").unwrap(),
            "https://api.example.com//other.host/x"
        );
    }

    #[test]
    fn a_path_that_would_leave_the_base_is_refused() {
        for path in [
            "/../admin",
            "/a/..",
            "/./a",
            "/%2e%2E/a",
            "/a/.%2e",
            "/a\\..\\b",
            "/a#b",
            "keys",
            "@other.host/",
            "/a b",
            "/a\nb",
            "/ä",
        ] {
            assert!(url("https://api.example.com/v2", path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_header_with_a_line_break_stops_the_request_and_is_not_shown() {
        let request = Request::new(Method::GET, "/")
            .secret_header("x-key", &SecretBytes::new(b"hunter2\r\nx: y".to_vec()));
        let base = Url::parse("https://api.example.com").unwrap();
        let fault = request.into_parts(&base).map(|_| ()).unwrap_err();
        assert!(fault.contains("x-key") && !fault.contains("hunter2"), "{fault}");
    }

    #[test]
    fn a_secret_header_is_marked_so() {
        let key = SecretBytes::new(b"hunter2".to_vec());
        let request = Request::new(Method::GET, "/").secret_header("x-key", &key);
        assert!(!format!("{request:?}").contains("hunter2"));
        assert!(request.headers["x-key"].is_sensitive());
    }
}
