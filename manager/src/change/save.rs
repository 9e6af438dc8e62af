//! Saving a job. Its value carries the instant of saving, so that nobody else writes these very bytes.

use chrono::TimeDelta;
use common::{
    id::JobName,
    job::{Job, JobError, MAX_JOB_BYTES, StoredJob},
    span::Span,
    store::{Key, Revision},
};
use tokio::time::Instant;

use super::{
    Change, Decision, Snapshot,
    job::{self, NewJob, Standing, righted},
};
use crate::{access::Caller, precondition::Precondition, problem::ApiError, state::App};

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
    /// True if there was nothing before.
    pub(crate) created: bool,
    /// By how much the clock that it counted from so far was ahead, if it was.
    pub(crate) righted: Option<TimeDelta>,
}

/// A save. `job` says what the job becomes, given what it was: it may be asked again after somebody else's write.
struct Save<'a, F> {
    app: &'a App,
    name: &'a JobName,
    expect: &'a Expect,
    precondition: &'a Precondition,
    job: F,
}

impl<F: Fn(Option<&Job>) -> Result<Job, ApiError> + Sync> Change for Save<'_, F> {
    type Done = Saved;

    const WHAT: &'static str = "save";

    fn reads(&self) -> Vec<Key> {
        job::keys(self.app, self.name)
    }

    /// If the lists know of nothing, most likely there is nothing.
    fn presumed(&self) -> Option<Snapshot> {
        self.app.cache.knows_nothing_of(self.name.as_str()).then(|| Snapshot::nothing(2))
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<Saved>, ApiError> {
        let Self { app, name, .. } = *self;
        let standing = Standing(seen);
        self.precondition.check(name, standing.revision())?;
        let previous = match standing.stored(name) {
            Some(_) if *self.expect == Expect::Absent => return Err(ApiError::JobExists(name.clone())),
            Some(stored) => stored.ok(),
            None => None,
        };
        let now = app.now();
        let trigger_before = previous.as_ref().map(|stored| stored.job.trigger.clone());
        let (previous, back) = previous.map(|stored| righted(app, stored, now)).unzip();
        let back = back.flatten();
        let old = previous.as_ref().map(|stored| &stored.job);
        let mut new = (self.job)(old)?;
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
        job::write(app, name, &standing, NewJob { stored, from_now, righted: back })
    }
}

/// Saves a job, if the client's condition holds.
pub(crate) async fn save(
    app: &App,
    caller: &Caller,
    name: &JobName,
    (expect, precondition): (&Expect, &Precondition),
    job: impl Fn(Option<&Job>) -> Result<Job, ApiError> + Sync,
) -> Result<Saved, ApiError> {
    let save = Save { app, name, expect, precondition, job };
    make(app, caller, App::deadline(), &save).await
}

/// Saves one of several jobs, given up at `deadline`.
pub(super) async fn save_by(
    deadline: Instant,
    app: &App,
    caller: &Caller,
    job: &Job,
    expect: &Expect,
) -> Result<Saved, ApiError> {
    let precondition = &Precondition::default();
    let save = Save { app, name: &job.name, expect, precondition, job: |_: Option<&Job>| Ok(job.clone()) };
    make(app, caller, deadline, &save).await
}

/// Makes a change that results in a saved job, and gives that job at its revision.
pub(super) async fn make(
    app: &App,
    caller: &Caller,
    deadline: Instant,
    change: &impl Change<Done = Saved>,
) -> Result<Saved, ApiError> {
    let made = super::make(&app.way(deadline), caller, change).await?;
    let saved = made.done;
    if let Some(by) = saved.righted {
        let by = Span::seconds(by.num_seconds().unsigned_abs());
        tracing::warn!(job = %saved.stored.job.name, %by, "a job counted from a clock that was ahead; what that clock said of it is taken back");
    }
    Ok(Saved { revision: made.revision.unwrap_or(saved.revision), ..saved })
}

/// A trigger whose last instant has passed is not the fault of whoever edits something else.
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
