//! Deleting a job: its definition, and its lock unless a run holds it (then the run's worker removes it at the end).
//! Ticks that nobody had decided are named in the same transaction, as with every change that buries them. Runs that wait
//! are left in the queue: the workers see that their job is gone, or another one of the same name, and put them on record.

use common::{
    id::JobName,
    job::{StoredJob, fence_at_save},
    lock::{Held, Lock},
    store::{Compare, Op, StoreError, Txn},
    tick::Fence,
};
use tokio::time::Instant;

use super::{Current, TRIES, is_held, passed};
use crate::{cache::Place, problem::ApiError, state::App};

/// What was deleted.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The job, if the stored value was one.
    pub(crate) previous: Option<StoredJob>,
}

/// Deletes a job; `None`: there was none.
pub(crate) async fn delete(app: &App, name: &JobName, by: &str) -> Result<Option<Deleted>, ApiError> {
    let deadline = App::deadline();
    let mut lost_answer = None;
    for _ in 0..TRIES {
        let current = Current::read(app, name, deadline).await?;
        let Some(entry) = &current.job else { return Ok(lost_answer) };
        let deleted = Deleted { previous: StoredJob::decode(name.as_str(), &entry.value).ok() };
        match remove(app, name, &current, by, deadline).await {
            Ok(true) => return Ok(Some(deleted)),
            Ok(false) => {}
            // Read again: if the job is gone, this was it, or as good as.
            Err(StoreError::Ambiguous(_)) if Instant::now() < deadline => lost_answer = Some(deleted),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
}

/// False: another writer was first.
async fn remove(
    app: &App,
    name: &JobName,
    current: &Current,
    by: &str,
    deadline: Instant,
) -> Result<bool, StoreError> {
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
        tracing::warn!(job = %name, revision = outcome.revision, "the job is deleted, but the lists still show it");
    }
    tracing::info!(job = %name, by, "deleted");
    Ok(true)
}

/// A free lock goes with its job. A held one is its holder's to remove; its fence moves, so that the holder skips no tick
/// that is named as passed.
fn lock_op(app: &App, name: &JobName, current: &Current, now: Fence) -> Option<Op> {
    let (key, entry) = (app.config.keys.lock(name), current.lock.as_ref()?);
    match Lock::decode(&entry.value) {
        Ok(Lock::Held(held)) => {
            let moved = Lock::Held(Held { fence: held.fence.max(now), ..held });
            Some(Op::Put(key, moved.encode(), entry.lease))
        }
        Err(_) if is_held(entry) => None,
        _ => Some(Op::Delete(key)),
    }
}
