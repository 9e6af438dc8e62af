//! Resets a fence that lies ahead of now, as a clock in the future leaves it, and everything else that the job counts
//! from and that such a clock said. This is the only way to move a fence back that a run may have moved. Ticks that
//! ran by that clock may run again, so it is a person's decision, and on record.

use common::{
    id::JobName,
    lock::{FreeLock, Lock},
    store::Key,
    tick::Fence,
};

use super::{
    Change, Decision, Snapshot, Write,
    decision::StandingLock,
    job::{self, Standing},
    make, txn,
};
use crate::{access::Caller, cache::Place, precondition::Precondition, problem::ApiError, state::App};

/// A fence this far ahead of now is not a claim made a little early.
const AHEAD_SECONDS: i64 = 5;

/// True for a fence that silences its job.
pub(crate) fn is_ahead(fence: Fence, now: chrono::DateTime<chrono::Utc>) -> bool {
    fence.seconds() > now.timestamp() + AHEAD_SECONDS
}

struct Reset<'a> {
    app: &'a App,
    name: &'a JobName,
    precondition: &'a Precondition,
}

/// A fence that was reset.
struct FenceMove {
    from: Option<Fence>,
    to: Fence,
}

impl Change for Reset<'_> {
    /// `None`: there was nothing to reset.
    type Done = Option<FenceMove>;

    const WHAT: &'static str = "reset of a fence";

    fn reads(&self) -> Vec<Key> {
        job::keys(self.app, self.name)
    }

    /// The lock: the job may stay.
    fn witness(&self) -> usize {
        1
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<Self::Done>, ApiError> {
        let Self { app, name, precondition } = *self;
        let standing = Standing(seen);
        let Some(stored) = standing.stored(name) else { return Err(ApiError::NoSuchJob(name.to_string())) };
        precondition.check(name, standing.revision())?;
        let free = match standing.lock() {
            StandingLock::Absent => None,
            StandingLock::Free(free) => Some(free),
            StandingLock::Held(held, _) => {
                return Err(ApiError::LockHeld { name: name.clone(), run: held.run });
            }
            StandingLock::Opaque => return Err(ApiError::UnknownHeldLock(name.clone())),
            StandingLock::Rubbish(error) => return Err(ApiError::BrokenLock { name: name.clone(), error }),
        };
        let now = app.now();
        let righted = stored.ok().and_then(|stored| stored.righted(now));
        let from = free.as_ref().map(|free| free.fence);
        if righted.is_none() && !from.is_some_and(|fence| is_ahead(fence, now)) {
            return Ok(Decision::Leave(None));
        }
        app.check_clock()?;
        app.check_not_behind()?;
        let to = Fence::from_instant(now);
        let lock = Lock::Free(FreeLock { fence: to, last: free.and_then(|free| free.last) });
        let job = righted.map(|righted| righted.stored.encode());
        let places: &[Place] = if job.is_some() { &[Place::Jobs, Place::Locks] } else { &[Place::Locks] };
        let txn = txn::reset_fence(&app.config.keys, name, standing.seen(), &lock, job);
        Ok(Decision::Write(Write { txn, places, done: Some(FenceMove { from, to }) }))
    }
}

/// Moves a job's fence, and what the job counts from, to now if they lie ahead; a held lock is left to its holder.
pub(crate) async fn reset(
    app: &App,
    caller: &Caller,
    name: &JobName,
    precondition: &Precondition,
) -> Result<(), ApiError> {
    match make(&app.way(App::deadline()), caller, &Reset { app, name, precondition }).await {
        Ok(made) => {
            if let Some(FenceMove { from, to }) = made.done {
                let from = from.map_or_else(String::new, |fence| fence.to_string());
                tracing::warn!(job = %name, from, %to, by = %caller, "a job's fence was reset");
            }
            Ok(())
        }
        Err(error) => {
            // The request has to be found in the log, whatever became of it.
            if error.is_in_doubt() {
                tracing::warn!(job = %name, by = %caller, "a job's fence may have been reset");
            }
            Err(error)
        }
    }
}
