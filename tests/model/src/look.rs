//! What a worker makes of what it sees: the worker's own decisions, kept by what they go by.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use common::{
    job::{Command, Delivery, Exec, Job, MisfirePolicy, Overlap, Trigger},
    lock::{FreeLock, HeldLock},
    revision::Revision,
    run::RunState,
    span::Span,
};
use worker::{
    claim::{OwnLock, Place, StoredFreeLock},
    plan::{Due, Next, Planned},
    run::retry::{self, How},
    tick::verdict::{self, Look, Verdict},
};

use crate::{
    Model,
    cast::{self, HeldRef, N},
    interned::Memo,
};

/// What is known of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// Nothing: the claim itself finds out.
    Unread,
    /// This process holds it; of its run something executes, or nothing does any more.
    Own(HeldRef, Executes),
    /// It is free, at this fence.
    Free(N),
}

/// Whether something of a run executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Executes {
    Yes,
    NoMore,
}

/// When a tick is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// At its instant.
    OnTime,
    /// So late that nothing of it runs any more.
    PastItsDeadline,
}

/// The policies of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Policies {
    place: Place,
    all: bool,
    retry: bool,
    at_least_once: bool,
}

impl Policies {
    const fn of(model: &Model) -> Self {
        Self { place: model.place, all: model.all, retry: model.retry, at_least_once: model.at_least_once }
    }

    /// The job by them: a tick a second, from the first one on.
    fn planned(self) -> &'static Arc<Planned> {
        static ALL: Memo<Policies, Arc<Planned>> = Memo::new();
        ALL.get(self, |policies| {
            let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(cast::tick(0).instant()) };
            let mut job = Job::new(cast::job().clone(), trigger, Command::Exec(Exec::default()));
            job.overlap = match policies.place {
                Place::Lock => Overlap::Skip,
                Place::Beside => Overlap::Allow,
            };
            job.misfire.policy = if policies.all { MisfirePolicy::All } else { MisfirePolicy::Latest };
            job.misfire.limit = 10;
            job.retry.attempts = if policies.retry { 2 } else { 1 };
            job.delivery = if policies.at_least_once { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
            let schedule = job.schedule().expect("a valid trigger");
            let first = Revision::new(1);
            Arc::new(Planned { job: Arc::new(job), revision: first, created: first, schedule, paused: false })
        })
    }
}

impl Model {
    /// What is to become of a tick.
    pub fn verdict(&self, n: N, when: When, sight: Sight) -> &'static Verdict {
        static ALL: Memo<(Policies, N, When, Sight), Verdict> = Memo::new();
        ALL.get((Policies::of(self), n, when, sight), |(policies, n, when, sight)| {
            let planned = policies.planned();
            let due = Due { job: planned.clone(), tick: cast::tick(*n), previous: cast::tick(*n - 1) };
            let now = match when {
                When::OnTime => due.tick.instant(),
                When::PastItsDeadline => due.tick.instant() + Duration::days(365),
            };
            let judge = |lock| {
                let (planned, lead) = (Some(&**planned), Duration::zero());
                verdict::verdict(&Look { due: &due, planned, now, lead, lock })
            };
            match sight {
                Sight::Unread => judge(verdict::Sight::Unread),
                Sight::Own(held, executes) => {
                    let lock = OwnLock { held: (**held).clone(), revision: Revision::NONE };
                    let ended = *executes == Executes::NoMore;
                    judge(verdict::Sight::Own { lock: &lock, since: since(held), ended })
                }
                Sight::Free(fence) => {
                    let free = FreeLock { fence: cast::tick(*fence), last: None };
                    judge(verdict::Sight::Free(&StoredFreeLock { free, revision: Revision::NONE }))
                }
            }
        })
    }

    /// True: `next` may be claimed with the end of what is held.
    pub fn may_follow(&self, ended: &HeldLock, next: &Next) -> bool {
        next.may_follow(ended, Policies::of(self).planned())
    }

    /// True: a run that ended so is tried again.
    pub fn is_tried_again(&self, held: &HeldLock, state: RunState) -> bool {
        let job = &Policies::of(self).planned().job;
        retry::again(job, held.attempt, How { state, ..How::LOST }).is_some()
    }
}

/// Since when a run stands in the way of ticks: of all behind the lock's fence, which are skipped and not missed.
fn since(held: &HeldLock) -> DateTime<Utc> {
    held.fence.instant()
}
