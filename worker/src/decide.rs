//! Decides one tick: claims it, skips it, or finds it decided. The walk of a tick is [`Desk::decide`] →
//! [`Desk::claim`] → [`Desk::carry_out`](crate::carry_out).
//!
//! A tick that this worker looks after is not left until it is decided by somebody: whatever stands in its way (a
//! run that executes, a holder that is gone, a definition that just changed, ticks missed before it) is dealt with
//! on this one path, and looked at again.

use std::{sync::Arc, time::Duration};

use common::{
    job::{MisfirePolicy, Overlap},
    lock::{Free, Held, Lock, Missed},
    queue::Wanted,
    run::Cause,
    runlog::TickOutcome,
    store::{Compare, Op, Txn, TxnOutcome},
    tick::Tick,
};
use tokio::time::sleep;

use crate::{
    agenda::{Due, Planned},
    claim::{self, Outcome, Seen, Session, batch::BatchError},
    desk::{Desk, Holding, Post},
    load::Slot,
    runner::Stop,
};

/// Where a tick is after one look at it.
enum Step {
    /// Somebody has decided it, or nobody needs to any more.
    Decided,
    /// Look again at once.
    AtOnce,
    /// Look again later.
    Later,
    /// Look again when this process's run of the job has ended.
    WhenFreed,
}

/// The first and the longest wait before looking again at a tick that another worker's run stands in the way of.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A tick older than this is missed: it is the misfire policy's. Hedges and a slow store stay below it.
const MISSED_AFTER: chrono::Duration = chrono::Duration::seconds(5);

impl Desk {
    /// Decides a tick, or finds it decided. `rank` is where this worker stands for it.
    pub async fn decide(self: Arc<Self>, due: Due, rank: usize) {
        if rank > 0 && !self.is_left_over(&due, rank).await {
            return;
        }
        let post = self.post(&due.job.job.name);
        post.announce(due.tick);
        let mut wait = FIRST_WAIT;
        loop {
            let Some(session) = self.trusted().await else { return };
            match self.look(&due, &post, &session).await {
                Step::Decided => return,
                Step::AtOnce => {}
                Step::Later => {
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Step::WhenFreed => tokio::select! {
                    () = post.freed.notified() => {}
                    () = sleep(LONGEST_WAIT) => {}
                },
            }
            if self.closing.is_cancelled() {
                return;
            }
        }
    }

    /// Waits its rank's hedge; true when the better-ranked workers have not said that they have decided.
    async fn is_left_over(&self, due: &Due, rank: usize) -> bool {
        let hedge = self.config.hedge * u32::try_from(rank).unwrap_or(u32::MAX);
        self.clock.sleep_until(due.tick.instant() + hedge).await;
        let view = self.registry.view();
        let job = &due.job.job;
        let before = view.candidates.rank(&job.name, &job.placement).into_iter().take(rank);
        !before.into_iter().any(|worker| self.registry.has_decided(worker, due.tick))
    }

    async fn look(self: &Arc<Self>, due: &Due, post: &Arc<Post>, session: &Session) -> Step {
        let name = &due.job.job.name;
        // The definition as it stands: an edit that leaves the trigger alone does not lose the tick.
        let Some(planned) = self.planned(name) else { return Step::Decided };
        if planned.paused || planned.job.trigger != due.job.job.trigger || post.is_overtaken(due.tick) {
            return Step::Decided;
        }
        {
            let mut holding = post.holding.lock().await;
            if let Some(here) = holding.as_mut() {
                return self.meet_own_run(&planned, due.tick, here).await;
            }
        }
        if !self.load.may_claim() {
            return Step::Later;
        }
        // Not under the post's lock: a run that ends needs it to free its slot.
        let Some(slot) = self.load.take().await else { return Step::Decided };
        let mut holding = post.holding.lock().await;
        if holding.is_some() {
            return Step::AtOnce;
        }
        self.claim(due, &planned, post, &mut holding, session, slot).await
    }

    /// The tick finds a run of this process.
    async fn meet_own_run(&self, planned: &Planned, tick: Tick, here: &mut Holding) -> Step {
        if here.held.fence >= tick {
            return Step::Decided;
        }
        match planned.job.overlap {
            Overlap::Replace => {
                self.runner.end(&here.held.run, Stop::Killed(format!("replaced by the tick {tick}")));
                Step::WhenFreed
            }
            Overlap::QueueOne => self.wait_or_skip(planned, tick, here).await,
            Overlap::Skip | Overlap::Allow => self.skip(planned, tick, here, Vec::new()).await,
        }
    }

    /// The first tick that finds the job running waits in the queue; later ones are skipped.
    async fn wait_or_skip(&self, planned: &Planned, tick: Tick, here: &mut Holding) -> Step {
        let key = self.config.keys.next_of(&planned.job.name);
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
            by: String::new(),
        };
        let queued = Lock::Held(Held { fence: tick, ..here.held.clone() });
        let put = vec![Op::Put(key.clone(), wanted.encode(), None)];
        let mut txn = claim::replace(&self.config.keys, &planned.job.name, here.revision, &queued, put);
        txn.compares.push(Compare::ModRevision(key, 0));
        match self.batcher.plain(txn).await {
            Ok(outcome) if outcome.succeeded => {
                here.held.fence = tick;
                here.revision = outcome.revision;
                Step::Decided
            }
            // Either one waits already, or the lock was written by somebody: the skip finds out which.
            Ok(_) => self.skip(planned, tick, here, Vec::new()).await,
            Err(error) => give_up(&error),
        }
    }

    /// Moves the fence of a lock that this process holds, and keeps the record.
    async fn skip(&self, planned: &Planned, tick: Tick, here: &mut Holding, then: Vec<Op>) -> Step {
        let (from, count) = self.between(planned, here.held.fence, tick);
        let skipped = here.held.skipped.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        let held = Held { fence: tick, skipped, ..here.held.clone() };
        let with = Lock::Held(held.clone());
        let txn = claim::replace(&self.config.keys, &planned.job.name, here.revision, &with, then);
        match self.batcher.plain(txn).await {
            Ok(outcome) if outcome.succeeded => {
                *here = Holding { held, revision: outcome.revision };
                let reason = "the run before it still executes (overlap: skip)";
                self.keep_ticks(&planned.job.name, from, tick, count, TickOutcome::Skipped, reason).await;
                Step::Decided
            }
            Ok(outcome) => adopt(here, &outcome),
            Err(error) => give_up(&error),
        }
    }

    /// The first tick behind the fence, and how many there are up to and with `tick`.
    fn between(&self, planned: &Planned, fence: Tick, tick: Tick) -> (Tick, u64) {
        let Some(schedule) = &planned.schedule else { return (tick, 1) };
        let from = schedule.next_after(fence.instant()).map_or(tick, Tick::from_instant).min(tick);
        (from, schedule.count_in(fence.instant(), tick.instant(), 10_000_000).max(1))
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
        let beside = planned.job.overlap == Overlap::Allow;
        let txn = if beside {
            claim::claim_beside(keys, &held, due.previous, planned.revision)
        } else {
            claim::claim(keys, &held, due.previous, planned.revision)
        };
        let outcome = match self.batcher.guarded(txn, session).await {
            Ok(outcome) => claim::outcome(&outcome, held.run, session),
            Err(error) => return give_up(&error),
        };
        match outcome {
            Outcome::Won(revision) => {
                self.won(planned, post, holding, Holding { held, revision }, slot);
                Step::Decided
            }
            Outcome::Lost(None) => {
                self.create_lock(planned).await;
                Step::Later
            }
            Outcome::Lost(Some(seen)) => self.lost(&due, planned, post, holding, session, seen, slot).await,
        }
    }

    fn held(&self, planned: &Planned, tick: Tick, session: &Session) -> Held {
        Held {
            job: planned.job.name.clone(),
            fence: tick,
            run: self.new_run(),
            attempt: 1,
            tick: Some(tick),
            cause: Cause::Schedule,
            worker: session.worker.clone(),
            session: session.revision,
            claimed: self.clock.now(),
            skipped: 0,
            missed: None,
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
        if planned.job.overlap != Overlap::Allow {
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
                let free = free.clone();
                self.catch_up(due.tick, planned, post, holding, session, (free, seen.revision), slot).await
            }
            // In order and free: the definition has changed and the watch has yet to say so.
            Lock::Free(_) => Step::Later,
            Lock::Held(held) => {
                if self.free_if_orphaned(planned, held, seen.revision, session).await {
                    Step::AtOnce
                } else {
                    Step::Later
                }
            }
        }
    }

    /// Ticks were missed before this one, and perhaps this one too.
    #[expect(clippy::too_many_arguments, reason = "the tick, its post and what was found, once")]
    async fn catch_up(
        self: &Arc<Self>,
        tick: Tick,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        holding: &mut Option<Holding>,
        session: &Session,
        (free, revision): (Free, i64),
        slot: Slot,
    ) -> Step {
        let misfire = planned.job.misfire;
        let late = self.clock.now() - tick.instant();
        let deadline = chrono::Duration::from_std(misfire.deadline.0).unwrap_or(chrono::Duration::MAX);
        let runs = late <= MISSED_AFTER || (misfire.policy != MisfirePolicy::Skip && late <= deadline);
        let (from, count) = self.between(planned, free.fence, tick);
        let last_missed = if runs {
            let before = tick.instant() - chrono::Duration::seconds(1);
            planned.schedule.as_ref().and_then(|schedule| schedule.latest_in(free.fence.instant(), before))
        } else {
            Some(tick.instant())
        };
        let missed =
            last_missed.map(Tick::from_instant).map(|to| Missed { from, to, count: count - u64::from(runs) });
        let mut held = self.held(planned, tick, session);
        held.missed = missed.clone();
        if late > MISSED_AFTER {
            held.cause = Cause::CatchUp;
        }
        let (with, mut then) = match (runs, planned.job.overlap) {
            (false, _) => (Lock::Free(Free { fence: tick, last: free.last }), Vec::new()),
            (true, Overlap::Allow) => {
                let record = Op::Put(self.config.keys.run(&held.run), held.encode(), None);
                (Lock::Free(Free { fence: tick, last: free.last }), vec![record])
            }
            (true, _) => (Lock::Held(held.clone()), Vec::new()),
        };
        let queued = if runs { self.queue_missed(planned, missed.as_ref(), free.fence) } else { Vec::new() };
        let caught_up = queued.len() as u64;
        then.extend(queued);
        let mut txn = claim::replace(&self.config.keys, &planned.job.name, revision, &with, then);
        // With overlap `allow` the record tells a repeated claim that it was won already.
        txn.otherwise.push(Op::Get(self.config.keys.run(&held.run)));
        match self.batcher.guarded(txn, session).await {
            Ok(outcome) => match claim::outcome(&outcome, held.run, session) {
                Outcome::Won(revision) if runs => {
                    self.won(planned, post, holding, Holding { held, revision }, slot);
                }
                Outcome::Won(_) => {}
                Outcome::Lost(_) => return Step::Later,
            },
            Err(error) => return give_up(&error),
        }
        if let Some(missed) = missed.filter(|missed| missed.count > caught_up) {
            let count = missed.count - caught_up;
            let reason = "no worker could claim in time";
            self.keep_ticks(&planned.job.name, missed.from, missed.to, count, TickOutcome::Missed, reason)
                .await;
        }
        Step::Decided
    }

    /// With misfire policy `all`: queue entries for the newest missed ticks within the deadline.
    fn queue_missed(&self, planned: &Planned, missed: Option<&Missed>, fence: Tick) -> Vec<Op> {
        let (MisfirePolicy::All, Some(missed), Some(schedule)) =
            (planned.job.misfire.policy, missed, &planned.schedule)
        else {
            return Vec::new();
        };
        let now = self.clock.now();
        let deadline =
            chrono::Duration::from_std(planned.job.misfire.deadline.0).unwrap_or(chrono::Duration::MAX);
        let mut ops = Vec::new();
        let mut until = missed.to.instant();
        while ops.len() + 1 < planned.job.misfire.limit as usize {
            let Some(instant) = schedule.latest_in(fence.instant(), until).filter(|at| now - *at <= deadline)
            else {
                break;
            };
            let wanted = Wanted {
                job: planned.job.name.clone(),
                run: self.new_run(),
                attempt: 1,
                cause: Cause::CatchUp,
                tick: Some(Tick::from_instant(instant)),
                since: now,
                not_before: None,
                deadline: Some(instant + deadline),
                by: String::new(),
            };
            ops.push(Op::Put(self.config.keys.wanted(&wanted.run), wanted.encode(), None));
            until = instant - chrono::Duration::seconds(1);
        }
        ops
    }

    /// Creates the lock of a job that was written by hand: its ticks count from now.
    pub(crate) async fn create_lock(&self, planned: &Planned) {
        let keys = &self.config.keys;
        let lock = keys.lock(&planned.job.name);
        let txn = Txn::when(
            vec![
                Compare::CreateRevision(lock.clone(), 0),
                Compare::ModRevision(keys.job(&planned.job.name), planned.revision),
            ],
            vec![Op::Put(lock, Lock::new(Tick::from_instant(self.clock.now())).encode(), None)],
        );
        if let Err(error) = self.batcher.plain(txn).await {
            tracing::debug!(job = %planned.job.name, %error, "a job's lock cannot be created yet");
        }
    }
}

/// Somebody else wrote the lock that this process holds: a manager that moved its fence. Its run is still ours.
fn adopt(here: &mut Holding, outcome: &TxnOutcome) -> Step {
    match outcome.got(0).and_then(claim::seen) {
        Some(Seen { lock: Lock::Held(held), revision })
            if held.run == here.held.run && held.session == here.held.session =>
        {
            *here = Holding { held, revision };
            Step::AtOnce
        }
        _ => Step::Later,
    }
}

fn give_up(error: &BatchError) -> Step {
    match error {
        // Another session will be had, and the tick looked at again.
        BatchError::SessionGone => Step::Later,
        BatchError::Closed => Step::Decided,
        BatchError::Refused(_) => {
            tracing::error!(%error, "a tick cannot be decided");
            Step::Later
        }
    }
}
