//! Whether a run that has ended is tried again, and when.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    chance::Chance,
    id::WorkerId,
    job::{Delivery, Job},
    lock::HeldLock,
    queue::QueuedRun,
    run::{Cause, RunState},
    store::Revision,
    task::Task,
};

use crate::{
    driver::{Exit, Wait},
    plan::start_deadline,
    queue::kills::Kills,
    session::Standing,
};

/// When a run is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing says how long to wait.
    AtOnce,
    /// After its job's pause between attempts.
    AfterPause,
}

/// How a run ended, as far as another attempt depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// Its state.
    pub state: RunState,
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Another attempt may end otherwise, as its driver says.
    pub is_retryable: bool,
    /// How long the other side of a call wants to be left alone.
    pub wait: Option<Wait>,
}

impl How {
    /// Its worker is gone.
    pub const LOST: Self = Self { state: RunState::Lost, exit_code: None, is_retryable: true, wait: None };

    /// It ended in this state, after what it executed ended so; none: that did not come to it.
    pub fn of(state: RunState, exit: Option<&Exit>) -> Self {
        Self {
            state,
            exit_code: exit.and_then(Exit::exit_code),
            is_retryable: exit.is_none_or(Exit::is_retryable),
            wait: exit.and_then(Exit::wait),
        }
    }
}

/// Whether a run that ended so is tried again. Pure.
pub fn again(job: &Job, attempt: u32, how: How) -> Option<Again> {
    let retry = &job.retry;
    match how.state {
        // A lost run is repeated at once, unless its job says how long to wait between attempts: it may be what ended
        // its worker.
        RunState::Lost if job.delivery == Delivery::AtLeastOnce => {
            Some(if retry.attempts > 1 { Again::AfterPause } else { Again::AtOnce })
        }
        RunState::Failed | RunState::TimedOut if attempt < retry.attempts => {
            // Who says which knows better than the driver.
            let is_wanted = if retry.on.is_empty() {
                how.is_retryable
            } else {
                how.exit_code.is_some_and(|code| retry.on.contains(&code))
            };
            is_wanted.then_some(Again::AfterPause)
        }
        _ => None,
    }
}

/// Says which runs are tried again.
pub struct Retries {
    /// Where, and by which clock.
    pub standing: Arc<Standing>,
    /// How pauses are spread.
    pub chance: Arc<Chance>,
    /// Nobody wants more of what was killed.
    pub kills: Arc<Kills>,
}

impl Retries {
    /// The next attempt of a run that ended so, if there is to be one. `claimed`: the revision of its claim.
    pub fn after(&self, job: &Job, held: &HeldLock, claimed: Revision, how: How) -> Option<QueuedRun> {
        // Whatever it ended by: somebody wants no more of it.
        if self.kills.of(&held.job, &held.run, claimed).is_some() {
            return None;
        }
        self.next(job, held, how)
    }

    /// The next attempt of a task that ended so, if there is to be one. `claimed`: the revision of its claim.
    pub fn after_task(
        &self,
        task: &Arc<Task>,
        held: &HeldLock,
        claimed: Revision,
        how: How,
    ) -> Option<QueuedRun> {
        if self.kills.of_task(&held.run, claimed).is_some() {
            return None;
        }
        let wanted = self.next(&task.as_job(), held, how)?;
        Some(QueuedRun { task: Some(task.clone()), ..wanted })
    }

    fn next(&self, job: &Job, held: &HeldLock, how: How) -> Option<QueuedRun> {
        let now = self.standing.clock.now();
        let pause = match again(job, held.attempt, how)? {
            Again::AtOnce => Duration::ZERO,
            // Sooner than it was asked for, it would be refused again.
            Again::AfterPause => {
                self.pause(job, held.attempt).max(how.wait.map_or(Duration::ZERO, |wait| wait.from(now)))
            }
        };
        let pause = chrono::Duration::from_std(pause).unwrap_or_default();
        let wanted = QueuedRun::again(held, now, now + pause);
        Some(match bound(job, held.cause, &held.worker, now) {
            None => wanted,
            Some((worker, deadline)) => QueuedRun {
                worker: Some(worker),
                deadline: deadline.map(|deadline| deadline + pause),
                ..wanted
            },
        })
    }

    /// The pause before the next attempt: between half of the backoff and all of it, so that jobs that failed
    /// together do not all come back together.
    fn pause(&self, job: &Job, attempt: u32) -> Duration {
        let doubled = job.retry.backoff.first.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(job.retry.backoff.most).mul_f64(0.5 + self.chance.fraction() / 2.0)
    }
}

/// Where the next attempt of a run belongs, and by when it has to start: a boot belongs to one worker, which may be
/// gone for good. `None`: any worker, at any time.
fn bound(
    job: &Job,
    cause: Cause,
    worker: &WorkerId,
    now: DateTime<Utc>,
) -> Option<(WorkerId, Option<DateTime<Utc>>)> {
    // The attempts after the second are known by the job only.
    let at_boot = cause == Cause::Reboot
        || job.schedule().is_ok_and(|schedule| schedule.is_some_and(|it| it.is_reboot()));
    at_boot.then(|| (worker.clone(), start_deadline(job, now)))
}

#[cfg(test)]
mod tests {
    use common::job::{Command, Noop, Trigger};

    use super::*;

    #[test]
    fn what_a_job_lists_is_tried_again_and_else_what_may_end_otherwise() {
        let mut job = Job::new("a".parse().unwrap(), Trigger::Manual, Command::Noop(Noop::default()));
        job.retry.attempts = 2;
        let answered = |status| Exit::answered(status, false, String::new(), None);
        let is_tried =
            |job: &Job, exit: &Exit| again(job, 1, How::of(RunState::Failed, Some(exit))).is_some();
        assert!(is_tried(&job, &answered(503)) && !is_tried(&job, &answered(404)));
        assert!(is_tried(&job, &Exit::code(1)) && is_tried(&job, &Exit::signal(9)));
        assert!(again(&job, 1, How::of(RunState::Failed, None)).is_some(), "it could not be started");
        job.retry.on = vec![404];
        assert!(!is_tried(&job, &answered(503)) && is_tried(&job, &answered(404)));
        assert_eq!(again(&job, 2, How::of(RunState::Failed, Some(&answered(404)))), None);
    }
}
