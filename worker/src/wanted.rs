//! Wanted runs: takes them from the queue when their time has come and their job's lock is free. Those of a job that was
//! deleted, or deleted and made again since, go on record as killed: who deletes a job leaves its queue to the workers, so
//! that nothing is out of the queue before it is on record.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use chrono::{DateTime, Utc};
use common::{
    clock::AHEAD,
    id::JobName,
    job::{Job, Overlap, Placement, StoredJob},
    lock::{ClaimedCommand, Held, Lock},
    placement::RANKS,
    queue::Wanted,
    revision::Token,
    run::RunState,
    runlog::{Author, LogEntry, RunRecord},
    store::{Key, Revision},
};
use tokio::time::sleep;

use crate::{
    agenda::Planned,
    claim::{self, FreeLock, Outcome, Place, Seen, Taking},
    desk::{Desk, Post},
    load::Slot,
};

/// Between two looks at a wanted run whose job executes.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Between two looks at the clock while a wanted run waits for its time.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

/// The wanted runs that this process is looking after.
#[derive(Default)]
pub struct Attended(Mutex<HashSet<String>>);

/// Why a run of a job that was deleted does not start.
const DELETED: &str = "its job was deleted while it was queued";

/// True: who wanted it had a clock that was ahead, and what it said is no time to wait for.
fn is_ahead(wanted: &Wanted, now: DateTime<Utc>) -> bool {
    wanted.since - now > AHEAD
}

/// When a wanted run is to start that is seen since `from`. Of a clock that was ahead only the wait counts.
fn starts(wanted: &Wanted, from: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    match wanted.not_before {
        Some(not_before) if is_ahead(wanted, now) => from + (not_before - wanted.since),
        Some(not_before) => not_before,
        None => now,
    }
}

enum Step {
    /// It is gone from the queue, or it is not ours to start.
    Done,
    Again,
}

impl Desk {
    /// Sets about every wanted run that this worker ranks for and does not look after yet. A run that is one worker's
    /// is set about by that one, and by the job's first choice, which starts it not but sees its deadline pass. Of a
    /// job's runs that have to wait for each other, the oldest is enough.
    pub fn attend_queue(self: &Arc<Self>, attended: &Arc<Attended>) {
        let mut wanted: Vec<(String, Wanted, Revision)> = {
            let queue = self.queue.lock();
            queue.iter().map(|(name, (wanted, at))| (name.clone(), wanted.clone(), *at)).collect()
        };
        // The oldest first, whatever it is: a tick that waits for its job's run, a retry, or what somebody asked for.
        wanted.sort_by(|(one, of_one, _), (other, of_other, _)| {
            (of_one.since, one).cmp(&(of_other.since, other))
        });
        let (view, now) = (self.registry.view(), self.clock.now());
        let mut first_in_line = HashSet::new();
        for (name, wanted, at) in wanted {
            let planned = self.planned(&wanted.job);
            let placement =
                planned.as_ref().map_or_else(Placement::default, |planned| planned.job.placement.clone());
            let ranked = view.candidates.rank_of(&self.config.id, &wanted.job, &placement);
            let rank = match &wanted.worker {
                Some(only) if *only == self.config.id => Some(0),
                Some(_) => ranked.filter(|rank| *rank == 0),
                None => ranked,
            };
            let is_killed = wanted.killed.is_some() || self.kills.of(&wanted.job, &wanted.run, at).is_some();
            // What is not to start any more does not wait for its time, also where somebody waits for that already.
            let is_over = is_killed
                || planned.as_ref().is_none_or(|planned| planned.created > at)
                || wanted.deadline.is_some_and(|deadline| deadline < now);
            // What is over is anybody's who hears of it, whether it may claim or not: after those who rank.
            let Some(rank) = rank.or(is_over.then_some(RANKS)) else { continue };
            let waits = planned.is_some_and(|planned| planned.job.overlap != Overlap::Allow)
                && wanted.worker.is_none()
                && wanted.not_before.is_none_or(|not_before| not_before <= now);
            if waits && !is_over && !first_in_line.insert(wanted.job.clone()) {
                continue;
            }
            // Each writing of an entry is looked after by itself: a next attempt has the name of the one before.
            let task = format!("{name}@{at}{}", if is_over { ", over" } else { "" });
            if !attended.0.lock().insert(task.clone()) {
                continue;
            }
            let (desk, attended) = (self.clone(), attended.clone());
            self.tasks.spawn(async move {
                desk.see_through(&name, (&wanted, at), rank, is_over).await;
                attended.0.lock().remove(&task);
            });
        }
    }

    /// Until this writing of it is gone from the queue, or this worker is told to end. Never left in the middle of a
    /// claim: a run that was claimed is carried out. What is over is looked at once, and again with the queue.
    async fn see_through(
        self: &Arc<Self>,
        name: &str,
        (wanted, written): (&Wanted, Revision),
        rank: usize,
        is_over: bool,
    ) {
        let hedge = self.config.hedge * u32::try_from(rank).unwrap_or(u32::MAX);
        let mut from = self.clock.now();
        loop {
            let now = self.clock.now();
            from = from.min(now);
            let start = if is_over { now } else { starts(wanted, from, now) };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                () = self.clock.sleep_until(start.max(now) + hedge) => break,
                // The clock may have been set back.
                () = sleep(LOOK_AT_CLOCK) => {}
            }
        }
        let post = self.post(&wanted.job);
        loop {
            // Before the look: an end between the look and the wait is heard.
            let freed = post.freed.notified();
            let Step::Again = self.look_at(name, written).await else { return };
            if is_over {
                return;
            }
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                () = freed => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn look_at(self: &Arc<Self>, name: &str, revision: Revision) -> Step {
        let found = self.queue.lock().get(name).cloned();
        // Written anew it has another time, deadline and worker: who looks after that waits for them.
        let Some((wanted, _)) = found.filter(|(_, at)| *at == revision) else { return Step::Done };
        let key = self.config.keys.queue.key(name);
        let Some(planned) = self.planned(&wanted.job) else {
            // The queue may be listed before the jobs are: what this worker does not know may well be there.
            if let Some((state, reason)) = self.why_not_planned(&wanted.job).await {
                self.withdraw(&wanted, &key, revision, state, reason, "").await;
            }
            return Step::Again;
        };
        if planned.created > revision {
            self.withdraw(&wanted, &key, revision, RunState::Killed, DELETED, "").await;
            return Step::Again;
        }
        let killed = wanted.killed.clone();
        if let Some(kill) = killed.or_else(|| self.kills.of(&wanted.job, &wanted.run, revision)) {
            let reason = format!("killed by {} before it started", kill.by);
            self.withdraw(&wanted, &key, revision, RunState::Killed, &reason, &planned.job.driver.text())
                .await;
            return Step::Again;
        }
        if wanted.deadline.is_some_and(|deadline| deadline < self.clock.now()) {
            let reason = self.why_expired(&wanted, &planned.job);
            self.withdraw(&wanted, &key, revision, RunState::Expired, &reason, &planned.job.driver.text())
                .await;
            return Step::Again;
        }
        if wanted.worker.as_ref().is_some_and(|only| *only != self.config.id) {
            return Step::Again;
        }
        // Looked at since it seemed over, or the clock was set back while it was waited for.
        let now = self.clock.now();
        if !is_ahead(&wanted, now) && wanted.not_before.is_some_and(|not_before| now < not_before) {
            return Step::Again;
        }
        // Edited since this worker was ranked; bound to it, it waits for its labels until its deadline.
        if !self.has_labels_of(&planned.job) {
            return Step::Again;
        }
        let post = self.post(&wanted.job);
        if post.holding.lock().await.is_some() || !self.load.may_claim() {
            return Step::Again;
        }
        let Some(slot) = self.slot().await else { return Step::Again };
        self.start_wanted(&wanted, &key, revision, &planned, &post, slot).await
    }

    /// Why a wanted run was not claimed before its deadline, as far as can be told now.
    fn why_expired(&self, wanted: &Wanted, job: &Job) -> String {
        let mut reason = "it could not start before its deadline".to_owned();
        let labels = job.placement.require.join(", ");
        match &wanted.worker {
            Some(only) if *only == self.config.id && !self.has_labels_of(job) => {
                reason += &format!(
                    ": it was for worker {only}, which lacks labels that its job requires: {labels}"
                );
            }
            Some(only) => reason += &format!(": it was for worker {only} alone"),
            None if self.registry.view().candidates.none_fits(&job.placement) && !labels.is_empty() => {
                reason += &format!(": no ready worker has the labels that its job requires: {labels}");
            }
            None => {}
        }
        reason
    }

    /// Why no run of a job can start that this worker does not know, as the store has it; none: it may be known soon.
    async fn why_not_planned(&self, job: &JobName) -> Option<(RunState, &'static str)> {
        match self.store.get(&self.config.keys.job(job)).await {
            Ok((None, _)) => Some((RunState::Killed, DELETED)),
            Ok((Some(entry), _)) => {
                let stored = StoredJob::decode(job.as_str(), &entry.value);
                let readable = stored.and_then(|stored| stored.job.schedule()).is_ok();
                (!readable).then_some((RunState::Expired, "the job's definition cannot be read"))
            }
            Err(_) => None,
        }
    }

    async fn start_wanted(
        self: &Arc<Self>,
        wanted: &Wanted,
        key: &Key,
        revision: Revision,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        slot: Slot,
    ) -> Step {
        let Some(session) = self.session() else { return Step::Again };
        let mut holding = post.holding.lock().await;
        if holding.is_some() {
            return Step::Again;
        }
        let lock = self.config.keys.lock(&wanted.job);
        let Ok((Some(entry), _)) = self.store.get(&lock).await else { return Step::Again };
        let Some(Seen { lock: found, revision: seen }) = claim::seen(&entry) else { return Step::Again };
        let free = match found {
            Lock::Free(free) => free,
            Lock::Held(held) => {
                self.free_if_orphaned(Some(&planned.job), &held, seen, &session).await;
                return Step::Again;
            }
        };
        let held = Held {
            job: wanted.job.clone(),
            fence: free.fence,
            run: wanted.run,
            attempt: wanted.attempt,
            tick: wanted.tick,
            cause: wanted.cause,
            worker: session.worker.clone(),
            session: session.revision,
            epoch: self.load.epoch(),
            claimed: self.clock.now(),
            skipped: 0,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: Some(ClaimedCommand::of(&planned.job.driver.text())),
        };
        // One reading is judged and compared: a kill that is heard of after it fails the comparison.
        let kills = self.kills.revisions(&held.job, &held.run);
        if kills.0.max(kills.1) > revision {
            return Step::Again;
        }
        let place = Place::of(planned.job.overlap);
        let taking = Taking { entry: key.clone(), written: revision, kills };
        let seen = FreeLock { free, revision: seen };
        let txn = claim::take(&self.config.keys, &held, &seen, planned.revision, place, &taking);
        match self.send_claim(txn, &held, place, &session).await {
            Ok(Outcome::Won(here)) => self.won(planned, post, &mut holding, *here, slot),
            Ok(Outcome::Lost(_)) => {}
            Err(error) => tracing::debug!(%error, "a wanted run cannot be claimed yet"),
        }
        Step::Again
    }

    /// Takes a wanted run out of the queue without running it; on record first.
    async fn withdraw(
        &self,
        wanted: &Wanted,
        key: &Key,
        revision: Revision,
        state: RunState,
        reason: &str,
        command: &str,
    ) {
        let now = self.clock.now().timestamp_millis();
        let planned =
            wanted.tick.map_or(wanted.since.timestamp_millis(), common::tick::Tick::millis).min(now);
        let record = RunRecord {
            job_name: wanted.job.clone(),
            command: command.to_owned(),
            err: reason.to_owned(),
            output: String::new(),
            plan_time: planned,
            schedule_time: now,
            start_time: now,
            end_time: now,
            run: wanted.run,
            attempt: wanted.attempt,
            state,
            reason: reason.to_owned(),
            by: Author::Caretaker,
            trigger: wanted.cause,
            tick: wanted.tick,
            worker: self.config.id.clone(),
            fence: Token::default(),
            claim_time: now,
            exit_code: None,
            signal: None,
            truncated: 0,
            gap: None,
            pieces: Vec::new(),
            expires: self.expires(self.clock.now()),
        };
        self.spool.keep(LogEntry::Run(Box::new(record))).await;
        if let Err(error) = self.batcher.end(claim::clear(key.clone(), revision)).await {
            tracing::debug!(%error, "a wanted run stays in the queue until the next look");
        }
    }
}
