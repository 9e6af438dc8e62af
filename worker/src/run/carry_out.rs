//! Carries out a won claim: runs it, keeps its record on disk, and only then frees its lock, or holds it for the tick
//! that waits for that end and goes on with it. "Finished" means spooled.

use std::sync::Arc;

use common::{
    lock::{HeldLock, LastRun},
    run::Cause,
    runlog::RunRecord,
    store::{Op, Revision},
};

use super::{
    claimed::Claimed,
    record::Journal,
    retry::{How, Retries},
    runner::{Executed, Runner, Stop},
};
use crate::{
    claim::{
        self, Outcome, OwnLock, Place, Session, StoredLock,
        batch::BatchError,
        claims::{Claim, Claims},
        post::{Post, Turn},
    },
    plan::{Next, Plan, Planned},
    queue::freed::FreedLocks,
    session::{Standing, load::Slot},
};

/// If the disk took this long, that may have cost a tick.
const SLOW_DISK: chrono::Duration = chrono::Duration::seconds(1);

/// Claims runs and carries them out.
pub(crate) struct Carrier {
    /// Whose runs they are.
    pub standing: Arc<Standing>,
    /// The jobs.
    pub plan: Arc<Plan>,
    /// How locks are claimed and freed.
    pub claims: Arc<Claims>,
    /// What executes.
    pub runner: Arc<Runner>,
    /// Where records go.
    pub journal: Arc<Journal>,
    /// What is tried again.
    pub retries: Arc<Retries>,
    /// Told of the jobs whose lock is freed here.
    pub freed: FreedLocks,
}

/// What came of a claim.
pub(crate) enum Answer {
    /// It is won, and carried out.
    Won,
    /// It is not; what the lock says instead. `None`: there is no lock, or it does not decode. The slot is unused.
    Lost(Option<Box<StoredLock>>, Slot),
}

/// A run that this process has won.
struct Won {
    planned: Arc<Planned>,
    here: OwnLock,
    slot: Slot,
}

impl Carrier {
    /// Claims a run, and carries it out if it is won.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        claim: Claim,
        turn: &mut Turn<'_>,
        session: &Session,
        slot: Slot,
    ) -> Result<Answer, BatchError> {
        let Claim { planned, held, txn } = claim;
        let place = Place::of(planned.job.overlap);
        let here = match self.claims.send(txn, &held, place, session).await? {
            Outcome::Won(here) => *here,
            Outcome::Lost(seen) => return Ok(Answer::Lost(seen, slot)),
        };
        // First: an end of the run removes what tells of these ticks.
        self.journal.keep_ticks_of(&here.held).await;
        turn.post.answered(here.held.run, self.standing.clock.now());
        if place == Place::Lock {
            *turn.holding = Some(here.clone());
        }
        let won = Won { planned, here, slot };
        self.standing.tasks.spawn(self.clone().carry_on(turn.post.clone(), won));
        Ok(Answer::Won)
    }

    /// Carries out what was won, and then what follows its end.
    async fn carry_on(self: Arc<Self>, post: Arc<Post>, won: Won) {
        let mut won = Some(won);
        while let Some(next) = won {
            won = self.carry_out(&post, next).await;
        }
    }

    /// Runs what was claimed and ends its claim. What follows is won with that end.
    async fn carry_out(&self, post: &Arc<Post>, Won { planned, here, slot }: Won) -> Option<Won> {
        // Where the claim's answer was lost, it may have been found after a manager had moved its fence.
        let revision = here.held.claimed_at(here.revision);
        let due = match here.held.cause {
            Cause::Schedule | Cause::CatchUp | Cause::Queued => {
                here.held.tick.map_or(here.held.claimed, |tick| tick.instant())
            }
            Cause::Manual | Cause::Retry | Cause::Reboot => here.held.claimed,
        };
        let claimed = Claimed {
            planned,
            revision,
            due,
            scheduled: here.held.claimed,
            answered: self.standing.clock.now(),
            slot,
            task: false,
            held: here.held,
        };
        let Executed { record, output, exit } =
            self.runner.execute(&claimed, || self.withdrawn(&claimed.held, claimed.revision)).await;
        post.mark_ended(record.run);
        let ended = self.standing.clock.now();
        let mut last = LastRun {
            run: record.run,
            state: record.state,
            ended,
            worker: record.worker.clone(),
            claimed: Some(claimed.held.claimed),
            recorded: None,
        };
        measure(&record);
        let how = How::of(record.state, exit.as_ref());
        let again = self.retries.after(&claimed.planned.job, &claimed.held, revision, how);
        let again: Vec<Op> =
            again.iter().map(|wanted| claim::put_wanted(self.claims.keys(), wanted)).collect();
        self.journal.keep(record).await;
        last.recorded = Some(self.standing.clock.now()).filter(|recorded| *recorded - ended > SLOW_DISK);
        output.discard_spill();
        match Place::of(claimed.planned.job.overlap) {
            Place::Lock => self.end_held(post, claimed, &last, &again).await,
            Place::Beside => {
                self.end_beside(&claimed.held, here.revision, again).await;
                None
            }
        }
    }

    /// Frees the lock, or holds it for the tick that waits for this end, or finds that it is no longer ours.
    async fn end_held(&self, post: &Arc<Post>, ended: Claimed, last: &LastRun, again: &[Op]) -> Option<Won> {
        let run = &ended.held;
        let mut turn = post.turn().await;
        let mut follower = None;
        while let Some(here) = turn.holding.clone().filter(|here| here.held.run == run.run) {
            let next = post.take_next().and_then(|next| self.follower(&here, &next, again));
            if let Some((Claim { planned, held, txn }, session)) = next {
                match self.claims.send(txn, &held, Place::Lock, &session).await {
                    Ok(Outcome::Won(here)) => {
                        post.answered(here.held.run, self.standing.clock.now());
                        *turn.holding = Some(OwnLock::clone(&here));
                        follower = Some((planned, *here));
                        break;
                    }
                    Ok(Outcome::Lost(found)) => {
                        *turn.holding = found.and_then(|found| OwnLock::still(run, *found));
                    }
                    // The tick looks for itself; the lock is freed without it.
                    Err(BatchError::SessionGone | BatchError::NotTaken(_)) => {}
                    Err(error) => {
                        say_not_freed(run, &error);
                        *turn.holding = None;
                    }
                }
                continue;
            }
            let last = Some(last.clone());
            let txn = claim::finish(self.claims.keys(), &here.held, here.revision, last, again.to_vec());
            match self.claims.batcher.end(txn).await {
                Ok(outcome) if outcome.succeeded => *turn.holding = None,
                // A manager may have moved the fence meanwhile; otherwise an earlier try was done, or somebody took
                // the lock over.
                Ok(outcome) => {
                    let found = outcome.got(0).and_then(claim::seen);
                    *turn.holding = found.and_then(|found| OwnLock::still(run, found));
                }
                Err(error) => {
                    say_not_freed(run, &error);
                    *turn.holding = None;
                }
            }
        }
        post.set_free();
        if follower.is_none() {
            self.freed.tell(&run.job);
        }
        follower.map(|(planned, here)| Won { planned, here, slot: ended.slot })
    }

    /// The claim of the tick that waits for the end of what is held, if it may follow at once: in order, by the same
    /// definition, in the same session.
    fn follower(&self, ended: &OwnLock, next: &Next, again: &[Op]) -> Option<(Claim, Session)> {
        let standing = &self.standing;
        let session = standing.session().filter(|session| session.revision == ended.held.session)?;
        let planned =
            self.plan.job(&ended.held.job).filter(|planned| next.may_follow(&ended.held, planned))?;
        if !standing.has_labels_of(&planned.job) || !standing.may_claim() {
            return None;
        }
        let wanted = self.claims.run_of(&planned, next.tick, Cause::Schedule);
        let held = self.claims.held(&planned, &wanted, next.tick, &session);
        let keys = self.claims.keys();
        let txn = claim::finish_and_claim(keys, ended.revision, &held, planned.revision, again.to_vec());
        Some((Claim { planned, held, txn }, session))
    }

    /// Removes the record of a run that held no lock.
    async fn end_beside(&self, run: &HeldLock, seen: Revision, again: Vec<Op>) {
        let txn = claim::end_beside(self.claims.keys(), run, seen, again);
        if let Err(error) = self.claims.batcher.end(txn).await {
            tracing::warn!(job = %run.job, %error, "a run's record cannot be removed yet; its caretaker will");
        }
        self.claims.beside.leave(run.run);
    }

    /// The last look before a start: why the run may not start after all.
    fn withdrawn(&self, held: &HeldLock, claimed: Revision) -> Option<Stop> {
        if self.standing.session().is_none_or(|session| session.revision != held.session) {
            return Some(Stop::LeaseLost);
        }
        if let Some(kill) = self.retries.kills.of(&held.job, &held.run, claimed) {
            return Some(Stop::Killed(format!("killed by {}", kill.by)));
        }
        match self.plan.job(&held.job) {
            None => Some(Stop::Withdrawn("the job was deleted before the run started")),
            Some(planned) if planned.paused && held.tick.is_some() => {
                Some(Stop::Withdrawn("the job was paused before the run started"))
            }
            Some(_) => None,
        }
    }
}

fn say_not_freed(run: &HeldLock, error: &BatchError) {
    if matches!(error, BatchError::Refused(_)) {
        tracing::error!(job = %run.job, %error, "a run's lock cannot be freed now; it will be when this worker's lease ends");
    }
}

pub(super) fn measure(record: &RunRecord) {
    metrics::counter!("quorate_runs_total", "state" => record.state.name()).increment(1);
    if record.trigger == Cause::Schedule {
        let late = record.start_time.saturating_sub(record.plan_time);
        metrics::histogram!("quorate_start_late_seconds").record(late as f64 / 1000.0);
    }
}
