//! The store's errors, split by what the caller does next.

use super::{LeaseId, Revision};

/// A cause from an adapter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not happen and may work later: try again.
    #[error("the store cannot be reached")]
    Unavailable(#[source] BoxError),
    /// It may or may not have happened: read back, or repeat what is idempotent.
    #[error("the store's answer was lost; the write may have happened")]
    Ambiguous(#[source] BoxError),
    /// It did not happen and never will as it is: equal keys in a transaction, too many operations, too large a
    /// value, no permission.
    #[error("the store refused the request")]
    Refused(#[source] BoxError),
    /// The store takes no more writes (etcd's space alarm, a full disk): try again when a person has helped.
    #[error("the store is full")]
    Full(#[source] BoxError),
    /// The lease has ended; nothing was written.
    #[error("lease {0:?} has ended")]
    LeaseGone(LeaseId),
    /// The revision that was asked for is no longer kept: list again.
    #[error("revisions before {0} are compacted")]
    Compacted(Revision),
    /// The store's revision is below one seen earlier: it was restored from a copy. Trust nothing, list again.
    #[error("the store went back from revision {seen} to {now}: it was restored from a copy")]
    WentBack {
        /// The highest revision seen.
        seen: Revision,
        /// What it says now.
        now: Revision,
    },
}

impl StoreError {
    /// True when the same request may succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Ambiguous(_) | Self::Full(_))
    }

    /// The message with its causes, for a log line or a problem document.
    pub fn chain(&self) -> String {
        Self::chain_of(self)
    }

    /// An error's message with those of its causes that it does not repeat.
    pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let part = cause.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            source = cause.source();
        }
        text
    }
}
