//! Moments and spans, and the traits through which the outside clock and randomness come in.
//!
//! The core names no other time type. A [`Timestamp`] is wall time in milliseconds; a [`Span`] is
//! a length of time in milliseconds, never negative.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment of wall time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Written as RFC 3339 with milliseconds in UTC.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment as whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// A moment from whole seconds since 1970.
    pub fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(1000))
    }

    /// How much time has passed from `earlier` to `self`; zero if it has not come yet.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment as a calendar date in UTC.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(date: DateTime<Utc>) -> Timestamp {
        Timestamp(date.timestamp_millis())
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;

    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add_unsigned(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;

    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub_unsigned(span.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|date| Timestamp(date.timestamp_millis()))
            .map_err(|_| D::Error::custom("expected a moment such as 2026-11-22T03:12:00.000Z"))
    }
}

/// A length of time in milliseconds. Written the way people write it: `5m`, `1h 30m`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Span {
        Span(seconds * 1000)
    }

    /// The span as the standard library's type.
    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Both spans, one after the other.
    pub const fn plus(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }

    /// The span `n` times.
    pub const fn times(self, n: u64) -> Span {
        Span(self.0.saturating_mul(n))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&humantime::format_duration(self.to_std()).to_string())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Span::from).map_err(|_| {
            D::Error::custom("expected a length of time such as \"90s\", \"5m\" or \"1h 30m\"")
        })
    }
}

/// A reading of a clock that only goes forward and counts suspended time, in milliseconds since
/// an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Steady(pub u64);

impl Steady {
    /// How much time has passed from `earlier` to `self`.
    pub fn since(self, earlier: Steady) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The reading this much later.
    pub fn plus(self, span: Span) -> Steady {
        Steady(self.0.saturating_add(span.0))
    }
}

/// Where time comes from. The only implementation that reads the machine's clock is in `engine`.
pub trait Clock: Send + Sync {
    /// Wall time: for schedules, deadlines and records.
    fn now(&self) -> Timestamp;

    /// Time that cannot be set, and goes on while the machine sleeps: for leases and time-outs.
    fn steady(&self) -> Steady;
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with bytes that nobody can guess.
    ///
    /// # Panics
    /// If the system's generator fails: nothing that rotord does is safe without it.
    fn fill(&self, buffer: &mut [u8]);
}
