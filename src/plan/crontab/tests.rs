//! What a cron expression is read as, and what is said of a wrong one.

use super::*;

fn problem(text: &str) -> (Field, String, Problem) {
    match compile(text) {
        Err(ScheduleError::Field { field, text, problem }) => (field, text, problem),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn days(text: &str) -> String {
    let set = weekdays(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    (0..7).filter(|&day| set[day]).map(|day| char::from(b'0' + day as u8)).collect()
}

#[test]
fn every_form_of_weekday_has_its_crontab_meaning() {
    let table = [
        ("*", "0123456"),
        ("0", "0"),
        ("7", "0"),
        ("1", "1"),
        ("6", "6"),
        ("1-5", "12345"),
        ("0-6", "0123456"),
        ("0-7", "0123456"),
        ("5-7", "056"),
        ("1-7", "0123456"),
        ("6,7", "06"),
        ("0,7", "0"),
        ("1,3,5", "135"),
        ("1-5/2", "135"),
        ("*/2", "0246"),
        ("0-7/7", "0"),
        ("1-7/2", "0135"),
        ("sun", "0"),
        ("Sunday", "0"),
        ("MON-FRI", "12345"),
        ("mon,Wed,friday", "135"),
        ("sun-tue", "012"),
        ("fri-sun", "056"),
        ("sun-sun", "0"),
        ("mon-sun/3", "014"),
        ("sat,sun", "06"),
        ("1-3,fri", "1235"),
    ];
    for (text, expected) in table {
        assert_eq!(days(text), expected, "{text}");
    }
}

#[test]
fn cron_is_handed_plain_lists_with_its_own_weekdays() {
    let table = [
        ("0 3 * * *", &["0 0 3 * * * *"][..]),
        ("*/15 0-7/2 * * 1-5", &["0 0,15,30,45 0,2,4,6 * * 2,3,4,5,6 *"]),
        ("5/15 3 * jan,Jul-september 7", &["0 5,20,35,50 3 * 1,7,8,9 1 *"]),
        ("30 0 3 1 * *", &["30 0 3 1 * * *"]),
        ("30 0 3 1 * * 2027-2029", &["30 0 3 1 * * 2027,2028,2029"]),
        ("0 3 1 * 5", &["0 0 3 1 * * *", "0 0 3 * * 6 *"]),
        ("0 3 */2 * 5", &["0 0 3 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * 6 *"]),
        ("0 3 1 * *", &["0 0 3 1 * * *"]),
        ("0 3 1 * */7", &["0 0 3 1 * 1 *"]),
        ("  0\t3 * *  *  ", &["0 0 3 * * * *"]),
        ("@yearly", &["0 0 0 1 1 * *"]),
        ("@annually", &["0 0 0 1 1 * *"]),
        ("@monthly", &["0 0 0 1 * * *"]),
        ("@weekly", &["0 0 0 * * 1 *"]),
        ("@daily", &["0 0 0 * * * *"]),
        ("@midnight", &["0 0 0 * * * *"]),
        (" @hourly ", &["0 0 * * * * *"]),
    ];
    for (text, expected) in table {
        let calendars = compile(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let sources: Vec<&str> = calendars.iter().map(cron::Schedule::source).collect();
        assert_eq!(sources, expected, "{text}");
    }
}

#[test]
fn a_wrong_entry_is_named_with_its_field() {
    let table = [
        ("60 3 * * *", Field::Minute, "60", "outside 0 to 59"),
        ("0 24 * * *", Field::Hour, "24", "outside 0 to 23"),
        ("0 3 0 * *", Field::DayOfMonth, "0", "outside 1 to 31"),
        ("0 3 * 13 *", Field::Month, "13", "outside 1 to 12"),
        ("0 3 * * 8", Field::Weekday, "8", "outside 0 to 7"),
        ("0 0 3 * * * 2101", Field::Year, "2101", "outside 1970 to 2100"),
        ("0 99999999999999999999 * * *", Field::Hour, "99999999999999999999", "outside"),
        ("0 3 * * fri-mon", Field::Weekday, "fri-mon", "backwards"),
        ("0 3 * * 6-0", Field::Weekday, "6-0", "backwards"),
        ("0 22-4 * * *", Field::Hour, "22-4", "backwards"),
        ("*/0 3 * * *", Field::Minute, "*/0", "never moves on"),
        ("*/90 * * * *", Field::Minute, "*/90", "only 60 values"),
        ("0 3 * * 1/2", Field::Weekday, "1/2", "needs a range"),
        ("0 3 1,,2 * *", Field::DayOfMonth, "", "remove the comma"),
        ("0 3 ? * 1", Field::DayOfMonth, "?", "write *"),
        ("0 3 L * *", Field::DayOfMonth, "L", "list the days"),
        ("0 3 15W * *", Field::DayOfMonth, "15W", "list the weekdays"),
        ("0 3 * * 5L", Field::Weekday, "5L", "list the days"),
        ("0 3 * * mon#2", Field::Weekday, "mon#2", "days of the month"),
        ("H 3 * * *", Field::Minute, "H", "jitter"),
        ("0~30 3 * * *", Field::Minute, "0~30", "jitter"),
        ("0 3 * * montag", Field::Weekday, "montag", "English names"),
        ("0 3 * * APRIL", Field::Weekday, "APRIL", "English names"),
        ("0 three * * *", Field::Hour, "three", "use numbers, ranges"),
        ("-5 3 * * *", Field::Minute, "-5", "not understood"),
        ("+5 3 * * *", Field::Minute, "+5", "not understood"),
        ("1-2-3 3 * * *", Field::Minute, "1-2-3", "not understood"),
        ("*/2/3 3 * * *", Field::Minute, "*/2/3", "not understood"),
        ("*-5 3 * * *", Field::Minute, "*-5", "not understood"),
        ("** 3 * * *", Field::Minute, "**", "not understood"),
        ("0 \u{661} * * *", Field::Hour, "\u{661}", "not understood"),
    ];
    for (text, field, entry, says) in table {
        let (its_field, its_entry, problem) = problem(text);
        assert_eq!((its_field, its_entry.as_str()), (field, entry), "{text}");
        assert!(problem.to_string().contains(says), "{text}: {problem}");
    }
}

#[test]
fn what_is_no_schedule_at_all_is_told_apart() {
    let long = "1,".repeat(SCHEDULE_LEN_MAX);
    let table = [
        ("", ScheduleError::Empty),
        (" \n ", ScheduleError::Empty),
        ("3", ScheduleError::FieldCount(1)),
        ("* * * *", ScheduleError::FieldCount(4)),
        ("* * * * * * * *", ScheduleError::FieldCount(8)),
        ("@reboot", ScheduleError::Reboot),
        ("@fortnightly", ScheduleError::Shorthand("@fortnightly".into())),
        ("@every 1h", ScheduleError::Shorthand("@every 1h".into())),
        ("@Daily", ScheduleError::Shorthand("@Daily".into())),
        ("TZ=UTC 0 3 * * *", ScheduleError::ZoneInside),
        ("CRON_TZ=Asia/Tokyo 0 3 * * *", ScheduleError::ZoneInside),
        ("0 3 30 2 *", ScheduleError::NoFutureRun("0 3 30 2 *".into())),
        ("0 3 31 4,6,9,11 *", ScheduleError::NoFutureRun("0 3 31 4,6,9,11 *".into())),
        ("0 3 31 2 1", ScheduleError::NoFutureRun("0 3 31 2 1".into())),
        ("0 0 3 29 2 * 2026", ScheduleError::NoFutureRun("0 0 3 29 2 * 2026".into())),
        (long.as_str(), ScheduleError::TooLong(long.len())),
    ];
    for (text, expected) in table {
        assert_eq!(compile(text).err(), Some(expected), "{text:?}");
    }
}
