//! Carries out a won claim: runs it, keeps its record on disk, and only then frees its lock. "Finished" means
//! spooled.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    id::WorkerId,
    job::{Delivery, Job, Overlap},
    lock::{Held, LastRun},
    queue::Wanted,
    run::{Cause, RunState},
    runlog::{Author, LogEntry, RunRecord},
    store::{Op, OpOutcome, Revision},
};

use crate::{
    agenda::Planned,
    claim::{self, Holding, Orphan, Outcome, Place, Session, batch::BatchError},
    desk::{Desk, Next, Post},
    load::Slot,
    reboot,
    runner::Claimed,
};

/// What the disk took so long for may have cost a tick.
const SLOW_DISK: chrono::Duration = chrono::Duration::seconds(1);

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
        // Where the claim's answer was lost, it may have been found after a manager had moved its fence.
        let revision = here.held.claimed_at(here.revision);
        let due = match here.held.cause {
            Cause::Schedule | Cause::CatchUp | Cause::Queued => {
                here.held.tick.map_or(here.held.claimed, |tick| tick.instant())
            }
            Cause::Manual | Cause::Retry | Cause::Reboot => here.held.claimed,
        };
        let claimed = Claimed {
            planned: planned.clone(),
            revision,
            due,
            scheduled: here.held.claimed,
            answered: now,
            slot,
            held: here.held,
        };
        let (record, output) =
            self.runner.execute(&claimed, || self.withdrawn(&claimed.held, claimed.revision)).await;
        post.mark_ended(record.run);
        let ended = self.clock.now();
        let mut last = LastRun {
            run: record.run,
            state: record.state,
            ended,
            worker: record.worker.clone(),
            claimed: Some(claimed.held.claimed),
            recorded: None,
        };
        measure(&record);
        let retry = self.retry_after(&planned.job, &record, revision);
        self.spool.keep(LogEntry::Run(Box::new(record))).await;
        last.recorded = Some(self.clock.now()).filter(|recorded| *recorded - ended > SLOW_DISK);
        output.discard_spill();
        if planned.job.overlap == Overlap::Allow {
            self.end_beside(&claimed.held, here.revision, retry).await;
        } else {
            self.end_held(&post, claimed, &last, &retry).await;
        }
    }

    /// Frees the lock, or holds it for the tick that waits for this end, or finds that it is no longer ours.
    async fn end_held(self: &Arc<Self>, post: &Arc<Post>, ended: Claimed, last: &LastRun, retry: &[Op]) {
        let run = &ended.held;
        let mut holding = post.holding.lock().await;
        while let Some(here) = holding.clone().filter(|here| here.held.run == run.run) {
            let follower = post.take_next().and_then(|next| self.follower(&here.held, &next));
            let keys = &self.config.keys;
            if let Some((planned, next, session)) = follower {
                let retry = retry.to_vec();
                let txn = claim::finish_and_claim(keys, here.revision, &next, planned.revision, retry);
                match self.send_claim(txn, &next, Place::Lock, &session).await {
                    Ok(Outcome::Won(here)) => {
                        self.won(&planned, post, &mut holding, *here, ended.slot);
                        break;
                    }
                    Ok(Outcome::Lost(found)) => {
                        *holding = found.and_then(|found| Holding::still(run, *found));
                    }
                    // The tick looks for itself; the lock is freed without it.
                    Err(BatchError::SessionGone | BatchError::NotTaken(_)) => {}
                    Err(error) => {
                        say_not_freed(run, &error);
                        *holding = None;
                    }
                }
                continue;
            }
            let txn = claim::finish(keys, &here.held, here.revision, Some(last.clone()), retry.to_vec());
            match self.batcher.end(txn).await {
                Ok(outcome) if outcome.succeeded => *holding = None,
                // A manager may have moved the fence meanwhile; else an earlier try was done, or it was taken over.
                Ok(outcome) => {
                    let found = outcome.got(0).and_then(claim::seen);
                    *holding = found.and_then(|found| Holding::still(run, found));
                }
                Err(error) => {
                    say_not_freed(run, &error);
                    *holding = None;
                }
            }
        }
        post.freed.notify_waiters();
    }

    /// The run of the tick that waits for the end of `ended`, if it may follow at once: in order, by the same
    /// definition, in the same session.
    fn follower(&self, ended: &Held, next: &Next) -> Option<(Arc<Planned>, Held, Session)> {
        let session = self.session().filter(|session| session.revision == ended.session)?;
        let planned = self.planned(&ended.job).filter(|planned| planned.revision == next.definition)?;
        // Edited since: what may run beside others takes no lock over.
        if planned.job.overlap == Overlap::Allow {
            return None;
        }
        let in_order = next.previous <= ended.fence && ended.fence < next.tick;
        let may = in_order
            && !planned.paused
            && self.has_labels_of(&planned.job)
            && self.load.may_claim()
            && !self.closing.is_cancelled();
        may.then(|| (planned.clone(), self.held(&planned, next.tick, &session), session))
    }

    /// Removes the record of a run that held no lock.
    async fn end_beside(&self, run: &Held, seen: Revision, retry: Vec<Op>) {
        let txn = claim::end_beside(&self.config.keys, run, seen, retry);
        if let Err(error) = self.batcher.end(txn).await {
            tracing::warn!(job = %run.job, %error, "a run's record cannot be removed yet; its caretaker will");
        }
        self.beside.leave(run.run);
    }

    /// The queue entry for the next attempt, if there is to be one.
    fn retry_after(&self, job: &Job, record: &RunRecord, claimed: Revision) -> Vec<Op> {
        // Whatever it ended by: somebody wants no more of it.
        if self.kills.of(&job.name, &record.run, claimed).is_some() {
            return Vec::new();
        }
        // Killed here, for a lease that was not trusted or since this worker ends: if the store hears of it from us,
        // nobody takes it over.
        if record.state == RunState::Lost && job.delivery == Delivery::AtLeastOnce {
            let only = reboot::bound(job, record.trigger, &record.worker, self.clock.now());
            let wait = self.pause_after_loss(job, record.attempt);
            return vec![self.next_attempt(record.run, record.attempt, &job.name, record.tick, wait, only)];
        }
        let failed = matches!(record.state, RunState::Failed | RunState::TimedOut);
        let listed =
            job.retry.on.is_empty() || record.exit_code.is_some_and(|code| job.retry.on.contains(&code));
        if !failed || !listed || record.attempt >= job.retry.attempts {
            return Vec::new();
        }
        let wait = self.pause(job, record.attempt);
        let only = reboot::bound(job, record.trigger, &record.worker, self.clock.now());
        vec![self.next_attempt(record.run, record.attempt, &job.name, record.tick, wait, only)]
    }

    /// Between this attempt and the next. Between half of the backoff and all: jobs that failed together do not all come
    /// back together.
    fn pause(&self, job: &Job, attempt: u32) -> Duration {
        let doubled = job.retry.backoff.first.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(job.retry.backoff.most).mul_f64(0.5 + self.chance.fraction() / 2.0)
    }

    /// A lost run is repeated at once, unless its job says how long to wait between attempts: it may be what ended its
    /// worker.
    fn pause_after_loss(&self, job: &Job, attempt: u32) -> Duration {
        if job.retry.attempts > 1 { self.pause(job, attempt) } else { Duration::ZERO }
    }

    fn next_attempt(
        &self,
        run: common::id::RunId,
        attempt: u32,
        job: &common::id::JobName,
        tick: Option<common::tick::Tick>,
        wait: Duration,
        only: Option<(WorkerId, Option<DateTime<Utc>>)>,
    ) -> Op {
        let now = self.clock.now();
        let wait = chrono::Duration::from_std(wait).unwrap_or_default();
        let (worker, deadline) = only.unzip();
        let wanted = Wanted {
            job: job.clone(),
            run,
            attempt: attempt + 1,
            cause: Cause::Retry,
            tick,
            since: now,
            not_before: Some(now + wait),
            deadline: deadline.flatten().map(|deadline| deadline + wait),
            worker,
            by: String::new(),
            killed: None,
        };
        claim::put_wanted(&self.config.keys, &wanted)
    }

    /// Frees a lock whose holder is gone, or that this session holds for a run that this process never started (a
    /// phantom of a lost answer). True when the tick that found it may be looked at again at once. `job` is none when
    /// the job is gone, or cannot be read.
    pub async fn free_if_orphaned(
        &self,
        job: Option<&Job>,
        held: &Held,
        seen: Revision,
        session: &Session,
    ) -> bool {
        let phantom = held.worker == session.worker && held.session == session.revision;
        let orphan = if phantom { Orphan::Phantom } else { Orphan::Gone };
        if !phantom && !self.is_gone(held).await {
            return false;
        }
        // The records first, on disk: nobody overwrites a held lock blind.
        let last = if held.is_without_run() { None } else { Some(self.keep_lost(job, held, seen).await) };
        self.keep_ticks_of(held).await;
        let retry = job.filter(|_| last.is_some()).and_then(|job| self.attempt_after_loss(job, held, seen));
        let retry = retry.into_iter().collect();
        let txn = claim::take_over(&self.config.keys, held, seen, orphan, last, retry);
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

    /// The queue entry that repeats a lost run, of an at-least-once job and unless somebody wanted its end since its
    /// claim. `seen` is the revision at which it was found.
    fn attempt_after_loss(&self, job: &Job, held: &Held, seen: Revision) -> Option<Op> {
        let claimed = held.claimed_at(seen);
        if job.delivery != Delivery::AtLeastOnce || self.kills.of(&held.job, &held.run, claimed).is_some() {
            return None;
        }
        let only = reboot::bound(job, held.cause, &held.worker, self.clock.now());
        let wait = self.pause_after_loss(job, held.attempt);
        Some(self.next_attempt(held.run, held.attempt, &held.job, held.tick, wait, only))
    }

    /// Keeps the record of a lost run.
    async fn keep_lost(&self, job: Option<&Job>, held: &Held, seen: Revision) -> LastRun {
        self.spool.keep(LogEntry::Run(Box::new(self.lost_record(job, held, seen)))).await;
        let ended = self.clock.now();
        LastRun {
            run: held.run,
            state: RunState::Lost,
            ended,
            worker: held.worker.clone(),
            claimed: Some(held.claimed),
            recorded: None,
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

    /// True for the record of a run beside a lock that says it is this process's, and is not: its claim was done after
    /// it had been given up. What is said here is younger than the record, which was entered before it was sent.
    pub fn is_phantom_beside(&self, held: &Held) -> bool {
        let mine = |session: &Session| session.worker == held.worker && session.revision == held.session;
        self.session().as_ref().is_some_and(mine) && !self.beside.has(held.run)
    }

    /// Removes the record of a lost run that held no lock, once it is in the spool.
    pub async fn free_beside(&self, held: &Held, seen: Revision) {
        let phantom = self.is_phantom_beside(held);
        if !phantom && !self.is_gone(held).await {
            return;
        }
        let planned = self.planned(&held.job);
        let job = planned.as_ref().map(|planned| &*planned.job);
        self.keep_lost(job, held, seen).await;
        self.keep_ticks_of(held).await;
        let retry = job.and_then(|job| self.attempt_after_loss(job, held, seen)).into_iter().collect();
        let orphan = if phantom { Orphan::Phantom } else { Orphan::Gone };
        let txn = claim::free_beside(&self.config.keys, held, seen, orphan, retry);
        match self.batcher.plain(txn).await {
            Ok(outcome) if matches!(outcome.results.first(), Some(OpOutcome::Deleted(true))) => {
                tracing::warn!(job = %held.job, run = %held.run, "a run was lost with its worker");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a lost run's record stays until the next pass"),
        }
    }

    /// What a caretaker can say of a run whose worker is gone.
    fn lost_record(&self, job: Option<&Job>, held: &Held, seen: Revision) -> RunRecord {
        let claimed = held.claimed.timestamp_millis();
        let now = self.clock.now();
        RunRecord {
            job_name: held.job.clone(),
            command: held.command(&job.map_or_else(String::new, |job| job.driver.text())),
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
            fence: held.token(seen),
            claim_time: claimed,
            exit_code: None,
            signal: None,
            truncated: 0,
            gap: None,
            pieces: Vec::new(),
            expires: self.expires(now),
        }
    }
}

fn say_not_freed(run: &Held, error: &BatchError) {
    if matches!(error, BatchError::Refused(_)) {
        tracing::error!(job = %run.job, %error, "a run's lock cannot be freed; it is when this worker's lease ends");
    }
}

fn measure(record: &RunRecord) {
    metrics::counter!("quorate_runs_total", "state" => record.state.name()).increment(1);
    if record.trigger == Cause::Schedule {
        let late = record.start_time.saturating_sub(record.plan_time);
        metrics::histogram!("quorate_start_late_seconds").record(late as f64 / 1000.0);
    }
}
