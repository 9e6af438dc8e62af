//! Kills: a wish under `kills/`, with a lease that outlives every worker's, so that whoever runs it sees it. What is queued
//! has no lease, so it is marked too.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use common::{
    id::{JobName, RunId},
    lock::Held,
    queue::{Kill, Wanted},
    store::{Compare, Entry, Key, MAX_TXN_OPS, Op, Revision, StoreError, Txn, read_all},
};

use crate::{precondition::Precondition, problem::ApiError, state::App};

/// A kill stands at least so much longer than a worker's lease.
const BEYOND_LEASE: Duration = Duration::from_secs(5);

/// Of the time for an answer so much is left to the kill itself, however long a queue there is to mark.
const FOR_THE_KILL: Duration = Duration::from_secs(2);

/// And never shorter than this.
const SHORTEST: Duration = Duration::from_secs(20);

/// Kills every run of the job claimed or wanted before now; gives those that the cache knows. Also of a job that was
/// deleted while it ran.
pub(crate) async fn kill_job(
    app: &App,
    name: &JobName,
    by: &str,
    precondition: &Precondition,
) -> Result<Vec<RunId>, ApiError> {
    app.loaded().await?;
    let active = app.cache.active(|job| job == name.as_str());
    if active.is_empty() && app.cache.job(name.as_str()).is_none() {
        return Err(ApiError::NoSuchJob(name.to_string()));
    }
    let keys = &app.config.keys;
    let queued = queued_of(app, name);
    let aim = Aim { key: keys.kill_job(name), only: only_as_read(app, name, precondition).await? };
    put(app, aim, queued, by).await?;
    Ok(active.iter().map(crate::cache::Active::run).collect())
}

/// More than clocks differ by, and than this manager's lists are behind.
const RECENT: TimeDelta = TimeDelta::seconds(60);

/// Recent keys read at a time: few, as those behind the last are others'.
const AT_A_TIME: usize = 50;

/// The job's wanted runs, as the store has them. Of the queue, which others may have made long, only those are read that
/// the lists have of this job, its tick that waits, and what was put just now, as by another manager.
async fn queued_of(app: &App, name: &JobName) -> Result<Vec<Queued>, StoreError> {
    let (store, keys) = (&*app.store, &app.config.keys);
    let of_job = |entry: Entry| Queued::read(entry).filter(|queued| queued.wanted.job == *name);
    let Some(known) = app.cache.queued_of(name.as_str()) else {
        return Ok(read_all(store, &keys.queue, of_job).await?.0);
    };
    let mut known: BTreeSet<Key> = known.into_iter().map(|name| keys.queue.key(name)).collect();
    known.insert(keys.next_of(name));
    let now = app.now();
    let mut after = keys.wanted(&RunId::first_at(now - RECENT));
    let last = keys.wanted(&RunId::first_at(now + RECENT));
    let mut queued = Vec::new();
    loop {
        let page = store.list(&keys.queue, Some(&after), AT_A_TIME, None).await?;
        let next = page.entries.last().map(|entry| entry.key.clone());
        for entry in page.entries {
            known.remove(&entry.key);
            queued.extend(of_job(entry));
        }
        match next {
            Some(next) if page.more && next < last => after = next,
            _ => break,
        }
    }
    let known: Vec<Key> = known.into_iter().collect();
    for some in known.chunks(MAX_TXN_OPS) {
        let read = store.txn(Txn::when(Vec::new(), some.iter().cloned().map(Op::Get).collect())).await?;
        queued.extend((0..some.len()).filter_map(|n| of_job(read.got(n)?.clone())));
    }
    Ok(queued)
}

/// Kills one run that has not ended.
pub(crate) async fn kill_run(app: &App, run: RunId, by: &str) -> Result<(), ApiError> {
    app.loaded().await?;
    let active = app.cache.active_run(run);
    if active.is_none() && !is_active(app, run).await? {
        let ended = app.ask_runlog(app.runlog.attempts(&run)).await?;
        return Err(match ended.last() {
            Some(record) => ApiError::RunEnded { run, state: record.state },
            None => ApiError::NoSuchRun(run),
        });
    }
    let keys = &app.config.keys;
    // A tick that waits for its job's run stands under its job.
    let next = active.and_then(|active| active.job().parse().ok()).map(|job: JobName| keys.next_of(&job));
    let places: Vec<Op> = [Some(keys.wanted(&run)), next].into_iter().flatten().map(Op::Get).collect();
    let queued = async {
        let count = places.len();
        let read = app.store.txn(Txn::when(Vec::new(), places)).await?;
        let found = (0..count).filter_map(|n| Queued::read(read.got(n)?.clone()));
        Ok(found.filter(|queued| queued.wanted.run == run).collect())
    };
    put(app, Aim { key: keys.kill_run(&run), only: Vec::new() }, queued, by).await
}

/// What a kill is of, and what has to stand for it to be one.
struct Aim {
    key: Key,
    only: Vec<Compare>,
}

/// With a precondition, a kill is of the job as it was read.
async fn only_as_read(
    app: &App,
    name: &JobName,
    precondition: &Precondition,
) -> Result<Vec<Compare>, ApiError> {
    if !precondition.is_some() {
        return Ok(Vec::new());
    }
    let key = app.config.keys.job(name);
    let (entry, _) = app.read_store(App::deadline(), app.store.get(&key)).await?;
    let now = entry.map_or(Revision::NONE, |entry| entry.mod_revision);
    precondition.check(name, now)?;
    Ok(vec![Compare::ModRevision(key, now)])
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

/// A wanted run as it stands in the queue.
struct Queued {
    entry: Entry,
    wanted: Wanted,
}

impl Queued {
    fn read(entry: Entry) -> Option<Self> {
        let wanted = Wanted::decode(&entry.value).ok()?;
        Some(Self { entry, wanted })
    }

    /// Marks it, if it is as it was read. What was claimed meanwhile is met by the kill.
    fn mark(&self, kill: &Kill) -> Op {
        let key = || self.entry.key.clone();
        let marked = Wanted { killed: Some(kill.clone()), ..self.wanted.clone() };
        let as_read = Compare::ModRevision(key(), self.entry.mod_revision);
        Op::Txn(Txn::when(vec![as_read], vec![Op::Put(key(), marked.encode(), None)]))
    }
}

/// Marks with a kill what is `queued`, and puts the kill. In that order: a kill acts on what was wanted before it, also
/// on a mark that a worker of an earlier version does not understand. If not all is marked the kill is put all the same,
/// and the error says that it may have happened: whoever lives hears of it.
async fn put(
    app: &App,
    aim: Aim,
    queued: impl Future<Output = Result<Vec<Queued>, StoreError>> + Send,
    by: &str,
) -> Result<(), ApiError> {
    let deadline = App::deadline();
    let kill = Kill { by: by.to_owned(), at: app.now(), worker: None };
    let marked = app.write_store(deadline - FOR_THE_KILL, mark_all(app, queued, &aim.only, &kill)).await;
    if matches!(marked, Ok(Marked::Not)) {
        return Err(ApiError::Contended);
    }
    let ttl = (app.config.lease_ttl + BEYOND_LEASE).max(SHORTEST);
    let put = async {
        let (lease, _) = app.store.grant(ttl).await?;
        // Asked for again after a lost answer it acts on what was claimed since as well.
        let put = Op::Put(aim.key, kill.encode(), Some(lease));
        app.store.txn(Txn::when(aim.only, vec![put])).await
    };
    let put = app.write_store(deadline, put).await.map_err(may_have_happened)?;
    match marked.map_err(may_have_happened)? {
        Marked::Nothing if !put.succeeded => Err(ApiError::Contended),
        // The marks stand, and kill what is queued.
        Marked::Some if !put.succeeded => {
            Err(StoreError::Ambiguous("the job was changed meanwhile".into()).into())
        }
        _ => Ok(()),
    }
}

async fn mark_all(
    app: &App,
    queued: impl Future<Output = Result<Vec<Queued>, StoreError>> + Send,
    only: &[Compare],
    kill: &Kill,
) -> Result<Marked, StoreError> {
    let queued: Vec<Queued> =
        queued.await?.into_iter().filter(|queued| queued.wanted.killed.is_none()).collect();
    let mut marked = Marked::Nothing;
    for some in queued.chunks(MAX_TXN_OPS) {
        let marks = some.iter().map(|queued| queued.mark(kill)).collect();
        if app.store.txn(Txn::when(only.to_vec(), marks)).await?.succeeded {
            marked = Marked::Some;
        } else if marked == Marked::Nothing {
            return Ok(Marked::Not);
        }
    }
    Ok(marked)
}

/// Which of the queued runs are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    /// There was none.
    Nothing,
    Some,
    /// None, since the job is another one by now.
    Not,
}

/// Part of a kill may stand: to say that nothing happened would be wrong.
fn may_have_happened(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(source) => StoreError::Ambiguous(source),
        other => other,
    }
}
