//! The store's epoch: how often it was restored from a copy. A restored store gives out the same revisions again;
//! with the epoch in front, fencing tokens still grow.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    queue::ValueError,
    revision::{Revision, Token},
};

/// Revisions of one epoch: more than a store gives in its life.
const REVISIONS_BITS: u32 = 40;

/// The last epoch whose tokens are positive numbers.
const LAST: u32 = (1 << (63 - REVISIONS_BITS)) - 1;

/// An epoch, 0 for a store that was never restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u32);

/// What stands under `epoch/current`, once there is something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The epoch.
    pub epoch: Epoch,
    /// Since when.
    pub at: DateTime<Utc>,
}

impl Epoch {
    /// The fencing token of what was claimed at this revision in this epoch.
    pub fn token(self, revision: Revision) -> Token {
        Token((i64::from(self.0.min(LAST)) << REVISIONS_BITS) + revision.get())
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// True for a store that was never restored.
    pub const fn is_first(&self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Raised {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored epoch.
    pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_grows_with_the_epoch_whatever_the_revision() {
        let first = Epoch::default();
        let at = Revision::new;
        assert_eq!(first.token(at(42)), Token(42));
        assert_eq!(first.next().token(at(42)), Token((1 << 40) + 42));
        assert!(first.next().token(at(1)) > first.token(at(1_000_000_000_000)));
        assert!(Epoch(u32::MAX).next().token(at(1)) > Token(0));
    }
}
