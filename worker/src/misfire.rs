//! Ticks that nobody claimed in time: their job's misfire policy decides which of them run after all, and the others
//! go on record.
//!
//! A fence that passes them buries them, so the same transaction says which they are, in a held lock: whoever holds
//! it keeps their record, and whoever takes it over does. Where nothing is to run, the lock is held for that alone.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::MisfirePolicy,
    lock::{Held, Stretch, Why},
    queue::Wanted,
    run::Cause,
    runlog::{LogEntry, TickOutcome, TickRecord},
    store::Op,
    tick::Tick,
};

use crate::{
    agenda::Planned,
    claim::{self, FreeLock, Holding, Outcome, Place, Session},
    decide::{MISSED_AFTER, Step, give_up},
    desk::{Desk, Post},
    load::Slot,
};

mod why;

/// A run that was claimed so much after a tick was just faster than the tick's own claim.
const OVERTAKEN: chrono::Duration = chrono::Duration::seconds(1);

/// Ticks that nobody has decided, and that find a run of this process: a retry, say, that took the lock over from a
/// worker that was cut off, and that is ahead of the ticks since.
pub(crate) struct Found {
    /// Those that were due before the run's claim was answered: it did not stand in their way.
    missed: Option<Stretch>,
    /// Those that it stands in the way of.
    skipped: Option<Stretch>,
}

impl Found {
    /// Those behind the lock's fence, up to and with `until`; its run is there since `since`.
    pub(crate) fn by(planned: &Planned, here: &Held, since: DateTime<Utc>, until: Tick) -> Self {
        let Some(schedule) = &planned.schedule else { return Self { missed: None, skipped: None } };
        let claimed = Tick::from_instant(since - OVERTAKEN).min(until);
        Self {
            missed: Stretch::of(schedule, here.fence, claimed),
            skipped: Stretch::of(schedule, here.fence.max(claimed), until),
        }
    }

    pub(crate) const fn is_some(&self) -> bool {
        self.missed.is_some() || self.skipped.is_some()
    }

    /// The skipped ones were for this reason.
    #[must_use]
    pub(crate) fn because(self, why: Why) -> Self {
        Self { skipped: self.skipped.map(|skipped| skipped.because(why)), ..self }
    }

    /// The lock that names them, its fence at `fence`. What it named before is on record: this process holds it.
    pub(crate) fn in_lock(&self, Holding { held: here, revision }: &Holding, fence: Tick) -> Held {
        let count =
            self.skipped.as_ref().map_or(0, |skipped| u32::try_from(skipped.count).unwrap_or(u32::MAX));
        Held {
            skipped: here.skipped.saturating_add(count),
            last_skip: self.skipped.clone().or_else(|| here.last_skip.clone()),
            missed: self.missed.clone().or_else(|| here.missed.clone()),
            also_missed: Vec::new(),
            ..here.clone().at_fence(fence, *revision)
        }
    }
}

impl Desk {
    /// Decides `tick` and all ticks before it that the lock, which was seen free, has not passed.
    #[expect(clippy::too_many_arguments, reason = "the tick, its post and what was found, once")]
    pub(crate) async fn catch_up(
        self: &Arc<Self>,
        tick: Tick,
        planned: &Arc<Planned>,
        post: &Arc<Post>,
        holding: &mut Option<Holding>,
        session: &Session,
        free: FreeLock,
        slot: Slot,
    ) -> Step {
        let misfire = planned.job.misfire;
        let late = self.clock.now() - tick.instant();
        let deadline = chrono::Duration::from_std(misfire.deadline.0).unwrap_or(chrono::Duration::MAX);
        let runs = late <= MISSED_AFTER || (misfire.policy != MisfirePolicy::Skip && late <= deadline);
        if !runs {
            return self.pass_over(tick, planned, session, free).await;
        }
        let missed = self.missed_before(planned, free.free.fence, tick);
        let queued = self.queue_missed(planned, missed.as_ref(), free.free.fence);
        // The newest are queued, so that the others are a stretch of their own.
        let oldest = queued.last().map_or(tick, |(oldest, _)| *oldest);
        let unqueued = missed.map_or_else(Vec::new, |_| why::missed(planned, &free.free, before(oldest)));
        let cause = if late > MISSED_AFTER { Cause::CatchUp } else { Cause::Schedule };
        let held = why::naming(Held { cause, ..self.held(planned, tick, session) }, unqueued);
        let queued = queued.into_iter().map(|(_, put)| put).collect();
        let place = Place::of(planned.job.overlap);
        let txn = claim::catch_up(&self.config.keys, &held, &free, planned.revision, place, queued);
        match self.send_claim(txn, &held, place, session).await {
            Ok(Outcome::Won(here)) => {
                // First: an end of the run removes what tells of these ticks.
                self.keep_ticks_of(&here.held).await;
                self.won(planned, post, holding, *here, slot);
                Step::Decided
            }
            Ok(Outcome::Lost(_)) => Step::Later,
            Err(error) => give_up(&error),
        }
    }

    /// None of these ticks gets a run: the lock is held until they are on record.
    async fn pass_over(&self, tick: Tick, planned: &Planned, session: &Session, free: FreeLock) -> Step {
        let held = Held { tick: None, cause: Cause::CatchUp, ..self.held(planned, tick, session) };
        let held = why::naming(held, why::missed(planned, &free.free, tick));
        let keys = &self.config.keys;
        let txn = claim::catch_up(keys, &held, &free, planned.revision, Place::Lock, Vec::new());
        let here = match self.send_claim(txn, &held, Place::Lock, session).await {
            Ok(Outcome::Won(here)) => here,
            Ok(Outcome::Lost(_)) => return Step::Later,
            Err(error) => return give_up(&error),
        };
        let Holding { held, revision } = *here;
        self.keep_ticks_of(&held).await;
        if let Err(error) =
            self.batcher.end(claim::finish(keys, &held, revision, free.free.last, Vec::new())).await
        {
            tracing::debug!(job = %held.job, %error, "a lock stays held without a run; its caretaker frees it");
        }
        Step::Decided
    }

    /// The ticks between the fence and `tick`, both excluded.
    pub(crate) fn missed_before(&self, planned: &Planned, fence: Tick, tick: Tick) -> Option<Stretch> {
        Stretch::of(planned.schedule.as_ref()?, fence, before(tick))
    }

    /// With misfire policy `all`: queue entries for the newest missed ticks within the deadline, the newest first.
    fn queue_missed(&self, planned: &Planned, missed: Option<&Stretch>, fence: Tick) -> Vec<(Tick, Op)> {
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
                worker: None,
                by: String::new(),
                killed: None,
            };
            ops.push((Tick::from_instant(instant), claim::put_wanted(&self.config.keys, &wanted)));
            until = instant - chrono::Duration::seconds(1);
        }
        ops
    }

    /// Keeps on record the ticks that a lock names as skipped or missed. Done twice it is done once.
    pub(crate) async fn keep_ticks_of(&self, held: &Held) {
        for (ticks, outcome, reason) in held.without_run() {
            let reason = match (outcome, ticks.why) {
                (TickOutcome::Missed, Why::Usual) => self.why_missed(ticks),
                _ => reason.to_owned(),
            };
            self.keep_ticks(&held.job, ticks, outcome, &reason).await;
        }
    }

    /// Why nobody claimed these ticks, as far as this worker knows.
    fn why_missed(&self, ticks: &Stretch) -> String {
        let hindrances = self.hindrances.lock();
        match hindrances.during(ticks.from.instant(), ticks.to.instant()) {
            Some(why) => format!("no worker could claim in time; worker {} {why}", self.config.id),
            None => Why::Usual.text(TickOutcome::Missed).to_owned(),
        }
    }

    /// Keeps on record that these ticks got no run.
    pub(crate) async fn keep_ticks(
        &self,
        job: &JobName,
        ticks: &Stretch,
        outcome: TickOutcome,
        reason: &str,
    ) {
        let expires = self.expires(self.clock.now());
        let record = TickRecord { expires, ..TickRecord::of(job, ticks, outcome, reason, &self.config.id) };
        metrics::counter!("quorate_ticks_without_run_total", "outcome" => outcome.name())
            .increment(ticks.count);
        self.spool.keep(LogEntry::Ticks(record)).await;
    }
}

/// The second before this one: no tick lies between them.
fn before(tick: Tick) -> Tick {
    Tick::from_instant(tick.instant() - chrono::Duration::seconds(1))
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
            job: Arc::new(job),
            revision: Revision::new(1),
            created: Revision::new(1),
            schedule,
            paused: false,
        }
    }

    fn held(fence: i64, claimed_ms: i64) -> Held {
        Held {
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

    #[test]
    fn ticks_that_were_due_before_the_run_was_claimed_are_missed_and_the_others_skipped() {
        let planned = every_second();
        let here = Holding { held: held(0, 8_100), revision: Revision::new(42) };
        let retried = Found::by(&planned, &here.held, here.held.claimed, tick(9)).in_lock(&here, tick(9));
        assert_eq!(ends(retried.missed.as_ref()), Some((tick(1), tick(7), 7)));
        assert_eq!(ends(retried.last_skip.as_ref()), Some((tick(8), tick(9), 2)), "8 was just overtaken");
        assert_eq!((retried.fence, retried.skipped), (tick(9), 5));
        assert_eq!(
            (retried.claim_revision, retried.token(Revision::new(43))),
            (Some(Revision::new(42)), common::revision::Token(42)),
            "its token stays"
        );
        let by = |held: &Held, until| Found::by(&planned, held, held.claimed, until);
        let late = by(&held(0, 8_100), tick(5));
        assert_eq!((ends(late.missed.as_ref()), late.skipped), (Some((tick(1), tick(5), 5)), None));
        let long = by(&held(6, 990), tick(7));
        assert_eq!((long.missed.clone(), ends(long.skipped.as_ref())), (None, Some((tick(7), tick(7), 1))));
        assert!(!by(&held(7, 990), tick(7)).is_some());
        // Sent at 1, and answered at 8.
        let answered = Found::by(&planned, &held(1, 990), tick(8).instant(), tick(9));
        assert_eq!(ends(answered.missed.as_ref()), Some((tick(2), tick(7), 6)));
        assert_eq!(ends(answered.skipped.as_ref()), Some((tick(8), tick(9), 2)));
    }
}
