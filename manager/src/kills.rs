//! Kills: a wish under `kills/`, with a lease that outlives every worker's, so that whoever runs it sees it. What is queued
//! has no lease, so it is marked too.

use std::time::Duration;

use common::{
    id::{JobName, RunId},
    lock::Held,
    queue::{Kill, Wanted},
    store::{Compare, Entry, Key, MAX_TXN_OPS, Op, Txn},
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
    let keys = &app.config.keys;
    let queued: Vec<Key> = app.cache.queued(name.as_str()).iter().map(|name| keys.queue.key(name)).collect();
    put(app, keys.kill_job(name), &queued, by).await?;
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
    let keys = &app.config.keys;
    put(app, keys.kill_run(&run), &[keys.wanted(&run)], by).await
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

/// Puts a kill, and marks with it what is `queued`: that waits for a worker however long there is none. One that was
/// claimed in between has met the kill itself.
async fn put(app: &App, key: Key, queued: &[Key], by: &str) -> Result<(), ApiError> {
    let deadline = App::deadline();
    let ttl = (app.config.lease_ttl + BEYOND_LEASE).max(SHORTEST);
    let (lease, _) = app.write_store(deadline, app.store.grant(ttl)).await?;
    let kill = Kill { by: by.to_owned(), at: app.now(), worker: None };
    // Idempotent: asking again after a lost answer kills nothing twice.
    let put = Op::Put(key, kill.encode(), Some(lease));
    app.write_store(deadline, app.store.txn(Txn::when(Vec::new(), vec![put]))).await?;
    for some in queued.chunks(MAX_TXN_OPS) {
        let gets = some.iter().cloned().map(Op::Get).collect();
        let read = app.read_store(deadline, app.store.txn(Txn::when(Vec::new(), gets))).await?;
        let found = (0..some.len()).filter_map(|n| read.got(n));
        let marks: Vec<Op> = found.filter_map(|entry| mark(entry, &kill)).collect();
        if !marks.is_empty() {
            app.write_store(deadline, app.store.txn(Txn::when(Vec::new(), marks))).await?;
        }
    }
    Ok(())
}

/// Marks an entry of the queue as it was read. None: there is no need.
fn mark(entry: &Entry, kill: &Kill) -> Option<Op> {
    let wanted = Wanted::decode(&entry.value).ok().filter(|wanted| wanted.killed.is_none())?;
    let marked = Wanted { killed: Some(kill.clone()), ..wanted };
    let as_read = Compare::ModRevision(entry.key.clone(), entry.mod_revision);
    Some(Op::Txn(Txn::when(vec![as_read], vec![Op::Put(entry.key.clone(), marked.encode(), None)])))
}
