//! Run now: a run put into the queue for whichever worker takes it.

use chrono::TimeDelta;
use common::{
    id::{JobName, RunId},
    queue::QueuedRun,
    run::Cause,
    store::Key,
};

use super::{Change, Decision, Snapshot, Write, job::Standing, make, txn};
use crate::{access::Caller, cache::Place, precondition::Precondition, problem::ApiError, state::App};

struct RunNow<'a> {
    app: &'a App,
    name: &'a JobName,
    run: RunId,
    by: String,
    precondition: &'a Precondition,
}

impl Change for RunNow<'_> {
    type Done = ();

    const WHAT: &'static str = "run now";

    fn reads(&self) -> Vec<Key> {
        // The run's id is ours alone: if it stands in the queue, it happened. If it does not, a worker may have taken it
        // already, so that asking again could run it twice: the client decides.
        vec![self.app.config.keys.wanted(&self.run), self.app.config.keys.job(self.name)]
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<()>, ApiError> {
        let Self { app, name, precondition, .. } = *self;
        let of_job = seen.behind_first();
        let standing = Standing(&of_job);
        if standing.stored(name).is_none() {
            return Err(ApiError::NoSuchJob(name.to_string()));
        }
        precondition.check(name, standing.revision())?;
        let (job, now) = (standing.job(name)?.job, app.now());
        let within = TimeDelta::from_std(job.misfire.deadline.0).ok();
        let wanted = QueuedRun {
            job: name.clone(),
            run: self.run,
            attempt: 1,
            cause: Cause::Manual,
            tick: None,
            since: now,
            not_before: None,
            deadline: within.and_then(|span| now.checked_add_signed(span)),
            worker: None,
            by: self.by.clone(),
            killed: None,
            task: None,
        };
        let txn = txn::run_now(&app.config.keys, standing.revision(), &wanted);
        Ok(Decision::Write(Write { txn, places: &[Place::Queue], done: () }))
    }
}

/// Wants a run of the job, which has to start within the job's misfire deadline. Also of a paused job: pausing
/// stops its ticks, not people.
pub(crate) async fn run_now(
    app: &App,
    caller: &Caller,
    name: &JobName,
    precondition: &Precondition,
) -> Result<RunId, ApiError> {
    let run = app.chance.run_id(app.now());
    let wanted = RunNow { app, name, run, by: caller.to_string(), precondition };
    make(&app.way(App::deadline()), caller, &wanted).await?;
    Ok(run)
}
