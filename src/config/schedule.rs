//! When a secret is rotated: `schedule`, `max_age`, `windows`, `jitter`, and `[[freeze]]`.
//!
//! Decides how these are written. What they mean is `plan`'s to say, and what is wrong with a cron
//! expression it says in its own words.

use crate::config::policy::Defaults;
use crate::config::reader::{Entry, Section};
use crate::model::time::Span;
use crate::plan::cadence::Cadence;
use crate::plan::schedule::Schedule;
use crate::plan::window::{Freeze, Window};

/// A key that nobody touches for five years has no greatest age.
const MAX_AGE_MAX: Span = Span::from_secs(5 * 366 * 24 * 3600);
const MAX_AGE_MIN: Span = Span::from_secs(1);
/// A run that may be a day late is another day's run.
const JITTER_MAX: Span = Span::from_secs(24 * 3600);

/// How a moment is written.
const MOMENT: &str = "a moment with its offset, such as 2026-12-20T00:00:00+01:00";

/// Reads when a secret is rotated.
pub(super) fn read(s: &Section<'_>, own: &Defaults, freezes: &[Freeze]) -> Option<Cadence> {
    let schedule = s.get("schedule").map_or(Some(None), |e| schedule(e, own).map(Some));
    let span = |e: Entry<'_>| e.span(MAX_AGE_MIN, MAX_AGE_MAX);
    let max_age = s.get("max_age").map_or(Some(None), |e| span(e).map(Some));
    let windows = s.get("windows").map_or(Some(Vec::new()), |e| windows(e, own));
    let jitter = s.get("jitter").map_or(Some(Span::ZERO), |e| e.span(Span::ZERO, JITTER_MAX));
    Some(Cadence {
        schedule: schedule?,
        max_age: max_age?,
        windows: windows?,
        freezes: freezes.to_vec(),
        jitter: jitter?,
    })
}

fn schedule(entry: Entry<'_>, own: &Defaults) -> Option<Schedule> {
    let text = entry.clone().text()?;
    let parsed = Schedule::parse(text, own.zone.name());
    parsed.map_err(|e| entry.problem("this is no schedule", e.to_string())).ok()
}

fn windows(entry: Entry<'_>, own: &Defaults) -> Option<Vec<Window>> {
    let entries = entry.list()?;
    let count = entries.len();
    let windows: Vec<_> = entries.into_iter().filter_map(|e| window(e, own)).collect();
    (windows.len() == count).then_some(windows)
}

fn window(entry: Entry<'_>, own: &Defaults) -> Option<Window> {
    let text = entry.clone().text()?;
    let parsed = Window::parse(text, own.zone.name());
    parsed.map_err(|e| entry.problem("this is no window", e.to_string())).ok()
}

/// Reads one `[[freeze]]`.
pub(super) fn freeze(s: &Section<'_>) -> Option<Freeze> {
    let name = s.require("name", "what the freeze is for").and_then(Entry::text);
    let from = s.require("from", MOMENT).and_then(Entry::moment);
    let until = s.require("until", MOMENT).and_then(Entry::moment);
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        s.problem("until", "the freeze ends before it begins", "put `until` after `from`");
    }
    Some(Freeze { name: name?.to_owned(), from: from?, until: until? })
}
