//! When a secret is to be rotated: a cron expression in a named time zone, safe where clocks are
//! put forward or back.
//!
//! The expression runs on local time as if no clock were ever changed, and each local time then
//! becomes an instant by the rule in [`zone`](super::zone): a time in the gap happens right after
//! it, a repeated time once. What follows is strictly increasing and depends on nothing but the
//! question, so that every replica and every restart finds the same instants. A schedule that
//! runs more than once an hour therefore pauses while an hour is repeated.
//!
//! Must not know what is rotated, or what has already run.

use std::fmt;
use std::iter;

use crate::model::time::{Span, Timestamp};
use crate::plan::crontab;
use crate::plan::crontab::ScheduleError;
use crate::plan::zone::Zone;

/// A cron expression in a time zone.
///
/// The expression is that of crontab(5): `minute hour day-of-month month weekday`, weekdays from
/// 0 or 7 = Sunday or by name, both day fields restricted meaning "either". Six fields begin with
/// the second, seven also end with the year. `@hourly`, `@daily`, `@midnight`, `@weekly`,
/// `@monthly`, `@yearly` and `@annually` stand for what they say. No schedule reaches beyond the
/// year 2100.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    zone: Zone,
    /// All runs of all of them are runs.
    calendars: Vec<cron::Schedule>,
}

impl Schedule {
    /// Reads an expression, to be run in the zone with this IANA name.
    ///
    /// # Errors
    /// [`ScheduleError`] names the field, what is wrong with it and what to write instead.
    pub fn parse(text: &str, zone: &str) -> Result<Schedule, ScheduleError> {
        let calendars = crontab::compile(text)?;
        let zone = Zone::parse(zone).ok_or_else(|| ScheduleError::Zone(zone.to_owned()))?;
        Ok(Schedule { text: text.trim().to_owned(), zone, calendars })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The IANA name of the zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first run after a moment, the moment itself excluded.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.calendars.iter().filter_map(|calendar| self.next_of(calendar, after)).min()
    }

    /// The last run before a moment, the moment itself included.
    pub fn last_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.calendars.iter().filter_map(|calendar| self.last_of(calendar, at)).max()
    }

    /// The first `n` runs after a moment. Fewer only where the years end.
    pub fn upcoming(&self, after: Timestamp, n: usize) -> Vec<Timestamp> {
        iter::successors(self.next_after(after), |last| self.next_after(*last)).take(n).collect()
    }

    /// The shortest time between two of the `n` runs after a moment; none with fewer than two
    /// runs. What an overlap has to fit into.
    pub fn shortest_period(&self, after: Timestamp, n: usize) -> Option<Span> {
        let runs = self.upcoming(after, n);
        runs.windows(2).map(|pair| pair[1].since(pair[0])).min()
    }

    fn next_of(&self, calendar: &cron::Schedule, after: Timestamp) -> Option<Timestamp> {
        // Local times up to what the clocks show have happened. In the second pass of a repeated
        // hour so have later ones, and those are passed over.
        calendar
            .after(&self.zone.local(after).and_utc())
            .map(|local| self.zone.instant(local.naive_utc()))
            .find(|at| *at > after)
    }

    fn last_of(&self, calendar: &cron::Schedule, at: Timestamp) -> Option<Timestamp> {
        let shown = self.zone.local(at).and_utc();
        let instant = |local: chrono::DateTime<chrono::Utc>| self.zone.instant(local.naive_utc());
        // In the second pass of a repeated hour, later local times have happened already.
        let ahead = calendar.after(&shown).map(instant).take_while(|run| *run <= at).last();
        ahead.or_else(|| {
            let past_shown = shown + chrono::TimeDelta::seconds(1);
            calendar.after(&past_shown).next_back().map(instant)
        })
    }
}

/// The same words in the same zone.
impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }
}

impl Eq for Schedule {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone())
    }
}

#[cfg(test)]
mod tests;
