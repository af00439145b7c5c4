//! An IANA time zone, and the one rule by which local time becomes an instant.
//!
//! The rule: a local time happens at the first instant at which the zone's clocks show it *or a
//! later time*. So a time that daylight saving skips happens at the first instant after the gap,
//! and a time that comes twice happens the first time. The rule never goes backwards, which is
//! what makes schedules strictly increasing and the same after a restart.

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

use crate::model::time::Timestamp;

/// Further from UTC than any clock has been since 1970 (the extremes are -12 and +14 hours).
const OFFSET_MAX: TimeDelta = TimeDelta::hours(16);

/// A zone by its IANA name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone(Tz);

impl Zone {
    /// The zone of that name, if the time zone database has it.
    pub(super) fn parse(name: &str) -> Option<Zone> {
        name.parse().ok().map(Zone)
    }

    /// The IANA name.
    pub(super) fn name(self) -> &'static str {
        self.0.name()
    }

    /// What the zone's clocks show, in whole seconds. Moments that no schedule reaches are
    /// answered with the nearest one that it may reach.
    pub(super) fn local(self, at: Timestamp) -> NaiveDateTime {
        let (first, last) = (Timestamp(-2_678_400_000), Timestamp::from_seconds(4_136_659_200));
        let utc = naive_utc(at.clamp(first, last).seconds());
        utc + self.0.offset_from_utc_datetime(&utc).fix()
    }

    /// When a local time happens, by the rule of this file.
    pub(super) fn instant(self, local: NaiveDateTime) -> Timestamp {
        match self.0.from_local_datetime(&local).earliest() {
            Some(date) => Timestamp::from_seconds(date.timestamp()),
            None => self.after_gap(local),
        }
    }

    /// The first instant at which the clocks show more than `local`, a time that they skip. No
    /// zone puts its clocks forward and back again within two days, so halving finds it.
    fn after_gap(self, local: NaiveDateTime) -> Timestamp {
        let middle = local.and_utc();
        let mut before = (middle - OFFSET_MAX).timestamp();
        let mut after = (middle + OFFSET_MAX).timestamp();
        while after - before > 1 {
            let half = before + (after - before) / 2;
            if self.local(Timestamp::from_seconds(half)) < local {
                before = half;
            } else {
                after = half;
            }
        }
        Timestamp::from_seconds(after)
    }
}

fn naive_utc(seconds: i64) -> NaiveDateTime {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn local(year: i32, month: u32, day: u32, hour: u32, minute: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(year, month, day).unwrap().and_hms_opt(hour, minute, 0).unwrap()
    }

    #[test]
    fn local_time_becomes_an_instant_by_one_rule() {
        let table = [
            ("UTC", local(2026, 3, 29, 2, 30), "2026-03-29T02:30:00.000Z"),
            // Ordinary days.
            ("Europe/Berlin", local(2026, 3, 28, 2, 30), "2026-03-28T01:30:00.000Z"),
            ("Europe/Berlin", local(2026, 7, 1, 2, 30), "2026-07-01T00:30:00.000Z"),
            // Skipped: the first instant after the gap.
            ("Europe/Berlin", local(2026, 3, 29, 2, 0), "2026-03-29T01:00:00.000Z"),
            ("Europe/Berlin", local(2026, 3, 29, 2, 59), "2026-03-29T01:00:00.000Z"),
            ("America/New_York", local(2026, 3, 8, 2, 30), "2026-03-08T07:00:00.000Z"),
            ("Africa/Cairo", local(2026, 4, 24, 0, 0), "2026-04-23T22:00:00.000Z"),
            ("Australia/Lord_Howe", local(2026, 10, 4, 2, 15), "2026-10-03T15:30:00.000Z"),
            ("Asia/Tehran", local(2022, 3, 22, 0, 30), "2022-03-21T20:30:00.000Z"),
            // A whole day that Samoa left out.
            ("Pacific/Apia", local(2011, 12, 30, 12, 0), "2011-12-30T10:00:00.000Z"),
            // Repeated: the first pass.
            ("Europe/Berlin", local(2026, 10, 25, 2, 30), "2026-10-25T00:30:00.000Z"),
            ("America/New_York", local(2026, 11, 1, 1, 30), "2026-11-01T05:30:00.000Z"),
            ("Africa/Cairo", local(2026, 10, 29, 23, 30), "2026-10-29T20:30:00.000Z"),
            ("Australia/Lord_Howe", local(2026, 4, 5, 1, 45), "2026-04-04T14:45:00.000Z"),
        ];
        for (zone, local, expected) in table {
            let instant = Zone::parse(zone).unwrap().instant(local);
            assert_eq!(instant.to_string(), expected, "{local} in {zone}");
        }
    }

    #[test]
    fn the_rule_never_goes_backwards() {
        for name in ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"] {
            let zone = Zone::parse(name).unwrap();
            let mut last = Timestamp(i64::MIN);
            for minutes in 0..(2 * 366 * 24 * 4) {
                let at = local(2011, 6, 1, 0, 0) + TimeDelta::minutes(i64::from(minutes) * 15);
                let instant = zone.instant(at);
                assert!(instant >= last, "{name}: {at} happens before the time before it");
                assert!(zone.local(instant) >= at, "{name}: {at} happens too early");
                last = instant;
            }
        }
    }

    #[test]
    fn moments_beyond_every_calendar_do_not_panic() {
        let zone = Zone::parse("Pacific/Kiritimati").unwrap();
        assert_eq!(zone.local(Timestamp(i64::MAX)).to_string(), "2101-02-01 14:00:00");
        assert_eq!(zone.local(Timestamp(i64::MIN)).and_utc().timestamp() / 86_400, -31);
    }
}
