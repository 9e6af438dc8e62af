//! What has to become of a job's ticks.

use std::collections::BTreeSet;

use common::{
    job::{Delivery, Overlap},
    tick::Tick,
};

use super::Kind;

/// A job's ticks that have to be accounted for, `from` and `to` included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The job.
    pub job: String,
    /// Between two ticks.
    pub every_seconds: i64,
    /// A tick's seconds since 1970 divided by `every_seconds` leave this.
    pub phase_seconds: i64,
    /// The first that counts.
    pub from: Tick,
    /// The last that counts.
    pub to: Tick,
    /// What happens to a tick that finds the job running.
    pub overlap: Overlap,
    /// Whether a run that was lost is run again.
    pub delivery: Delivery,
    /// Attempts of a run that fails.
    pub attempts: u32,
    /// A run that is brought to its end says so, as its last thing.
    pub says_end: bool,
    /// A worker that loses its lease lets this job's runs go on.
    pub keeps: bool,
    /// When the job was paused, gone, or being edited.
    pub off: Vec<Off>,
    /// What may happen to this job, beside what may happen to all.
    pub allowed: BTreeSet<Kind>,
}

/// A time in which a job's ticks need no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Off {
    /// From the request that began it to the answer to the one that ended it, in milliseconds since 1970.
    pub asked_ms: (i64, i64),
    /// When it was off for certain: a tick in this time has no run.
    pub silent_ms: Option<(i64, i64)>,
}

impl Expectation {
    /// Of a job with default policies, on ticks that divide an hour.
    pub fn new(job: &str, every_seconds: u32, from: Tick, to: Tick) -> Self {
        Self {
            job: job.to_owned(),
            every_seconds: i64::from(every_seconds).max(1),
            phase_seconds: 0,
            from,
            to,
            overlap: Overlap::Skip,
            delivery: Delivery::AtMostOnce,
            attempts: 1,
            says_end: false,
            keeps: false,
            off: Vec::new(),
            allowed: BTreeSet::new(),
        }
    }

    /// The seconds since 1970 of its ticks.
    pub fn ticks(&self) -> impl Iterator<Item = i64> {
        self.ticks_in(self.from.seconds(), self.to.seconds())
    }

    /// The same for the seconds from `first` to `last`, both included.
    pub fn ticks_in(&self, first: i64, last: i64) -> impl Iterator<Item = i64> + use<> {
        let step = self.every_seconds;
        let first = first + (self.phase_seconds - first).rem_euclid(step);
        (first..=last).step_by(usize::try_from(step).unwrap_or(1))
    }

    /// True when a run may have more than one attempt.
    pub(super) fn may_run_again(&self) -> bool {
        self.attempts > 1 || self.delivery == Delivery::AtLeastOnce
    }

    /// True for a tick that has to be accounted for.
    pub(super) fn counts(&self, tick: Tick) -> bool {
        self.from <= tick && tick <= self.to && !self.is_off(tick.seconds())
    }

    /// True for a second that is on the schedule.
    pub(super) fn is_tick(&self, second: i64) -> bool {
        (second - self.phase_seconds).rem_euclid(self.every_seconds) == 0
    }

    /// True when nobody has to account for this second.
    pub(super) fn is_off(&self, second: i64) -> bool {
        let at = second * 1000;
        self.off.iter().any(|off| off.asked_ms.0 <= at && at <= off.asked_ms.1)
    }

    /// True when a tick at this second may have no run.
    pub(super) fn is_silent(&self, second: i64) -> bool {
        let at = second * 1000;
        self.off.iter().filter_map(|off| off.silent_ms).any(|(from, to)| from < at && at < to)
    }
}
