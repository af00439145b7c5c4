//! The next page of a list.
//!
//! Decides where the next request goes; never to another host, whatever the answer says: a list's
//! next link is an answer's content, and would carry the credential along.

use http::HeaderMap;
use http::header::LINK;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::driver::issuer::http::pointer::Pointer;

/// How pages follow each other.
#[derive(Clone, Debug)]
pub(super) enum Paging {
    /// There is one page.
    Single,
    /// Numbers, until a page is empty.
    Number { start: u64 },
    /// The `Link` header (RFC 8288).
    LinkHeader,
    /// A cursor in the answer, which goes into the query.
    Cursor { next: Pointer, query: String },
}

/// Where the page came from that has just been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    /// The base of every request.
    pub(super) base: &'a Url,
    /// Path and query below it.
    pub(super) path: &'a str,
    /// The number of the page.
    pub(super) number: u64,
    /// How many items it had.
    pub(super) items: usize,
}

/// What to ask for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This was the last page.
    End,
    /// The page with this number.
    Number(u64),
    /// This path and query, below the base.
    Path(String),
}

/// Why the next page is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PagingError {
    /// The next link goes to another scheme, host or port, or out of the base's path.
    Elsewhere,
    /// The next link is no address.
    Unreadable,
}

impl Paging {
    /// The page after the one at `here`, whose answer is given.
    pub(super) fn next(
        &self,
        here: Here<'_>,
        headers: &HeaderMap,
        answer: &Value,
    ) -> Result<Next, PagingError> {
        match self {
            Paging::Single => Ok(Next::End),
            Paging::Number { .. } if here.items == 0 => Ok(Next::End),
            Paging::Number { .. } => Ok(Next::Number(here.number + 1)),
            Paging::LinkHeader => match next_link(headers) {
                None => Ok(Next::End),
                Some(link) => below(here, &link).map(Next::Path),
            },
            Paging::Cursor { next, query } => match next.text(answer) {
                None => Ok(Next::End),
                Some(cursor) => Ok(Next::Path(with_query(here.path, query, &cursor))),
            },
        }
    }
}

/// A link as path and query below the base.
fn below(here: Here<'_>, link: &str) -> Result<String, PagingError> {
    let prefix = here.base.path().trim_end_matches('/');
    let absolute = format!("{}{}", here.base.as_str().trim_end_matches('/'), here.path);
    let from: Url = absolute.parse().map_err(|_| PagingError::Unreadable)?;
    let next = from.join(link).map_err(|_| PagingError::Unreadable)?;
    let path = next.path().strip_prefix(prefix).filter(|path| path.starts_with('/'));
    let (Some(path), true) = (path, next.origin() == from.origin() && next.username().is_empty())
    else {
        return Err(PagingError::Elsewhere);
    };
    Ok(match next.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

fn with_query(path_and_query: &str, name: &str, value: &str) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != name);
    let mut next = form_urlencoded::Serializer::new(String::new());
    next.extend_pairs(kept).append_pair(name, value);
    format!("{path}?{}", next.finish())
}

/// The target of the first link with the relation `next`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(split_links).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, relations)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && relations.trim().trim_matches('"').split(' ').any(|rel| rel == "next")
            })
        });
        is_next.then(|| target.to_owned())
    })
}

/// Links are separated by commas, which may also stand inside `<...>`.
fn split_links(header: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    header.split(move |c| {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn next(paging: &Paging, path: &str, headers: &HeaderMap, answer: Value) -> Ended {
        let base = "https://issuer.example:8443/api".parse().unwrap();
        let items = answer.as_array().map_or(0, Vec::len);
        paging.next(Here { base: &base, path, number: 4, items }, headers, &answer)
    }

    type Ended = Result<Next, PagingError>;

    fn follow(link: &str) -> Ended {
        let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
        next(&Paging::LinkHeader, "/v1/keys?limit=2", &headers, Value::Null)
    }

    fn path(text: &str) -> Ended {
        Ok(Next::Path(text.to_owned()))
    }

    #[test]
    fn links_are_followed_below_the_base_only() {
        let two = "</api/v1/keys?p=a,b>; rel=\"prev\", </api/v1/keys?p=2>; x=y; rel=\"last next\"";
        assert_eq!(follow(two), path("/v1/keys?p=2"));
        assert_eq!(follow("<?p=3>; rel=next"), path("/v1/keys?p=3"));
        assert_eq!(follow("<https://issuer.example:8443/api/x>; REL=next"), path("/x"));
        for elsewhere in [
            "https://evil.example/api/v1/keys",
            "http://issuer.example:8443/api/v1/keys",
            "https://issuer.example/api/v1/keys",
            "//evil.example/api/v1/keys",
            "https://x@issuer.example:8443/api/v1/keys",
            "/other/keys",
            "/apix/keys",
            "../../other",
        ] {
            let followed = follow(&format!("<{elsewhere}>; rel=next"));
            assert_eq!(followed, Err(PagingError::Elsewhere), "{elsewhere}");
        }
        assert_eq!(follow("</api/v1/keys?p=1>; rel=\"prev\""), Ok(Next::End));
        assert_eq!(follow("<https://[>; rel=\"next\""), Err(PagingError::Unreadable));
    }

    #[test]
    fn a_cursor_replaces_the_one_before_and_is_escaped() {
        let pointer = Pointer::parse("/next").unwrap();
        let paging = Paging::Cursor { next: pointer, query: "after".to_owned() };
        let ask = |from: &str, answer| next(&paging, from, &HeaderMap::new(), answer);
        assert_eq!(ask("/k?limit=2", json!({"next": "a&b"})), path("/k?limit=2&after=a%26b"));
        let second = ask("/k?limit=2&after=a%26b", json!({"next": "c"}));
        assert_eq!(second, path("/k?limit=2&after=c"));
        assert_eq!(ask("/k", json!({"next": 7})), path("/k?after=7"));
        assert_eq!(ask("/k", json!({"next": ""})), Ok(Next::End));
        assert_eq!(ask("/k", json!({})), Ok(Next::End));
    }

    #[test]
    fn numbers_end_at_an_empty_page() {
        let paging = Paging::Number { start: 1 };
        assert_eq!(next(&paging, "/k", &HeaderMap::new(), json!([1])), Ok(Next::Number(5)));
        assert_eq!(next(&paging, "/k", &HeaderMap::new(), json!([])), Ok(Next::End));
    }
}
