//! `[incidents]` and `[[notify]]`: what holds alerts back, and who is told of what they led to.
//!
//! Decides keys, defaults and bounds. Must not know where alerts come from.

use std::collections::BTreeSet;

use crate::config::place;
use crate::config::reader::{Entry, Section};
use crate::engine::desk::KEEP_DEFAULT;
use crate::incident::guard::{BREAKER_MAX, Limits};
use crate::incident::progress::News;
use crate::model::time::Span;
use crate::notify::{Address, COMMAND_TIMEOUT_DEFAULT, Recipient, Way};

/// A secret that may not be rotated for a leak for longer than a day is not protected.
const FLOOR_MAX: Span = Span::from_secs(24 * 3600);

/// The bounds of how long incidents that are over are kept: whoever cleans up after a leak needs
/// them for a day at least, and nothing in Vault grows for ever.
const KEEP: (Span, Span) = (Span::from_secs(24 * 3600), Span::from_secs(10 * 31_557_600));

/// The least of a window or time-out: below it only clocks are measured.
const LEAST: Span = Span::from_secs(1);

/// Whoever is told has been told, or the program hangs.
const COMMAND_TIMEOUT_MAX: Span = Span::from_secs(120);

/// Most arguments of a program.
const ARGUMENTS_MAX: usize = 64;

/// What `[incidents]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncidentsConfig {
    /// What holds alerts back.
    pub limits: Limits,
    /// How long incidents that are over stay in Vault.
    pub keep: Span,
}

impl Default for IncidentsConfig {
    fn default() -> IncidentsConfig {
        IncidentsConfig { limits: Limits::default(), keep: KEEP_DEFAULT }
    }
}

/// Reads `[incidents]`; every key has a default.
pub(super) fn incidents(s: &Section<'_>) -> IncidentsConfig {
    let defaults = Limits::default();
    let span =
        |key, least, default| s.get(key).and_then(|e| e.span(least, FLOOR_MAX)).unwrap_or(default);
    let breaker = s.get("breaker").and_then(|e| e.number(1, u64::from(BREAKER_MAX)));
    let limits = Limits {
        floor: span("floor", Span::ZERO, defaults.floor),
        exposures: breaker.and_then(|n| u32::try_from(n).ok()).unwrap_or(defaults.exposures),
        window: span("breaker_window", LEAST, defaults.window),
    };
    let keep = s.get("keep").and_then(|e| e.span(KEEP.0, KEEP.1)).unwrap_or(KEEP_DEFAULT);
    IncidentsConfig { limits, keep }
}

/// Reads one `[[notify]]`.
pub(super) fn recipient(s: &Section<'_>) -> Option<Recipient> {
    let name = s.require("name", "a name for logs and the status").and_then(Entry::text);
    let types = [("webhook", true), ("command", false)];
    let posts = s.require("type", "\"webhook\" or \"command\"").and_then(|e| e.one_of(&types));
    let way = match posts {
        Some(true) => webhook(s),
        Some(false) => command(s),
        None => None,
    };
    let events = s.get("events").map_or(Some(None), |e| events(e).map(Some));
    Some(Recipient { name: name?.to_owned(), way: way?, events: events? })
}

/// What one is told of: some of the kinds of news, at least one.
fn events(entry: Entry<'_>) -> Option<BTreeSet<News>> {
    let words: Vec<(&'static str, News)> =
        News::ALL.into_iter().map(|news| (news.code(), news)).collect();
    let listed = entry.clone().list()?;
    if listed.is_empty() {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        entry.problem(
            "nobody would be told of anything",
            format!("name some of {}, or take `events` away to be told of all", all.join(", ")),
        );
        return None;
    }
    let count = listed.len();
    let read: Vec<News> = listed.into_iter().filter_map(|e| e.one_of(&words)).collect();
    (read.len() == count).then(|| read.into_iter().collect())
}

fn webhook(s: &Section<'_>) -> Option<Way> {
    let allow_http = s.get("allow_http").and_then(Entry::flag).unwrap_or(false);
    let to = s.exactly_one(&["url", "url_secret"]).and_then(|(way, chosen)| match way {
        "url" => place::url(chosen, allow_http).map(Address::Plain),
        _ => place::secret(chosen).map(Address::Secret),
    });
    let key = s.get("key").map_or(Some(None), |e| place::secret(e).map(Some));
    let ca_file = s.get("ca_file").and_then(place::ca_file);
    Some(Way::Webhook { to: to?, key: key?, allow_http, ca_file })
}

fn command(s: &Section<'_>) -> Option<Way> {
    let entry =
        s.require("argv", "the program and its arguments: [\"/usr/bin/page\", \"--on-call\"]");
    let timeout = s.get("timeout").and_then(|e| e.span(LEAST, COMMAND_TIMEOUT_MAX));
    let entry = entry?;
    let argv: Option<Vec<String>> =
        entry.clone().list()?.into_iter().map(|e| e.text().map(str::to_owned)).collect();
    let argv = argv?;
    let absolute = argv.first().is_some_and(|program| program.starts_with('/'));
    if !absolute || argv.len() > ARGUMENTS_MAX {
        entry.problem(
            "this is no program with its arguments",
            "begin with the absolute path of the program; it is started without a shell",
        );
        return None;
    }
    Some(Way::Command { argv, timeout: timeout.unwrap_or(COMMAND_TIMEOUT_DEFAULT) })
}
