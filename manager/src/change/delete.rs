//! Deleting a job: its definition, and its lock unless a run holds it (then the run's worker removes it at the end).
//! Ticks that nobody had decided are named in the same transaction, as with every change that buries them. Runs that wait
//! are left in the queue: the workers see that their job is gone, or another one of the same name, and put them on record.

use common::{
    id::JobName,
    job::{StoredJob, fence_at_save},
    store::Key,
};

use super::{
    Change, Decision, Fate, SentWrite, Snapshot, Write,
    decision::{lock_after_delete, passed},
    job::{self, Standing},
    make, txn,
};
use crate::{access::Caller, cache::Place, precondition::Precondition, problem::ApiError, state::App};

/// What was deleted.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The job, if the stored value was one.
    pub(crate) previous: Option<StoredJob>,
}

struct Delete<'a> {
    app: &'a App,
    name: &'a JobName,
    precondition: &'a Precondition,
}

impl Change for Delete<'_> {
    /// `None`: there was no job.
    type Done = Option<Deleted>;

    const WHAT: &'static str = "delete";

    fn reads(&self) -> Vec<Key> {
        job::keys(self.app, self.name)
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<Self::Done>, ApiError> {
        let Self { app, name, precondition } = *self;
        let standing = Standing(seen);
        let Some(stored) = standing.stored(name) else { return Ok(Decision::Leave(None)) };
        precondition.check(name, standing.revision())?;
        let (previous, lock, now) = (stored.ok(), standing.lock(), fence_at_save(app.now()));
        let why = "its job was deleted before anybody had claimed it";
        let buried = previous.as_ref().and_then(|before| passed(before, &lock, now, why));
        let after = lock_after_delete(&lock, now);
        let txn = txn::delete(&app.config.keys, name, standing.seen(), &after, buried.as_ref());
        Ok(Decision::Write(Write { txn, places: &[Place::Jobs], done: Some(Deleted { previous }) }))
    }

    /// What is gone was deleted, by this or as good as by this. A job that was made since is not the one that was to
    /// go, and stays.
    fn fate(&self, tried: &SentWrite<Self::Done>, seen: &Snapshot) -> Fate {
        match seen.entry(0) {
            None => Fate::Done(None),
            Some(entry) if entry.create_revision > tried.decided_on(0) => Fate::Done(None),
            Some(entry) if entry.mod_revision == tried.decided_on(0) => Fate::Open,
            // Changed since, and never gone.
            Some(_) => Fate::Void,
        }
    }
}

/// Deletes a job; `None`: there was none.
pub(crate) async fn delete(
    app: &App,
    caller: &Caller,
    name: &JobName,
    precondition: &Precondition,
) -> Result<Option<Deleted>, ApiError> {
    app.check_clock()?;
    let delete = Delete { app, name, precondition };
    let deleted = make(&app.way(App::deadline()), caller, &delete).await?.done;
    if deleted.is_some() {
        tracing::info!(job = %name, by = %caller, "deleted");
    }
    Ok(deleted)
}
