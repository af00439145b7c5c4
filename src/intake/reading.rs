//! Reading what a source sends without keeping or repeating any of it.
//!
//! Decides how a body is parsed, how a value in it becomes clues, and what of the text around it
//! may stay. Must not know any source's format.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::incident::alert::{Claim, Finding, FoundAt};
use crate::intake::{Delivery, Odd, Rejected};
use crate::model::clue::{Clue, Form, ValueDigest};
use crate::model::mask::Mask;
use crate::model::material::SecretBytes;

/// Most findings of one message. The largest body holds some seven thousand of the shortest records
/// that any known source sends; more are bits of nothing.
pub(super) const FINDINGS_MAX: usize = 10_000;

/// Longest label in characters: the longest known names of detectors have some 60.
pub(super) const LABEL_MAX: usize = 100;

/// Longest id of a message, in characters: an organisation, a repository and a number.
pub(super) const ID_MAX: usize = 200;

/// A value in a body: it goes into wiped memory as it is read.
pub(super) struct Raw(pub(super) SecretBytes);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Raw, E> {
                if text.is_empty() {
                    return Err(E::custom("an empty value"));
                }
                Ok(Raw(SecretBytes::new(text.as_bytes().to_vec())))
            }
        }
        deserializer.deserialize_str(Bytes)
    }
}

impl Raw {
    /// The clues that the value gives; the first is the digest of exactly what was sent.
    pub(super) fn clues(&self) -> Vec<Clue> {
        let exact = Clue::Digest(ValueDigest::of(Form::Sha256, &self.0));
        let mut clues = Clue::of_value(&self.0);
        clues.retain(|clue| *clue != exact);
        clues.insert(0, exact);
        clues
    }
}

/// A text beside the matter: whatever else stands there counts as nothing, so that a source that
/// changes what we hardly look at is still understood.
#[derive(Default)]
pub(super) struct Text(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        let read = <&RawValue>::deserialize(deserializer)?;
        // A text that is none (half a surrogate pair) is nothing, as any other thing is.
        Ok(Text(serde_json::from_str(read.get()).ok()))
    }
}

impl Text {
    /// The text; empty if there is none.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// A list of which some elements cannot be read: these are told, and the others taken.
pub(super) struct Each<T> {
    /// What was read, and its place in the list.
    pub(super) read: Vec<(usize, T)>,
    /// What was not.
    pub(super) odd: Vec<Odd>,
}

impl<T> Default for Each<T> {
    fn default() -> Each<T> {
        Each { read: Vec::new(), odd: Vec::new() }
    }
}

impl<T> Each<T> {
    /// How many elements there were.
    pub(super) fn len(&self) -> usize {
        self.read.len() + self.odd.len()
    }

    /// What was read.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.read.iter().map(|(_, element)| element)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Each<T>, D::Error> {
        let mut each = Each::default();
        let elements = Vec::<&RawValue>::deserialize(deserializer)?;
        for (at, raw) in elements.into_iter().enumerate() {
            match parse_text(raw.get()) {
                Ok(element) => each.read.push((at, element)),
                Err(rejected) => each.odd.push(Odd { at, why: rejected.to_string() }),
            }
        }
        Ok(each)
    }
}

/// Reads a body as `T`. What does not fit is told by line and column: serde's own words would
/// repeat the content.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a SecretBytes) -> Result<T, Rejected> {
    serde_json::from_slice(body.expose()).map_err(|error| place_of(&error))
}

/// Reads a part of a body, counted from its own beginning.
pub(super) fn parse_text<'a, T: Deserialize<'a>>(part: &'a str) -> Result<T, Rejected> {
    serde_json::from_str(part).map_err(|error| place_of(&error))
}

fn place_of(error: &serde_json::Error) -> Rejected {
    let what = match error.classify() {
        serde_json::error::Category::Data => "not what is expected there",
        serde_json::error::Category::Eof => "the JSON ends too early",
        _ => "not JSON",
    };
    Rejected::Malformed(format!("line {}, column {}: {what}", error.line(), error.column()))
}

/// Refuses more findings than [`FINDINGS_MAX`].
pub(super) fn bounded(count: usize) -> Result<(), Rejected> {
    if count > FINDINGS_MAX {
        let text = format!("more than {FINDINGS_MAX} findings in one message: send several");
        return Err(Rejected::Malformed(text));
    }
    Ok(())
}

/// One header as text; absent if it is not plain text or there are several, which two readers may
/// take differently.
pub(super) fn header<'a>(delivery: &Delivery<'a>, name: &str) -> Option<&'a str> {
    let mut all = delivery.headers.get_all(name).iter();
    let only = all.next()?;
    if all.next().is_some() { None } else { only.to_str().ok() }
}

/// A mask for all values of a message.
pub(super) fn mask_of<'a>(values: impl IntoIterator<Item = &'a Raw>) -> Mask {
    Mask::of(values.into_iter().map(|value| &value.0))
}

/// A finding about a value: its clues, and the texts around it as they may be kept.
pub(super) fn finding(value: &Raw, label: &str, place: &str, claim: Claim, mask: &Mask) -> Finding {
    let (label, found_at) = (label_of(label, mask), FoundAt::new(place, mask));
    Finding { clues: value.clues(), label, found_at, claim }
}

/// A label as it may be kept: short, without control characters, without a value.
pub(super) fn label_of(text: &str, mask: &Mask) -> String {
    plain(&mask.cover(text), LABEL_MAX)
}

/// A source's own id as it may be kept.
pub(super) fn id_of(text: &str) -> String {
    plain(text, ID_MAX)
}

fn plain(text: &str, max: usize) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Shape {
        value: Raw,
        #[serde(default)]
        label: Text,
    }

    fn read(json: &str) -> Result<Shape, Rejected> {
        parse(&SecretBytes::new(json.as_bytes().to_vec()))
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_place_and_not_repeated() {
        for (json, told) in [
            ("", "line 1, column 0: the JSON ends too early"),
            (r#"{"value":"hunter2"#, "line 1, column 17: the JSON ends too early"),
            ("hunter2", "line 1, column 1: not JSON"),
            (r#"{"value":["hunter2"]}"#, "line 1, column 9: not what is expected there"),
            (r#"{"value":1234567}"#, "line 1, column 16: not what is expected there"),
            (r#"{"value":""}"#, "line 1, column 11: not what is expected there"),
            (r#"{"hunter2":1}"#, "line 1, column 13: not what is expected there"),
            (r#"{"value":"a","value":"hunter2"}"#, "line 1, column 20: not what is expected there"),
        ] {
            let rejected = read(json).map(|_| ()).unwrap_err();
            assert_eq!(rejected, Rejected::Malformed(told.to_owned()), "{json}");
        }
    }

    #[test]
    fn a_text_beside_the_matter_may_be_anything() {
        for other in ["null", "12", "[1]", "{}", "true"] {
            let shape = read(&format!(r#"{{"value":"x","label":{other},"more":{other}}}"#));
            assert_eq!(shape.unwrap().label.as_str(), "", "{other}");
        }
        assert_eq!(read(r#"{"value":"x","label":"a\nb"}"#).unwrap().label.as_str(), "a\nb");
    }

    #[test]
    fn the_first_clue_is_the_digest_of_what_was_sent() {
        let shape = read(r#"{"value":" \"odd\u00e9\\n\" "}"#).unwrap();
        assert_eq!(shape.value.0.expose(), " \"odd\u{e9}\\n\" ".as_bytes());
        let clues = shape.value.clues();
        let exact = Clue::Digest(ValueDigest::of(Form::Sha256, &shape.value.0));
        assert_eq!(clues[0], exact);
        assert!(clues.len() > 1);
        assert_eq!(clues.iter().filter(|clue| **clue == exact).count(), 1);
    }

    #[test]
    fn a_label_is_short_and_holds_no_value() {
        let value = SecretBytes::new(b"hunter2hunter2".to_vec());
        let mask = Mask::of([&value]);
        assert_eq!(label_of("api\tkey\n", &mask), "api key");
        assert_eq!(label_of("key hunter2hunter2", &mask), "key [secret]");
        assert_eq!(label_of(&"ä".repeat(500), &mask).chars().count(), LABEL_MAX);
    }

    #[test]
    fn an_odd_element_keeps_no_other_from_being_read() {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            all: Each<Shape>,
        }
        let list = |json: &str| parse::<List>(&SecretBytes::new(json.as_bytes().to_vec()));
        let read = list(r#"{"all":[{"value":"a"},7,{"value":""},{"value":"b"}]}"#).unwrap().all;
        assert_eq!(read.read.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 3]);
        let odd: Vec<usize> = read.odd.iter().map(|odd| odd.at).collect();
        assert_eq!((odd, read.len(), read.iter().count()), (vec![1, 2], 4, 2));
        assert_eq!(read.odd[0].why, "line 1, column 1: not what is expected there");
        assert_eq!(list("{}").unwrap().all.len(), 0);
        assert!(list(r#"{"all":"hunter2"}"#).is_err() && list(r#"{"all":null}"#).is_err());
    }
}
