//! What lists are served from: the jobs, locks, workers and runs of the store, as the watches last reported them.
//!
//! It promises no freshness by itself, but it knows up to which revision each place is complete, so that a write can
//! wait until it is visible here, and why it may be old. A value that does not decode is kept as such and stops
//! nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use common::{
    job::{JobError, StoredJob},
    lock::{HeldLock, LastRun},
    queue::QueuedRun,
    run::Cause,
    runlog::task_owner,
    store::Revision,
    task::{ActiveTask, Ended, Task},
    tick::Fence,
    worker::{Drain, Registration},
};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};

use list::{JobRow, LockRow};
use table::Table;

pub(crate) mod feed;
pub(crate) mod list;
mod rows;
mod table;
#[cfg(test)]
mod tests;

/// A part of the store that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Jobs,
    Locks,
    Workers,
    Queue,
    Runs,
    Tasks,
    Drains,
}

impl Place {
    pub(crate) const ALL: [Self; 7] =
        [Self::Jobs, Self::Locks, Self::Workers, Self::Queue, Self::Runs, Self::Tasks, Self::Drains];
}

/// A job as the store has it.
#[derive(Debug)]
pub(crate) struct CachedJob {
    pub(crate) revision: Revision,
    /// The job, or why the value is not one.
    pub(crate) stored: Result<StoredJob, JobError>,
}

/// A lock as the store has it.
#[derive(Debug, Default)]
pub(crate) struct CachedLock {
    pub(crate) fence: Option<Fence>,
    pub(crate) last: Option<LastRun>,
    pub(crate) held: Option<HeldRun>,
    /// Why the value is not a lock.
    pub(crate) problem: Option<String>,
}

/// A run that a worker has claimed.
#[derive(Clone, Debug)]
pub(crate) struct HeldRun {
    pub(crate) held: Arc<HeldLock>,
    /// The fencing token; 0 when an earlier version wrote the record again, so that it can no longer be told.
    pub(crate) token: common::revision::Token,
}

/// A task that a worker has claimed.
#[derive(Clone, Debug)]
pub(crate) struct TaskRun {
    pub(crate) active: Arc<ActiveTask>,
    /// The fencing token.
    pub(crate) token: common::revision::Token,
}

/// A run that has not ended, or a task that has, and of which the run log may not tell yet.
#[derive(Clone, Debug)]
pub(crate) enum Active {
    Wanted(Arc<QueuedRun>),
    Held(HeldRun),
    Task(TaskRun),
}

impl Active {
    /// Its job, or the task's name.
    pub(crate) fn job(&self) -> &str {
        match self {
            Self::Wanted(wanted) => wanted.job.as_str(),
            Self::Held(run) => run.held.job.as_str(),
            Self::Task(run) => run.active.held.job.as_str(),
        }
    }

    /// The task, if it is one.
    pub(crate) fn task(&self) -> Option<&Task> {
        match self {
            Self::Wanted(wanted) => wanted.task.as_deref(),
            Self::Held(_) => None,
            Self::Task(run) => Some(&run.active.task),
        }
    }

    /// Under whose name its records are found.
    pub(crate) fn owner_name(&self) -> Cow<'_, str> {
        match self.task() {
            Some(_) => task_owner(self.job()).into(),
            None => self.job().into(),
        }
    }

    pub(crate) fn run(&self) -> common::id::RunId {
        match self {
            Self::Wanted(wanted) => wanted.run,
            Self::Held(run) => run.held.run,
            Self::Task(run) => run.active.held.run,
        }
    }

    pub(crate) fn attempt(&self) -> u32 {
        match self {
            Self::Wanted(wanted) => wanted.attempt,
            Self::Held(run) => run.held.attempt,
            Self::Task(run) => run.active.held.attempt,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Wanted(wanted) => wanted.cause,
            Self::Held(run) => run.held.cause,
            Self::Task(run) => run.active.held.cause,
        }
    }

    /// Its claim, with the fencing token; none: nobody has claimed it.
    pub(crate) fn held(&self) -> Option<(&HeldLock, common::revision::Token)> {
        match self {
            Self::Wanted(_) => None,
            Self::Held(run) => Some((&run.held, run.token)),
            Self::Task(run) => Some((&run.active.held, run.token)),
        }
    }

    /// How it ended; none: it has not.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Task(run) => run.active.ended.as_ref(),
            Self::Wanted(_) | Self::Held(_) => None,
        }
    }
}

/// A job with all that the cache knows of it.
#[derive(Clone, Debug)]
pub(crate) struct JobSnapshot {
    pub(crate) name: String,
    pub(crate) job: Arc<CachedJob>,
    pub(crate) lock: Option<Arc<CachedLock>>,
    pub(crate) active: Vec<Active>,
}

/// All that is known.
#[derive(Default)]
pub(crate) struct Content {
    jobs: Table<JobRow>,
    locks: Table<LockRow>,
    workers: Table<Arc<Registration>>,
    queue: Table<Arc<QueuedRun>>,
    runs: Table<HeldRun>,
    tasks: Table<TaskRun>,
    drains: Table<Arc<Drain>>,
}

/// How far each place is known, and why it may be old.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// None: never read.
    revision: [Option<Revision>; Place::ALL.len()],
    stale: [Option<Arc<str>>; Place::ALL.len()],
}

/// The cache. Locks in here span a few lines and no `await`.
pub(crate) struct Cache {
    content: RwLock<Content>,
    progress: watch::Sender<Progress>,
    /// Who waits until a place shows a revision. Woken one by one: each news would wake all who watch the progress.
    waiting: [Mutex<Waiting>; Place::ALL.len()],
}

type Waiting = BTreeMap<Revision, Vec<oneshot::Sender<()>>>;

impl Default for Cache {
    fn default() -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { content: RwLock::default(), progress, waiting: Default::default() }
    }
}

impl Cache {
    fn read<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.content.read())
    }

    fn write<T>(&self, change: impl FnOnce(&mut Content) -> T) -> T {
        change(&mut self.content.write())
    }

    /// Why what the cache shows may be old; `None` when it is current.
    pub(crate) fn stale(&self) -> Option<Arc<str>> {
        self.progress.borrow().stale.iter().flatten().next().cloned()
    }

    /// True when every place has been read at least once.
    pub(crate) fn is_loaded(&self) -> bool {
        self.progress.borrow().revision.iter().all(Option::is_some)
    }

    /// Waits until every place has been read once; false: not by `deadline`, or the store is known to be away.
    pub(crate) async fn loaded(&self, deadline: Instant) -> bool {
        let mut progress = self.progress.subscribe();
        let settled = progress.wait_for(|progress| {
            let unread = |place: &Place| progress.revision[*place as usize].is_none();
            let away = |place: &Place| progress.stale[*place as usize].is_some();
            !Place::ALL.iter().any(unread) || Place::ALL.iter().any(|place| unread(place) && away(place))
        });
        // The sender lives as long as the cache, so this ends by the deadline at the latest.
        let _ = timeout_at(deadline, settled).await;
        self.is_loaded()
    }

    /// Waits until `place` shows `revision`; false: not by `deadline`.
    pub(crate) async fn shows(&self, place: Place, revision: Revision, deadline: Instant) -> bool {
        // Registered before the look, so that no news falls between.
        let (reached, news) = oneshot::channel();
        {
            let mut waiting = self.waiting[place as usize].lock();
            let same = waiting.entry(revision).or_default();
            same.retain(|other| !other.is_closed());
            same.push(reached);
        }
        let shown = || self.progress.borrow().revision[place as usize] >= Some(revision);
        shown() || (timeout_at(deadline, news).await.is_ok_and(|seen| seen.is_ok()) || shown())
    }

    /// Wakes who waits for what is now shown.
    fn wake(&self, place: Place) {
        let Some(shown) = self.progress.borrow().revision[place as usize] else { return };
        let reached = {
            let mut waiting = self.waiting[place as usize].lock();
            let later = waiting.split_off(&(shown + 1));
            std::mem::replace(&mut *waiting, later)
        };
        for waiter in reached.into_values().flatten() {
            // Who no longer waits no longer cares.
            let _ = waiter.send(());
        }
    }

    /// A job by its name.
    pub(crate) fn job(&self, name: &str) -> Option<JobSnapshot> {
        self.read(|content| {
            let job = content.jobs.get(name)?.job.clone();
            let lock = content.locks.get(name).map(|row| row.lock.clone());
            let active = content.active_of(name);
            Some(JobSnapshot { name: name.to_owned(), job, lock, active })
        })
    }

    /// True: what is shown is current as far as is known, and neither a job nor a lock has this name.
    pub(crate) fn knows_nothing_of(&self, name: &str) -> bool {
        let current = self.is_loaded() && self.stale().is_none();
        current && self.read(|content| !content.jobs.contains_key(name) && !content.locks.contains_key(name))
    }

    /// Every job, by name, broken ones included.
    pub(crate) fn all_jobs(&self) -> Vec<(String, Arc<CachedJob>)> {
        self.read(|content| {
            content.jobs.iter().map(|(name, row)| (name.to_string(), row.job.clone())).collect()
        })
    }

    /// At most `limit` jobs whose stored value does not decode.
    pub(crate) fn broken(&self, contains: Option<&str>, limit: usize) -> Vec<(String, Arc<CachedJob>)> {
        self.read(|content| {
            let fits = |name: &str| contains.is_none_or(|part| list::contains(name, part));
            let names = content.jobs.marked().iter().filter(|name| fits(name)).take(limit);
            names.filter_map(|name| Some((name.to_string(), content.jobs.get(name)?.job.clone()))).collect()
        })
    }

    /// The runs that have not ended, of the owners that `fits` says.
    pub(crate) fn active(&self, fits: impl Fn(&str) -> bool) -> Vec<Active> {
        self.read(|content| content.active(fits))
    }

    /// A run that has not ended. A wanted attempt comes before the one that still executes.
    pub(crate) fn active_run(&self, run: common::id::RunId) -> Option<Active> {
        self.read(|content| {
            let wanted = content.queue.values().rev().find(|wanted| wanted.run == run);
            let task = || content.tasks.get(run.to_string().as_str()).cloned().map(Active::Task);
            let executes = || {
                let held = content
                    .locks
                    .marked()
                    .iter()
                    .filter_map(|job| content.locks.get(job)?.lock.held.as_ref());
                let mut all = content.runs.values().chain(held);
                all.find(|held| held.held.run == run).cloned().map(Active::Held)
            };
            wanted.cloned().map(Active::Wanted).or_else(task).or_else(executes)
        })
    }

    /// The names under `queue/` of the runs that are wanted of a job; `None`: there may be others, as what is shown is old.
    pub(crate) fn queued_of(&self, job: &str) -> Option<Vec<String>> {
        if self.progress.borrow().stale[Place::Queue as usize].is_some() {
            return None;
        }
        Some(self.read(|content| {
            let of_job = content.queue.iter().filter(|(_, wanted)| wanted.owner_name() == job);
            of_job.map(|(name, _)| name.to_string()).collect()
        }))
    }

    /// The live workers, by id.
    pub(crate) fn workers(&self) -> Vec<Arc<Registration>> {
        self.read(|content| content.workers.values().cloned().collect())
    }

    /// A live worker.
    pub(crate) fn worker(&self, id: &str) -> Option<Arc<Registration>> {
        self.read(|content| content.workers.get(id).cloned())
    }

    /// That a worker is to take nothing new, if somebody wants that.
    pub(crate) fn drain(&self, id: &str) -> Option<Arc<Drain>> {
        self.read(|content| content.drains.get(id).cloned())
    }

    /// How many there are of what, for the metrics.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 7] {
        self.read(|content| {
            [
                ("jobs", content.jobs.len()),
                ("broken_jobs", content.jobs.marked().len()),
                ("held_locks", content.locks.marked().len()),
                ("workers", content.workers.len()),
                ("queued_runs", content.queue.len()),
                ("runs_beside_locks", content.runs.len()),
                ("active_tasks", content.tasks.len()),
            ]
        })
    }

    /// A job's command in one line, "" when it is not known.
    pub(crate) fn command_of(&self, job: &str) -> String {
        self.read(|content| {
            let stored = content.jobs.get(job).and_then(|row| row.job.stored.as_ref().ok());
            stored.map(|stored| stored.job.driver.text()).unwrap_or_default()
        })
    }
}

impl Content {
    /// Held ones first, so that the newest attempt of a run comes last.
    fn active(&self, fits: impl Fn(&str) -> bool) -> Vec<Active> {
        let locked = self.locks.marked().iter().filter(|job| fits(job)).filter_map(|job| self.locks.get(job));
        let locked = locked.filter_map(|row| row.lock.held.clone()).map(Active::Held);
        let free = self.runs.values().filter(|run| fits(run.held.job.as_str()));
        let tasks = self.tasks.values().cloned().map(Active::Task).filter(|task| fits(&task.owner_name()));
        let wanted = self.queue.values().filter(|wanted| fits(&wanted.owner_name()));
        let held = locked.chain(free.cloned().map(Active::Held)).chain(tasks);
        held.chain(wanted.cloned().map(Active::Wanted)).collect()
    }

    /// As [`Content::active`], without a look at what runs of other jobs hold.
    fn active_of(&self, name: &str) -> Vec<Active> {
        let locked = self.locks.get(name).and_then(|row| row.lock.held.clone()).map(Active::Held);
        let free = self.runs.values().filter(|run| run.held.job.as_str() == name);
        let wanted = self.queue.values().filter(|wanted| wanted.owner_name() == name);
        let beside = free.cloned().map(Active::Held).chain(wanted.cloned().map(Active::Wanted));
        locked.into_iter().chain(beside).collect()
    }

    fn fill_active(&self, page: &mut [JobSnapshot]) {
        let mut by_job: HashMap<String, Vec<Active>> = HashMap::new();
        {
            let names: HashSet<&str> = page.iter().map(|job| job.name.as_str()).collect();
            for active in self.active(|job| names.contains(job)) {
                by_job.entry(active.job().to_owned()).or_default().push(active);
            }
        }
        for job in page {
            job.active = by_job.remove(&job.name).unwrap_or_default();
        }
    }
}
