//! Decides one tick: claims it, skips it, or finds it decided. The walk of a tick is [`Desk::decide`] →
//! `Desk::claim` → [`Desk::carry_out`](crate::carry_out).
//!
//! A tick that this worker looks after is not left until it is decided by somebody: whatever stands in its way (a
//! run that executes, a holder that is gone, a definition that just changed, ticks missed before it) is dealt with
//! on this one path, and looked at again.

use std::{sync::Arc, time::Duration};

use common::{
    job::Overlap,
    lock::{ClaimedCommand, Held, Lock, Why},
    queue::Wanted,
    run::Cause,
    store::{Op, Txn, TxnOutcome},
    tick::Tick,
};
use tokio::time::{Instant, sleep};

use crate::{
    agenda::{Due, Planned},
    claim::{self, FreeLock, Holding, Outcome, Place, Seen, Session, batch::BatchError},
    desk::{Desk, Next, Post},
    load::Slot,
    misfire::Found,
    runner::Stop,
};

/// Where a tick is after one look at it.
pub(crate) enum Step {
    /// Somebody has decided it, or nobody needs to any more.
    Decided,
    /// Look again at once.
    AtOnce,
    /// Look again later.
    Later,
    /// Look again when this process's run of the job has ended.
    WhenFreed,
    /// Look again when this process's run of the job has ended, at the tick's instant at the latest.
    AtInstant,
}

/// The first and the longest wait before looking again at a tick that another worker's run stands in the way of.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// No tick is passed on so long before its instant.
const FAR_AHEAD: chrono::Duration = chrono::Duration::seconds(1);

/// A tick older than this is missed: it is the misfire policy's. Hedges and a slow store stay below it.
pub(crate) const MISSED_AFTER: chrono::Duration = chrono::Duration::seconds(5);

impl Desk {
    /// Decides a tick, or finds it decided.
    pub async fn decide(self: Arc<Self>, due: Due) {
        let post = self.post(&due.job.job.name);
        post.announce(due.tick);
        let mut wait = FIRST_WAIT;
        loop {
            let session = tokio::select! {
                biased;
                session = self.trusted() => session,
                // Without the store ticks come all the same: of each job the newest waits for it.
                () = post.overtaken(due.tick) => return,
            };
            let Some(session) = session else { return };
            // Before the look: an end between the look and the wait is heard.
            let freed = post.freed.notified();
            match self.look(&due, &post, &session).await {
                Step::Decided => return,
                Step::AtOnce => {}
                Step::Later => {
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Step::WhenFreed => tokio::select! {
                    biased;
                    () = freed => {}
                    () = sleep(LONGEST_WAIT) => {}
                },
                Step::AtInstant => tokio::select! {
                    biased;
                    () = freed => {}
                    () = self.clock.sleep_until(due.tick.instant()) => {}
                },
            }
            if self.closing.is_cancelled() {
                return;
            }
        }
    }

    async fn look(self: &Arc<Self>, due: &Due, post: &Arc<Post>, session: &Session) -> Step {
        let name = &due.job.job.name;
        // The definition as it stands: an edit that leaves the trigger alone does not lose the tick.
        let Some(planned) = self.planned(name) else { return Step::Decided };
        if planned.paused || planned.job.trigger != due.job.job.trigger {
            return Step::Decided;
        }
        // Passed on by a clock that was ahead and has been set back: it comes again.
        if due.tick.instant() > self.clock.now() + self.lead.now() + FAR_AHEAD {
            return Step::Decided;
        }
        {
            let mut holding = post.holding.lock().await;
            post.forget_next(due.tick);
            if post.is_overtaken(due.tick) {
                return Step::Decided;
            }
            if let Some(here) = holding.as_mut() {
                return self.meet_own_run(&planned, due, post, here).await;
            }
        }
        // Edited since this worker was ranked: the tick is those workers' that may run it.
        if !self.has_labels_of(&planned.job) {
            return Step::Decided;
        }
        if !self.load.may_claim() {
            return Step::Later;
        }
        // Not under the post's lock: a run that ends needs it to free its slot.
        let Some(slot) = self.slot().await else { return Step::Later };
        let mut holding = post.holding.lock().await;
        if holding.is_some() || post.is_overtaken(due.tick) {
            return Step::AtOnce;
        }
        self.claim(due, &planned, post, &mut holding, session, slot).await
    }

    /// The tick finds a run of this process. Until its instant that run may end by itself.
    async fn meet_own_run(&self, planned: &Planned, due: &Due, post: &Post, here: &mut Holding) -> Step {
        let tick = due.tick;
        if here.held.fence >= tick {
            return Step::Decided;
        }
        let next = Next { tick, previous: due.previous, definition: planned.revision };
        if post.has_ended(here.held.run) {
            post.wait_for_end(next);
            return Step::WhenFreed;
        }
        if self.clock.now() < tick.instant() {
            post.wait_for_end(next);
            return Step::AtInstant;
        }
        match planned.job.overlap {
            Overlap::Replace => {
                post.wait_for_end(next);
                self.runner.end(&here.held.run, Stop::Killed(format!("replaced by the tick {tick}")));
                Step::WhenFreed
            }
            Overlap::QueueOne => self.wait_or_skip(planned, tick, post, here).await,
            Overlap::Skip | Overlap::Allow => self.skip(planned, tick, post, here).await,
        }
    }

    /// The first tick that finds the job running waits in the queue; later ones are skipped.
    async fn wait_or_skip(&self, planned: &Planned, tick: Tick, post: &Post, here: &mut Holding) -> Step {
        let now = self.clock.now();
        let wanted = Wanted {
            job: planned.job.name.clone(),
            run: self.new_run(),
            attempt: 1,
            cause: Cause::Queued,
            tick: Some(tick),
            since: now,
            not_before: None,
            deadline: None,
            worker: None,
            by: String::new(),
            killed: None,
        };
        // Ticks before this one that nobody has decided, as after a take-over, do not wait: one does.
        let before = Tick::from_instant(tick.instant() - chrono::Duration::seconds(1));
        let found = Found::by(planned, &here.held, post.since(&here.held), before).because(Why::OneWaits);
        let held = found.in_lock(here, tick);
        let txn = claim::wait(&self.config.keys, &held, here.revision, planned.revision, &wanted);
        let outcome = match self.batcher.plain(txn).await {
            Ok(outcome) => outcome,
            Err(error) => return give_up(&error),
        };
        match outcome.got(0).and_then(claim::seen) {
            _ if outcome.succeeded => *here = Holding { held, revision: outcome.revision },
            // An earlier try was done, and its answer lost.
            Some(Seen { lock: Lock::Held(found), revision }) if found == held => {
                *here = Holding { held, revision };
            }
            // Either one waits already, or the lock was written by somebody: the skip finds out which.
            _ => return self.skip(planned, tick, post, here).await,
        }
        if found.is_some() {
            self.keep_ticks_of(&here.held).await;
        }
        Step::Decided
    }

    /// Moves the fence of a lock that this process holds, and keeps the record.
    async fn skip(&self, planned: &Planned, tick: Tick, post: &Post, here: &mut Holding) -> Step {
        let why = if planned.job.overlap == Overlap::QueueOne { Why::OneWaits } else { Why::Usual };
        let found = Found::by(planned, &here.held, post.since(&here.held), tick).because(why);
        let held = found.in_lock(here, tick);
        let txn = claim::skip(&self.config.keys, &held, here.revision, planned.revision);
        let outcome = match self.batcher.plain(txn).await {
            Ok(outcome) => outcome,
            Err(error) => return give_up(&error),
        };
        let found = outcome.got(0).and_then(claim::seen);
        match found {
            _ if outcome.succeeded => *here = Holding { held, revision: outcome.revision },
            // An earlier try was done, and its answer lost; a manager may have moved the fence since.
            Some(Seen { lock: Lock::Held(found), revision })
                if found.run == held.run
                    && found.session == held.session
                    && (&found.last_skip, &found.missed) == (&held.last_skip, &held.missed) =>
            {
                *here = Holding { held: found, revision };
            }
            // The lock is as it was: the definition has changed, and the watch has yet to say so.
            Some(found) if found.revision == here.revision => return Step::Later,
            found => return self.adopt(here, found).await,
        }
        self.keep_ticks_of(&here.held).await;
        Step::Decided
    }

    /// Somebody wrote the lock that this process holds: a manager that moved its fence, or a skip of ours of which the
    /// store said that it was not done. Its run is still ours.
    async fn adopt(&self, here: &mut Holding, found: Option<Seen>) -> Step {
        let Some(found) = found.and_then(|found| Holding::still(&here.held, found)) else {
            return Step::Later;
        };
        if !found.held.without_run().eq(here.held.without_run()) {
            self.keep_ticks_of(&found.held).await;
        }
        *here = found;
        Step::AtOnce
    }

    async fn claim(
        self: &Arc<Self>,
        due: &Due,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        holding: &mut Option<Holding>,
        session: &Session,
        slot: Slot,
    ) -> Step {
        let held = self.held(planned, due.tick, session);
        let keys = &self.config.keys;
        // A tick that is late is the misfire policy's: the claim cannot win, and becomes a catch-up.
        let late = self.clock.now() - due.tick.instant() > MISSED_AFTER;
        let due = Due { previous: if late { due.tick } else { due.previous }, ..due.clone() };
        let place = Place::of(planned.job.overlap);
        let txn = claim::claim(keys, &held, due.previous, planned.revision, place);
        let sent = Instant::now();
        let outcome = match self.send_claim(txn, &held, place, session).await {
            Ok(outcome) => outcome,
            Err(error) => return give_up(&error),
        };
        let took = sent.elapsed();
        self.lead.read(took);
        metrics::histogram!("quorate_claim_seconds").record(took.as_secs_f64());
        match outcome {
            Outcome::Won(here) => {
                self.won(planned, post, holding, *here, slot);
                Step::Decided
            }
            Outcome::Lost(None) => {
                self.create_lock(planned).await;
                Step::Later
            }
            Outcome::Lost(Some(seen)) => self.lost(&due, planned, post, holding, session, *seen, slot).await,
        }
    }

    /// Sends the claim of a run, in the lock or beside it.
    pub(crate) async fn send_claim(
        &self,
        txn: Txn,
        held: &Held,
        place: Place,
        session: &Session,
    ) -> Result<Outcome, BatchError> {
        if place == Place::Beside {
            self.beside.enter(held.run);
        }
        let outcome = match self.batcher.guarded(txn, session).await {
            Ok(outcome) => Ok(claim::outcome(&outcome, held, session)),
            Err(full @ BatchError::NotTaken(_)) => self.found_won(held, session).await.ok_or(full),
            Err(error) => Err(error),
        };
        if place == Place::Beside && !matches!(outcome, Ok(Outcome::Won(_))) {
            self.beside.leave(held.run);
        }
        outcome
    }

    /// The claim as it stands, although the store said that it takes no writes: etcd does the very transaction that fills
    /// it. All is decided when it says so, so that what is read then is the truth.
    async fn found_won(&self, held: &Held, session: &Session) -> Option<Outcome> {
        let keys = &self.config.keys;
        let read = [keys.lock(&held.job), keys.run(&held.run)].map(Op::Get).to_vec();
        loop {
            match self.store.txn(Txn::when(Vec::new(), read.clone())).await {
                Ok(outcome) => {
                    // As the claim itself reads them when it is not done.
                    let outcome = claim::outcome(&TxnOutcome { succeeded: false, ..outcome }, held, session);
                    return Some(outcome).filter(|outcome| matches!(outcome, Outcome::Won(_)));
                }
                Err(error) if error.is_passing() && self.session().as_ref() == Some(session) => {
                    sleep(FIRST_WAIT).await;
                }
                // What it holds ends with its session.
                Err(_) => return None,
            }
        }
    }

    /// The lock of a scheduled run of this tick, held by this session.
    pub(crate) fn held(&self, planned: &Planned, tick: Tick, session: &Session) -> Held {
        Held {
            job: planned.job.name.clone(),
            fence: tick,
            run: self.new_run(),
            attempt: 1,
            tick: Some(tick),
            cause: Cause::Schedule,
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
        }
    }

    /// Hands a won claim over to be carried out.
    pub(crate) fn won(
        self: &Arc<Self>,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        holding: &mut Option<Holding>,
        here: Holding,
        slot: Slot,
    ) {
        post.answered(here.held.run, self.clock.now());
        if Place::of(planned.job.overlap) == Place::Lock {
            *holding = Some(here.clone());
        }
        let carry = self.clone().carry_out(planned.clone(), post.clone(), here, slot);
        self.tasks.spawn(carry);
    }

    /// The claim found something else than a free lock in order.
    #[expect(clippy::too_many_arguments, reason = "the tick, its post and what was found, once")]
    async fn lost(
        self: &Arc<Self>,
        due: &Due,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        holding: &mut Option<Holding>,
        session: &Session,
        seen: Seen,
        slot: Slot,
    ) -> Step {
        if seen.lock.fence() >= due.tick {
            return Step::Decided;
        }
        match &seen.lock {
            Lock::Free(free) if free.fence < due.previous => {
                let free = FreeLock { free: free.clone(), revision: seen.revision };
                self.catch_up(due.tick, planned, post, holding, session, free, slot).await
            }
            // In order and free: the definition has changed and the watch has yet to say so.
            Lock::Free(_) => Step::Later,
            Lock::Held(held) => {
                if self.free_if_orphaned(Some(&planned.job), held, seen.revision, session).await {
                    Step::AtOnce
                } else {
                    Step::Later
                }
            }
        }
    }

    /// Creates the lock of a job that was written by hand: its ticks count from now.
    pub(crate) async fn create_lock(&self, planned: &Planned) {
        let now = Tick::from_instant(self.clock.now());
        let txn = claim::create_lock(&self.config.keys, &planned.job.name, planned.revision, now);
        if let Err(error) = self.batcher.plain(txn).await {
            tracing::debug!(job = %planned.job.name, %error, "a job's lock cannot be created yet");
        }
    }
}

pub(crate) fn give_up(error: &BatchError) -> Step {
    match error {
        // Another session will be had, and the tick looked at again.
        BatchError::SessionGone | BatchError::StoreRestored | BatchError::NotTaken(_) => Step::Later,
        BatchError::Closed => Step::Decided,
        BatchError::Refused(_) => {
            tracing::error!(%error, "a tick cannot be decided");
            Step::Later
        }
    }
}
