//! A job that was saved by a clock that was ahead and has been set right since: what it counts from lies in the
//! future, and so would its ticks.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use super::{Overlap, StoredJob};
use crate::{
    clock::AHEAD,
    tick::{Fence, Tick},
};

/// A job none of whose instants is yet to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Righted {
    /// The job, which counts from now where it counted from an instant that has not come.
    pub stored: StoredJob,
    /// By how much the clock was ahead, at least.
    pub by: TimeDelta,
}

impl StoredJob {
    /// The job as it would be, had it been saved by a clock that says `now`. None: nothing that a clock said of it is
    /// further ahead than clocks may differ. An anchor that somebody gave is not a clock's word, and stays.
    pub fn righted(&self, now: DateTime<Utc>) -> Option<Righted> {
        let pauses = self.pauses.iter().flat_map(|pause| [Some(pause.from), pause.to]);
        let said = [self.created, self.saved, self.since].into_iter().chain(pauses).flatten();
        let latest = said.max().filter(|latest| is_ahead(*latest, now))?;
        let right = |at: &mut DateTime<Utc>| *at = if is_ahead(*at, now) { now } else { *at };
        let mut stored = self.clone();
        for at in [&mut stored.created, &mut stored.saved, &mut stored.since] {
            at.iter_mut().for_each(right);
        }
        for pause in &mut stored.pauses {
            right(&mut pause.from);
            pause.to.iter_mut().for_each(right);
        }
        if stored.job.trigger.anchor().is_some_and(|anchor| is_ahead(anchor, now) && anchor <= latest) {
            stored.job.trigger.count_from(now.trunc_subsecs(0));
            stored.since = Some(now);
        }
        Some(Righted { stored, by: latest - now })
    }

    /// The fence that the job was made with, while nothing tells of a tick that was decided since: if its lock is free
    /// there, and no run of it has ended, none has run. Of a job whose runs may overlap the lock does not say that.
    pub fn fence_as_made(&self) -> Option<Fence> {
        let [created, since] = [self.created?, self.since?].map(Tick::from_instant);
        let as_made = created == since && self.pauses.is_empty() && self.job.overlap != Overlap::Allow;
        as_made.then_some(since)
    }
}

fn is_ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at - now > AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        job::{Command, Exec, Job, Trigger},
        span::Span,
    };

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn every(anchor: Option<&str>, saved: &str) -> StoredJob {
        let trigger = Trigger::Every { period: Span::seconds(90), anchor: anchor.map(at) };
        let mut job = Job::new("a".parse().unwrap(), trigger, Command::Exec(Exec::default()));
        job.settle(chrono_tz::Tz::UTC, at(saved), None);
        StoredJob::new(job, at(saved))
    }

    // Once: a job saved by a clock that was ahead was silent until then, because its anchor stood.
    #[test]
    fn what_a_clock_said_that_was_ahead_becomes_now_and_what_somebody_gave_stays() {
        let now = at("2026-11-22T10:00:00.250Z");
        let tomorrow = every(None, "2026-11-23T10:00:00.250Z");
        let righted = tomorrow.righted(now).unwrap();
        assert_eq!(
            (righted.stored, righted.by),
            (every(None, "2026-11-22T10:00:00.250Z"), TimeDelta::days(1))
        );
        // Within what clocks differ by, and of a clock that is right.
        assert_eq!(every(None, "2026-11-22T10:00:30Z").righted(now), None);
        assert_eq!(every(Some("2027-01-01T00:00:00Z"), "2026-11-22T09:00:00Z").righted(now), None);
        let given = every(Some("2027-01-01T00:00:00Z"), "2026-11-23T10:00:00Z").righted(now).unwrap();
        assert_eq!(given.stored.job.trigger.anchor(), Some(at("2027-01-01T00:00:00Z")));
        let mut paused = every(None, "2026-11-22T09:00:00Z");
        paused.pause(at("2026-11-23T10:00:00Z"));
        let righted = paused.righted(now).unwrap().stored;
        assert_eq!((righted.pauses[0].from, righted.job), (now, paused.job));
    }

    #[test]
    fn a_job_is_as_it_was_made_until_it_is_paused_or_counts_anew() {
        let made = every(None, "2026-11-22T10:00:00.250Z");
        assert_eq!(made.fence_as_made().unwrap().to_string(), "2026-11-22T10:00:00Z");
        let mut paused = made.clone();
        paused.pause(at("2026-11-22T10:00:00.250Z"));
        let mut beside = made.clone();
        beside.job.overlap = Overlap::Allow;
        let mut other = made.job.clone();
        other.trigger = Trigger::Manual;
        let changed = made.replaced(other, at("2026-11-22T10:00:01Z"));
        for other in [paused, beside, changed] {
            assert_eq!(other.fence_as_made(), None, "{other:?}");
        }
    }
}
