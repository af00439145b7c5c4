//! Runs in real zones, above all where the clocks change, held against a count of every minute.

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Timelike};

use super::*;

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Tehran",
    "America/Sao_Paulo",
];

/// Moments at which the clocks of some of the zones were put forward or back.
const CHANGES: [&str; 12] = [
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-23T22:00:00Z",
    "2026-10-29T21:00:00Z",
    "2026-10-03T15:30:00Z",
    "2026-04-04T15:00:00Z",
    "2011-12-30T10:00:00Z",
    "2022-09-21T19:30:00Z",
    "2018-02-18T02:00:00Z",
    "2018-11-04T03:00:00Z",
];

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text}")).to_utc().into()
}

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::parse(text, zone).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The runs after a moment as `MM-DDTHH:MMZ`.
fn runs(text: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let runs = schedule(text, zone).upcoming(at(after), n);
    runs.iter().map(|run| run.to_utc().format("%m-%dT%H:%MZ").to_string()).collect()
}

/// Small, seeded, good enough to draw test cases.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    /// Five fields, mostly such that they meet the hours at which clocks are changed.
    fn expression(&mut self) -> String {
        let minute = self.pick(&["0", "30", "*/20", "59", "1-58/19", "*", "15,45"]);
        let hour = self.pick(&["2", "*", "0", "1-3", "*/6", "23", "3", "22,23,0,1"]);
        let day = self.pick(&["*", "*", "*", "29", "1-7", "31", "*/5"]);
        let month = self.pick(&["*", "*", "mar-apr", "10,11", "*/2", "1,3,5,7,12"]);
        let weekday = self.pick(&["*", "*", "sun", "1-5", "0", "6,7", "*/2"]);
        format!("{minute} {hour} {day} {month} {weekday}")
    }

    /// A moment between 2008 and 2030, in half of the cases around a change of some zone's clocks.
    fn moment(&mut self) -> Timestamp {
        if self.below(2) == 0 {
            let change = at(self.pick(&CHANGES));
            return change - Span::from_secs(7200) + Span(self.below(4 * 3_600_000));
        }
        let (year, month, day) = (2008 + self.below(22), 1 + self.below(12), 1 + self.below(28));
        let midnight = at(&format!("{year}-{month:02}-{day:02}T00:00:00Z"));
        midnight + Span(self.below(86_400_000))
    }
}

#[test]
fn a_time_in_the_gap_runs_right_after_it() {
    let berlin = runs("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
    assert_eq!(berlin, ["03-28T01:30Z", "03-29T01:00Z", "03-30T00:30Z"]);
    let new_york = runs("30 2 * * *", "America/New_York", "2026-03-07T00:00:00Z", 3);
    assert_eq!(new_york, ["03-07T07:30Z", "03-08T07:00Z", "03-09T06:30Z"]);
    let cairo = runs("@daily", "Africa/Cairo", "2026-04-22T12:00:00Z", 3);
    assert_eq!(cairo, ["04-22T22:00Z", "04-23T22:00Z", "04-24T21:00Z"]);
    let lord_howe = runs("10 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:00:00Z", 3);
    assert_eq!(lord_howe, ["10-02T15:40Z", "10-03T15:30Z", "10-04T15:10Z"]);
    let tehran = runs("30 0 * * *", "Asia/Tehran", "2022-03-20T12:00:00Z", 3);
    assert_eq!(tehran, ["03-20T21:00Z", "03-21T20:30Z", "03-22T20:00Z"]);
    // Samoa had no 30 December 2011: what was to run on it runs as the 31st begins.
    let apia = runs("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
    assert_eq!(apia, ["12-29T22:00Z", "12-30T10:00Z", "12-30T22:00Z"]);
}

#[test]
fn several_times_in_one_gap_are_one_run() {
    let often = runs("*/20 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 4);
    assert_eq!(often, ["03-29T00:40Z", "03-29T01:00Z", "03-29T01:20Z", "03-29T01:40Z"]);
    let before = schedule("*/20 2 * * *", "Europe/Berlin");
    assert_eq!(
        before.last_at_or_before(at("2026-03-29T05:00:00Z")),
        Some(at("2026-03-29T01:00:00Z"))
    );
}

#[test]
fn a_repeated_time_runs_once() {
    let berlin = runs("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3);
    assert_eq!(berlin, ["10-24T00:30Z", "10-25T00:30Z", "10-26T01:30Z"]);
    let lord_howe = runs("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T12:00:00Z", 3);
    assert_eq!(lord_howe, ["04-03T14:45Z", "04-04T14:45Z", "04-05T15:15Z"]);
    let cairo = runs("30 23 * * *", "Africa/Cairo", "2026-10-28T12:00:00Z", 3);
    assert_eq!(cairo, ["10-28T20:30Z", "10-29T20:30Z", "10-30T21:30Z"]);
    let new_york = runs("30 * * * *", "America/New_York", "2026-11-01T04:00:00Z", 4);
    assert_eq!(new_york, ["11-01T04:30Z", "11-01T05:30Z", "11-01T07:30Z", "11-01T08:30Z"]);
}

#[test]
fn asked_during_the_second_pass_the_answers_are_as_before_and_after() {
    let often = schedule("*/20 * * * *", "Europe/Berlin");
    // 02:10 for the second time: 02:00, 02:20 and 02:40 have all happened.
    let second_pass = at("2026-10-25T01:10:00Z");
    assert_eq!(often.next_after(second_pass), Some(at("2026-10-25T02:00:00Z")));
    assert_eq!(often.last_at_or_before(second_pass), Some(at("2026-10-25T00:40:00Z")));
    let first_pass = at("2026-10-25T00:10:00Z");
    assert_eq!(often.next_after(first_pass), Some(at("2026-10-25T00:20:00Z")));
    assert_eq!(often.last_at_or_before(first_pass), Some(at("2026-10-25T00:00:00Z")));
}

#[test]
fn the_29th_of_february_waits_for_its_year() {
    let leap = schedule("0 3 29 2 *", "UTC");
    assert_eq!(leap.next_after(at("2026-11-22T00:00:00Z")), Some(at("2028-02-29T03:00:00Z")));
    assert_eq!(
        leap.last_at_or_before(at("2026-11-22T00:00:00Z")),
        Some(at("2024-02-29T03:00:00Z"))
    );
    // 2100 is no leap year.
    assert_eq!(leap.next_after(at("2096-03-01T00:00:00Z")), None);
}

#[test]
fn either_day_field_is_enough_when_both_are_restricted() {
    let either = runs("0 3 13 * fri", "UTC", "2026-11-01T00:00:00Z", 6);
    let expected = ["11-06T03:00Z", "11-13T03:00Z", "11-20T03:00Z", "11-27T03:00Z", "12-04T03:00Z"];
    assert_eq!(either[..5], expected);
    assert_eq!(either[5], "12-11T03:00Z");
    let either = schedule("0 3 13 * fri", "UTC");
    assert_eq!(
        either.last_at_or_before(at("2026-12-14T00:00:00Z")),
        Some(at("2026-12-13T03:00:00Z")),
        "a Sunday that is the 13th"
    );
    // A field that begins with a star restricts: Fridays on odd days.
    let both = runs("0 3 */2 * fri", "UTC", "2026-11-01T00:00:00Z", 3);
    assert_eq!(both, ["11-13T03:00Z", "11-27T03:00Z", "12-11T03:00Z"]);
}

#[test]
fn seconds_and_years_may_be_given() {
    let six = schedule("30 15 3 * * mon", "UTC");
    assert_eq!(six.next_after(at("2026-11-22T00:00:00Z")), Some(at("2026-11-23T03:15:30Z")));
    let seven = schedule("0 0 3 1 1 * 2028", "Europe/Berlin");
    assert_eq!(seven.upcoming(at("2026-11-22T00:00:00Z"), 5), [at("2028-01-01T02:00:00Z")]);
    assert_eq!(seven.shortest_period(at("2026-11-22T00:00:00Z"), 5), None);
}

#[test]
fn a_moment_within_a_second_belongs_to_it() {
    let daily = schedule("0 3 * * *", "UTC");
    let run = at("2026-11-22T03:00:00Z");
    assert_eq!(daily.next_after(run - Span(1)), Some(run));
    assert_eq!(daily.next_after(run), Some(at("2026-11-23T03:00:00Z")));
    assert_eq!(daily.next_after(run + Span(999)), Some(at("2026-11-23T03:00:00Z")));
    assert_eq!(daily.last_at_or_before(run + Span(999)), Some(run));
    assert_eq!(daily.last_at_or_before(run), Some(run));
    assert_eq!(daily.last_at_or_before(run - Span(1)), Some(at("2026-11-21T03:00:00Z")));
}

#[test]
fn before_and_after_all_years_there_is_nothing() {
    let daily = schedule("0 3 * * *", "Pacific/Apia");
    assert_eq!(daily.next_after(Timestamp(i64::MAX)), None);
    assert_eq!(daily.last_at_or_before(Timestamp(i64::MIN)), None);
    let first = daily.next_after(Timestamp(i64::MIN)).unwrap();
    assert_eq!(first.to_string(), "1970-01-01T14:00:00.000Z");
    let last = daily.last_at_or_before(Timestamp(i64::MAX)).unwrap();
    assert_eq!(last.to_utc().year(), 2100);
}

#[test]
fn the_shortest_period_sees_the_clocks_change() {
    let spring = at("2026-03-27T12:00:00Z");
    let daily = schedule("0 12 * * *", "Europe/Berlin");
    assert_eq!(daily.shortest_period(spring, 5), Some(Span::from_secs(23 * 3600)));
    let weekly = schedule("@weekly", "UTC");
    assert_eq!(weekly.shortest_period(spring, 5), Some(Span::from_secs(7 * 86_400)));
    let uneven = schedule("0 3 1,15 * *", "UTC");
    assert_eq!(uneven.shortest_period(spring, 12), Some(Span::from_secs(14 * 86_400)));
}

#[test]
fn zones_are_iana_names() {
    for zone in ["", "Berlin", "CEST", "Europe/Nowhere", "+02:00"] {
        let error = Schedule::parse("@daily", zone).unwrap_err();
        assert_eq!(error, ScheduleError::Zone(zone.to_owned()));
        assert!(error.to_string().contains("Europe/Berlin"));
    }
    let daily = schedule(" @daily ", "Europe/Berlin");
    assert_eq!((daily.text(), daily.zone()), ("@daily", "Europe/Berlin"));
    assert_eq!(daily.to_string(), "@daily (Europe/Berlin)");
    assert_eq!(daily, schedule("@daily", "Europe/Berlin"));
    assert_ne!(daily, schedule("@daily", "UTC"));
}

/// Whether an expression of [`Draw::expression`] names this local time, decided without cron.
fn names(text: &str, local: NaiveDateTime) -> bool {
    let fields: Vec<&str> = text.split(' ').collect();
    let is = |field: usize, min: u32, value: u32| {
        fields[field].split(',').any(|entry| {
            let entry = entry.replace("mar", "3").replace("apr", "4").replace("sun", "0");
            let (base, step) = entry.split_once('/').unwrap_or((&entry, "1"));
            let (first, last) = match base.split_once('-') {
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None if base == "*" => (min, 99),
                None => (base.parse().unwrap(), base.parse().unwrap()),
            };
            (first..=last).step_by(step.parse().unwrap()).any(|named| named == value)
        })
    };
    let weekday = local.weekday().num_days_from_sunday();
    let (day, weekday) =
        (is(2, 1, local.day()), is(4, 0, weekday) || is(4, 0, weekday + 7) && weekday == 0);
    let either = !fields[2].starts_with('*') && !fields[4].starts_with('*');
    let date = if either { day || weekday } else { day && weekday };
    is(0, 0, local.minute()) && is(1, 0, local.hour()) && is(3, 1, local.month()) && date
}

#[test]
fn runs_are_exactly_the_named_local_times() {
    let mut draw = Draw(7);
    for _ in 0..80 {
        let (text, zone) = (draw.expression(), draw.pick(&ZONES));
        let Ok(schedule) = Schedule::parse(&text, zone) else { continue };
        let after = draw.moment();
        let until = after + Span::from_secs(3 * 86_400);
        // Every local minute that may happen in between, by the rule of the zone.
        let zone = Zone::parse(zone).unwrap();
        let start = zone.local(after) - TimeDelta::days(1);
        let start = start.with_second(0).unwrap();
        let mut expected: Vec<Timestamp> = (0..6 * 1440)
            .map(|minute| start + TimeDelta::minutes(minute))
            .filter(|local| names(&text, *local))
            .map(|local| zone.instant(local))
            .filter(|run| *run > after && *run <= until)
            .collect();
        expected.dedup();
        let found = iter::successors(schedule.next_after(after), |run| schedule.next_after(*run));
        let found: Vec<Timestamp> = found.take_while(|run| *run <= until).collect();
        assert_eq!(found, expected, "{text} in {} after {after}", zone.name());
        let last = expected.last().copied();
        assert_eq!(schedule.last_at_or_before(until).filter(|run| *run > after), last, "{text}");
    }
}

#[test]
fn the_next_run_is_always_later_and_the_same_from_wherever_it_is_asked() {
    let mut draw = Draw(42);
    let mut asked = 0;
    while asked < 24_000 {
        let (text, zone) = (draw.expression(), draw.pick(&ZONES));
        let Ok(schedule) = Schedule::parse(&text, zone) else { continue };
        for _ in 0..20 {
            asked += 1;
            let after = draw.moment();
            let Some(next) = schedule.next_after(after) else { continue };
            let place = format!("{text} in {zone} after {after}");
            assert!(next > after, "{place}: {next}");
            assert_eq!(schedule.next_after(next - Span(1)), Some(next), "{place}");
            assert_eq!(schedule.last_at_or_before(next), Some(next), "{place}");
            let between = after + Span(draw.below(next.since(after).0));
            assert_eq!(schedule.next_after(between), Some(next), "{place}, from {between}");
            let last = schedule.last_at_or_before(after);
            assert_eq!(last.and_then(|last| schedule.next_after(last)), Some(next), "{place}");
            assert_eq!(schedule.last_at_or_before(next - Span(1)), last, "{place}");
        }
    }
}
