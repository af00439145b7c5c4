//! Text with holes: `/keys/{{key.id}}`.
//!
//! Decides which holes there are and how what fills them is escaped where it stands; must not know
//! what a request is for. Holes are checked when a preset is loaded, so that rendering can only
//! fail on what is put in, and secrets are never put in a URL.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::driver::issuer::Tag;
use crate::model::id::KeyId;
use crate::model::material::{Material, SecretBytes, VALUE_FIELD};

/// What is escaped in a path, a query or a form: all but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What fills a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// A credential of rotord at the issuer, by the name the config gives it.
    Auth(String),
    /// The issuer's id of the key at hand.
    KeyId,
    /// A field of the key at hand.
    KeyField(String),
    /// A field of the value that rotord made.
    OursField(String),
    /// The id of the rotation.
    RotationId,
    /// The mark: secret, rotation and version.
    RotationTag,
    /// The number of the page of a list.
    Page,
}

impl Hole {
    fn parse(name: &str) -> Option<Hole> {
        let (family, field) = name.split_once('.').unwrap_or((name, ""));
        match (family, field) {
            ("page", "") => Some(Hole::Page),
            ("key", "id") => Some(Hole::KeyId),
            ("rotation", "id") => Some(Hole::RotationId),
            ("rotation", "tag") => Some(Hole::RotationTag),
            (_, "") => None,
            ("auth", name) => Some(Hole::Auth(name.to_owned())),
            ("key", field) => Some(Hole::KeyField(field.to_owned())),
            ("ours", field) => Some(Hole::OursField(field.to_owned())),
            _ => None,
        }
    }

    fn is_secret(&self) -> bool {
        matches!(self, Hole::Auth(_) | Hole::KeyField(_) | Hole::OursField(_))
    }
}

/// Which holes have a meaning at a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    pub(super) auth: bool,
    pub(super) key_id: bool,
    pub(super) key_fields: bool,
    pub(super) ours: bool,
    pub(super) rotation: bool,
    pub(super) page: bool,
}

impl Scope {
    fn has(self, hole: &Hole) -> bool {
        match hole {
            Hole::Auth(_) => self.auth,
            Hole::KeyId => self.key_id,
            Hole::KeyField(_) => self.key_fields,
            Hole::OursField(_) => self.ours,
            Hole::RotationId | Hole::RotationTag => self.rotation,
            Hole::Page => self.page,
        }
    }

    /// The holes that may stand here, for the remedy in an error.
    fn names(self) -> String {
        let all = [
            (true, "param.NAME"),
            (self.auth, "auth.NAME"),
            (self.key_id, "key.id"),
            (self.key_fields, "key.value, key.FIELD"),
            (self.ours, "ours.value"),
            (self.rotation, "rotation.id, rotation.tag"),
            (self.page, "page"),
        ];
        let names: Vec<_> = all.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

/// Where a template stands, which decides how holes are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A path or query: percent-encoded, and no secrets.
    Url,
    /// A form field: percent-encoded.
    Form,
    /// A header, or a string of a JSON body: as it is, or escaped by the writer around it.
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole { hole: Hole, as_json: bool },
}

/// Text whose holes are known and allowed. Parameters are filled in already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    place: Place,
    pieces: Vec<Piece>,
}

/// What fills the holes of one request. Absent things were refused when the preset was loaded.
#[derive(Clone, Copy, Default)]
pub(super) struct Filling<'a> {
    pub(super) auth: Option<&'a BTreeMap<String, Arc<SecretBytes>>>,
    pub(super) key_id: Option<&'a KeyId>,
    pub(super) key: Option<&'a Material>,
    pub(super) ours: Option<&'a Material>,
    pub(super) tag: Option<&'a Tag>,
    pub(super) page: Option<&'a str>,
}

/// A hole that could not be filled, by name. Never holds what would have filled it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfilled(pub(super) String);

impl Template {
    /// The empty text.
    pub(super) fn nothing() -> Template {
        Template { place: Place::Plain, pieces: Vec::new() }
    }

    /// Reads a template and fills in its parameters.
    ///
    /// # Errors
    /// What is wrong with it and what may stand there, for a person.
    pub(super) fn parse(
        text: &str,
        place: Place,
        scope: Scope,
        params: &BTreeMap<String, Value>,
    ) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) =
                after.split_once("}}").ok_or_else(|| "a {{ is never closed with }}".to_owned())?;
            push_text(&mut pieces, &literal(place, before));
            pieces_of_hole(&mut pieces, name.trim(), (place, scope), params)?;
            rest = behind;
        }
        push_text(&mut pieces, &literal(place, rest));
        Ok(Template { place, pieces })
    }

    /// The text, if there is no hole left to fill.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether anything in it comes from the family of holes that `wanted` picks.
    pub(super) fn mentions(&self, wanted: impl Fn(&Hole) -> bool) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Hole { hole, .. } if wanted(hole)))
    }

    /// The names of the credentials it needs.
    pub(super) fn auth_names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole { hole: Hole::Auth(name), .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Fills the holes. The buffer is wiped when dropped, and never grows after its first byte.
    ///
    /// # Errors
    /// The name of the hole whose filling is missing, is no text, or would change the shape of a
    /// URL (empty, `.` or `..`).
    pub(super) fn render(&self, filling: Filling<'_>) -> Result<Zeroizing<String>, Unfilled> {
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            parts.push(match piece {
                Piece::Text(text) => Zeroizing::new(text.clone()),
                Piece::Hole { hole, as_json } => fill(hole, *as_json, self.place, filling)?,
            });
        }
        let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|p| p.len()).sum()));
        parts.iter().for_each(|part| whole.push_str(part));
        Ok(whole)
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

fn pieces_of_hole(
    pieces: &mut Vec<Piece>,
    inside: &str,
    (place, scope): (Place, Scope),
    params: &BTreeMap<String, Value>,
) -> Result<(), String> {
    let (name, filter) = match inside.split_once('|') {
        Some((name, filter)) => (name.trim(), Some(filter.trim())),
        None => (inside, None),
    };
    let as_json = match filter {
        None => false,
        Some("json") => true,
        Some(other) => return Err(format!("{{{{{inside}}}}}: no filter {other:?}; there is json")),
    };
    if let Some(param) = name.strip_prefix("param.") {
        let Some(value) = params.get(param) else {
            return Err(format!("{{{{{name}}}}}: there is no parameter {param:?} under [params]"));
        };
        let plain = plain_text(value);
        let text = if as_json { value.to_string() } else { plain };
        check_for_url(place, &text).map_err(|why| format!("{{{{{name}}}}} {why}"))?;
        push_text(pieces, &escape(place, &text));
        return Ok(());
    }
    let allowed = scope.names();
    let Some(hole) = Hole::parse(name).filter(|hole| scope.has(hole)) else {
        return Err(format!("{{{{{name}}}}} has no meaning here; there are {allowed}"));
    };
    if place == Place::Url && hole.is_secret() {
        return Err(format!(
            "{{{{{name}}}}} is secret, and URLs are logged by every proxy on the way: send it in \
             a header or the body"
        ));
    }
    pieces.push(Piece::Hole { hole, as_json });
    Ok(())
}

/// A parameter's value as it reads in a text.
fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn fill(
    hole: &Hole,
    as_json: bool,
    place: Place,
    filling: Filling<'_>,
) -> Result<Zeroizing<String>, Unfilled> {
    let field = |material: Option<&Material>, name: &str| {
        let bytes = match name {
            VALUE_FIELD => material?.value(),
            name => material?.field(name),
        };
        bytes?.expose_str().map(|text| Zeroizing::new(text.to_owned()))
    };
    let tag = filling.tag;
    let (name, raw) = match hole {
        Hole::Auth(name) => {
            let secret = filling.auth.and_then(|auth| auth.get(name));
            let text = secret.and_then(|secret| secret.expose_str()).map(str::to_owned);
            (format!("auth.{name}"), text.map(Zeroizing::new))
        }
        Hole::KeyField(name) => (format!("key.{name}"), field(filling.key, name)),
        Hole::OursField(name) => (format!("ours.{name}"), field(filling.ours, name)),
        Hole::KeyId => ("key.id".to_owned(), filling.key_id.map(|id| Zeroizing::new(id.0.clone()))),
        Hole::RotationId => {
            ("rotation.id".to_owned(), tag.map(|tag| Zeroizing::new(tag.rotation.0.clone())))
        }
        Hole::RotationTag => {
            ("rotation.tag".to_owned(), tag.map(|tag| Zeroizing::new(tag.to_string())))
        }
        Hole::Page => ("page".to_owned(), filling.page.map(|page| Zeroizing::new(page.to_owned()))),
    };
    let Some(raw) = raw else {
        return Err(Unfilled(name));
    };
    let raw = if as_json { quoted(&raw) } else { raw };
    if check_for_url(place, &raw).is_err() {
        return Err(Unfilled(name));
    }
    Ok(escape(place, &raw))
}

/// A JSON string with its quotes.
fn quoted(text: &str) -> Zeroizing<String> {
    // Each byte grows to six at most (`\u001f`), plus the quotes: no copy is left by growing.
    let mut json = Vec::with_capacity(text.len() * 6 + 2);
    serde_json::to_writer(&mut json, text).expect("a vector takes every byte");
    Zeroizing::new(String::from_utf8(json).expect("JSON is UTF-8"))
}

/// An id of `..` would turn `DELETE /keys/{{key.id}}` into `DELETE /`, and an empty one into
/// `DELETE /keys/`: escaping does not help, since URL parsers treat `%2e%2e` as dots too.
fn check_for_url(place: Place, text: &str) -> Result<(), &'static str> {
    match text {
        "" | "." | ".." if place == Place::Url => {
            Err("is empty or dots, which would change the path")
        }
        _ => Ok(()),
    }
}

/// What stands between the holes: the shape of a URL, but the content of a form field.
fn literal(place: Place, text: &str) -> Zeroizing<String> {
    match place {
        Place::Form => escape(place, text),
        Place::Url | Place::Plain => Zeroizing::new(text.to_owned()),
    }
}

/// The text as it may stand at a place.
pub(super) fn escape(place: Place, text: &str) -> Zeroizing<String> {
    if place == Place::Plain {
        return Zeroizing::new(text.to_owned());
    }
    let mut escaped = Zeroizing::new(String::with_capacity(text.len() * 3));
    escaped.extend(percent_encode(text.as_bytes(), ESCAPED));
    escaped
}

/// A JSON body with holes in its strings.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum JsonTemplate {
    /// Nothing left to fill; also a parameter alone in its string, which keeps its JSON type.
    Fixed(Value),
    /// A string.
    Text(Template),
    /// A list.
    Array(Vec<JsonTemplate>),
    /// An object.
    Object(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    /// Reads a body. Keys are taken as they are.
    ///
    /// # Errors
    /// A text for each string that cannot be read, with the JSON pointer of its place.
    pub(super) fn parse(
        value: &Value,
        scope: Scope,
        params: &BTreeMap<String, Value>,
    ) -> Result<JsonTemplate, Vec<String>> {
        let mut problems = Vec::new();
        let body = read_json(value, "", (scope, params), &mut problems);
        if problems.is_empty() { Ok(body) } else { Err(problems) }
    }

    /// Every template in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            JsonTemplate::Fixed(_) => Vec::new(),
            JsonTemplate::Text(template) => vec![template],
            JsonTemplate::Array(items) => items.iter().flat_map(Self::templates).collect(),
            JsonTemplate::Object(fields) => {
                fields.iter().flat_map(|(_, value)| value.templates()).collect()
            }
        }
    }

    /// Fills the holes and writes the JSON text.
    ///
    /// # Errors
    /// The name of the hole that cannot be filled.
    pub(super) fn render(&self, filling: Filling<'_>) -> Result<Zeroizing<String>, Unfilled> {
        let mut parts = Vec::new();
        self.write(filling, &mut parts)?;
        let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|p| p.len()).sum()));
        parts.iter().for_each(|part| whole.push_str(part));
        Ok(whole)
    }

    fn write(
        &self,
        filling: Filling<'_>,
        parts: &mut Vec<Zeroizing<String>>,
    ) -> Result<(), Unfilled> {
        let mark = |text: &str| Zeroizing::new(text.to_owned());
        match self {
            JsonTemplate::Fixed(value) => parts.push(mark(&value.to_string())),
            JsonTemplate::Text(template) => parts.push(quoted(&template.render(filling)?)),
            JsonTemplate::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    parts.push(mark(if at == 0 { "[" } else { "," }));
                    item.write(filling, parts)?;
                }
                parts.push(mark("]"));
            }
            JsonTemplate::Object(fields) => {
                for (at, (name, value)) in fields.iter().enumerate() {
                    parts.push(mark(if at == 0 { "{" } else { "," }));
                    parts.push(quoted(name));
                    parts.push(mark(":"));
                    value.write(filling, parts)?;
                }
                parts.push(mark("}"));
            }
        }
        Ok(())
    }
}

fn read_json(
    value: &Value,
    at: &str,
    (scope, params): (Scope, &BTreeMap<String, Value>),
    problems: &mut Vec<String>,
) -> JsonTemplate {
    match value {
        Value::String(text) => {
            if let Some(param) = lone_param(text).and_then(|name| params.get(name)) {
                return JsonTemplate::Fixed(param.clone());
            }
            match Template::parse(text, Place::Plain, scope, params) {
                Ok(template) => match template.fixed() {
                    Some(text) => JsonTemplate::Fixed(Value::String(text.to_owned())),
                    None => JsonTemplate::Text(template),
                },
                Err(problem) => {
                    problems.push(format!("at {at}: {problem}"));
                    JsonTemplate::Fixed(Value::Null)
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let mut read = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                read.push(read_json(item, &format!("{at}/{index}"), (scope, params), problems));
            }
            JsonTemplate::Array(read)
        }
        Value::Object(fields) if !fields.is_empty() => {
            let mut read = Vec::with_capacity(fields.len());
            for (name, value) in fields {
                let inner = read_json(value, &format!("{at}/{name}"), (scope, params), problems);
                read.push((name.clone(), inner));
            }
            JsonTemplate::Object(read)
        }
        other => JsonTemplate::Fixed(other.clone()),
    }
}

fn lone_param(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?;
    inside.trim().strip_prefix("param.")
}
