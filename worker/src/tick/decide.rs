//! Decides one tick: claims it, skips it, or finds it decided, as [`verdict`] says.
//!
//! A tick that this worker looks after is not left alone until somebody has decided it: whatever stands in its way (a
//! run that executes, a holder that is gone, a definition that just changed, ticks missed before it) is dealt with on
//! this one path, and looked at again.

use std::{sync::Arc, time::Duration};

use common::{
    lock::{HeldLock, Lock},
    queue::QueuedRun,
    run::Cause,
    tick::Tick,
};
use tokio::time::{Instant, sleep};

use super::{
    lead::Lead,
    misfire::CatchUp,
    verdict::{Ahead, Look, Sight, Verdict, verdict},
};
use crate::{
    claim::{
        self, Outcome, OwnLock, Place, Session, StoredFreeLock, StoredLock,
        batch::BatchError,
        claims::{Claim, Claims},
        post::{Post, Turn},
    },
    plan::{Due, Planned, start_deadline},
    run::{
        carry_out::{Answer, Carrier},
        orphan::Orphans,
        runner::Stop,
    },
    session::{Standing, load::Slot},
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
    /// Look again when this process's run of the job has ended, at the tick's instant at the latest.
    AtInstant,
}

/// The first and the longest wait before looking again at a tick that another worker's run stands in the way of.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Decides ticks.
pub(crate) struct Decider {
    /// Who decides.
    pub standing: Arc<Standing>,
    /// What this process holds.
    pub claims: Arc<Claims>,
    /// Who carries out what is won.
    pub carrier: Arc<Carrier>,
    /// Who looks after locks whose holder is gone.
    pub orphans: Arc<Orphans>,
    /// How long claims take, so that they are sent so much ahead.
    pub lead: Lead,
}

impl Decider {
    /// Decides a tick, or finds it decided.
    pub(crate) async fn decide(&self, due: &Due) {
        let post = self.claims.posts.of(&due.job.job.name);
        post.announce(due.tick);
        let mut wait = FIRST_WAIT;
        loop {
            let session = tokio::select! {
                biased;
                session = self.standing.trusted() => session,
                // Ticks keep coming without the store: of each job only the newest waits for it. Once: without etcd
                // each tick left a task that waited for it.
                () = post.overtaken(due.tick) => return,
            };
            let Some(session) = session else { return };
            // Before the look: an end between the look and the wait is heard.
            let freed = post.freed();
            match self.look(due, &post, &session).await {
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
                    () = self.standing.clock.sleep_until(due.tick.instant()) => {}
                },
            }
            if self.standing.closing.is_cancelled() {
                return;
            }
        }
    }

    fn verdict(&self, due: &Due, planned: Option<&Planned>, lock: Sight<'_>) -> Verdict {
        let now = self.standing.clock.now();
        let lead = chrono::Duration::from_std(self.lead.now()).unwrap_or_default();
        verdict(&Look { due, planned, now, lead, lock })
    }

    async fn look(&self, due: &Due, post: &Arc<Post>, session: &Session) -> Step {
        let planned = self.carrier.plan.job(&due.job.job.name);
        let Some(planned) = planned.filter(|planned| {
            matches!(self.verdict(due, Some(planned), Sight::Unread), Verdict::Claim { .. })
        }) else {
            return Step::Decided;
        };
        {
            let mut turn = post.turn().await;
            post.forget_next(due.tick);
            if post.is_overtaken(due.tick) {
                return Step::Decided;
            }
            if let Some(here) = turn.holding.clone() {
                return self.meet_own_run(due, &planned, &mut turn, here).await;
            }
        }
        // Edited since this worker was ranked: the tick belongs to the workers that may run it.
        if !self.standing.has_labels_of(&planned.job) {
            return Step::Decided;
        }
        if !self.standing.load.may_claim() {
            return Step::Later;
        }
        // Not in a turn: a run that ends needs it to free its slot.
        let Some(slot) = self.standing.slot().await else { return Step::Later };
        let mut turn = post.turn().await;
        if turn.holding.is_some() || post.is_overtaken(due.tick) {
            return Step::AtOnce;
        }
        self.claim(due, &planned, &mut turn, session, slot).await
    }

    /// The tick finds a run of this process.
    async fn meet_own_run(&self, due: &Due, planned: &Planned, turn: &mut Turn<'_>, here: OwnLock) -> Step {
        let (since, ended) = (turn.post.since(&here.held), turn.post.has_ended(here.held.run));
        let sight = Sight::Own { lock: &here, since, ended };
        match self.verdict(due, Some(planned), sight) {
            Verdict::Follow { next, run } => {
                turn.post.wait_for_end(next);
                match run {
                    Ahead::HasEnded => Step::WhenFreed,
                    Ahead::MayEnd => Step::AtInstant,
                    Ahead::IsEnded => {
                        let why = Stop::Killed(format!("replaced by the tick {}", due.tick));
                        self.carrier.runner.end(&here.held.run, why);
                        Step::WhenFreed
                    }
                }
            }
            Verdict::Skip(to) => self.skip(planned, turn, here, *to).await,
            Verdict::Wait { to, skipped } => {
                let wanted = self.claims.run_of(planned, due.tick, Cause::Queued);
                self.wait_or_skip(planned, turn, here, (*to, *skipped), &wanted).await
            }
            _ => Step::Decided,
        }
    }

    /// The first tick that finds the job running waits in the queue; later ones are skipped.
    async fn wait_or_skip(
        &self,
        planned: &Planned,
        turn: &mut Turn<'_>,
        here: OwnLock,
        (to, skipped): (HeldLock, HeldLock),
        wanted: &QueuedRun,
    ) -> Step {
        let txn = claim::wait(self.claims.keys(), &to, here.revision, planned.revision, wanted);
        let outcome = match self.claims.batcher.plain(txn).await {
            Ok(outcome) => outcome,
            Err(error) => return give_up(&error),
        };
        let revision = match outcome.got(0).and_then(claim::seen) {
            _ if outcome.succeeded => outcome.revision,
            // An earlier try was done, and its answer lost.
            Some(StoredLock { lock: Lock::Held(found), revision }) if found == to => revision,
            // Either one waits already, or the lock was written by somebody: the skip finds out which.
            _ => return self.skip(planned, turn, here, skipped).await,
        };
        if !to.without_run().eq(here.held.without_run()) {
            self.carrier.journal.keep_ticks_of(&to).await;
        }
        *turn.holding = Some(OwnLock { held: to, revision });
        Step::Decided
    }

    /// Moves the fence of a lock that this process holds, and keeps the record.
    async fn skip(&self, planned: &Planned, turn: &mut Turn<'_>, here: OwnLock, to: HeldLock) -> Step {
        let txn = claim::skip(self.claims.keys(), &to, here.revision, planned.revision);
        let outcome = match self.claims.batcher.plain(txn).await {
            Ok(outcome) => outcome,
            Err(error) => return give_up(&error),
        };
        let found = outcome.got(0).and_then(claim::seen);
        let now = match found {
            _ if outcome.succeeded => OwnLock { held: to, revision: outcome.revision },
            Some(found) if claim::is_skipped(&found, &to) => match OwnLock::still(&to, found) {
                Some(now) => now,
                None => return Step::Later,
            },
            // The lock is as it was: the definition has changed, and the watch has yet to say so.
            Some(found) if found.revision == here.revision => return Step::Later,
            found => return self.adopt(turn, &here, found).await,
        };
        self.carrier.journal.keep_ticks_of(&now.held).await;
        *turn.holding = Some(now);
        Step::Decided
    }

    /// Somebody wrote the lock that this process holds: a manager that moved its fence, or a skip of ours that the
    /// store said was not done. Its run is still ours.
    async fn adopt(&self, turn: &mut Turn<'_>, here: &OwnLock, found: Option<StoredLock>) -> Step {
        let Some(found) = found.and_then(|found| OwnLock::still(&here.held, found)) else {
            return Step::Later;
        };
        if !found.held.without_run().eq(here.held.without_run()) {
            self.carrier.journal.keep_ticks_of(&found.held).await;
        }
        *turn.holding = Some(found);
        Step::AtOnce
    }

    async fn claim(
        &self,
        due: &Due,
        planned: &Arc<Planned>,
        turn: &mut Turn<'_>,
        session: &Session,
        slot: Slot,
    ) -> Step {
        let Verdict::Claim { previous } = self.verdict(due, Some(planned), Sight::Unread) else {
            return Step::AtOnce;
        };
        let wanted = self.claims.run_of(planned, due.tick, Cause::Schedule);
        let held = self.claims.held(planned, &wanted, due.tick, session);
        let place = Place::of(planned.job.overlap);
        let txn = claim::claim(self.claims.keys(), &held, previous, planned.revision, place);
        let sent = Instant::now();
        let claim = Claim { planned: planned.clone(), held, txn };
        let answer = match self.carrier.claim(claim, turn, session, slot).await {
            Ok(answer) => answer,
            Err(error) => return give_up(&error),
        };
        let took = sent.elapsed();
        self.lead.read(took);
        metrics::histogram!("quorate_claim_seconds").record(took.as_secs_f64());
        let Answer::Lost(seen, slot) = answer else { return Step::Decided };
        let seen = seen.map(|seen| *seen);
        let free;
        let sight = match &seen {
            None => Sight::Absent,
            Some(StoredLock { lock: Lock::Held(held), .. }) => Sight::Held(held),
            Some(StoredLock { lock: Lock::Free(found), revision }) => {
                free = StoredFreeLock { free: found.clone(), revision: *revision };
                Sight::Free(&free)
            }
        };
        match (self.verdict(due, Some(planned), sight), sight) {
            (Verdict::CatchUp(catch_up), Sight::Free(free)) => {
                self.catch_up((due.tick, catch_up), planned, free, turn, (session, slot)).await
            }
            (Verdict::Create, _) => {
                self.claims.create_lock(planned).await;
                Step::Later
            }
            (Verdict::AskForHolder, Sight::Held(held)) => {
                let seen = seen.as_ref().map(|seen| seen.revision).unwrap_or_default();
                if self.orphans.free_lock(Some(&planned.job), held, seen, session).await {
                    Step::AtOnce
                } else {
                    Step::Later
                }
            }
            (Verdict::Decided, _) => Step::Decided,
            _ => Step::Later,
        }
    }

    /// Decides a tick and all ticks before it that the lock has not passed.
    async fn catch_up(
        &self,
        (tick, catch_up): (Tick, CatchUp),
        planned: &Arc<Planned>,
        free: &StoredFreeLock,
        turn: &mut Turn<'_>,
        (session, slot): (&Session, Slot),
    ) -> Step {
        let Some(cause) = catch_up.runs else {
            return self.pass_over(tick, &catch_up, planned, free, session).await;
        };
        let queued = catch_up.queued.iter().map(|tick| {
            let wanted = self.claims.run_of(planned, *tick, Cause::CatchUp);
            let deadline = start_deadline(&planned.job, tick.instant());
            claim::put_wanted(self.claims.keys(), &QueuedRun { deadline, ..wanted })
        });
        let queued = queued.collect();
        let wanted = self.claims.run_of(planned, tick, cause);
        let held = catch_up.named_in(self.claims.held(planned, &wanted, tick, session));
        let place = Place::of(planned.job.overlap);
        let txn = claim::catch_up(self.claims.keys(), &held, free, planned.revision, place, queued);
        let claim = Claim { planned: planned.clone(), held, txn };
        match self.carrier.claim(claim, turn, session, slot).await {
            Ok(Answer::Won) => Step::Decided,
            Ok(Answer::Lost(..)) => Step::Later,
            Err(error) => give_up(&error),
        }
    }

    /// None of these ticks gets a run: the lock is held until they are on record.
    async fn pass_over(
        &self,
        tick: Tick,
        catch_up: &CatchUp,
        planned: &Planned,
        free: &StoredFreeLock,
        session: &Session,
    ) -> Step {
        let wanted = QueuedRun { tick: None, ..self.claims.run_of(planned, tick, Cause::CatchUp) };
        let held = catch_up.named_in(self.claims.held(planned, &wanted, tick, session));
        let (keys, place) = (self.claims.keys(), Place::Lock);
        let txn = claim::catch_up(keys, &held, free, planned.revision, place, Vec::new());
        let here = match self.claims.send(txn, &held, place, session).await {
            Ok(Outcome::Won(here)) => *here,
            Ok(Outcome::Lost(_)) => return Step::Later,
            Err(error) => return give_up(&error),
        };
        self.carrier.journal.keep_ticks_of(&here.held).await;
        let txn = claim::finish(keys, &here.held, here.revision, free.free.last.clone(), Vec::new());
        if let Err(error) = self.claims.batcher.end(txn).await {
            tracing::debug!(job = %here.held.job, %error, "a lock stays held without a run; its caretaker frees it");
        }
        Step::Decided
    }
}

fn give_up(error: &BatchError) -> Step {
    match error {
        // There will be another session, and the tick is looked at again.
        BatchError::SessionGone | BatchError::StoreRestored | BatchError::NotTaken(_) => Step::Later,
        BatchError::Closed => Step::Decided,
        BatchError::Refused(_) => {
            tracing::error!(%error, "a tick cannot be decided");
            Step::Later
        }
    }
}
