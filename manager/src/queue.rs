//! Run now: a wanted run, put into the queue for whichever worker takes it.

use chrono::TimeDelta;
use common::{
    id::{JobName, RunId},
    job::StoredJob,
    queue::Wanted,
    run::Cause,
    store::{Compare, Op, StoreError, Txn},
};
use tokio::time::Instant;

use crate::{cache::Place, precondition::Precondition, problem::ApiError, state::App};

/// Somebody saved the job meanwhile: look again, so many times.
const TRIES: usize = 8;

/// Wants a run of the job, which has to start within the job's misfire deadline. Also of a paused job: pausing
/// stops its ticks, not people.
pub(crate) async fn run_now(
    app: &App,
    name: &JobName,
    by: &str,
    precondition: &Precondition,
) -> Result<RunId, ApiError> {
    let deadline = App::deadline();
    let keys = &app.config.keys;
    let run = app.chance.run_id(app.now());
    for _ in 0..TRIES {
        let (entry, _) = app.read_store(deadline, app.store.get(&keys.job(name))).await?;
        let entry = entry.ok_or_else(|| ApiError::NoSuchJob(name.to_string()))?;
        precondition.check(name, entry.mod_revision)?;
        let stored = StoredJob::decode(name.as_str(), &entry.value)
            .map_err(|error| ApiError::BrokenJob { name: name.to_string(), error })?;
        let now = app.now();
        let wanted = Wanted {
            job: name.clone(),
            run,
            attempt: 1,
            cause: Cause::Manual,
            tick: None,
            since: now,
            not_before: None,
            deadline: TimeDelta::from_std(stored.job.misfire.deadline.0)
                .ok()
                .and_then(|span| now.checked_add_signed(span)),
            worker: None,
            by: by.to_owned(),
            killed: None,
        };
        let compare = Compare::ModRevision(keys.job(name), entry.mod_revision);
        let put = Op::Put(keys.wanted(&run), wanted.encode(), None);
        match app.write_store(deadline, app.store.txn(Txn::when(vec![compare], vec![put]))).await {
            Ok(outcome) if outcome.succeeded => {
                app.cache.shows(Place::Queue, outcome.revision, deadline).await;
                return Ok(run);
            }
            Ok(_) => {}
            // etcd does the transaction that fills it, and answers it like those behind it.
            Err(error @ (StoreError::Ambiguous(_) | StoreError::Full(_))) => {
                return read_back(app, run, error, deadline).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
}

/// What became of a wanted run that was answered with an error that does not say. The run's id is ours alone: if it
/// stands there, it happened.
async fn read_back(app: &App, run: RunId, error: StoreError, deadline: Instant) -> Result<RunId, ApiError> {
    let found = app.read_store(deadline, app.store.get(&app.config.keys.wanted(&run))).await;
    match (found, error) {
        (Ok((Some(entry), _)), _) => {
            app.cache.shows(Place::Queue, entry.mod_revision, deadline).await;
            Ok(run)
        }
        (Ok((None, _)), full @ StoreError::Full(_)) => Err(full.into()),
        // A worker may have taken it already, so that asking again could run it twice: the client decides.
        (_, error) => Err(ApiError::may_have_happened(error)),
    }
}
