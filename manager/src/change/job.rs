//! What every change of a job is based on: what is stored under its name, and which job a clock that is right would
//! have saved.

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    id::JobName,
    job::{JobError, StoredJob, fence_at_save},
    store::{Key, Revision},
    tick::Fence,
};

use super::{
    Decision, Snapshot, Write,
    decision::{Counts, LockAfter, OpaqueLock, StandingLock, lock_after, passed},
    save::Saved,
    txn::{self, SeenJob},
};
use crate::{cache::Place, problem::ApiError, state::App};

/// The keys of a job, in the order of [`Standing`].
pub(super) fn keys(app: &App, name: &JobName) -> Vec<Key> {
    vec![app.config.keys.job(name), app.config.keys.lock(name)]
}

/// What stands under a job's name.
pub(super) struct Standing<'a>(pub(super) &'a Snapshot);

impl Standing<'_> {
    /// The job's revision; 0: there is none.
    pub(super) fn revision(&self) -> Revision {
        self.0.revision(0)
    }

    /// The job, or why what is stored is not one.
    pub(super) fn stored(&self, name: &JobName) -> Option<Result<StoredJob, JobError>> {
        self.0.entry(0).map(|entry| StoredJob::decode(name.as_str(), &entry.value))
    }

    /// The same for a job that has to exist.
    pub(super) fn job(&self, name: &JobName) -> Result<StoredJob, ApiError> {
        let stored = self.stored(name).ok_or_else(|| ApiError::NoSuchJob(name.to_string()))?;
        stored.map_err(|error| ApiError::BrokenJob { name: name.to_string(), error })
    }

    pub(super) fn lock(&self) -> StandingLock {
        StandingLock::of(self.0.entry(1))
    }

    pub(super) fn seen(&self) -> SeenJob {
        let lease = self.0.entry(1).and_then(|entry| entry.lease);
        SeenJob { job: self.0.revision(0), lock: self.0.revision(1), lease }
    }
}

/// What a change makes of a job.
pub(super) struct NewJob {
    pub(super) stored: StoredJob,
    /// The fence moves to now, since ticks of the trigger count from now, or pass; and why those before it get no run
    /// that nobody has decided. `None`: it stays.
    pub(super) from_now: Option<&'static str>,
    /// It counts from now, because the clock that it counted from was ahead.
    pub(super) righted: Option<Back>,
}

/// What is taken back from a clock that was ahead.
pub(super) struct Back {
    pub(super) by: TimeDelta,
    /// The fence that goes back to now: nobody has decided a tick since it was put there.
    from: Option<Fence>,
}

/// What a change begins with: what is stored, except for what a clock that was ahead said.
pub(super) fn righted(app: &App, stored: StoredJob, now: DateTime<Utc>) -> (StoredJob, Option<Back>) {
    match app.righted(&stored, now) {
        Some(righted) => (righted.stored, Some(Back { by: righted.by, from: stored.fence_as_made() })),
        None => (stored, None),
    }
}

/// Writes the job, with its lock where that changes and the ticks that this passes over.
pub(super) fn write(
    app: &App,
    name: &JobName,
    standing: &Standing<'_>,
    new: NewJob,
) -> Result<Decision<Saved>, ApiError> {
    let NewJob { stored, from_now, righted } = new;
    let previous = standing.stored(name).and_then(Result::ok);
    let (fence, lock) = (fence_at_save(app.now()), standing.lock());
    let counts = if from_now.is_some() { Counts::FromNow } else { Counts::AsBefore };
    let back = righted.as_ref().and_then(|back| back.from);
    let after = lock_after(&lock, fence, counts, back)
        .map_err(|OpaqueLock| ApiError::UnknownHeldLock(name.clone()))?;
    let (mut places, mut buried): (&'static [Place], _) = (&[Place::Jobs], None);
    if after != LockAfter::Stays {
        app.check_clock()?;
        places = &[Place::Jobs, Place::Locks];
        buried = from_now.zip(previous.as_ref()).and_then(|(why, before)| passed(before, &lock, fence, why));
    }
    let seen = standing.seen();
    let txn = txn::save(&app.config.keys, name, seen, stored.encode(), &after, buried.as_ref());
    let righted = righted.map(|back| back.by);
    let done = Saved { stored, revision: seen.job, previous, created: seen.job.is_none(), righted };
    Ok(Decision::Write(Write { txn, places, done }))
}
