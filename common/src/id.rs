//! Names and ids: parsed once, valid ever after.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {got:?} {problem}; use, for example, {example}")]
pub struct NameError {
    /// What was to be named: `job name`, `worker id`, `run id`.
    pub what: &'static str,
    /// The text as it came, cut at 80 characters.
    pub got: String,
    /// What is wrong with it.
    pub problem: &'static str,
    /// A correct one.
    pub example: &'static str,
}

/// The longest job name or worker id, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

fn check(what: &'static str, example: &'static str, text: &str) -> Result<(), NameError> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > MAX_NAME_BYTES {
        "is longer than 200 bytes"
    } else if text.contains('/') {
        "contains '/'"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else if text.trim() != text {
        "begins or ends with a blank"
    } else if text == "." || text == ".." {
        "is a path, not a name"
    } else {
        return Ok(());
    };
    Err(NameError { what, got: text.chars().take(80).collect(), problem, example })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, $example, text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A job's name: 1–200 bytes of UTF-8, no `/`, no control characters, no blank at the ends.
    JobName,
    "job name",
    "\"nightly-backup\""
);
name!(
    /// A worker's id, kept across its restarts; the same rules as for [`JobName`].
    WorkerId,
    "worker id",
    "\"web1-3f9c\""
);

/// One run of a job. All attempts of a run share it. Reads both UUID spellings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// A run id from its 128 bits, as a generator of version-7 UUIDs makes them.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id before all that runs got from this instant on: ids are in the order of their making, as far as clocks agree.
    pub fn first_at(at: DateTime<Utc>) -> Self {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// The id as a UUID.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl FromStr for RunId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError {
            what: "run id",
            got: text.chars().take(80).collect(),
            problem: "is not a UUID",
            example: "\"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b\"",
        })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_path_or_a_terminal_are_refused() {
        for bad in ["", "a/b", "a\nb", " a", "a ", ".", "..", &"x".repeat(201)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad:?}");
        }
        for good in ["a", "nightly backup", "データ", &"x".repeat(200)] {
            assert_eq!(good.parse::<JobName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_run_id_reads_both_spellings() {
        let id: RunId = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
        assert_eq!("01935d2e7b1c7c3e9a510d6f2f3e4a5b".parse::<RunId>().unwrap(), id);
        assert!("not-a-run".parse::<RunId>().is_err());
    }

    #[test]
    fn a_run_id_stands_behind_the_first_one_of_its_instant_and_before_that_of_the_next() {
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap();
        let id = crate::chance::Chance::default().run_id(at(1_795_341_600_250));
        assert!(RunId::first_at(at(1_795_341_600_250)).to_string() < id.to_string());
        assert!(id.to_string() < RunId::first_at(at(1_795_341_600_251)).to_string());
    }
}
