//! Tries whose answers were lost. Such a try may have been done, or may yet be, so "no" is no longer an answer. What
//! is read back says what comes next ([`Fate`]).
//!
//! [`StoreError::Full`] counts as a lost answer too, because etcd does the transaction that fills it. But it comes
//! after everything is decided: what is not there by then was not done.

use common::store::{Revision, StoreError};

use super::SentWrite;
use crate::problem::ApiError;

/// What became of a try, judged by what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was done, at this revision if that is known.
    Done(Option<Revision>),
    /// What it compares is still there: try again. Of all tries that compare one revision, the store does one.
    Open,
    /// Nothing is there, as before. It was not done so far, or it was done, and another client has undone it since. A
    /// further try would bring back what that client was told is gone, so it is only looked for.
    Hidden,
    /// It was not done, and never will be.
    Void,
    /// Another client's write is there, and stays. The try may have been done before it.
    Unknown,
}

/// A try without an answer.
struct Lost<T> {
    tried: SentWrite<T>,
    error: StoreError,
}

/// The tries of one change whose answers were lost.
pub(super) struct Uncertain<T>(Vec<Lost<T>>);

impl<T> Default for Uncertain<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What comes next.
pub(super) enum Next<T> {
    /// Nothing stands in the way of a try.
    Try,
    /// A further try might undo what another client did: look whether an earlier one shows.
    LookAgain,
    /// This was done, at this revision if that is known.
    Done(SentWrite<T>, Option<Revision>),
}

impl<T> Uncertain<T> {
    /// True: no answer was lost.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more whose answer was lost.
    pub(super) fn add(&mut self, tried: SentWrite<T>, error: StoreError) {
        self.0.push(Lost { tried, error });
    }

    /// What comes next, given these fates. An error: nothing does.
    pub(super) fn judge(&mut self, fate: impl Fn(&SentWrite<T>) -> Fate) -> Result<Next<T>, ApiError> {
        let mut fates: Vec<Fate> = self.0.iter().map(|lost| fate(&lost.tried)).collect();
        for (n, fate) in fates.iter().enumerate() {
            if let Fate::Done(revision) = fate {
                return Ok(Next::Done(self.0.swap_remove(n).tried, *revision));
            }
        }
        if fates.contains(&Fate::Unknown) {
            return Err(ApiError::Contended);
        }
        let mut of = fates.iter();
        self.0.retain(|_| of.next() != Some(&Fate::Void));
        fates.retain(|fate| *fate != Fate::Void);
        if let Some(lost) = self.0.pop_if(|lost| matches!(lost.error, StoreError::Full(_))) {
            return Err(lost.error.into());
        }
        Ok(if fates.contains(&Fate::Hidden) { Next::LookAgain } else { Next::Try })
    }

    /// The answer of a change that failed with `error`: if an answer was lost, it may have been made.
    pub(super) fn instead_of(mut self, what: &str, error: ApiError) -> ApiError {
        let Some(Lost { error: lost, .. }) = self.0.pop() else { return error };
        tracing::debug!(what, %error, "the outcome of a change is not known");
        ApiError::may_have_happened(lost)
    }
}
