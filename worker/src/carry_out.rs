//! Carries out a won claim: runs it, keeps its record on disk, and only then frees its lock. "Finished" means
//! spooled.

use std::{sync::Arc, time::Duration};

use common::{
    job::{Delivery, Job, Overlap},
    lock::{Held, LastRun, Lock},
    queue::Wanted,
    run::{Cause, RunState},
    runlog::{Author, LogEntry, RunRecord, TickOutcome},
    store::{Compare, Op, OpOutcome, Revision, Txn},
};

use crate::{
    agenda::Planned,
    claim::{self, Seen, Session, batch::BatchError},
    desk::{Desk, Holding, Post},
    load::Slot,
    runner::Claimed,
};

impl Desk {
    /// Runs what was claimed and ends its claim. Ends by itself when the run does.
    pub async fn carry_out(
        self: Arc<Self>,
        planned: Arc<Planned>,
        post: Arc<Post>,
        here: Holding,
        slot: Slot,
    ) {
        let now = self.clock.now();
        let due = match here.held.cause {
            Cause::Schedule | Cause::CatchUp | Cause::Queued => {
                here.held.tick.map_or(here.held.claimed, |tick| tick.instant())
            }
            Cause::Manual | Cause::Retry | Cause::Reboot => here.held.claimed,
        };
        let claimed = Claimed {
            planned: planned.clone(),
            fence: here.revision,
            due,
            scheduled: here.held.claimed,
            answered: now,
            slot,
            held: here.held,
        };
        let record = self.runner.execute(&claimed, || self.withdrawn(&claimed.held)).await;
        let last = LastRun {
            run: record.run,
            state: record.state,
            ended: self.clock.now(),
            worker: record.worker.clone(),
        };
        let retry = self.retry_after(&planned.job, &record);
        self.spool.keep(LogEntry::Run(Box::new(record))).await;
        if planned.job.overlap == Overlap::Allow && post.holding.lock().await.is_none() {
            self.end_beside(&claimed.held, retry).await;
        } else {
            self.end_held(&post, &claimed.held, last, retry).await;
        }
        drop(claimed.slot);
    }

    /// Frees the lock, or finds that it is no longer ours.
    async fn end_held(&self, post: &Post, run: &Held, last: LastRun, retry: Vec<Op>) {
        let mut holding = post.holding.lock().await;
        while let Some(here) = holding.clone().filter(|here| here.held.run == run.run) {
            let mut txn = claim::finish(&self.config.keys, &here.held, here.revision, last.clone());
            txn.then.extend(retry.clone());
            match self.batcher.plain(txn).await {
                Ok(outcome) if outcome.succeeded => *holding = None,
                // A manager may have moved the fence meanwhile; else an earlier try was done, or it was taken over.
                Ok(outcome) => {
                    *holding = match outcome.got(0).and_then(claim::seen) {
                        Some(Seen { lock: Lock::Held(held), revision })
                            if held.run == run.run && held.session == run.session =>
                        {
                            Some(Holding { held, revision })
                        }
                        _ => None,
                    };
                }
                Err(error) => {
                    if matches!(error, BatchError::Refused(_)) {
                        tracing::error!(job = %run.job, %error, "a run's lock cannot be freed; it is when this worker's lease ends");
                    }
                    *holding = None;
                }
            }
        }
        post.freed.notify_waiters();
    }

    /// Removes the record of a run that held no lock.
    async fn end_beside(&self, run: &Held, retry: Vec<Op>) {
        let mut then = vec![Op::Delete(self.config.keys.run(&run.run))];
        then.extend(retry);
        if let Err(error) = self.batcher.plain(Txn::when(Vec::new(), then)).await {
            tracing::warn!(job = %run.job, %error, "a run's record cannot be removed yet; its caretaker will");
        }
    }

    /// The queue entry for the next attempt, if there is to be one.
    fn retry_after(&self, job: &Job, record: &RunRecord) -> Vec<Op> {
        let failed = matches!(record.state, RunState::Failed | RunState::TimedOut);
        let listed =
            job.retry.on.is_empty() || record.exit_code.is_some_and(|code| job.retry.on.contains(&code));
        if !failed || !listed || record.attempt >= job.retry.attempts {
            return Vec::new();
        }
        let doubled = job.retry.backoff.first.saturating_mul(1 << (record.attempt - 1).min(20));
        let longest = doubled.min(job.retry.backoff.most);
        // Between half of it and all: jobs that failed together do not all come back together.
        let wait = longest.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        vec![self.next_attempt(record.run, record.attempt, &job.name, record.tick, wait)]
    }

    fn next_attempt(
        &self,
        run: common::id::RunId,
        attempt: u32,
        job: &common::id::JobName,
        tick: Option<common::tick::Tick>,
        wait: Duration,
    ) -> Op {
        let now = self.clock.now();
        let wanted = Wanted {
            job: job.clone(),
            run,
            attempt: attempt + 1,
            cause: Cause::Retry,
            tick,
            since: now,
            not_before: chrono::Duration::from_std(wait).ok().map(|wait| now + wait),
            deadline: None,
            by: String::new(),
        };
        Op::Put(self.config.keys.wanted(&run), wanted.encode(), None)
    }

    /// Frees a lock whose holder is gone, or that this session holds for a run that this process never started (a
    /// phantom of a lost answer). True when the tick that found it may be looked at again at once.
    pub async fn free_if_orphaned(
        &self,
        planned: &Planned,
        held: &Held,
        seen: Revision,
        session: &Session,
    ) -> bool {
        let phantom = held.worker == session.worker && held.session == session.revision;
        if !phantom && !self.is_gone(held).await {
            return false;
        }
        // The record first, on disk: nobody overwrites a held lock blind.
        let record = self.lost_record(&planned.job, held, seen);
        let last = LastRun {
            run: held.run,
            state: RunState::Lost,
            ended: self.clock.now(),
            worker: held.worker.clone(),
        };
        let again = planned.job.delivery == Delivery::AtLeastOnce;
        let retry = if again {
            vec![self.next_attempt(held.run, held.attempt, &held.job, held.tick, Duration::ZERO)]
        } else {
            Vec::new()
        };
        self.spool.keep(LogEntry::Run(Box::new(record))).await;
        if held.skipped > 0 {
            let reason = "the run before it executed (overlap: skip)";
            self.keep_ticks(&held.job, held.fence, held.fence, 1, TickOutcome::Skipped, reason).await;
        }
        let mut txn = claim::take_over(&self.config.keys, held, seen, last, retry);
        if phantom {
            txn.compares.truncate(1);
        }
        match self.batcher.guarded(txn, session).await {
            Ok(outcome) => {
                if outcome.succeeded {
                    tracing::warn!(job = %held.job, run = %held.run, worker = %held.worker, "freed the lock of a lost run");
                }
                true
            }
            Err(_) => false,
        }
    }

    /// True when the store says that the holder's session has ended.
    pub async fn is_gone(&self, held: &Held) -> bool {
        if self.registry.view().lives(&held.worker, held.session) {
            return false;
        }
        match self.store.get(&self.config.keys.worker(&held.worker)).await {
            Ok((entry, _)) => entry.is_none_or(|entry| entry.create_revision != held.session),
            Err(_) => false,
        }
    }

    /// Removes the record of a lost run that held no lock, once it is in the spool.
    pub async fn free_beside(&self, held: &Held, seen: Revision) {
        if !self.is_gone(held).await {
            return;
        }
        let job = self.planned(&held.job).map(|planned| planned.job.clone());
        if let Some(job) = &job {
            self.spool.keep(LogEntry::Run(Box::new(self.lost_record(job, held, seen)))).await;
        }
        let again = job.is_some_and(|job| job.delivery == Delivery::AtLeastOnce);
        let key = self.config.keys.run(&held.run);
        let mut then = vec![Op::Delete(key.clone())];
        if again {
            then.push(self.next_attempt(held.run, held.attempt, &held.job, held.tick, Duration::ZERO));
        }
        let compares = vec![
            Compare::ModRevision(key, seen),
            Compare::CreateRevisionNot(self.config.keys.worker(&held.worker), held.session),
        ];
        match self.batcher.plain(Txn::when(compares, then)).await {
            Ok(outcome) if matches!(outcome.results.first(), Some(OpOutcome::Deleted(true))) => {
                tracing::warn!(job = %held.job, run = %held.run, "a run was lost with its worker");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a lost run's record stays until the next pass"),
        }
    }

    /// What a caretaker can say of a run whose worker is gone.
    fn lost_record(&self, job: &Job, held: &Held, seen: Revision) -> RunRecord {
        let claimed = held.claimed.timestamp_millis();
        let now = self.clock.now();
        RunRecord {
            job_name: held.job.clone(),
            command: job.driver.text(),
            err: "lost: its worker is gone".to_owned(),
            output: String::new(),
            plan_time: held.tick.map_or(claimed, common::tick::Tick::millis),
            schedule_time: claimed,
            start_time: claimed,
            end_time: now.timestamp_millis().max(claimed),
            run: held.run,
            attempt: held.attempt,
            state: RunState::Lost,
            reason: format!("worker {} ended or was cut off; how far the run came is not known", held.worker),
            by: Author::Caretaker,
            trigger: held.cause,
            tick: held.tick,
            worker: held.worker.clone(),
            fence: seen,
            claim_time: claimed,
            exit_code: None,
            signal: None,
            truncated: 0,
            pieces: Vec::new(),
            expires: self.expires(now),
        }
    }
}
