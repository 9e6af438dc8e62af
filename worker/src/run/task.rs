//! Tasks, from the queue to the run log: takes them, runs them, and answers for them until the run log has their
//! records.

use std::{collections::HashMap, sync::Arc};

use common::{
    id::RunId,
    lock::HeldLock,
    queue::QueuedRun,
    runlog::RunRecord,
    store::{Key, Revision},
    task::{ActiveTask, Ended, Task},
    tick::Tick,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    carry_out::measure,
    claimed::Claimed,
    record::Journal,
    retry::{How, Retries},
    runner::{Executed, Runner, Stop},
};
use crate::{
    claim::{self, Taking, batch::BatchError, claims::Claims},
    plan::Planned,
    session::{Standing, load::Slot},
};

/// One attempt of a task.
pub(crate) type Attempt = (RunId, u32);

/// Runs tasks.
pub(crate) struct Tasks {
    /// Whose they are.
    pub standing: Arc<Standing>,
    /// How they are claimed and ended.
    pub claims: Arc<Claims>,
    /// What executes.
    pub runner: Arc<Runner>,
    /// Where records go.
    pub journal: Arc<Journal>,
    /// What is tried again.
    pub retries: Arc<Retries>,
    /// Those that have ended and are not in the run log yet, or the other way around.
    pub unfinished: Mutex<Unfinished>,
}

/// An attempt leaves the store once it has ended there and is in the run log, in whichever order this is heard.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// At this revision it was said that it has ended.
    ended: HashMap<Attempt, Revision>,
    /// The newest attempt whose record the run log has, of those that are about to end.
    logged: HashMap<RunId, u32>,
}

impl Tasks {
    /// Takes a task out of the queue, where it stands under `entry` since `written`, and runs it if it is won.
    pub(crate) async fn take(
        self: &Arc<Self>,
        (wanted, task): (&QueuedRun, &Arc<Task>),
        (entry, written): (Key, Revision),
        slot: Slot,
    ) {
        let Some(session) = self.standing.session() else { return };
        // One reading is judged and compared: a kill that is heard of after it fails the comparison.
        let kill = self.retries.kills.revisions(&wanted.job, &wanted.run).1;
        if kill > written {
            return;
        }
        let (now, holder) = (self.standing.clock.now(), self.standing.holder(&session));
        let command = common::lock::ClaimedCommand::of("");
        let held = HeldLock::new(wanted, Tick::from_instant(now), holder, now, command);
        // The command is in the task.
        let held = HeldLock { command: None, ..held };
        let active = ActiveTask { held, task: task.clone(), ended: None };
        let taking = Taking { entry, written, kills: (Revision::NONE, kill) };
        let txn = claim::task::take(self.claims.keys(), &active, &taking);
        match self.claims.send_task(txn, &active, &session).await {
            Ok(Some(revision)) => {
                self.standing.tasks.spawn(self.clone().carry_out(active, revision, slot));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "a task cannot be claimed yet"),
        }
    }

    /// Runs what was claimed at `revision`, keeps its record, and says in the store how it ended.
    async fn carry_out(self: Arc<Self>, active: ActiveTask, revision: Revision, slot: Slot) {
        let planned = Planned {
            job: Arc::new(active.task.as_job()),
            revision: Revision::NONE,
            created: Revision::NONE,
            schedule: None,
            paused: false,
        };
        let claimed = Claimed {
            planned: Arc::new(planned),
            revision,
            due: active.held.claimed,
            scheduled: active.held.claimed,
            answered: self.standing.clock.now(),
            slot,
            task: true,
            held: active.held.clone(),
        };
        let Executed { record, output, exit } =
            self.runner.execute(&claimed, || self.withdrawn(&claimed.held, revision)).await;
        measure(&record);
        let how = How::of(record.state, exit.as_ref());
        let next = self.retries.after_task(&active.task, &active.held, revision, how);
        let ended = Ended::of(&record);
        self.journal.keep(record).await;
        output.discard_spill();
        match next {
            Some(wanted) => self.queue_again(&active, revision, &wanted).await,
            None => self.end(active, revision, ended).await,
        }
    }

    /// The last look before a start: why it may not start after all.
    fn withdrawn(&self, held: &HeldLock, claimed: Revision) -> Option<Stop> {
        if self.standing.session().is_none_or(|session| session.revision != held.session) {
            return Some(Stop::LeaseLost);
        }
        let kill = self.retries.kills.of_task(&held.run, claimed)?;
        Some(Stop::Killed(format!("killed by {}", kill.by)))
    }

    async fn queue_again(&self, active: &ActiveTask, revision: Revision, wanted: &QueuedRun) {
        let txn = claim::task::again(self.claims.keys(), active, revision, wanted);
        if let Err(error) = self.claims.batcher.end(txn).await {
            return say_not_told(&active.held, &error);
        }
        self.leave((active.held.run, active.held.attempt));
    }

    async fn end(&self, active: ActiveTask, revision: Revision, ended: Ended) {
        let (run, attempt) = (active.held.run, active.held.attempt);
        let by = (active.held.worker.clone(), active.held.session);
        let ended = active.ended(ended, revision, (&by.0, by.1));
        let txn = claim::task::end(self.claims.keys(), &ended, revision);
        let said = match self.claims.batcher.end(txn).await {
            Ok(outcome) => claim::task::ended(&outcome, &ended),
            Err(error) => return say_not_told(&ended.held, &error),
        };
        match said {
            Some(revision) => self.has_ended((run, attempt), revision).await,
            // Somebody else answers for it now.
            None => self.leave((run, attempt)),
        }
    }

    /// It was said at `revision` that this attempt has ended, and this process answers for it from now on.
    pub(crate) async fn has_ended(&self, attempt: Attempt, revision: Revision) {
        let is_logged = {
            let mut unfinished = self.unfinished.lock();
            let is_logged = unfinished.logged.remove(&attempt.0) == Some(attempt.1);
            if !is_logged {
                unfinished.ended.insert(attempt, revision);
            }
            is_logged
        };
        if is_logged {
            self.forget(attempt, revision).await;
        }
    }

    /// Follows what the run log has got, until nothing more can come.
    pub(crate) async fn follow_log(self: Arc<Self>, mut logged: mpsc::UnboundedReceiver<Attempt>) {
        while let Some(attempt) = logged.recv().await {
            let revision = {
                let mut unfinished = self.unfinished.lock();
                let revision = unfinished.ended.remove(&attempt);
                if revision.is_none() && self.claims.beside.has(attempt.0) {
                    // It is about to end in the store.
                    let newest = unfinished.logged.entry(attempt.0).or_default();
                    *newest = attempt.1.max(*newest);
                    continue;
                }
                revision
            };
            let tasks = self.clone();
            self.standing.tasks.spawn(async move {
                match revision {
                    Some(revision) => tasks.forget(attempt, revision).await,
                    None => tasks.forget_of_earlier_life(attempt).await,
                }
            });
        }
    }

    /// A record that an earlier life of this worker had kept is in the run log.
    async fn forget_of_earlier_life(&self, attempt: Attempt) {
        let Ok((Some(entry), _)) = self.claims.store.get(&self.claims.keys().active(&attempt.0)).await else {
            return;
        };
        let there = claim::task::seen(&entry)
            .filter(|there| there.held.attempt == attempt.1 && there.ended.is_some());
        if there.is_some() {
            self.forget(attempt, entry.mod_revision).await;
        }
    }

    /// The run log has it: nobody needs it in the store any more.
    pub(crate) async fn forget(&self, attempt: Attempt, revision: Revision) {
        let txn = claim::clear(self.claims.keys().active(&attempt.0), revision);
        if let Err(error) = self.claims.batcher.end(txn).await {
            tracing::debug!(run = %attempt.0, %error, "a task that is in the run log stays in the store until the next pass");
        }
        self.leave(attempt);
    }

    fn leave(&self, attempt: Attempt) {
        let mut unfinished = self.unfinished.lock();
        unfinished.logged.remove(&attempt.0);
        unfinished.ended.remove(&attempt);
        drop(unfinished);
        self.claims.beside.leave(attempt.0);
    }

    /// A task that never started, though this session claimed it: it is queued again, as the same attempt.
    pub(crate) fn as_wanted(&self, active: &ActiveTask) -> QueuedRun {
        let held = &active.held;
        QueuedRun {
            attempt: held.attempt,
            task: Some(active.task.clone()),
            ..QueuedRun::new(held.job.clone(), held.run, held.cause, self.standing.clock.now())
        }
    }
}

/// It stays entered here: what has executed must not be taken for a claim that was given up, and queued again. When this
/// session is gone, its caretaker looks after it.
fn say_not_told(held: &HeldLock, error: &BatchError) {
    if !matches!(error, BatchError::Closed) {
        tracing::error!(task = %held.job, run = %held.run, %error, "the end of a task cannot be told now; it will be when this worker's lease ends");
    }
}

/// The attempt, where the record is a task's.
pub(crate) fn attempt_of(record: &RunRecord) -> Option<Attempt> {
    record.task.then_some((record.run, record.attempt))
}
