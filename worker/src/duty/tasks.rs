//! Looks after active tasks that are nobody's: their worker is gone, or it is this one, which never started them. Those
//! that were lost go on record, and into the queue again where they are repeated. Of those that had ended, whose record
//! is on the disk of a worker that does not return, what the store knows goes on record after a while.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    job::Placement,
    runlog::RunLog,
    store::{Revision, StoreError, list_all},
    task::{ActiveTask, Ended},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Done, Duty};
use crate::{
    claim::{self, HolderLife, Orphan, Session, task::Lost},
    run::{retry::How, task::Tasks},
    session::registry::{Registry, View},
};

/// Without any change, so often.
const EVERY: Duration = Duration::from_secs(30);

/// After a change, once things have been quiet for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// A worker that is gone has so long to come back and tell how its task ended.
const UNTOLD: chrono::Duration = chrono::Duration::minutes(10);

/// Looks after tasks.
pub(crate) struct ActiveTasks {
    tasks: Arc<Tasks>,
    registry: Arc<Registry>,
    runlog: Arc<dyn RunLog>,
    changes: watch::Receiver<Arc<View>>,
    /// By which workers the last pass ranked, and when the next one is due.
    last: Option<(u64, Instant)>,
}

impl ActiveTasks {
    /// No pass was made yet.
    pub(crate) fn new(tasks: Arc<Tasks>, registry: Arc<Registry>, runlog: Arc<dyn RunLog>) -> Self {
        let changes = registry.changes();
        Self { tasks, registry, runlog, changes, last: None }
    }
}

#[async_trait]
impl Duty for ActiveTasks {
    fn name(&self) -> &'static str {
        "tasks"
    }

    async fn woken(&mut self) -> Option<()> {
        let Some((candidates, next)) = self.last else { return Some(()) };
        loop {
            tokio::select! {
                biased;
                () = sleep_until(next) => return Some(()),
                changed = self.changes.changed() => {
                    changed.ok()?;
                    if candidates != self.registry.view().candidates.view() {
                        sleep(SETTLED).await;
                        return Some(());
                    }
                }
            }
        }
    }

    async fn pass(&mut self) -> Result<Done, StoreError> {
        let next = Instant::now() + EVERY;
        let Some(session) = self.tasks.standing.trusted().await else { return Ok(Done::ForGood) };
        let view = self.registry.view();
        let standing = &self.tasks.standing;
        // In a restored store, whoever holds something may be alive and well, by a registration that the copy lacks.
        if !standing.load.is_store_restored() {
            let claims = &self.tasks.claims;
            let (active, _) = list_all(&*claims.store, &claims.keys().active).await?;
            for entry in active {
                let Some(task) = claim::task::seen(&entry) else { continue };
                let rank =
                    view.candidates.rank_of(standing.id(), &task.held.run.to_string(), &Placement::default());
                if rank == Some(0) || claims.is_phantom_beside(&task.held) {
                    self.look_after(task, entry.mod_revision, &session).await;
                }
            }
        }
        self.last = Some((view.candidates.view(), next));
        Ok(Done::ForNow)
    }
}

impl ActiveTasks {
    async fn look_after(&self, active: ActiveTask, seen: Revision, session: &Session) {
        let claims = &self.tasks.claims;
        let mine = active.held.worker == session.worker && active.held.session == session.revision;
        let life = match mine {
            true if claims.beside.has(active.held.run) => HolderLife::Other,
            true => HolderLife::Me,
            false if self.registry.view().lives(&active.held.worker, active.held.session) => {
                HolderLife::Other
            }
            false => HolderLife::Gone,
        };
        let Some(orphan) = Orphan::of(life) else { return };
        match active.ended.clone() {
            Some(ended) => self.look_after_ended(active, ended, seen, session, orphan).await,
            None => self.lose(active, seen, session, orphan).await,
        }
    }

    /// A task whose holder is gone, or that this process claimed and never started.
    async fn lose(&self, active: ActiveTask, seen: Revision, session: &Session, orphan: Orphan) {
        let tasks = &self.tasks;
        if orphan == Orphan::Phantom {
            let wanted = tasks.as_wanted(&active);
            self.send(&active, seen, orphan, Lost::Queued(Box::new(wanted))).await;
            return;
        }
        // The record first, on disk: nobody overwrites what is held blind.
        let ended = tasks.journal.keep_lost_task(&active, seen).await;
        let claimed = active.held.claimed_at(seen);
        let then = match tasks.retries.after_task(&active.task, &active.held, claimed, How::LOST) {
            Some(wanted) => Lost::Queued(Box::new(wanted)),
            None => Lost::Ended(Box::new(active.clone().ended(
                ended,
                claimed,
                (&session.worker, session.revision),
            ))),
        };
        if self.send(&active, seen, orphan, then).await {
            let held = &active.held;
            tracing::warn!(task = %held.job, run = %held.run, worker = %held.worker, "a task was lost with its worker");
        }
    }

    /// A task that has ended, and whose holder is gone. Its record is in the run log, on the disk of the one that is gone,
    /// or nowhere.
    async fn look_after_ended(
        &self,
        active: ActiveTask,
        ended: Ended,
        seen: Revision,
        session: &Session,
        orphan: Orphan,
    ) {
        let (tasks, attempt) = (&self.tasks, (active.held.run, active.held.attempt));
        match self.runlog.attempts(&attempt.0).await {
            Ok(records) if records.iter().any(|record| record.attempt == attempt.1) => {
                return tasks.forget(attempt, seen).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = error.chain(), "whether a task is in the run log cannot be told now");
                return;
            }
        }
        if tasks.standing.clock.now() - ended.at < UNTOLD && orphan == Orphan::Gone {
            return;
        }
        tasks.journal.keep_ended_task(&active, &ended, seen).await;
        let claimed = active.held.claimed_at(seen);
        let mine = active.clone().ended(ended, claimed, (&session.worker, session.revision));
        self.send(&active, seen, orphan, Lost::Ended(Box::new(mine))).await;
    }

    /// True: it was done.
    async fn send(&self, active: &ActiveTask, seen: Revision, orphan: Orphan, then: Lost) -> bool {
        let (tasks, attempt) = (&self.tasks, (active.held.run, active.held.attempt));
        let claims = &tasks.claims;
        let txn = claim::task::lose(claims.keys(), active, seen, orphan, &then);
        if let Lost::Ended(_) = then {
            claims.beside.enter(attempt.0);
        }
        let done = match claims.batcher.plain(txn).await {
            Ok(outcome) => match &then {
                Lost::Ended(ended) => claim::task::ended(&outcome, ended),
                Lost::Queued(_) => outcome.succeeded.then_some(outcome.revision),
            },
            Err(error) => {
                tracing::debug!(%error, "a lost task stays until the next pass");
                None
            }
        };
        match (then, done) {
            (Lost::Ended(_), Some(revision)) => tasks.has_ended(attempt, revision).await,
            (Lost::Ended(_), None) => claims.beside.leave(attempt.0),
            (Lost::Queued(_), _) => {}
        }
        done.is_some()
    }
}
