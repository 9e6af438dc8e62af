//! Ticks and fences: the heart of "once".
//!
//! A tick is a job's scheduled instant in whole seconds. A fence is the last decided tick of a job. Both are
//! written as `2026-11-22T01:02:03Z`, always 20 characters for the years that schedules reach, so that their
//! order as text is their order in time: the store compares them as text.

use std::{fmt, str::FromStr};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of a tick's text form.
pub const TICK_TEXT_BYTES: usize = 20;

/// Seconds since 1970 of `0000-01-01T00:00:00Z` and `9999-12-31T23:59:59Z`: outside of these the text form
/// would have another length and compare wrongly.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// A job's scheduled instant, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(i64);

/// The last decided tick of a job, or the instant from which its ticks count.
pub type Fence = Tick;

impl Tick {
    /// The instant cut to whole seconds, clamped to the years 0–9999.
    pub fn from_instant(instant: DateTime<Utc>) -> Self {
        Self(instant.timestamp().clamp(*RANGE.start(), *RANGE.end()))
    }

    /// The tick as an instant.
    pub fn instant(self) -> DateTime<Utc> {
        Utc.timestamp_opt(self.0, 0).single().unwrap_or_default()
    }

    /// Seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0 * 1000
    }
}

/// Why a text is not a tick.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an instant in whole seconds; use, for example, \"2026-11-22T01:02:03Z\"")]
pub struct TickError(String);

impl FromStr for Tick {
    type Err = TickError;

    fn from_str(text: &str) -> Result<Self, TickError> {
        let error = || TickError(text.chars().take(80).collect());
        let tick = DateTime::parse_from_rfc3339(text)
            .map(|instant| Self::from_instant(instant.with_timezone(&Utc)))
            .map_err(|_| error())?;
        // Only the one spelling compares as text.
        if tick.to_string() == text { Ok(tick) } else { Err(error()) }
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.instant().to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Tick {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tick {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_order_is_time_order() {
        let ticks = [i64::MIN / 1_000_000, -1, 0, 1, 1_795_310_523, 253_402_300_799, i64::MAX / 1_000_000]
            .map(|seconds| Tick(seconds.clamp(*RANGE.start(), *RANGE.end())));
        for pair in ticks.windows(2) {
            assert!(pair[0] <= pair[1]);
            assert!(pair[0].to_string() <= pair[1].to_string(), "{pair:?}");
            assert_eq!(pair[0].to_string().len(), TICK_TEXT_BYTES);
        }
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let tick: Tick = "2026-11-22T01:02:03Z".parse().unwrap();
        assert_eq!(tick.to_string(), "2026-11-22T01:02:03Z");
        for bad in ["2026-11-22T01:02:03+00:00", "2026-11-22T01:02:03.5Z", "2026-11-22 01:02:03Z", "x", ""] {
            assert!(bad.parse::<Tick>().is_err(), "{bad}");
        }
    }
}
