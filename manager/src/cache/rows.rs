//! The kinds of things that the cache keeps: where they stand, and what is kept of a stored value.

use std::sync::Arc;

use common::{
    id::JobName,
    job::{FieldError, JobError, StoredJob},
    lock::{HeldLock, Lock},
    queue::QueuedRun,
    revision::Token,
    store::{Entry, Prefix, key::Keys},
    task::ActiveTask,
    worker::{Drain, Registration},
};

use super::{
    CachedJob, CachedLock, Content, HeldRun, Place, TaskRun,
    list::{JobRow, LockRow},
    table::{Row, Table},
};
use crate::state::App;

impl Row for JobRow {
    const PLACE: Place = Place::Jobs;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.jobs
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.jobs
    }

    fn read(name: &str, entry: &Entry) -> Result<Self, String> {
        Ok(Self::new(Arc::new(job(name, entry))))
    }

    /// Those that do not decode.
    fn is_marked(&self) -> bool {
        self.job.stored.is_err()
    }
}

impl Row for LockRow {
    const PLACE: Place = Place::Locks;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.locks
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.locks
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        Ok(Self::new(Arc::new(lock(entry))))
    }

    /// Those that are held: few, where the locks are many.
    fn is_marked(&self) -> bool {
        self.lock.held.is_some()
    }
}

impl Row for Arc<Registration> {
    const PLACE: Place = Place::Workers;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.workers
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.workers
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        Registration::decode(&entry.value).map(Arc::new).map_err(|error| error.to_string())
    }

    fn listed(app: &App) {
        app.clocks.forget_all();
    }

    fn heard(app: &App, name: &str, registration: Option<&Self>) {
        match registration {
            Some(registration) => app.clocks.read(name, registration.clock - app.now()),
            None => app.clocks.forget(name),
        }
    }
}

/// By what follows `queue/`: a run, or `<job>@next`.
impl Row for Arc<QueuedRun> {
    const PLACE: Place = Place::Queue;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.queue
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.queue
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        QueuedRun::decode(&entry.value).map(Arc::new).map_err(|error| error.to_string())
    }
}

impl Row for HeldRun {
    const PLACE: Place = Place::Runs;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.runs
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.runs
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        let held = HeldLock::decode(&entry.value).map_err(|error| error.to_string())?;
        Ok(Self { token: held.token(entry.create_revision), held: Arc::new(held) })
    }
}

impl Row for TaskRun {
    const PLACE: Place = Place::Tasks;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.active
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.tasks
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        let active = ActiveTask::decode(&entry.value).map_err(|error| error.to_string())?;
        Ok(Self { token: active.held.token(entry.create_revision), active: Arc::new(active) })
    }
}

impl Row for Arc<Drain> {
    const PLACE: Place = Place::Drains;

    fn prefix(keys: &Keys) -> &Prefix {
        &keys.drains
    }

    fn table(content: &mut Content) -> &mut Table<Self> {
        &mut content.drains
    }

    fn read(_name: &str, entry: &Entry) -> Result<Self, String> {
        Drain::decode(&entry.value).map(Arc::new).map_err(|error| error.to_string())
    }
}

fn job(name: &str, entry: &Entry) -> CachedJob {
    let named = name.parse::<JobName>().map_err(|error| {
        JobError::from(FieldError::new(
            "name",
            name,
            format!("is no job name: {error}"),
            "\"nightly-backup\"",
        ))
    });
    let stored = named.and_then(|_| StoredJob::decode(name, &entry.value));
    if let Err(error) = &stored {
        tracing::warn!(key = %entry.key, %error, "a stored job does not decode; it stays as it is");
    }
    CachedJob { revision: entry.mod_revision, stored }
}

fn lock(entry: &Entry) -> CachedLock {
    match Lock::decode(&entry.value) {
        Ok(Lock::Free(free)) => {
            CachedLock { fence: Some(free.fence), last: free.last, ..CachedLock::default() }
        }
        Ok(Lock::Held(held)) => {
            // A skip by a worker of an earlier version left no trace of the revision that was the token.
            let is_known = held.claim_revision.is_some() || held.skipped == 0;
            let token = if is_known { held.token(entry.mod_revision) } else { Token::default() };
            let fence = Some(held.fence);
            let held = Some(HeldRun { held: Arc::new(held), token });
            CachedLock { fence, held, ..CachedLock::default() }
        }
        Err(error) => CachedLock { problem: Some(error.to_string()), ..CachedLock::default() },
    }
}
