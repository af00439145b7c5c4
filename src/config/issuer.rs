//! `[issuers.NAME]`, and issuers written inline in a secret.
//!
//! Decides the keys of each type. What a type can do is decided by its driver; a wrong setting is
//! refused in the driver's own words.

use std::collections::BTreeMap;
use std::fs;

use crate::config::Commons;
use crate::config::place;
use crate::config::reader::{Entry, Section};
use crate::driver::issuer::generated::{BYTES_DEFAULT, BYTES_MAX, BYTES_MIN, Format, Generator};
use crate::driver::issuer::http::preset::{self, Preset, PresetError};
use crate::driver::registry::{HttpIssuerSpec, IssuerSpec};
use crate::model::time::Span;
use crate::net;

/// Keys that one place lets live at once: above this there is no limit worth a name.
const CAPACITY_MAX: u64 = 1000;

/// An effect must end well inside the lease that allowed it.
const TIMEOUT_MAX: Span = Span::from_secs(7);
/// Below a tenth of a second, a busy machine times out on healthy answers.
const TIMEOUT_MIN: Span = Span(100);

/// The types of issuer.
#[derive(Clone, Copy)]
enum Type {
    Generated,
    Manual,
    Http,
}

/// Reads an issuer: the name of one, or a table.
pub(super) fn named_or_inline(entry: Entry<'_>, commons: &Commons<'_>) -> Option<IssuerSpec> {
    if !entry.is_text() {
        return entry.section(read)?;
    }
    let name = entry.clone().text()?;
    let Some(found) = commons.issuers.get(name) else {
        entry.unknown_name("issuer", "issuers", commons.issuers.keys());
        return None;
    };
    // One that is there and wrong has been reported where it stands.
    found.clone()
}

/// Reads the table of an issuer.
pub(super) fn read(s: &Section<'_>) -> Option<IssuerSpec> {
    let types = [("generated", Type::Generated), ("manual", Type::Manual), ("http", Type::Http)];
    let chosen =
        s.require("type", "\"generated\", \"manual\" or \"http\"").and_then(|e| e.one_of(&types));
    match chosen {
        Some(Type::Generated) => generated(s),
        Some(Type::Manual) => manual(s),
        Some(Type::Http) => http(s),
        None => {
            s.judge_no_further();
            None
        }
    }
}

fn generated(s: &Section<'_>) -> Option<IssuerSpec> {
    /// What `format` says, before the prefix is known.
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Hex,
        Base64,
        Base64Url,
        Whsec,
        Token,
    }
    let words = [
        ("whsec", Word::Whsec),
        ("hex", Word::Hex),
        ("base64", Word::Base64),
        ("base64_url", Word::Base64Url),
        ("token", Word::Token),
    ];
    let word = s.get("format").map_or(Some(Word::Whsec), |e| e.one_of(&words));
    let (least, most) = (BYTES_MIN as u64, BYTES_MAX as u64);
    let bytes = s.get("bytes").and_then(|e| e.number(least, most));
    let bytes = bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(BYTES_DEFAULT);
    let prefix = s.get("prefix");
    let word = word?;
    let format = match word {
        Word::Token => {
            let what = "what every token begins with, such as \"acme_\"";
            let prefix = prefix.or_else(|| s.require("prefix", what))?.text()?;
            Format::Token { prefix: prefix.to_owned() }
        }
        _ if prefix.is_some() => {
            s.problem(
                "prefix",
                "only tokens have a prefix of their own",
                "take `prefix` away, or write format = \"token\"",
            );
            return None;
        }
        Word::Hex => Format::Hex,
        Word::Base64 => Format::Base64,
        Word::Base64Url => Format::Base64Url,
        Word::Whsec => Format::Whsec,
    };
    let key = if word == Word::Token { "prefix" } else { "bytes" };
    Generator::new(format, bytes)
        .map_err(|error| s.problem(key, "this generator cannot be made", error.to_string()))
        .map(IssuerSpec::Generated)
        .ok()
}

fn manual(s: &Section<'_>) -> Option<IssuerSpec> {
    let instructions = s
        .require("instructions", "what a person must do to get a new key, in a sentence")
        .and_then(Entry::text);
    let capacity = s.get("capacity").and_then(|e| e.number(1, CAPACITY_MAX));
    Some(IssuerSpec::Manual {
        instructions: instructions?.to_owned(),
        capacity: capacity.and_then(|n| u32::try_from(n).ok()),
    })
}

fn http(s: &Section<'_>) -> Option<IssuerSpec> {
    let preset = preset(s);
    let params = named(s.get("params"), |_, e| e.json());
    let auth = named(s.get("auth"), |_, e| place::secret(e));
    let exclusive = s.get("exclusive").and_then(Entry::flag);
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let timeout = s.get("timeout");
    let timeout = timeout.map_or(Some(net::TIMEOUT_DEFAULT), |e| e.span(TIMEOUT_MIN, TIMEOUT_MAX));
    let spec = HttpIssuerSpec {
        preset: preset?,
        params: params?,
        auth: auth?,
        exclusive,
        ca_file,
        allow_http,
        timeout: timeout?,
    };
    spec.check().map_err(|error| refuse_preset(s, &error)).ok()?;
    Some(IssuerSpec::Http(Box::new(spec)))
}

fn preset(s: &Section<'_>) -> Option<Preset> {
    let (way, entry) = s.exactly_one(&["preset", "preset_file"])?;
    let found = match way {
        "preset" => Preset::find(entry.clone().text()?, None),
        _ => {
            let path = place::ca_file(entry.clone())?;
            // A file that is not there is reported with the others that are not there.
            Preset::parse(&fs::read_to_string(&path).ok()?, path.display().to_string())
        }
    };
    found.map_err(|error| refuse_preset(s, &error)).ok()
}

/// What is wrong with a preset or what is filled into it, each where the config can mend it.
fn refuse_preset(s: &Section<'_>, error: &PresetError) {
    let PresetError { preset, origin, problems } = error;
    for preset::Problem { place, what } in problems {
        if place.starts_with("params.") || place.starts_with("auth.") {
            s.problem(place, what, format!("preset {preset} ({origin}) says what it needs"));
        } else {
            let what = format!("{place}: {what}");
            s.problem("preset", what, format!("correct preset {preset} ({origin}) or this table"));
        }
    }
}

/// The values of a table that need not be there, or `None` if one of them is wrong.
fn named<T>(
    entry: Option<Entry<'_>>,
    read: impl Fn(&str, Entry<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let values = entry.map_or(Some(Vec::new()), Entry::named)?;
    let count = values.len();
    let read: BTreeMap<_, _> = values
        .into_iter()
        .filter_map(|(name, entry)| Some((name.to_owned(), read(name, entry)?)))
        .collect();
    (read.len() == count).then_some(read)
}
