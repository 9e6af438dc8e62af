//! Deleting a job: its definition, and its lock unless a run holds it (then the run's worker removes it at the end).
//! Ticks that nobody had decided are named in the same transaction, as with every change that buries them. Runs that wait
//! are left in the queue: the workers see that their job is gone, or another one of the same name, and put them on record.
//!
//! After a lost answer a delete is done, or it may have happened: it is never denied. What is read back says which; a job
//! that was made since is not the one that was to go, and stays.

use common::{
    id::JobName,
    job::{StoredJob, fence_at_save},
    lock::Lock,
    store::{Compare, Op, Revision, StoreError, Txn},
    tick::Fence,
};
use tokio::time::Instant;

use super::{Current, TRIES, is_held, passed};
use crate::{cache::Place, precondition::Precondition, problem::ApiError, state::App};

/// What was deleted.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The job, if the stored value was one.
    pub(crate) previous: Option<StoredJob>,
}

/// A try whose answer was lost: it may have been done, or may be yet.
struct Lost {
    /// The job's revision that it compares.
    compared: Revision,
    /// What went, if it was done.
    deleted: Deleted,
    /// The answer. After [`StoreError::Full`] all is decided: a job that stands at that revision was not deleted.
    error: StoreError,
}

/// Deletes a job; `None`: there was none. A failure is told as it is as long as no answer was lost.
pub(crate) async fn delete(
    app: &App,
    name: &JobName,
    by: &str,
    precondition: &Precondition,
) -> Result<Option<Deleted>, ApiError> {
    let mut uncertain = Vec::new();
    match try_to_delete(app, name, precondition, &mut uncertain).await {
        Ok(deleted) => {
            if deleted.is_some() {
                tracing::info!(job = %name, by, "deleted");
            }
            Ok(deleted)
        }
        Err(error) => Err(match uncertain.pop() {
            Some(lost) => ApiError::may_have_happened(lost.error),
            None => error,
        }),
    }
}

/// Reads, and deletes under the compare of what was read; again when another writer was first.
async fn try_to_delete(
    app: &App,
    name: &JobName,
    precondition: &Precondition,
    uncertain: &mut Vec<Lost>,
) -> Result<Option<Deleted>, ApiError> {
    let deadline = App::deadline();
    app.check_clock()?;
    for _ in 0..TRIES {
        let current = if uncertain.is_empty() {
            Current::read(app, name, deadline).await?
        } else {
            Current::read_alone(app, name, deadline).await?
        };
        // Gone: by the try whose answer was lost, or as good as.
        let Some(entry) = &current.job else { return Ok(uncertain.pop().map(|lost| lost.deleted)) };
        // Made again since.
        if let Some(lost) = uncertain.pop_if(|lost| entry.create_revision > lost.compared) {
            return Ok(Some(lost.deleted));
        }
        // Changed since, and never gone: what compares an earlier revision was not done and will not be.
        uncertain.retain(|lost| lost.compared == entry.mod_revision);
        if let Some(lost) = uncertain.pop_if(|lost| matches!(lost.error, StoreError::Full(_))) {
            return Err(lost.error.into());
        }
        precondition.check(name, entry.mod_revision)?;
        let deleted = Deleted { previous: StoredJob::decode(name.as_str(), &entry.value).ok() };
        match remove(app, name, &current, deadline).await {
            Ok(true) => return Ok(Some(deleted)),
            Ok(false) => {}
            // etcd does the transaction that fills it, and answers it like those behind it.
            Err(error @ (StoreError::Ambiguous(_) | StoreError::Full(_))) => {
                uncertain.push(Lost { compared: entry.mod_revision, deleted, error });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
}

/// False: another writer was first.
async fn remove(app: &App, name: &JobName, current: &Current, deadline: Instant) -> Result<bool, StoreError> {
    let keys = &app.config.keys;
    let mut compares = vec![Compare::ModRevision(keys.job(name), current.job_revision())];
    let mut ops = vec![Op::Delete(keys.job(name))];
    // Also of a held lock: its holder may be skipping a tick that is named here.
    compares.push(Compare::ModRevision(keys.lock(name), current.lock_revision()));
    let now = fence_at_save(app.now());
    ops.extend(lock_op(app, name, current, now));
    ops.extend(passed(app, name, current, now, "its job was deleted before anybody had claimed it"));
    let outcome = app.write_store(deadline, app.store.txn(Txn::when(compares, ops))).await?;
    if !outcome.succeeded {
        return Ok(false);
    }
    if !app.cache.shows(Place::Jobs, outcome.revision, deadline).await {
        tracing::warn!(job = %name, revision = %outcome.revision, "the job is deleted, but the lists still show it");
    }
    Ok(true)
}

/// A free lock goes with its job. A held one is its holder's to remove; its fence moves, so that the holder skips no tick
/// that is named as passed.
fn lock_op(app: &App, name: &JobName, current: &Current, now: Fence) -> Option<Op> {
    let (key, entry) = (app.config.keys.lock(name), current.lock.as_ref()?);
    match Lock::decode(&entry.value) {
        Ok(Lock::Held(held)) => {
            let fence = held.fence.max(now);
            let moved = Lock::Held(held.at_fence(fence, entry.mod_revision));
            Some(Op::Put(key, moved.encode(), entry.lease))
        }
        Err(_) if is_held(entry) => None,
        _ => Some(Op::Delete(key)),
    }
}
