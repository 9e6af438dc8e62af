//! Resetting a fence that is ahead of now, as a clock in the future leaves it, and with it all else that the job counts
//! from and that such a clock said: the one way in which a fence goes back that may have been moved by a run. Ticks that
//! have run by that clock may run again, so it is a person's decision, and on record.

use common::{
    id::JobName,
    lock::{Free, Lock},
    store::{Compare, Op, Revision, StoreError, Txn},
    tick::Fence,
};
use tokio::time::Instant;

use super::{Current, TRIES};
use crate::{cache::Place, precondition::Precondition, problem::ApiError, state::App};

/// A fence so far ahead of now is no claim made a little early.
const AHEAD_SECONDS: i64 = 5;

/// True for a fence that silences its job.
pub(crate) fn is_ahead(fence: Fence, now: chrono::DateTime<chrono::Utc>) -> bool {
    fence.seconds() > now.timestamp() + AHEAD_SECONDS
}

/// Moves a job's fence to now if it is ahead of that, or what it counts from; a lock that is held is left to its holder.
pub(crate) async fn reset(
    app: &App,
    name: &JobName,
    by: &str,
    precondition: &Precondition,
) -> Result<(), ApiError> {
    let deadline = App::deadline();
    for _ in 0..TRIES {
        let current = Current::read(app, name, deadline).await?;
        if current.job.is_none() {
            return Err(ApiError::NoSuchJob(name.to_string()));
        }
        precondition.check(name, current.job_revision())?;
        let free = free(name, &current)?;
        let now = app.now();
        let righted = current.stored(name).and_then(Result::ok).and_then(|stored| stored.righted(now));
        let before = free.as_ref().map(|free| free.fence);
        if righted.is_none() && !before.is_some_and(|fence| is_ahead(fence, now)) {
            return Ok(());
        }
        app.check_clock()?;
        app.check_not_behind()?;
        let fence = Fence::from_instant(now);
        let value = Lock::Free(Free { fence, last: free.and_then(|free| free.last) }).encode();
        let righted = righted.map(|righted| righted.stored.encode());
        let (written, places) = write(app, name, &current, (value, righted), deadline).await;
        let from = before.map_or_else(String::new, |fence| fence.to_string());
        match written {
            Ok(Some(revision)) => {
                tracing::warn!(job = %name, from, to = %fence, by, "a job's fence was reset");
                for place in places {
                    app.cache.shows(*place, revision, deadline).await;
                }
                return Ok(());
            }
            Ok(None) => {}
            // Said before it is known: that it was asked for is to be found, whatever became of it.
            Err(StoreError::Ambiguous(cause)) => {
                tracing::warn!(job = %name, from, to = %fence, by, "a job's fence may have been reset");
                return Err(StoreError::Ambiguous(cause).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
}

/// The job's lock if nobody holds it; `None`: it has none.
fn free(name: &JobName, current: &Current) -> Result<Option<Free>, ApiError> {
    let Some(entry) = &current.lock else { return Ok(None) };
    match Lock::decode(&entry.value) {
        Ok(Lock::Held(held)) => Err(ApiError::LockHeld { name: name.clone(), run: held.run }),
        Ok(Lock::Free(free)) => Ok(Some(free)),
        Err(_) if super::is_held(entry) => Err(ApiError::UnknownHeldLock(name.clone())),
        Err(error) => Err(ApiError::BrokenLock { name: name.clone(), error }),
    }
}

/// Writes the lock, and the job where that changes, in place of what was read, and gives the revision; `None`: another
/// writer was first. With the lists that change by it.
async fn write(
    app: &App,
    name: &JobName,
    current: &Current,
    (lock, job): (Vec<u8>, Option<Vec<u8>>),
    deadline: Instant,
) -> (Result<Option<Revision>, StoreError>, &'static [Place]) {
    let (job_key, key) = (app.config.keys.job(name), app.config.keys.lock(name));
    let compares = vec![
        Compare::ModRevision(job_key.clone(), current.job_revision()),
        Compare::ModRevision(key.clone(), current.lock_revision()),
    ];
    let places: &[Place] = if job.is_some() { &[Place::Jobs, Place::Locks] } else { &[Place::Locks] };
    let mut puts = vec![Op::Put(key, lock.clone(), None)];
    puts.extend(job.map(|job| Op::Put(job_key, job, None)));
    let written = match app.write_store(deadline, app.store.txn(Txn::when(compares, puts))).await {
        Err(full @ StoreError::Full(_)) => {
            read_back(app, name, &lock, current.lock_revision(), full, deadline).await
        }
        written => written.map(|outcome| outcome.succeeded.then_some(outcome.revision)),
    };
    (written, places)
}

/// The revision of a reset that the store has answered with `full`: etcd does the transaction that fills it. What still
/// is at `before` was not done, and of a lock that became something else nobody knows.
async fn read_back(
    app: &App,
    name: &JobName,
    value: &[u8],
    before: Revision,
    full: StoreError,
    deadline: Instant,
) -> Result<Option<Revision>, StoreError> {
    match Current::read_alone(app, name, deadline).await.ok().and_then(|found| found.lock) {
        Some(lock) if lock.mod_revision == before => Err(full),
        Some(lock) if *lock.value == *value => Ok(Some(lock.mod_revision)),
        _ => Err(StoreError::Ambiguous(full.into())),
    }
}
