//! Saves whose answers were lost. Such a try may have been done, or may be yet, so that "no" is no answer any more. What
//! is read back says what comes next:
//!
//! - What was tried is there: it was done.
//! - What was there before is there, at its revision: try again. Of all that compare one revision the store does one.
//! - Nothing is there, as before: the try was not done so far, or was done, and another client has deleted the job
//!   since. A further try would bring back what that client was told is gone, so it is only looked for.
//! - Whatever else is there is another client's, and stays. The save may have happened before it.
//!
//! [`StoreError::Full`] is such an answer, too, as etcd does the transaction that fills it. But it comes when all is
//! decided: what is not there then was not done.

use chrono::TimeDelta;
use common::{
    job::StoredJob,
    span::Span,
    store::{Revision, StoreError},
};
use tokio::time::Instant;

use super::{Current, Saved};
use crate::{cache::Place, problem::ApiError, state::App};

/// A save that was sent.
pub(super) struct Tried {
    pub(super) stored: StoredJob,
    /// As it stands in the store. Nobody else writes these very bytes, which carry the instant of saving.
    pub(super) value: Vec<u8>,
    /// The job's revision that it compares; 0: there is none.
    pub(super) compared: Revision,
    /// What was there before, if it was a job.
    pub(super) previous: Option<StoredJob>,
    /// The lists that change by it.
    pub(super) places: &'static [Place],
    /// By how much the clock was ahead that the job counted from, if it was.
    pub(super) righted: Option<TimeDelta>,
}

impl Tried {
    /// True: this is what is there.
    fn is(&self, current: &Current) -> bool {
        current.job.as_ref().is_some_and(|entry| *entry.value == *self.value)
    }

    /// It was done at `revision`: waits until the lists show it.
    pub(super) async fn shown(self: Box<Self>, app: &App, revision: Revision, deadline: Instant) -> Saved {
        let Self { stored, compared, previous, places, righted, .. } = *self;
        for place in places {
            if !app.cache.shows(*place, revision, deadline).await {
                let job = &stored.job.name;
                tracing::warn!(%job, %revision, "the job is stored, but the lists do not show it yet");
                break;
            }
        }
        if let Some(by) = righted {
            let by = Span::seconds(by.num_seconds().unsigned_abs());
            tracing::warn!(job = %stored.job.name, %by, "a job counted from a clock that was ahead; what that clock said of it is taken back");
        }
        Saved { stored, revision, previous, created: compared == Revision::NONE, righted }
    }
}

/// The tries of one save whose answers were lost, with these. All compare the same revision: what is at another one is
/// not written over any more.
#[derive(Default)]
pub(super) struct Uncertain(Vec<(Box<Tried>, StoreError)>);

/// What comes next, by what is there.
pub(super) enum Next {
    /// Nothing stands in the way of a try.
    Try,
    /// A further try might undo what another client did: look whether an earlier one shows.
    LookAgain,
    /// This was done, at this revision.
    Done(Box<Tried>, Revision),
}

impl Uncertain {
    /// True: no answer was lost.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more whose answer was lost.
    pub(super) fn add(&mut self, tried: Box<Tried>, error: StoreError) {
        self.0.push((tried, error));
    }

    /// What comes next, now that this is there. An error: nothing does.
    pub(super) fn judge(&mut self, current: &Current) -> Result<Next, ApiError> {
        let Some(compared) = self.0.last().map(|(tried, _)| tried.compared) else { return Ok(Next::Try) };
        let revision = current.job_revision();
        if revision != compared {
            let done = self.0.iter().position(|(tried, _)| tried.is(current)).ok_or(ApiError::Contended)?;
            return Ok(Next::Done(self.0.swap_remove(done).0, revision));
        }
        if let Some((_, full)) = self.0.pop_if(|(_, error)| matches!(error, StoreError::Full(_))) {
            return Err(full.into());
        }
        Ok(if compared == Revision::NONE { Next::LookAgain } else { Next::Try })
    }

    /// The answer of a save that failed by `error`: where an answer was lost, it may have happened.
    pub(super) fn instead_of(mut self, error: ApiError) -> ApiError {
        let Some((_, lost)) = self.0.pop() else { return error };
        tracing::debug!(%error, "it is not known what became of a save");
        ApiError::may_have_happened(lost)
    }
}
