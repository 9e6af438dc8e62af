//! What changes a job: save, delete, pause, resume and the reset of a fence, as transactions that compare what they were decided on.
//!
//! Saving creates the job's lock, at the instant of saving, and a changed trigger, a pause or a resume moves its fence to
//! now, in the transaction that writes the job: a claim sees both or neither. Ticks that nobody had decided by then are
//! buried by that, and so the same transaction says which they are, under `passed/`, for a worker to put them on record.
//! No transaction but that reset writes an earlier fence, unless it was put there by a clock that was ahead and
//! nobody has decided a tick since. A held lock is only ever written again under the compare of the revision that was read. A write
//! whose answer is lost is read back (`uncertain.rs`), and every write is waited for until this manager's lists show it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    id::JobName,
    job::{Job, JobError, MAX_JOB_BYTES, StoredJob, fence_at_save},
    lock::{Free, Lock, Stretch},
    queue::Passed,
    store::{Compare, Entry, Op, Revision, StoreError, Txn, TxnOutcome},
    tick::Fence,
};
use tokio::time::{Instant, sleep};

use crate::{cache::Place, precondition::Precondition, problem::ApiError, state::App};

pub(crate) mod bulk;
mod delete;
pub(crate) mod fence;
mod uncertain;

pub(crate) use delete::delete;
use uncertain::{Next, Tried, Uncertain};

/// Another writer was first: read and decide again, so many times.
const TRIES: usize = 8;

/// Before the first further look for a write that may be on its way; each further one waits twice as long.
const LATE: Duration = Duration::from_millis(100);
/// None waits longer.
const LATEST: Duration = Duration::from_millis(800);

/// What a save expects to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// No job of this name.
    Absent,
    /// Whatever there is.
    Any,
}

/// A job as it was written.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) stored: StoredJob,
    pub(crate) revision: Revision,
    /// What was there before, if it was a job.
    pub(crate) previous: Option<StoredJob>,
    /// True: there was nothing before.
    pub(crate) created: bool,
    /// By how much the clock was ahead that it counted from until now, if it was.
    pub(crate) righted: Option<TimeDelta>,
}

/// What stands under a job's name in the store.
#[derive(Default)]
struct Current {
    job: Option<Entry>,
    lock: Option<Entry>,
}

impl Current {
    async fn read(app: &App, name: &JobName, deadline: Instant) -> Result<Self, StoreError> {
        let read = Txn::when(Vec::new(), Self::gets(app, name));
        match app.read_store(deadline, app.writes.txn(app.config.keys.job(name), read)).await {
            Ok(outcome) => Ok(Self::of(&outcome)),
            // A question that shared its way with writes has lost nothing but time.
            Err(StoreError::Ambiguous(cause)) => Err(StoreError::Unavailable(cause)),
            // It was refused with the writes that it shared its way with: by itself a full store answers it.
            Err(StoreError::Full(_)) => Self::read_alone(app, name, deadline).await,
            Err(error) => Err(error),
        }
    }

    /// The same past all writes, as after a lost answer: these reads go on to another member of the store. They are not
    /// of one instant; what is written compares what it goes by.
    async fn read_alone(app: &App, name: &JobName, deadline: Instant) -> Result<Self, StoreError> {
        let (job, lock) = (app.config.keys.job(name), app.config.keys.lock(name));
        let (job, _) = app.read_store(deadline, app.store.get(&job)).await?;
        let (lock, _) = app.read_store(deadline, app.store.get(&lock)).await?;
        Ok(Self { job, lock })
    }

    fn gets(app: &App, name: &JobName) -> Vec<Op> {
        vec![Op::Get(app.config.keys.job(name)), Op::Get(app.config.keys.lock(name))]
    }

    /// What [`Current::gets`] got.
    fn of(outcome: &TxnOutcome) -> Self {
        Self { job: outcome.got(0).cloned(), lock: outcome.got(1).cloned() }
    }

    fn job_revision(&self) -> Revision {
        self.job.as_ref().map_or(Revision::NONE, |entry| entry.mod_revision)
    }

    fn lock_revision(&self) -> Revision {
        self.lock.as_ref().map_or(Revision::NONE, |entry| entry.mod_revision)
    }

    fn stored(&self, name: &JobName) -> Option<Result<StoredJob, JobError>> {
        self.job.as_ref().map(|entry| StoredJob::decode(name.as_str(), &entry.value))
    }
}

/// What is to become of a job.
enum Decision {
    Write(Change),
    /// It is as it should be.
    Leave(StoredJob),
}

/// What a change makes of a job.
struct Change {
    stored: StoredJob,
    /// The fence moves to now, since ticks of the trigger count from now, or pass; and why those before it get no run
    /// that nobody has decided. `None`: it stays.
    from_now: Option<&'static str>,
    /// It counts from now since the clock was ahead that it counted from.
    righted: Option<Back>,
}

/// What is taken back of a clock that was ahead.
struct Back {
    by: TimeDelta,
    /// The fence that goes back to now: nobody has decided a tick since it was put there.
    from: Option<Fence>,
}

/// What a change begins with: what is stored, but for what a clock said that was ahead.
fn righted(app: &App, stored: StoredJob, now: DateTime<Utc>) -> (StoredJob, Option<Back>) {
    match app.righted(&stored, now) {
        Some(righted) => (righted.stored, Some(Back { by: righted.by, from: stored.fence_as_made() })),
        None => (stored, None),
    }
}

/// Saves a job. `job` says what it becomes, given what it was: it may be asked again after somebody else's write.
pub(crate) async fn save(
    app: &App,
    name: &JobName,
    (expect, precondition): (&Expect, &Precondition),
    job: impl Fn(Option<&Job>) -> Result<Job, ApiError> + Sync,
) -> Result<Saved, ApiError> {
    save_by(App::deadline(), app, name, (expect, precondition), job).await
}

/// The same, given up at `deadline`.
async fn save_by(
    deadline: Instant,
    app: &App,
    name: &JobName,
    (expect, precondition): (&Expect, &Precondition),
    job: impl Fn(Option<&Job>) -> Result<Job, ApiError> + Sync,
) -> Result<Saved, ApiError> {
    change(deadline, app, name, |current| {
        precondition.check(name, current.job_revision())?;
        let previous = match current.stored(name) {
            Some(_) if *expect == Expect::Absent => return Err(ApiError::JobExists(name.clone())),
            Some(stored) => stored.ok(),
            None => None,
        };
        let now = app.now();
        let trigger_before = previous.as_ref().map(|stored| stored.job.trigger.clone());
        let (previous, back) = previous.map(|stored| righted(app, stored, now)).unzip();
        let back = back.flatten();
        let old = previous.as_ref().map(|stored| &stored.job);
        let mut new = job(old)?;
        if let Some(before) = trigger_before.as_ref().filter(|_| back.is_some()) {
            new.trigger.forget_anchor_of(before);
        }
        new.settle(app.config.zone, now, old);
        let same_trigger = trigger_before.is_some_and(|before| before == new.trigger);
        check(&new, now, same_trigger)?;
        check_size(&new)?;
        let stored = match previous {
            Some(previous) => previous.replaced(new, now),
            None => StoredJob::new(new, now),
        };
        let from_now = (!same_trigger).then_some("its trigger was changed before anybody had claimed it");
        Ok(Decision::Write(Change { stored, from_now, righted: back }))
    })
    .await
}

/// A trigger whose last instant has passed is no mistake of who edits something else.
pub(crate) fn check(
    job: &Job,
    now: chrono::DateTime<chrono::Utc>,
    same_trigger: bool,
) -> Result<(), JobError> {
    let Err(mut error) = job.check(now) else { return Ok(()) };
    if same_trigger && job.schedule().is_ok() {
        error.errors.retain(|error| !error.field.starts_with("trigger"));
    }
    if error.errors.is_empty() { Ok(()) } else { Err(error) }
}

/// A job that the store takes.
pub(crate) fn check_size(job: &Job) -> Result<(), ApiError> {
    let bytes = serde_json::to_vec(job).map_or(0, |text| text.len());
    if bytes > MAX_JOB_BYTES { Err(ApiError::TooLarge { limit: MAX_JOB_BYTES }) } else { Ok(()) }
}

/// Lets a job's ticks pass, or counts them again from now on.
pub(crate) async fn set_paused(
    app: &App,
    name: &JobName,
    paused: Paused,
    precondition: &Precondition,
) -> Result<Saved, ApiError> {
    change(App::deadline(), app, name, |current| {
        let stored = current.stored(name).ok_or_else(|| ApiError::NoSuchJob(name.to_string()))?;
        precondition.check(name, current.job_revision())?;
        let stored = match stored {
            Err(error) => return Err(ApiError::BrokenJob { name: name.to_string(), error }),
            Ok(stored) => stored,
        };
        let wanted = paused == Paused::Yes;
        if stored.paused == wanted {
            return Ok(Decision::Leave(stored));
        }
        let (mut stored, back) = righted(app, stored, app.now());
        match paused {
            Paused::Yes => stored.pause(app.now()),
            Paused::No => stored.resume(app.now()),
        }
        let from_now = Some("its job was paused before anybody had claimed it");
        Ok(Decision::Write(Change { stored, from_now, righted: back }))
    })
    .await
}

/// Whether a job's ticks pass without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paused {
    Yes,
    No,
}

/// Makes the change that `decide` says. A failure is told as it is as long as no answer was lost; after that the change
/// may have happened, whatever came in its way since.
async fn change(
    deadline: Instant,
    app: &App,
    name: &JobName,
    decide: impl Fn(&Current) -> Result<Decision, ApiError> + Sync,
) -> Result<Saved, ApiError> {
    let mut uncertain = Uncertain::default();
    let saved = try_to_change(deadline, app, name, &decide, &mut uncertain).await;
    saved.map_err(|error| uncertain.instead_of(error))
}

/// Reads, lets `decide`, writes under the compare of what was read; again when another writer was first, and after a
/// lost answer as far as what is read back allows.
async fn try_to_change(
    deadline: Instant,
    app: &App,
    name: &JobName,
    decide: &(impl Fn(&Current) -> Result<Decision, ApiError> + Sync),
    uncertain: &mut Uncertain,
) -> Result<Saved, ApiError> {
    let mut known = presumed(app, name, decide);
    let mut late = LATE;
    for _ in 0..TRIES {
        let current = match known.take() {
            Some(current) => current,
            None if uncertain.is_empty() => Current::read(app, name, deadline).await?,
            None => Current::read_alone(app, name, deadline).await?,
        };
        match uncertain.judge(&current)? {
            Next::Try => {}
            Next::LookAgain => {
                if late > LATEST {
                    return Err(ApiError::Contended);
                }
                sleep(late).await;
                late *= 2;
                continue;
            }
            Next::Done(tried, revision) => return Ok(tried.shown(app, revision, deadline).await),
        }
        let change = match decide(&current)? {
            Decision::Write(change) => change,
            Decision::Leave(stored) => {
                let (previous, revision) = (Some(stored.clone()), current.job_revision());
                return Ok(Saved { stored, revision, previous, created: false, righted: None });
            }
        };
        match write(app, name, &current, change, deadline).await? {
            Written::Done(tried, revision) => return Ok(tried.shown(app, revision, deadline).await),
            Written::Not(found) => known = Some(found),
            Written::Lost(tried, error) => uncertain.add(tried, error),
        }
    }
    Err(ApiError::Contended)
}

/// Where the lists know of nothing there most likely is nothing: the write itself finds out. A refusal is never given on
/// that account.
fn presumed(
    app: &App,
    name: &JobName,
    decide: &impl Fn(&Current) -> Result<Decision, ApiError>,
) -> Option<Current> {
    if !app.cache.knows_nothing_of(name.as_str()) {
        return None;
    }
    let nothing = Current::default();
    matches!(decide(&nothing), Ok(Decision::Write(_))).then_some(nothing)
}

/// What became of a write.
enum Written {
    /// Done, at this revision.
    Done(Box<Tried>, Revision),
    /// Another writer was first, and this is what it left.
    Not(Current),
    /// Done or not: this was the answer.
    Lost(Box<Tried>, StoreError),
}

/// Sends the job, with its lock where that changes and the ticks that this passes over, under the compare of what was
/// read.
async fn write(
    app: &App,
    name: &JobName,
    current: &Current,
    change: Change,
    deadline: Instant,
) -> Result<Written, ApiError> {
    let Change { stored, from_now, righted } = change;
    let job_key = app.config.keys.job(name);
    let (value, compared) = (stored.encode(), current.job_revision());
    let mut compares = vec![Compare::ModRevision(job_key.clone(), compared)];
    let mut ops = vec![Op::Put(job_key.clone(), value.clone(), None)];
    let mut places: &'static [Place] = &[Place::Jobs];
    let fence = fence_at_save(app.now());
    let back = righted.as_ref().and_then(|back| back.from);
    if let Some(lock) = lock_after(name, current, fence, from_now.is_some(), back)? {
        app.check_clock()?;
        ops.extend(from_now.and_then(|reason| passed(app, name, current, fence, reason)));
        let lease = current.lock.as_ref().and_then(|entry| entry.lease);
        let key = app.config.keys.lock(name);
        compares.push(Compare::ModRevision(key.clone(), current.lock_revision()));
        ops.push(Op::Put(key, lock.encode(), lease));
        places = &[Place::Jobs, Place::Locks];
    }
    let txn = Txn { compares, then: ops, otherwise: Current::gets(app, name) };
    let previous = current.stored(name).and_then(Result::ok);
    let righted = righted.map(|back| back.by);
    let tried = Box::new(Tried { stored, value, compared, previous, places, righted });
    match app.write_store(deadline, app.writes.txn(job_key, txn)).await {
        Ok(outcome) if outcome.succeeded => Ok(Written::Done(tried, outcome.revision)),
        Ok(outcome) => Ok(Written::Not(Current::of(&outcome))),
        // etcd does the transaction that fills it, and answers it like those behind it.
        Err(error @ (StoreError::Ambiguous(_) | StoreError::Full(_))) => Ok(Written::Lost(tried, error)),
        Err(error) => Err(error.into()),
    }
}

/// Names the ticks that nobody has decided and that a fence at `now` buries; to be put in the transaction that moves
/// it, under the compare of the lock that was read.
fn passed(app: &App, name: &JobName, current: &Current, now: Fence, reason: &str) -> Option<Op> {
    let stored = current.stored(name)?.ok().filter(|stored| !stored.paused)?;
    let lock = Lock::decode(&current.lock.as_ref()?.value).ok()?;
    let ticks = Stretch::of(&stored.job.schedule().ok()??, lock.fence(), now)?;
    let key = app.config.keys.passed(name, ticks.to);
    Some(Op::Put(key, Passed { job: name.clone(), ticks, reason: reason.to_owned() }.encode(), None))
}

/// The lock that has to be written beside the job; `None`: it stays as it is. Its fence goes back only from `back`, and
/// where no run has ended since.
fn lock_after(
    name: &JobName,
    current: &Current,
    now: Fence,
    from_now: bool,
    back: Option<Fence>,
) -> Result<Option<Lock>, ApiError> {
    let Some(entry) = &current.lock else { return Ok(Some(Lock::new(now))) };
    match Lock::decode(&entry.value) {
        Ok(Lock::Free(Free { fence, last: None })) if back == Some(fence) && now < fence => {
            Ok(Some(Lock::new(now)))
        }
        Ok(_) if !from_now => Ok(None),
        Ok(Lock::Free(free)) => Ok(Some(Lock::Free(Free { fence: free.fence.max(now), ..free }))),
        Ok(Lock::Held(held)) => {
            let fence = held.fence.max(now);
            Ok(Some(Lock::Held(held.at_fence(fence, entry.mod_revision))))
        }
        Err(_) if is_held(entry) => Err(ApiError::UnknownHeldLock(name.clone())),
        // Rubbish keeps the job from running; it holds no fence that could be lost.
        Err(_) => Ok(Some(Lock::new(now))),
    }
}

/// True for a lock that says it is held, whether or not the rest of it is understood.
fn is_held(lock: &Entry) -> bool {
    lock.value.starts_with(b"~")
}
