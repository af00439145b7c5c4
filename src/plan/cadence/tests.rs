//! Jitter, windows and freezes: when a scheduled run may begin.

use chrono::DateTime;

use super::*;

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|_| panic!("{text}")).to_utc().into()
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn cadence(schedule: &str, zone: &str) -> Cadence {
    let schedule = Schedule::parse(schedule, zone).unwrap_or_else(|error| panic!("{error}"));
    Cadence { schedule: Some(schedule), ..Cadence::default() }
}

fn freeze(from: &str, until: &str) -> Freeze {
    Freeze { name: format!("from {from}"), from: at(from), until: at(until) }
}

fn starts(cadence: &Cadence, after: &str, n: usize) -> Vec<(String, String)> {
    let text = |at: Timestamp| at.to_utc().format("%dT%H:%M").to_string();
    let runs = cadence.upcoming(&name("billing"), at(after), n);
    runs.iter().map(|run| (text(run.instant), text(run.starts_at))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn jitter_depends_on_the_name_alone() {
    let cadence = Cadence { jitter: Span::from_secs(3600), ..Cadence::default() };
    // The first eight bytes of SHA-256("billing"), modulo 3600: a number that must never change,
    // for after an upgrade the same run would begin at another time.
    assert_eq!(cadence.delay(&name("billing")), Span::from_secs(3079));
    let delays: std::collections::BTreeSet<Span> =
        (0..200).map(|n| cadence.delay(&name(&format!("secret-{n}")))).collect();
    assert!(delays.len() > 180, "{} different delays of 200", delays.len());
    assert!(delays.iter().all(|delay| *delay < cadence.jitter && delay.0 % 1000 == 0));
    assert!(delays.last() > Some(&Span::from_secs(3400)), "spread over the whole of it");
    for jitter in [Span::ZERO, Span(1), Span(999), Span::from_secs(1)] {
        let cadence = Cadence { jitter, ..Cadence::default() };
        assert_eq!(cadence.delay(&name("billing")), Span::ZERO);
    }
}

#[test]
fn without_limits_a_run_begins_at_its_instant_and_jitter() {
    let mut daily = cadence("0 3 * * *", "Europe/Berlin");
    let plain = starts(&daily, "2026-11-22T02:00:00Z", 2);
    assert_eq!(plain, pairs(&[("23T02:00", "23T02:00"), ("24T02:00", "24T02:00")]));
    daily.jitter = Span::from_secs(7200);
    let delay = daily.delay(&name("billing"));
    assert!(delay > Span::ZERO);
    // The run of the 22nd has its instant behind it and its start ahead.
    let runs = daily.upcoming(&name("billing"), at("2026-11-22T02:00:00Z"), 1);
    let instant = at("2026-11-22T02:00:00Z");
    assert_eq!(runs, [ScheduledRun { instant, starts_at: instant + delay }]);
}

#[test]
fn a_run_waits_for_its_window() {
    let mut daily = cadence("0 3 * * *", "UTC");
    daily.windows = vec![Window::parse("mon-fri 09:00-17:00", "UTC").unwrap()];
    // Of Saturday, Sunday and Monday only Monday's run takes place.
    let found = starts(&daily, "2026-11-26T12:00:00Z", 3);
    assert_eq!(
        found,
        pairs(&[("27T03:00", "27T09:00"), ("30T03:00", "30T09:00"), ("01T03:00", "01T09:00")])
    );
}

#[test]
fn windows_add_up() {
    let mut hourly = cadence("@hourly", "UTC");
    hourly.windows = vec![
        Window::parse("22:30-01:30", "UTC").unwrap(),
        Window::parse("12:00-13:30", "UTC").unwrap(),
    ];
    let found = starts(&hourly, "2026-11-22T12:30:00Z", 5);
    assert_eq!(
        found,
        pairs(&[
            ("22T13:00", "22T13:00"),
            ("22T22:00", "22T22:30"),
            ("22T23:00", "22T23:00"),
            ("23T00:00", "23T00:00"),
            ("23T01:00", "23T01:00"),
        ])
    );
}

#[test]
fn a_freeze_passes_over_runs_and_catches_up_once() {
    let mut often = cadence("* * * * *", "UTC");
    often.freezes = vec![
        freeze("2026-12-20T00:00:00Z", "2027-01-04T06:00:00Z"),
        freeze("2026-12-01T00:00:00Z", "2026-12-21T00:00:00Z"),
        freeze("2027-01-04T06:00:00Z", "2027-01-04T06:00:30Z"),
    ];
    let found = starts(&often, "2026-11-30T23:58:30Z", 3);
    assert_eq!(
        found,
        pairs(&[("30T23:59", "30T23:59"), ("04T06:00", "04T06:00"), ("04T06:01", "04T06:01")])
    );
    let run = often.upcoming(&name("billing"), at("2026-11-30T23:59:00Z"), 1)[0];
    assert_eq!(run.starts_at, at("2027-01-04T06:00:30Z"));
}

#[test]
fn the_earliest_start_minds_windows_and_freezes_together() {
    let mut cadence = Cadence::default();
    let noon = at("2026-11-25T12:00:00Z");
    assert_eq!(cadence.earliest_start(noon), Some(noon));
    cadence.windows = vec![Window::parse("wed 22:00-23:00", "UTC").unwrap()];
    let tonight = at("2026-11-25T22:00:00Z");
    assert_eq!(cadence.earliest_start(noon), Some(tonight));
    assert_eq!(cadence.earliest_start(tonight), Some(tonight));
    // A freeze over the opening leaves the last second of it.
    cadence.freezes = vec![freeze("2026-11-25T18:00:00Z", "2026-11-25T22:59:59Z")];
    assert_eq!(cadence.earliest_start(noon), Some(at("2026-11-25T22:59:59Z")));
    // One over all of it leaves the window after it.
    cadence.freezes.push(freeze("2026-11-25T11:00:00Z", "2026-11-25T23:00:00Z"));
    assert_eq!(cadence.earliest_start(noon), Some(at("2026-12-02T22:00:00Z")));
    assert_eq!(cadence.freeze(noon).unwrap().name, "from 2026-11-25T11:00:00Z");
    assert_eq!(cadence.freeze(at("2026-11-25T23:00:00Z")), None);
}

#[test]
fn without_a_schedule_there_is_nothing_to_come() {
    assert_eq!(Cadence::default().upcoming(&name("billing"), Timestamp(0), 5), []);
    let past = cadence("0 0 3 * * * 2020", "UTC");
    assert_eq!(past.upcoming(&name("billing"), at("2026-11-22T00:00:00Z"), 5), []);
}
