//! Durations and sizes as people write them: `1h30m`, `1MiB`.

use std::{fmt, str::FromStr, time::Duration};

/// A duration, written `1h30m` or `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Why a text is not a duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} {problem}; use, for example, {example}")]
pub struct SpanError {
    problem: &'static str,
    got: String,
    example: &'static str,
}

/// The longest duration: what milliseconds since 1970 in an `i64` can be added to without care.
const LONGEST: Duration = Duration::from_secs(200 * 366 * 86_400);

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let refused = |problem| SpanError {
            problem,
            got: text.chars().take(80).collect(),
            example: "\"90s\", \"1h30m\", \"30d\" or \"250ms\"",
        };
        if names_calendar_unit(text) {
            return Err(refused("names months or years, which have no fixed length (\"m\" is minutes)"));
        }
        Self::of_any_unit(text).ok_or_else(|| refused("is not a duration"))
    }
}

impl Span {
    /// As [`FromStr`], with months of 30.44 and years of 365.25 days, as earlier versions read and wrote them.
    pub(crate) fn of_any_unit(text: &str) -> Option<Self> {
        humantime::parse_duration(text.trim()).ok().filter(|duration| *duration <= LONGEST).map(Self)
    }

    /// With a blank between its parts: `1h 30m`.
    pub fn in_words(self) -> String {
        const DAY: u64 = 86_400;
        let days = self.0.as_secs() / DAY;
        let rest = self.0 - Duration::from_secs(days * DAY);
        let rest_text = || humantime::format_duration(rest).to_string();
        match (days, rest.is_zero()) {
            (0, _) => rest_text(),
            (1, true) => "1day".to_owned(),
            (_, true) => format!("{days}days"),
            (1, false) => format!("1day {}", rest_text()),
            (_, false) => format!("{days}days {}", rest_text()),
        }
    }
}

/// True for a text with a unit whose length depends on the date. The names are humantime's.
pub(crate) fn names_calendar_unit(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic())
        .any(|unit| ["M", "month", "months", "y", "yr", "yrs", "year", "years"].contains(&unit))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words().replace(' ', ""))
    }
}

/// A number of bytes, written `1MiB`, `64KiB` or `1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = trimmed[digits.len()..].trim();
        let factor = if unit.is_empty() {
            Some(1)
        } else {
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
        };
        digits
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| SpanError {
                problem: "is not a size",
                got: text.chars().take(80).collect(),
                example: "\"1MiB\" or \"64KiB\"",
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = UNITS[..4]
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

/// Types that are a text in JSON: as they are printed, and parsed.
macro_rules! text_serde {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

pub(crate) use text_serde;

text_serde!(Span, ByteSize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["1h30m", "250ms", "2h", "0s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), text);
        }
        for (text, bytes) in [("1MiB", 1 << 20), ("64KiB", 65_536), ("1000B", 1000), ("0B", 0)] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, text));
        }
        assert_eq!("5 mb".parse::<ByteSize>().unwrap(), ByteSize(5_000_000));
    }

    #[test]
    fn what_has_no_fixed_length_is_no_duration() {
        for bad in ["1M", "1 month", "2months", "1y", "1 year", "3years", "1h 1M", "1M1s", "1yr"] {
            let error = bad.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("no fixed length") && error.contains("\"m\" is minutes"), "{error}");
        }
        for (text, printed) in [("30d", "30days"), ("9w", "63days"), ("400days", "400days"), ("24h", "1day")]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), printed);
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!(Span::seconds(40 * 86_400 + 3_661).to_string(), "40days1h1m1s");
    }

    #[test]
    fn rubbish_is_refused_with_an_example() {
        for bad in ["", "soon", "-1s", "1y1y1y9999999999y"] {
            let error = bad.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("90s"), "{error}");
        }
        for bad in ["", "MiB", "1XB", "99999999999TiB", "é"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
