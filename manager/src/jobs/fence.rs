//! Resetting a fence that is ahead of now, as a clock in the future leaves it: the one way in which a fence goes back.
//! Ticks that have run by that clock may run again, so it is a person's decision, and on record.

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

/// Moves a job's fence to now if it is ahead of that; a lock that is held is left to its holder.
pub(crate) async fn reset(
    app: &App,
    name: &JobName,
    by: &str,
    precondition: &Precondition,
) -> Result<(), ApiError> {
    let deadline = App::deadline();
    let key = app.config.keys.lock(name);
    for _ in 0..TRIES {
        let current = Current::read(app, name, deadline).await?;
        if current.job.is_none() {
            return Err(ApiError::NoSuchJob(name.to_string()));
        }
        precondition.check(name, current.job_revision())?;
        let Some(entry) = &current.lock else { return Ok(()) };
        let free = match Lock::decode(&entry.value) {
            Ok(Lock::Held(held)) => return Err(ApiError::LockHeld { name: name.clone(), run: held.run }),
            Ok(Lock::Free(free)) => free,
            Err(_) if super::is_held(entry) => return Err(ApiError::UnknownHeldLock(name.clone())),
            Err(error) => return Err(ApiError::BrokenLock { name: name.clone(), error }),
        };
        let (now, before) = (app.now(), free.fence);
        if !is_ahead(before, now) {
            return Ok(());
        }
        app.check_clock()?;
        let fence = Fence::from_instant(now);
        let compares = vec![
            Compare::ModRevision(app.config.keys.job(name), current.job_revision()),
            Compare::ModRevision(key.clone(), entry.mod_revision),
        ];
        let value = Lock::Free(Free { fence, ..free }).encode();
        let put = Op::Put(key.clone(), value.clone(), None);
        let written = match app.write_store(deadline, app.store.txn(Txn::when(compares, vec![put]))).await {
            Err(full @ StoreError::Full(_)) => {
                read_back(app, name, &value, entry.mod_revision, full, deadline).await
            }
            written => written.map(|outcome| outcome.succeeded.then_some(outcome.revision)),
        };
        match written {
            Ok(Some(revision)) => {
                tracing::warn!(job = %name, from = %before, to = %fence, by, "a job's fence was reset");
                app.cache.shows(Place::Locks, revision, deadline).await;
                return Ok(());
            }
            Ok(None) => {}
            // Said before it is known: that it was asked for is to be found, whatever became of it.
            Err(StoreError::Ambiguous(cause)) => {
                tracing::warn!(job = %name, from = %before, to = %fence, by, "a job's fence may have been reset");
                return Err(StoreError::Ambiguous(cause).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
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
