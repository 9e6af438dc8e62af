//! Kills: a wish under `kills/`, with a lease that outlives every worker's, so that whoever runs it sees it.

use std::time::Duration;

use common::{
    id::{JobName, RunId},
    lock::Held,
    queue::{Kill, Wanted},
    store::{Key, Op, Txn},
};

use crate::{problem::ApiError, state::App};

/// A kill stands at least so much longer than a worker's lease.
const BEYOND_LEASE: Duration = Duration::from_secs(5);

/// And never shorter than this.
const SHORTEST: Duration = Duration::from_secs(20);

/// Kills every run of the job claimed before now; gives those that the cache knows. Also of a job that was deleted
/// while it ran.
pub(crate) async fn kill_job(app: &App, name: &JobName, by: &str) -> Result<Vec<RunId>, ApiError> {
    app.loaded().await?;
    let active = app.cache.active(|job| job == name.as_str());
    if active.is_empty() && app.cache.job(name.as_str()).is_none() {
        return Err(ApiError::NoSuchJob(name.to_string()));
    }
    put(app, app.config.keys.kill_job(name), by).await?;
    Ok(active.iter().map(crate::cache::Active::run).collect())
}

/// Kills one run that has not ended.
pub(crate) async fn kill_run(app: &App, run: RunId, by: &str) -> Result<(), ApiError> {
    app.loaded().await?;
    if app.cache.active_run(run).is_none() && !is_active(app, run).await? {
        let ended = app.ask_runlog(app.runlog.attempts(&run)).await?;
        return Err(match ended.last() {
            Some(record) => ApiError::RunEnded { run, state: record.state },
            None => ApiError::NoSuchRun(run),
        });
    }
    put(app, app.config.keys.kill_run(&run), by).await
}

/// Asks the store, for a run too new for the cache.
async fn is_active(app: &App, run: RunId) -> Result<bool, ApiError> {
    let keys = &app.config.keys;
    let both = Txn::when(Vec::new(), vec![Op::Get(keys.wanted(&run)), Op::Get(keys.run(&run))]);
    let outcome = app.read_store(App::deadline(), app.store.txn(both)).await?;
    let wanted = outcome.got(0).is_some_and(|entry| Wanted::decode(&entry.value).is_ok());
    let held = outcome.got(1).is_some_and(|entry| Held::decode(&entry.value).is_ok());
    Ok(wanted || held)
}

async fn put(app: &App, key: Key, by: &str) -> Result<(), ApiError> {
    let deadline = App::deadline();
    let ttl = (app.config.lease_ttl + BEYOND_LEASE).max(SHORTEST);
    let (lease, _) = app.write_store(deadline, app.store.grant(ttl)).await?;
    let kill = Kill { by: by.to_owned(), at: app.now(), worker: None };
    // Idempotent: asking again after a lost answer kills nothing twice.
    let put = Op::Put(key, kill.encode(), Some(lease));
    let outcome = app.write_store(deadline, app.store.txn(Txn::when(Vec::new(), vec![put]))).await;
    outcome.map(|_| ()).map_err(ApiError::from)
}
