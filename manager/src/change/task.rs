//! Hands in a task: a run without a job, put into the queue for whichever worker takes it.

use std::sync::Arc;

use common::{
    id::RunId,
    queue::QueuedRun,
    run::Cause,
    store::Key,
    task::{ActiveTask, NewTask},
};

use super::{Change, Decision, SentWrite, Snapshot, Write, make, txn, uncertain::Fate};
use crate::{access::Caller, cache::Place, problem::ApiError, state::App};

struct HandIn<'a> {
    app: &'a App,
    wanted: QueuedRun,
    /// The id is ours alone: nothing can be there.
    is_new: bool,
}

impl HandIn<'_> {
    /// True: what has this id is this very task.
    fn is_same(&self, seen: &Snapshot) -> bool {
        let task = self.wanted.task.as_deref();
        let queued = seen.entry(0).and_then(|entry| QueuedRun::decode(&entry.value).ok());
        let active = seen.entry(1).and_then(|entry| ActiveTask::decode(&entry.value).ok());
        queued.is_some_and(|queued| queued.task.as_deref() == task)
            || active.is_some_and(|active| Some(&*active.task) == task)
    }

    fn is_there(seen: &Snapshot) -> bool {
        seen.entry(0).is_some() || seen.entry(1).is_some()
    }
}

impl Change for HandIn<'_> {
    /// True: it was not there before.
    type Done = bool;

    const WHAT: &'static str = "hand in a task";

    fn reads(&self) -> Vec<Key> {
        let keys = &self.app.config.keys;
        vec![keys.wanted(&self.wanted.run), keys.active(&self.wanted.run)]
    }

    fn presumed(&self) -> Option<Snapshot> {
        self.is_new.then(|| Snapshot::nothing(2))
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<bool>, ApiError> {
        if Self::is_there(seen) {
            return if self.is_same(seen) {
                Ok(Decision::Leave(false))
            } else {
                Err(ApiError::RunExists(self.wanted.run))
            };
        }
        let txn = txn::queue_task(&self.app.config.keys, &self.wanted);
        Ok(Decision::Write(Write { txn, places: &[Place::Queue], done: true }))
    }

    /// A worker may have taken it already, and may even have ended it. That nothing is there proves nothing, then: the
    /// client asks, or hands it in once more under the same id.
    fn fate(&self, _tried: &SentWrite<bool>, seen: &Snapshot) -> Fate {
        match Self::is_there(seen) {
            true if self.is_same(seen) => Fate::Done(None),
            true => Fate::Unknown,
            false => Fate::Hidden,
        }
    }
}

/// Wants this task. True: it was not wanted before; false: the same task has this id already.
pub(crate) async fn hand_in(app: &App, caller: &Caller, new: NewTask) -> Result<(RunId, bool), ApiError> {
    let now = app.now();
    let run = new.run.unwrap_or_else(|| app.chance.run_id(now));
    if let Some(given) = new.run {
        let ended = app.ask_runlog(app.runlog.attempts(&given)).await?;
        if !ended.is_empty() && app.cache.active_run(given).is_none() {
            return Err(ApiError::RunExists(given));
        }
    }
    let wanted = QueuedRun {
        not_before: new.not_before,
        deadline: new.deadline,
        by: caller.to_string(),
        task: Some(Arc::new(new.task.clone())),
        ..QueuedRun::new(new.task.name, run, Cause::Manual, now)
    };
    let change = HandIn { app, wanted, is_new: new.run.is_none() };
    let made = make(&app.way(App::deadline()), caller, &change).await?;
    Ok((run, made.done))
}
