//! Entries for fuzzing: schedules and windows. An input is the text, the zone and a moment in
//! milliseconds, a line each; what is missing is UTC and 2026.

use crate::model::time::Timestamp;
use crate::plan::schedule::Schedule;
use crate::plan::window::Window;

/// 22 November 2026.
const NOW: Timestamp = Timestamp(1_795_305_600_000);

/// Runs are asked for up to here: no schedule reaches beyond 2100.
const LAST: Timestamp = Timestamp(4_100_000_000_000);

/// Runs looked at: enough to pass a change of clocks.
const RUNS: usize = 20;

fn lines(input: &[u8]) -> Option<(&str, &str, Timestamp)> {
    let mut lines = str::from_utf8(input).ok()?.lines();
    let text = lines.next()?;
    let zone = lines.next().unwrap_or("UTC");
    let at = lines.next().and_then(|line| line.parse().ok()).map_or(NOW, Timestamp);
    Some((text, zone, at))
}

/// A run comes after what it was asked for, in order, and is found again looking back.
pub(crate) fn schedule(input: &[u8]) {
    let Some((text, zone, at)) = lines(input) else { return };
    let schedule = match Schedule::parse(text, zone) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let runs = schedule.upcoming(at, RUNS);
    assert!(runs.first().is_none_or(|first| *first > at), "{schedule} runs before {at}");
    assert!(runs.is_sorted_by(|a, b| a < b), "{schedule} runs backwards after {at}");
    for run in &runs {
        let found = schedule.last_at_or_before(*run);
        assert_eq!(found, Some(*run), "{schedule} does not find its own run");
    }
    let last = schedule.last_at_or_before(at);
    assert!(last.is_none_or(|last| last <= at), "{schedule} ran after {at}");
    if let Some(next) = last.filter(|_| at < LAST).and_then(|last| schedule.next_after(last)) {
        assert!(next > at, "{schedule} has a run between its last one and {at}");
    }
}

/// A window opens within a fortnight, and is open then.
pub(crate) fn window(input: &[u8]) {
    let Some((text, zone, at)) = lines(input) else { return };
    let window = match Window::parse(text, zone) {
        Ok(window) => window,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let opening = window.opening(at);
    if (0..LAST.0).contains(&at.0) {
        assert!(opening.is_some(), "{window} never opens after {at}");
    }
    if let Some(opening) = opening {
        assert!(opening >= at, "{window} opened before {at}");
        assert!(window.contains(opening), "{window} is shut when it opens, after {at}");
    }
}
