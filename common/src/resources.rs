//! What a run takes of a machine, as people write it: `"1.5"` processors, or `"500m"`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share of a machine's processors, in thousandths of one; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u64);

/// Why a text is no share of processors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a number of processors (more than 0, in steps of a thousandth); use, for example, \"1.5\" or \"500m\""
)]
pub struct CpuError(String);

/// More than any machine has.
const MOST: u64 = 1_000_000 * 1000;

impl Cpu {
    /// Thousandths of a processor; none for nothing, or more than any machine has.
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis == 0 || millis > MOST { None } else { Some(Self(millis)) }
    }

    /// Thousandths of a processor.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpu {
    type Err = CpuError;

    fn from_str(text: &str) -> Result<Self, CpuError> {
        let trimmed = text.trim();
        let millis = match trimmed.strip_suffix('m') {
            Some(millis) => digits(millis),
            None => from_decimal(trimmed),
        };
        millis.and_then(Self::from_millis).ok_or_else(|| CpuError(text.chars().take(80).collect()))
    }
}

/// A number of digits only: the library's own would take a sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn from_decimal(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 3 {
        return None;
    }
    let thousandths = digits(&format!("{part:0<3}"))?;
    digits(whole)?.checked_mul(1000)?.checked_add(thousandths)
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (whole, 0) => write!(f, "{whole}"),
            (0, part) => write!(f, "{part}m"),
            (whole, part) => f.write_str(format!("{whole}.{part:03}").trim_end_matches('0')),
        }
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

/// Takes the number itself as well.
struct Read;

impl de::Visitor<'_> for Read {
    type Value = Cpu;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of processors, such as \"1.5\" or \"500m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cpu, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cpu, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cpu, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cpu, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for (text, millis, printed) in [
            ("2", 2000, "2"),
            ("0.5", 500, "500m"),
            ("500m", 500, "500m"),
            ("1500m", 1500, "1.5"),
            ("1.25", 1250, "1.25"),
            (" 0.001 ", 1, "1m"),
        ] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.millis(), cpu.to_string().as_str()), (millis, printed), "{text}");
            assert_eq!(printed.parse(), Ok(cpu));
        }
        let read = |json: &str| serde_json::from_str::<Cpu>(json).map(Cpu::millis);
        assert_eq!((read("1.5").unwrap(), read("2").unwrap(), read("\"250m\"").unwrap()), (1500, 2000, 250));
    }

    #[test]
    fn what_is_no_share_is_refused_with_an_example() {
        for bad in [
            "",
            "0",
            "0m",
            "0.0",
            "-1",
            "+1",
            "1.",
            ".5",
            "1.0001",
            "1e3",
            "m",
            "99999999999999999999",
            "one",
        ] {
            let error = bad.parse::<Cpu>().unwrap_err().to_string();
            assert!(error.contains("1.5"), "{error}");
        }
        for bad in ["0", "-1", "1e300", "[]", "null"] {
            assert!(serde_json::from_str::<Cpu>(bad).is_err(), "{bad}");
        }
    }
}
