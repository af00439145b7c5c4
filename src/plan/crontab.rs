//! What a cron expression says. Decides the grammar and explains what is wrong with a text; must
//! not know zones, instants or what is rotated.
//!
//! The grammar is that of crontab(5), with optional seconds and year. The `cron` crate walks the
//! calendar, but speaks another dialect (its Sunday is 1, and it joins both day fields with
//! "and"), so that each field is read here and handed on as plain lists of numbers.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use thiserror::Error;

/// Longest expression in bytes. A real one has under fifty; this leaves room for lists, and keeps
/// a mistake from filling logs.
pub const SCHEDULE_LEN_MAX: usize = 256;

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Nothing was given.
    #[error("the schedule is empty: give five cron fields such as \"0 3 * * sun\", or @weekly")]
    Empty,
    /// Longer than [`SCHEDULE_LEN_MAX`].
    #[error(
        "the schedule has {0} bytes and at most {SCHEDULE_LEN_MAX} are read: use ranges and steps \
         instead of lists"
    )]
    TooLong(usize),
    /// Not five, six or seven fields.
    #[error(
        "the schedule has the wrong number of fields, {0}: give minute, hour, day of month, month \
         and weekday (\"0 3 * * sun\"); six begin with the second, seven also end with the year"
    )]
    FieldCount(usize),
    /// Starts with `@` and is not one of the known words.
    #[error("{0:?} is not known: use @hourly, @daily, @weekly, @monthly, @yearly or five fields")]
    Shorthand(String),
    /// `@reboot`.
    #[error("@reboot is not possible, for a restart never rotates anything: use a time or max_age")]
    Reboot,
    /// Begins with `TZ=` or `CRON_TZ=`.
    #[error("a schedule names no zone: take TZ= out and set the zone beside the schedule")]
    ZoneInside,
    /// One of the fields is wrong.
    #[error("{field} field, {text:?}: {problem}")]
    Field {
        /// Which one.
        field: Field,
        /// The part of it that is wrong.
        text: String,
        /// Why, and what to write instead.
        problem: Problem,
    },
    /// Every field is right, but no such date exists.
    #[error("{0:?} has no future run, for no such date exists: check day of month and month")]
    NoFutureRun(String),
    /// The time zone database has no such zone.
    #[error("there is no time zone {0:?}: use an IANA name such as \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
}

/// The fields of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// 0 to 59; only with six fields or more.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or names.
    Month,
    /// 0 to 7, both ends Sunday, or names.
    Weekday,
    /// 1970 to 2100; only with seven fields.
    Year,
}

/// What can be wrong with one entry of a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A comma too many.
    #[error("a list has an empty entry: remove the comma")]
    EmptyEntry,
    /// Neither a number nor a name.
    #[error(
        "not understood: use numbers{names}, ranges such as 1-5, lists such as 1,3 and steps such \
         as */2",
        names = if *.named { " or English names" } else { "" }
    )]
    NotUnderstood {
        /// Whether the field has names.
        named: bool,
    },
    /// A number that the field does not have.
    #[error("outside {min} to {max}")]
    OutOfRange {
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// The end of a range comes before its start.
    #[error("the range runs backwards: write two, such as 22-23,0-4")]
    Backwards,
    /// A step of nothing.
    #[error("a step of 0 never moves on: use 1 or more")]
    StepZero,
    /// A step that is larger than the field, and so would mean something else than it seems to.
    #[error("the field has only {values} values: write the times as a list")]
    StepTooLarge {
        /// How many values the field has.
        values: u32,
    },
    /// A step from a single weekday: cron programs disagree on where it ends.
    #[error("a step needs a range here: write it such as 1-5/2")]
    StepWithoutRange,
    /// A sign of another dialect.
    #[error("{sign} is not known here: {instead}")]
    Sign {
        /// The sign.
        sign: char,
        /// What to write.
        instead: &'static str,
    },
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Field {
    /// Smallest and largest number that may be written.
    fn bounds(self) -> (u32, u32) {
        match self {
            Field::Second | Field::Minute => (0, 59),
            Field::Hour => (0, 23),
            Field::DayOfMonth => (1, 31),
            Field::Month => (1, 12),
            Field::Weekday => (0, 7),
            Field::Year => (1970, 2100),
        }
    }

    /// The last value that is not a second writing of an earlier one.
    fn last(self) -> u32 {
        match self {
            Field::Weekday => 6,
            _ => self.bounds().1,
        }
    }

    fn value_count(self) -> u32 {
        self.last() - self.bounds().0 + 1
    }

    /// Names of the values, the first one for the smallest.
    fn names(self) -> &'static [&'static str] {
        match self {
            Field::Month => &MONTHS,
            Field::Weekday => &WEEKDAYS,
            _ => &[],
        }
    }

    /// The number as the `cron` crate counts: its weekdays begin with Sunday as 1.
    fn to_cron(self, value: u32) -> u32 {
        if self == Field::Weekday { value + 1 } else { value }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day-of-month",
            Field::Month => "month",
            Field::Weekday => "weekday",
            Field::Year => "year",
        })
    }
}

/// Reads an expression. The runs are those of all the calendars in the answer together: two where
/// both day fields are restricted, because either of them is then enough.
pub(super) fn compile(text: &str) -> Result<Vec<cron::Schedule>, ScheduleError> {
    if text.len() > SCHEDULE_LEN_MAX {
        return Err(ScheduleError::TooLong(text.len()));
    }
    let [second, minute, hour, day, month, weekday, year] = split(text)?;
    let second = Values::parse(Field::Second, second)?;
    let minute = Values::parse(Field::Minute, minute)?;
    let hour = Values::parse(Field::Hour, hour)?;
    let day = Values::parse(Field::DayOfMonth, day)?;
    let month = Values::parse(Field::Month, month)?;
    let weekday = Values::parse(Field::Weekday, weekday)?;
    let year = Values::parse(Field::Year, year)?;

    let days = if day.starred || weekday.starred {
        vec![(day.to_cron(), weekday.to_cron())]
    } else {
        vec![(day.to_cron(), "*".to_owned()), ("*".to_owned(), weekday.to_cron())]
    };
    let (clock, month, year) = (
        format!("{} {} {}", second.to_cron(), minute.to_cron(), hour.to_cron()),
        month.to_cron(),
        year.to_cron(),
    );
    days.into_iter()
        .map(|(day, weekday)| {
            let calendar: cron::Schedule = format!("{clock} {day} {month} {weekday} {year}")
                .parse()
                .expect("each field is a list of numbers that was checked against cron's ranges");
            // Asked from before the first year that any schedule has.
            match calendar.after(&DateTime::<Utc>::UNIX_EPOCH).next() {
                Some(_) => Ok(calendar),
                None => Err(ScheduleError::NoFutureRun(text.trim().to_owned())),
            }
        })
        .collect()
}

/// Reads a weekday field: for each day from Sunday, whether it is in the set.
pub(super) fn weekdays(text: &str) -> Result<[bool; 7], ScheduleError> {
    let values = Values::parse(Field::Weekday, text)?;
    Ok(std::array::from_fn(|day| values.set.iter().any(|&value| value as usize == day)))
}

/// The seven fields, those that were left out filled in.
fn split(text: &str) -> Result<[&str; 7], ScheduleError> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields[..] {
        [] => Err(ScheduleError::Empty),
        [word, ..] if word.starts_with('@') => shorthand(text.trim()),
        [word, ..] if word.contains("TZ=") => Err(ScheduleError::ZoneInside),
        [minute, hour, day, month, weekday] => Ok(["0", minute, hour, day, month, weekday, "*"]),
        [second, minute, hour, day, month, weekday] => {
            Ok([second, minute, hour, day, month, weekday, "*"])
        }
        [second, minute, hour, day, month, weekday, year] => {
            Ok([second, minute, hour, day, month, weekday, year])
        }
        _ => Err(ScheduleError::FieldCount(fields.len())),
    }
}

fn shorthand(words: &str) -> Result<[&'static str; 7], ScheduleError> {
    match words {
        "@yearly" | "@annually" => Ok(["0", "0", "0", "1", "1", "*", "*"]),
        "@monthly" => Ok(["0", "0", "0", "1", "*", "*", "*"]),
        "@weekly" => Ok(["0", "0", "0", "*", "*", "0", "*"]),
        "@daily" | "@midnight" => Ok(["0", "0", "0", "*", "*", "*", "*"]),
        "@hourly" => Ok(["0", "0", "*", "*", "*", "*", "*"]),
        "@reboot" => Err(ScheduleError::Reboot),
        _ => Err(ScheduleError::Shorthand(words.to_owned())),
    }
}

/// One field, read.
struct Values {
    field: Field,
    set: BTreeSet<u32>,
    /// Begins with `*`. crontab(5) joins the day fields with "or" unless one of them does, steps
    /// such as `*/2` included.
    starred: bool,
}

impl Values {
    fn parse(field: Field, text: &str) -> Result<Values, ScheduleError> {
        let mut set = BTreeSet::new();
        for entry in text.split(',') {
            let (first, last, step) = parse_entry(field, entry).map_err(|problem| {
                ScheduleError::Field { field, text: entry.to_owned(), problem }
            })?;
            let values = (first..=last).step_by(step as usize);
            // Sunday is 0 and 7: one of them is enough.
            set.extend(values.map(|value| if value > field.last() { 0 } else { value }));
        }
        Ok(Values { field, set, starred: text.starts_with('*') })
    }

    /// The field in the dialect of the `cron` crate.
    fn to_cron(&self) -> String {
        if self.set.len() == self.field.value_count() as usize {
            return "*".to_owned();
        }
        let numbers: Vec<String> =
            self.set.iter().map(|&value| self.field.to_cron(value).to_string()).collect();
        numbers.join(",")
    }
}

/// One entry of a list as first value, last value and step.
fn parse_entry(field: Field, entry: &str) -> Result<(u32, u32, u32), Problem> {
    if entry.is_empty() {
        return Err(Problem::EmptyEntry);
    }
    let (base, step) = match entry.split_once('/') {
        Some((base, step)) => (base, Some(parse_step(field, step)?)),
        None => (entry, None),
    };
    let (first, last) = if base == "*" {
        (field.bounds().0, field.last())
    } else if let Some((first, last)) = base.split_once('-') {
        parse_range(field, first, last)?
    } else {
        let value = parse_value(field, base)?;
        match step {
            Some(_) if field == Field::Weekday => return Err(Problem::StepWithoutRange),
            Some(_) => (value, field.last()),
            None => (value, value),
        }
    };
    Ok((first, last, step.unwrap_or(1)))
}

fn parse_step(field: Field, text: &str) -> Result<u32, Problem> {
    match parse_number(text) {
        None => Err(not_understood(field, text)),
        Some(0) => Err(Problem::StepZero),
        Some(step) if step > field.value_count() => {
            Err(Problem::StepTooLarge { values: field.value_count() })
        }
        Some(step) => Ok(step),
    }
}

fn parse_range(field: Field, first: &str, last: &str) -> Result<(u32, u32), Problem> {
    let (from, mut to) = (parse_value(field, first)?, parse_value(field, last)?);
    // Sunday by its name ends a week as well as it begins one: fri-sun.
    if field == Field::Weekday && to == 0 && from > 0 && parse_number(last).is_none() {
        to = 7;
    }
    if from > to { Err(Problem::Backwards) } else { Ok((from, to)) }
}

fn parse_value(field: Field, text: &str) -> Result<u32, Problem> {
    let (min, max) = field.bounds();
    if let Some(number) = parse_number(text) {
        return match number {
            number if (min..=max).contains(&number) => Ok(number),
            _ => Err(Problem::OutOfRange { min, max }),
        };
    }
    let lower = text.to_ascii_lowercase();
    (min..)
        .zip(field.names())
        .find(|(_, name)| lower == **name || lower == name[..3])
        .map(|(value, _)| value)
        .ok_or_else(|| not_understood(field, text))
}

/// A number; one that is too large for anything comes out as the largest.
fn parse_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// Says more where the text is right in another dialect of cron.
fn not_understood(field: Field, text: &str) -> Problem {
    let instead = |sign| match sign {
        '?' => Some("write *"),
        '#' => Some("list days of the month instead, such as 1-7 for the first week"),
        '~' => Some("jitter is a setting of its own"),
        // As part of a word they are no signs.
        _ if !text.bytes().all(|byte| byte.is_ascii_digit() || b"LWH".contains(&byte)) => None,
        'L' => Some("list the days, such as 28, which every month has"),
        'W' => Some("list the weekdays, such as mon-fri"),
        'H' => Some("give a number; jitter is a setting of its own"),
        _ => None,
    };
    text.chars()
        .find_map(|sign| instead(sign).map(|instead| Problem::Sign { sign, instead }))
        .unwrap_or_else(|| Problem::NotUnderstood { named: !field.names().is_empty() })
}

#[cfg(test)]
mod tests;
