//! Points in a store's history, and the fencing token that a run gets from the one at which it was claimed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in the store's history. Grows with every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(i64);

impl Revision {
    /// Before everything: the revision of a key that does not exist.
    pub const NONE: Self = Self(0);

    /// The revision of this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// True: it stands for a key that does not exist.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fencing token: of two runs of a job the later claim has the greater one, so that whoever a run writes to can
/// refuse what is older than what it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub i64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<i64> for Revision {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

/// So many revisions later.
impl std::ops::Add<i64> for Revision {
    type Output = Self;

    fn add(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// So many revisions earlier.
impl std::ops::Sub<i64> for Revision {
    type Output = Self;

    fn sub(self, count: i64) -> Self {
        Self(self.0.saturating_sub(count))
    }
}
