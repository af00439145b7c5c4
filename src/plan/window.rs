//! When routine rotations may start: windows that come back every week, and freezes with a
//! beginning and an end. Must not know schedules, or what is rotated.

use std::fmt;

use chrono::{Datelike, Days, NaiveDate, NaiveTime};
use thiserror::Error;

use crate::model::time::Timestamp;
use crate::plan::crontab;
use crate::plan::crontab::ScheduleError;
use crate::plan::zone::Zone;

/// Days to look ahead for an opening. Every window has a day of the week, so that one week would
/// do; the second is for a window that falls into a gap of its zone and has no length there.
const AHEAD_DAYS: u64 = 16;

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// Not of the form `days from-until`.
    #[error("{0:?} is no window: write days and local times, such as \"mon-fri 22:00-05:00\"")]
    Shape(String),
    /// The days are wrong.
    #[error("the days of the window: {0}")]
    Days(ScheduleError),
    /// A time is wrong.
    #[error("{0:?} is no time of day: write hours and minutes, from 00:00 to 24:00")]
    Time(String),
    /// Begin and end are the same.
    #[error("a window from {0} to {0} has no length: write 00:00-24:00 for whole days")]
    Empty(String),
    /// The time zone database has no such zone.
    #[error("there is no time zone {0:?}: use an IANA name such as \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
}

/// A stretch of local time on some days of the week, in a time zone. It may go past midnight, and
/// then belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    text: String,
    zone: Zone,
    /// From Sunday.
    days: [bool; 7],
    from: NaiveTime,
    until: NaiveTime,
}

impl Window {
    /// Reads `days from-until`, such as `mon-fri 22:00-05:00` (Saturday's early hours belong to
    /// Friday), the days as in a weekday field of crontab. Without days it is every day.
    ///
    /// # Errors
    /// [`WindowError`] says what is wrong and what to write instead.
    pub fn parse(text: &str, zone: &str) -> Result<Window, WindowError> {
        let shape = || WindowError::Shape(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, times) = match words[..] {
            [times] => ("*", times),
            [days, times] => (days, times),
            _ => return Err(shape()),
        };
        let (from_text, until_text) = times.split_once('-').ok_or_else(shape)?;
        let (from, until) = (parse_time(from_text)?, parse_time(until_text)?);
        if from_text == until_text {
            return Err(WindowError::Empty(from_text.to_owned()));
        }
        Ok(Window {
            text: words.join(" "),
            zone: Zone::parse(zone).ok_or_else(|| WindowError::Zone(zone.to_owned()))?,
            days: crontab::weekdays(days).map_err(WindowError::Days)?,
            from,
            until,
        })
    }

    /// Whether it is open.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.opening(at) == Some(at)
    }

    /// The first moment from `at` on at which it is open: `at` itself if it is.
    pub fn opening(&self, at: Timestamp) -> Option<Timestamp> {
        // One that is open now began today or yesterday, or a day before where clocks jump.
        let first_day = self.zone.local(at).date() - Days::new(2);
        first_day
            .iter_days()
            .take(AHEAD_DAYS as usize)
            .filter(|day| self.days[day.weekday().num_days_from_sunday() as usize])
            .map(|day| self.stretch(day))
            .find(|(from, until)| from < until && at < *until)
            .map(|(from, _)| from.max(at))
    }

    /// The stretch that begins on a day, its end excluded.
    fn stretch(&self, day: NaiveDate) -> (Timestamp, Timestamp) {
        let last_day = if self.until <= self.from { day + Days::new(1) } else { day };
        let instant = |day: NaiveDate, time| self.zone.instant(day.and_time(time));
        (instant(day, self.from), instant(last_day, self.until))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone.name())
    }
}

/// A stretch in which no routine rotation starts: the days of a sale, the turn of the year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// What people call it.
    pub name: String,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends; that moment is free again.
    pub until: Timestamp,
}

impl Freeze {
    /// Whether it is in force.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// `HH:MM`; 24:00 is midnight.
fn parse_time(text: &str) -> Result<NaiveTime, WindowError> {
    let well_formed = text.len() == 5 && text.is_ascii() && text.as_bytes()[2] == b':';
    let midnight = if text == "24:00" { "00:00" } else { text };
    well_formed
        .then(|| NaiveTime::parse_from_str(midnight, "%H:%M").ok())
        .flatten()
        .ok_or_else(|| WindowError::Time(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::model::time::Span;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text}")).to_utc().into()
    }

    fn window(text: &str, zone: &str) -> Window {
        Window::parse(text, zone).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    /// The first and the last open second from a moment on.
    fn next_stretch(window: &Window, from: &str) -> (String, String) {
        let opens = window.opening(at(from)).unwrap();
        let mut last = opens;
        while window.contains(last + Span::from_secs(60)) {
            last = last + Span::from_secs(60);
        }
        let closes = last + Span::from_secs(60);
        (
            opens.to_utc().format("%dT%H:%M").to_string(),
            closes.to_utc().format("%dT%H:%M").to_string(),
        )
    }

    #[test]
    fn a_window_opens_and_closes_by_local_time() {
        let table = [
            // 22 November 2026 is a Sunday.
            ("mon-fri 09:00-17:00", "UTC", "2026-11-22T12:00:00Z", "23T09:00", "23T17:00"),
            ("mon-fri 09:00-17:00", "UTC", "2026-11-27T17:00:00Z", "30T09:00", "30T17:00"),
            ("09:00-17:00", "Asia/Tehran", "2026-11-22T12:00:00Z", "22T12:00", "22T13:30"),
            // Past midnight: Friday's window reaches into Saturday, Saturday has none.
            (
                "mon-fri 22:00-05:00",
                "Europe/Berlin",
                "2026-11-28T00:00:00Z",
                "28T00:00",
                "28T04:00",
            ),
            (
                "mon-fri 22:00-05:00",
                "Europe/Berlin",
                "2026-11-28T04:00:00Z",
                "30T21:00",
                "01T04:00",
            ),
            ("sun 22:00-05:00", "UTC", "2026-11-23T04:59:00Z", "23T04:59", "23T05:00"),
            ("7 22:00-24:00", "UTC", "2026-11-22T00:00:00Z", "22T22:00", "23T00:00"),
            ("sat 00:00-24:00", "UTC", "2026-11-22T00:00:00Z", "28T00:00", "29T00:00"),
            // Clocks go forward: a window that begins in the gap begins right after it.
            ("02:30-04:00", "Europe/Berlin", "2026-03-28T12:00:00Z", "29T01:00", "29T02:00"),
            ("01:00-02:30", "Europe/Berlin", "2026-03-28T12:00:00Z", "29T00:00", "29T01:00"),
            // All of it is in the gap: the next one is a week later.
            ("sun 02:10-02:50", "Europe/Berlin", "2026-03-28T12:00:00Z", "05T00:10", "05T00:50"),
            // Clocks go back: it ends with the first pass of its end.
            ("01:00-02:30", "Europe/Berlin", "2026-10-24T12:00:00Z", "24T23:00", "25T00:30"),
            ("22:00-03:30", "Europe/Berlin", "2026-10-24T12:00:00Z", "24T20:00", "25T02:30"),
            ("01:45-02:15", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "04T14:45", "04T15:45"),
            // The 30th is missing in Samoa, and with it the rest of this window.
            ("thu 22:00-06:00", "Pacific/Apia", "2011-12-29T12:00:00Z", "30T08:00", "30T10:00"),
        ];
        for (text, zone, from, opens, closes) in table {
            let found = next_stretch(&window(text, zone), from);
            assert_eq!(
                found,
                (opens.to_owned(), closes.to_owned()),
                "{text} in {zone} from {from}"
            );
        }
    }

    #[test]
    fn the_end_of_a_window_and_of_a_freeze_is_outside() {
        let noon = window("12:00-12:01", "UTC");
        assert!(noon.contains(at("2026-11-22T12:00:00Z")));
        assert!(noon.contains(at("2026-11-22T12:00:59.999Z")));
        assert!(!noon.contains(at("2026-11-22T12:01:00Z")));
        assert!(!noon.contains(at("2026-11-22T11:59:59.999Z")));
        let (from, until) = (at("2026-12-24T00:00:00Z"), at("2026-12-27T00:00:00Z"));
        let freeze = Freeze { name: "christmas".into(), from, until };
        assert!(freeze.contains(from) && freeze.contains(until - Span(1)));
        assert!(!freeze.contains(until) && !freeze.contains(from - Span(1)));
    }

    #[test]
    fn what_is_no_window_is_explained() {
        let table = [
            ("", "UTC", "is no window"),
            ("mon", "UTC", "is no window"),
            ("mon 09:00", "UTC", "is no window"),
            ("mon tue 09:00-10:00", "UTC", "is no window"),
            ("mon 9:00-10:00", "UTC", "\"9:00\" is no time of day"),
            ("mon 09:00-25:00", "UTC", "\"25:00\" is no time of day"),
            ("mon 09:00-24:01", "UTC", "\"24:01\" is no time of day"),
            ("mon 09:00-1é:0", "UTC", "is no time of day"),
            ("mon 09:00-09:00", "UTC", "00:00-24:00"),
            ("mom 09:00-10:00", "UTC", "weekday field, \"mom\""),
            ("mon 09:00-10:00", "Mars/Phobos", "no time zone \"Mars/Phobos\""),
        ];
        for (text, zone, says) in table {
            let error = Window::parse(text, zone).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        assert_eq!(window(" fri  22:00-05:00", "UTC").to_string(), "fri 22:00-05:00 (UTC)");
    }
}
