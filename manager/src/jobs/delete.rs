//! Deleting a job: its definition, its lock unless a run holds it (then the run's worker removes it at the end),
//! and the runs that wait for it, each of which gets a record. Ticks that nobody had decided are named in the same
//! transaction, as with every change that buries them.

use std::{sync::Arc, time::Duration};

use common::{
    id::JobName,
    job::{StoredJob, fence_at_save},
    lock::{Held, Lock},
    queue::Wanted,
    run::RunState,
    runlog::{Author, LogEntry, RunRecord},
    store::{Compare, MAX_TXN_OPS, Op, StoreError, Txn},
    tick::Fence,
};
use tokio::time::{Instant, timeout_at};

use super::{Current, TRIES, is_held, passed, removed};
use crate::{cache::Place, problem::ApiError, state::App};

/// What was deleted.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The job, if the stored value was one.
    pub(crate) previous: Option<StoredJob>,
}

/// Beside the job, its lock, its passed ticks and its waiting tick.
const QUEUED_AT_ONCE: usize = MAX_TXN_OPS - 6;

/// A deleted job's waiting runs are kept for so long in the run log, as all are by default.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

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
    let command = app.cache.command_of(name.as_str());
    let mut compares = vec![Compare::ModRevision(keys.job(name), current.job_revision())];
    let mut ops = vec![Op::Delete(keys.job(name))];
    // Also of a held lock: its holder may be skipping a tick that is named here.
    compares.push(Compare::ModRevision(keys.lock(name), current.lock_revision()));
    let now = fence_at_save(app.now());
    ops.extend(lock_op(app, name, current, now));
    ops.extend(passed(app, name, current, now, "its job was deleted before anybody had claimed it"));
    let queued = app.cache.queued_of(name.as_str());
    let first = ops.len();
    let (now, later) = queued.split_at(queued.len().min(QUEUED_AT_ONCE));
    ops.extend(now.iter().map(|(key, _)| Op::Delete(keys.queue.key(key))));
    // The waiting tick may be too new for the cache.
    let next = keys.next_of(name);
    if !now.iter().any(|(key, _)| keys.queue.key(key) == next) {
        ops.push(Op::Delete(next));
    }
    let outcome = app.write_store(deadline, app.store.txn(Txn::when(compares, ops))).await?;
    if !outcome.succeeded {
        return Ok(false);
    }
    let mut gone: Vec<Arc<Wanted>> = Vec::new();
    let results = outcome.results[first.min(outcome.results.len())..].iter();
    gone.extend(
        results.zip(now).filter(|(result, _)| removed(result)).map(|(_, (_, wanted))| wanted.clone()),
    );
    for chunk in later.chunks(MAX_TXN_OPS) {
        let ops = chunk.iter().map(|(key, _)| Op::Delete(keys.queue.key(key))).collect();
        match app.write_store(deadline, app.store.txn(Txn::when(Vec::new(), ops))).await {
            Ok(outcome) => {
                let results = outcome.results.iter().zip(chunk);
                gone.extend(
                    results.filter(|(result, _)| removed(result)).map(|(_, (_, wanted))| wanted.clone()),
                );
            }
            // The workers find their job gone and end them the same way.
            Err(error) => tracing::warn!(job = %name, error = error.chain(), "left queued runs behind"),
        }
    }
    if !app.cache.shows(Place::Jobs, outcome.revision, deadline).await {
        tracing::warn!(job = %name, revision = outcome.revision, "the job is deleted, but the lists still show it");
    }
    record(app, &gone, &command, by, deadline).await;
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

/// Writes what became of the runs that waited. A failure is said and changes nothing: the job is gone.
async fn record(app: &App, gone: &[Arc<Wanted>], command: &str, by: &str, deadline: Instant) {
    let Ok(worker) = app.config.id.parse() else { return };
    if gone.is_empty() {
        return;
    }
    let now = app.now().timestamp_millis();
    let entry = |wanted: &Arc<Wanted>| {
        let planned = wanted.tick.map_or(wanted.since, common::tick::Tick::instant).timestamp_millis();
        let now = now.max(planned);
        LogEntry::Run(Box::new(RunRecord {
            job_name: wanted.job.clone(),
            command: command.to_owned(),
            err: "job deleted".to_owned(),
            output: String::new(),
            plan_time: planned,
            schedule_time: now,
            start_time: now,
            end_time: now,
            run: wanted.run,
            attempt: wanted.attempt,
            state: RunState::Killed,
            reason: format!("its job was deleted by {by} while it was queued"),
            by: Author::Caretaker,
            trigger: wanted.cause,
            tick: wanted.tick,
            worker: common::id::WorkerId::clone(&worker),
            fence: 0,
            claim_time: now,
            exit_code: None,
            signal: None,
            truncated: 0,
            pieces: Vec::new(),
            expires: now + i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX - now),
        }))
    };
    let entries: Vec<LogEntry> = gone.iter().map(entry).collect();
    let error = match timeout_at(deadline, app.runlog.append(&entries)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.chain(),
        Err(_) => "the run log does not answer".to_owned(),
    };
    tracing::warn!(runs = entries.len(), error, "queued runs of a deleted job got no record");
}
