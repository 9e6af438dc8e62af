//! Kills: a wish under `kills/`, with a lease that outlives every worker's, so that whoever runs it sees it. Queued
//! runs have no lease, so they are marked as well.

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use common::{
    id::{JobName, RunId},
    lock::HeldLock,
    queue::{Kill, QueuedRun},
    store::{Compare, Entry, Key, LeaseId, MAX_TXN_OPS, Op, Revision, StoreError, Txn, read_all},
    task::ActiveTask,
};

use tokio::time::Instant;

use super::{Change, Decision, Snapshot, Write, make, txn};
use crate::{access::Caller, cache::Active, precondition::Precondition, problem::ApiError, state::App};

/// A kill stands at least this much longer than a worker's lease.
const BEYOND_LEASE: Duration = Duration::from_secs(5);

/// Of the time for an answer, this much is left to the kill itself, however long the queue to be marked.
const FOR_THE_KILL: Duration = Duration::from_secs(2);

/// And never shorter than this.
const SHORTEST: Duration = Duration::from_secs(20);

/// Kills every run of the job claimed or wanted before now; gives those that the cache knows. Also of a job that was
/// deleted while it ran.
pub(crate) async fn kill_job(
    app: &App,
    caller: &Caller,
    name: &JobName,
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
    put(app, caller, aim, queued).await?;
    Ok(active.iter().map(Active::run).collect())
}

/// More than clocks differ by, and than this manager's lists are behind.
const RECENT: TimeDelta = TimeDelta::seconds(60);

/// Recent keys read at a time: few, as those behind the last are others'.
const AT_A_TIME: usize = 50;

/// The job's queued runs, as the store has them. Of the queue, which others may have made long, only those are read that
/// the lists have of this job, its tick that waits, and what was put just now, as by another manager.
async fn queued_of(app: &App, name: &JobName) -> Result<Vec<Queued>, StoreError> {
    let (store, keys) = (&*app.store, &app.config.keys);
    let of_job =
        |entry: Entry| Queued::read(entry).filter(|queued| queued.wanted.owner_name() == name.as_str());
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
pub(crate) async fn kill_run(app: &App, caller: &Caller, run: RunId) -> Result<(), ApiError> {
    app.loaded().await?;
    let active = app.cache.active_run(run);
    if let Some(ended) = active.as_ref().and_then(Active::ended) {
        return Err(ApiError::RunEnded { run, state: ended.state });
    }
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
    put(app, caller, Aim { key: keys.kill_run(&run), only: None }, queued).await
}

/// What a kill is of, and the job's revision that has to stand for it to be one.
struct Aim {
    key: Key,
    only: Option<(Key, Revision)>,
}

impl Aim {
    fn compares(&self) -> Vec<Compare> {
        self.only.iter().map(|(key, at)| Compare::ModRevision(key.clone(), *at)).collect()
    }
}

/// With a precondition, a kill is of the job as it was read.
async fn only_as_read(
    app: &App,
    name: &JobName,
    precondition: &Precondition,
) -> Result<Option<(Key, Revision)>, ApiError> {
    if !precondition.is_some() {
        return Ok(None);
    }
    let key = app.config.keys.job(name);
    let (entry, _) = app.read_store(App::deadline(), app.store.get(&key)).await?;
    let now = entry.map_or(Revision::NONE, |entry| entry.mod_revision);
    precondition.check(name, now)?;
    Ok(Some((key, now)))
}

/// Asks the store, for a run too new for the cache.
async fn is_active(app: &App, run: RunId) -> Result<bool, ApiError> {
    let keys = &app.config.keys;
    let all = Txn::when(
        Vec::new(),
        vec![Op::Get(keys.wanted(&run)), Op::Get(keys.run(&run)), Op::Get(keys.active(&run))],
    );
    let outcome = app.read_store(App::deadline(), app.store.txn(all)).await?;
    let wanted = outcome.got(0).is_some_and(|entry| QueuedRun::decode(&entry.value).is_ok());
    let held = outcome.got(1).is_some_and(|entry| HeldLock::decode(&entry.value).is_ok());
    let task = outcome.got(2).is_some_and(|entry| ActiveTask::decode(&entry.value).is_ok());
    Ok(wanted || held || task)
}

/// A queued run as it stands in the queue.
struct Queued {
    entry: Entry,
    wanted: QueuedRun,
}

impl Queued {
    fn read(entry: Entry) -> Option<Self> {
        let wanted = QueuedRun::decode(&entry.value).ok()?;
        Some(Self { entry, wanted })
    }

    /// Marks it, if it is as it was read. What was claimed meanwhile is met by the kill.
    fn mark(&self, kill: &Kill) -> Txn {
        let marked = QueuedRun { killed: Some(kill.clone()), ..self.wanted.clone() };
        txn::put(self.entry.key.clone(), self.entry.mod_revision, marked.encode(), None)
    }
}

/// The kill itself.
struct PutKill<'a> {
    aim: &'a Aim,
    kill: &'a Kill,
    lease: LeaseId,
}

impl Change for PutKill<'_> {
    type Done = ();

    const WHAT: &'static str = "kill";

    fn reads(&self) -> Vec<Key> {
        let only = self.aim.only.iter().map(|(key, _)| key.clone());
        std::iter::once(self.aim.key.clone()).chain(only).collect()
    }

    /// Most often nothing is killed already.
    fn presumed(&self) -> Option<Snapshot> {
        self.aim.only.is_none().then(|| Snapshot::nothing(1))
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<()>, ApiError> {
        // Its marks are of the job as it was read: it does not look again.
        if self.aim.only.as_ref().is_some_and(|(_, at)| seen.revision(1) != *at) {
            return Err(ApiError::Contended);
        }
        let mut txn = txn::put(self.aim.key.clone(), seen.revision(0), self.kill.encode(), Some(self.lease));
        txn.compares.extend(self.aim.compares());
        Ok(Decision::Write(Write { txn, places: &[], done: () }))
    }
}

/// Marks with a kill what is `queued`, and puts the kill. In that order: a kill acts on what was wanted before it, also
/// on a mark that a worker of an earlier version does not understand. If not all is marked the kill is put all the same,
/// and the error says that it may have happened: whoever lives hears of it.
async fn put(
    app: &App,
    caller: &Caller,
    aim: Aim,
    queued: impl Future<Output = Result<Vec<Queued>, StoreError>> + Send,
) -> Result<(), ApiError> {
    let deadline = App::deadline();
    let kill = Kill { by: caller.to_string(), at: app.now(), worker: None };
    let only = aim.compares();
    let marked = mark_all(app, deadline - FOR_THE_KILL, queued, &only, &kill);
    let marked = app.write_store(deadline - FOR_THE_KILL, marked).await;
    if matches!(marked, Ok(Marked::Not)) {
        return Err(ApiError::Contended);
    }
    let ttl = (app.config.lease_ttl + BEYOND_LEASE).max(SHORTEST);
    let (lease, _) = app.write_store(deadline, app.store.grant(ttl)).await.map_err(may_have_happened)?;
    let put = make(&app.way(deadline), caller, &PutKill { aim: &aim, kill: &kill, lease }).await;
    match (put, marked.map_err(may_have_happened)?) {
        (Ok(_), _) => Ok(()),
        // The marks stand, and kill what is queued.
        (Err(ApiError::Contended), Marked::Some) => {
            Err(StoreError::Ambiguous("the job was changed meanwhile".into()).into())
        }
        (Err(ApiError::Store(error)), _) => Err(may_have_happened(error).into()),
        (Err(error), _) => Err(error),
    }
}

async fn mark_all(
    app: &App,
    deadline: Instant,
    queued: impl Future<Output = Result<Vec<Queued>, StoreError>> + Send,
    only: &[Compare],
    kill: &Kill,
) -> Result<Marked, StoreError> {
    let queued: Vec<Queued> =
        queued.await?.into_iter().filter(|queued| queued.wanted.killed.is_none()).collect();
    let mut marked = Marked::Nothing;
    for some in queued.chunks(MAX_TXN_OPS) {
        let marks = some.iter().map(|queued| queued.mark(kill)).collect();
        if app.way(deadline).send_together(only, marks).await?.is_some() {
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
