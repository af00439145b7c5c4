//! Moments, ages and foreign text the way a person reads them in a terminal.

use crate::model::time::{Span, Timestamp};

const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];

/// A span in its largest unit, for columns: `12d`, `4h`, `0s`.
pub(super) fn rough(span: Span) -> String {
    let (unit, name) = UNITS[largest(span)];
    format!("{}{name}", span.0 / unit)
}

/// A span in its two largest units: `12d 4h`, `3m`, `0s`.
pub(super) fn fine(span: Span) -> String {
    let at = largest(span);
    let (unit, name) = UNITS[at];
    let first = format!("{}{name}", span.0 / unit);
    match UNITS.get(at + 1) {
        Some((smaller, name)) if span.0 % unit / smaller > 0 => {
            format!("{first} {}{name}", span.0 % unit / smaller)
        }
        _ => first,
    }
}

/// How far a moment is, for columns: `in 4h`, `12d ago`, `now`.
pub(super) fn rough_from(now: Timestamp, moment: Timestamp) -> String {
    relative(now, moment, rough)
}

/// How far a moment is: `in 4h 12m`, `12d 4h ago`, `now`.
pub(super) fn fine_from(now: Timestamp, moment: Timestamp) -> String {
    relative(now, moment, fine)
}

/// A moment to the minute: `2026-11-22 12:00Z`.
pub(super) fn minute(moment: Timestamp) -> String {
    moment.to_utc().format("%Y-%m-%d %H:%MZ").to_string()
}

/// A moment to the second, for what is tried again at it: `2026-11-22 12:00:05Z`.
pub(super) fn second(moment: Timestamp) -> String {
    moment.to_utc().format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The time of day to the second: `12:00:05Z`.
pub(super) fn second_of_day(moment: Timestamp) -> String {
    moment.to_utc().format("%H:%M:%SZ").to_string()
}

/// A moment and how far it is: `2026-11-22 16:00Z (in 4h)`.
pub(super) fn dated(now: Timestamp, moment: Timestamp) -> String {
    format!("{} ({})", minute(moment), fine_from(now, moment))
}

/// The same to the second, for what is soon over: `12:00:11Z (in 11s)`.
pub(super) fn dated_to_second(now: Timestamp, moment: Timestamp) -> String {
    if moment.since(now) >= Span(UNITS[0].0) {
        return dated(now, moment);
    }
    format!("{} ({})", second_of_day(moment), fine_from(now, moment))
}

/// Text of others on one line, without anything that moves a cursor.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for text of several lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// A number of things: `1 secret`, `2 secrets`.
pub(super) fn count(n: usize, word: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {word}{plural}")
}

/// Versions as people name them: `v8 v7`.
pub(super) fn versions(numbers: &[u64]) -> String {
    match numbers {
        [] => "none".into(),
        some => some.iter().map(|n| format!("v{n}")).collect::<Vec<_>>().join(" "),
    }
}

fn largest(span: Span) -> usize {
    UNITS.iter().position(|(unit, _)| span.0 >= *unit).unwrap_or(UNITS.len() - 1)
}

fn relative(now: Timestamp, moment: Timestamp, say: fn(Span) -> String) -> String {
    match (moment.since(now), now.since(moment)) {
        (ahead, _) if ahead >= Span::from_secs(1) => format!("in {}", say(ahead)),
        (_, behind) if behind >= Span::from_secs(1) => format!("{} ago", say(behind)),
        _ => "now".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_down_to_what_a_person_reads() {
        for (ms, roughly, finely) in [
            (0, "0s", "0s"),
            (999, "0s", "0s"),
            (59_999, "59s", "59s"),
            (60_000, "1m", "1m"),
            (61_000, "1m", "1m 1s"),
            (3_600_000 + 59_000, "1h", "1h"),
            (86_400_000 * 12 + 3_600_000 * 4, "12d", "12d 4h"),
        ] {
            assert_eq!(rough(Span(ms)), roughly, "{ms}");
            assert_eq!(fine(Span(ms)), finely, "{ms}");
        }
    }

    #[test]
    fn one_thing_is_no_things() {
        let counted = [0, 1, 2].map(|n| count(n, "secret"));
        assert_eq!(counted, ["0 secrets", "1 secret", "2 secrets"]);
    }

    #[test]
    fn moments_are_seen_from_now() {
        let now = Timestamp(1_795_348_800_000);
        assert_eq!(fine_from(now, now + Span(500)), "now");
        assert_eq!(rough_from(now, now + Span::from_secs(3_700)), "in 1h");
        assert_eq!(fine_from(now, now - Span::from_secs(3_700)), "1h 1m ago");
        assert_eq!(dated(now, now + Span::from_secs(60)), "2026-11-22 12:01Z (in 1m)");
        assert_eq!(second_of_day(now), "12:00:00Z");
    }

    #[test]
    fn foreign_text_moves_no_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(clean_lines("a\tb\r\nc"), "a b\nc");
        assert_eq!(versions(&[8, 7]), "v8 v7");
        assert_eq!(versions(&[]), "none");
    }
}
