//! Ticks that nobody claimed in time: their job's misfire policy decides which of them run after all, and the others
//! go on record. Pure.
//!
//! A fence that passes them buries them, so the same transaction says which they are, in a held lock: whoever holds
//! it records them, and so does whoever takes it over. Where nothing is to run, the lock is held for that alone.

use chrono::{DateTime, Duration, Utc};
use common::{
    job::MisfirePolicy,
    lock::{FreeLock, HeldLock, Stretch, Why},
    run::Cause,
    tick::Tick,
};

use crate::{
    claim::OwnLock,
    plan::{Planned, start_deadline},
    tick::why::{self, OVERTAKEN},
};

/// A tick older than this is missed, and the misfire policy decides. Hedges and a slow store stay below it.
pub(super) const MISSED_AFTER: Duration = Duration::seconds(5);

/// What becomes of a tick and of those before it that nobody has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// Why the tick runs; none: it does not.
    pub runs: Option<Cause>,
    /// Those that get no run, the oldest first.
    pub missed: Vec<Stretch>,
    /// Those before the tick that run as well, the newest first.
    pub queued: Vec<Tick>,
}

impl CatchUp {
    /// The lock that names what gets no run. A single stretch is named as earlier versions do.
    pub fn named_in(&self, held: HeldLock) -> HeldLock {
        let (newest, others) = match self.missed.split_last() {
            Some((newest, others)) => (Some(newest.clone()), others.to_vec()),
            None => (None, Vec::new()),
        };
        HeldLock { missed: newest, also_missed: others, ..held }
    }
}

/// What becomes of `tick` and of all ticks before it that the free lock has not passed.
pub fn catch_up(planned: &Planned, free: &FreeLock, tick: Tick, now: DateTime<Utc>) -> CatchUp {
    let is_late = now - tick.instant() > MISSED_AFTER;
    let catches_up = planned.job.misfire.policy != MisfirePolicy::Skip;
    if is_late && !(catches_up && is_in_time(planned, tick.instant(), now)) {
        return CatchUp { runs: None, missed: why::missed(planned, free, tick), queued: Vec::new() };
    }
    let queued = queued(planned, free.fence, tick, now);
    // The newest are queued, so that the others are a stretch of their own.
    let oldest = queued.last().copied().unwrap_or(tick);
    let runs = Some(if is_late { Cause::CatchUp } else { Cause::Schedule });
    CatchUp { runs, missed: why::missed(planned, free, before(oldest)), queued }
}

/// With misfire policy `all`: the newest missed ticks within the deadline, the newest first.
fn queued(planned: &Planned, fence: Tick, tick: Tick, now: DateTime<Utc>) -> Vec<Tick> {
    let (MisfirePolicy::All, Some(schedule)) = (planned.job.misfire.policy, &planned.schedule) else {
        return Vec::new();
    };
    let mut queued = Vec::new();
    let mut until = before(tick).instant();
    while queued.len() + 1 < planned.job.misfire.limit as usize {
        let latest = schedule.latest_in(fence.instant(), until);
        let Some(instant) = latest.filter(|at| is_in_time(planned, *at, now)) else { break };
        queued.push(Tick::from_instant(instant));
        until = instant - Duration::seconds(1);
    }
    queued
}

fn is_in_time(planned: &Planned, tick: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    start_deadline(&planned.job, tick).is_none_or(|deadline| now <= deadline)
}

/// The second before: no tick lies in between.
pub(super) fn before(tick: Tick) -> Tick {
    Tick::from_instant(tick.instant() - Duration::seconds(1))
}

/// Ticks that nobody has decided, and that find a run of this process: a retry, say, that took the lock over from a
/// worker that was cut off, and that is ahead of the ticks since.
pub(super) struct Undecided {
    /// Those that were due before the run's claim was answered: it did not stand in their way.
    missed: Option<Stretch>,
    /// Those that the run stands in the way of.
    skipped: Option<Stretch>,
}

impl Undecided {
    /// Those behind the lock's fence, up to and including `until`; the run has been there since `since`.
    pub(super) fn by(planned: &Planned, here: &HeldLock, since: DateTime<Utc>, until: Tick) -> Self {
        let Some(schedule) = &planned.schedule else { return Self { missed: None, skipped: None } };
        let claimed = Tick::from_instant(since - OVERTAKEN).min(until);
        Self {
            missed: Stretch::of(schedule, here.fence, claimed),
            skipped: Stretch::of(schedule, here.fence.max(claimed), until),
        }
    }

    /// The skipped ones were skipped for this reason.
    #[must_use]
    pub(super) fn because(self, why: Why) -> Self {
        Self { skipped: self.skipped.map(|skipped| skipped.because(why)), ..self }
    }

    /// The lock that names them, its fence at `fence`. What it named before is on record: this process holds it.
    pub(super) fn in_lock(&self, OwnLock { held: here, revision }: &OwnLock, fence: Tick) -> HeldLock {
        let count =
            self.skipped.as_ref().map_or(0, |skipped| u32::try_from(skipped.count).unwrap_or(u32::MAX));
        HeldLock {
            skipped: here.skipped.saturating_add(count),
            last_skip: self.skipped.clone().or_else(|| here.last_skip.clone()),
            missed: self.missed.clone().or_else(|| here.missed.clone()),
            also_missed: Vec::new(),
            ..here.clone().at_fence(fence, *revision)
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{
        job::{Command, Exec, Job, Trigger},
        span::Span,
        store::Revision,
    };

    use super::*;

    fn tick(second: i64) -> Tick {
        Tick::from_instant(chrono::DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap())
    }

    fn every_second() -> Planned {
        let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(tick(0).instant()) };
        let job = Job::new("a".parse().unwrap(), trigger, Command::Exec(Exec::default()));
        let schedule = job.schedule().unwrap();
        Planned {
            job: std::sync::Arc::new(job),
            revision: Revision::new(1),
            created: Revision::new(1),
            schedule,
            paused: false,
        }
    }

    fn held(fence: i64, claimed_ms: i64) -> HeldLock {
        HeldLock {
            job: "a".parse().unwrap(),
            fence: tick(fence),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
            attempt: 2,
            tick: Some(tick(fence)),
            cause: common::run::Cause::Retry,
            worker: "w".parse().unwrap(),
            session: Revision::new(7),
            epoch: common::epoch::Epoch::default(),
            claimed: tick(0).instant() + chrono::Duration::milliseconds(claimed_ms),
            skipped: 3,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: None,
        }
    }

    fn ends(stretch: Option<&Stretch>) -> Option<(Tick, Tick, u64)> {
        stretch.map(|stretch| (stretch.from, stretch.to, stretch.count))
    }

    // Once: ticks that nobody could claim, because a worker that was cut off held the lock, were on record as
    // skipped; a retry that took the lock over was ahead of them, and the next tick found it running.
    #[test]
    fn ticks_that_were_due_before_the_run_was_claimed_are_missed_and_the_others_skipped() {
        let planned = every_second();
        let here = OwnLock { held: held(0, 8_100), revision: Revision::new(42) };
        let retried = Undecided::by(&planned, &here.held, here.held.claimed, tick(9)).in_lock(&here, tick(9));
        assert_eq!(ends(retried.missed.as_ref()), Some((tick(1), tick(7), 7)));
        assert_eq!(ends(retried.last_skip.as_ref()), Some((tick(8), tick(9), 2)), "8 was just overtaken");
        assert_eq!((retried.fence, retried.skipped), (tick(9), 5));
        assert_eq!(
            (retried.claim_revision, retried.token(Revision::new(43))),
            (Some(Revision::new(42)), common::revision::Token(42)),
            "its token stays"
        );
        let by = |held: &HeldLock, until| Undecided::by(&planned, held, held.claimed, until);
        let late = by(&held(0, 8_100), tick(5));
        assert_eq!((ends(late.missed.as_ref()), late.skipped), (Some((tick(1), tick(5), 5)), None));
        let long = by(&held(6, 990), tick(7));
        assert_eq!((long.missed.clone(), ends(long.skipped.as_ref())), (None, Some((tick(7), tick(7), 1))));
        let none = by(&held(7, 990), tick(7));
        assert_eq!((none.missed, none.skipped), (None, None));
        // Sent at 1, and answered at 8.
        let answered = Undecided::by(&planned, &held(1, 990), tick(8).instant(), tick(9));
        assert_eq!(ends(answered.missed.as_ref()), Some((tick(2), tick(7), 6)));
        assert_eq!(ends(answered.skipped.as_ref()), Some((tick(8), tick(9), 2)));
    }
}
