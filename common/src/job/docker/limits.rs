//! Limits of a container's processes, and the signal that ends it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::text::TextError;
use crate::span::text_serde;

/// The names of limits, as the kernel and the engines have them.
pub(super) const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A limit of a process: what it begins with, and up to where it may raise that. −1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// What it begins with.
    pub soft: i64,
    /// Up to where it may raise that.
    pub hard: i64,
}

impl FromStr for Ulimit {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let refused = |problem| TextError::new(text, problem, "\"1024:4096\", 1024, or -1 for no limit");
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|limit| *limit >= -1);
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let (Some(soft), Some(hard)) = (number(soft), number(hard)) else {
            return Err(refused("is not a limit: a number, or two with a colon between them"));
        };
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(refused("begins above its end"));
        }
        Ok(Self { soft, hard })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.soft == self.hard {
            write!(f, "{}", self.soft)
        } else {
            write!(f, "{}:{}", self.soft, self.hard)
        }
    }
}

impl Serialize for Ulimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.soft == self.hard {
            serializer.serialize_i64(self.soft)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Ulimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadUlimit)
    }
}

/// Takes the number itself as well.
struct ReadUlimit;

impl de::Visitor<'_> for ReadUlimit {
    type Value = Ulimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit, such as 1024 or \"1024:4096\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ulimit, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ulimit, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ulimit, E> {
        self.visit_str(&number.to_string())
    }
}

/// A signal by its name, or by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal(String);

impl Signal {
    /// As an engine takes it: `SIGTERM`, `15`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Signal {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let in_range = |number: &str, most: u32| {
            number.bytes().all(|byte| byte.is_ascii_digit())
                && number.parse().is_ok_and(|number: u32| (1..=most).contains(&number))
        };
        // What system managers in containers are ended by.
        let is_real_time = name.strip_prefix("RTMIN+").is_some_and(|number| in_range(number, 30));
        if in_range(name, 64) {
            Ok(Self(name.to_owned()))
        } else if SIGNALS.contains(&name) || is_real_time {
            Ok(Self(format!("SIG{name}")))
        } else {
            Err(TextError::new(text, "is not a signal", "\"SIGINT\" or \"2\""))
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_serde!(Signal);
