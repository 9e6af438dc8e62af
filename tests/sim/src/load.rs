//! The jobs, and how long their runs last.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    id::JobName,
    job::{Command, Exec, Job, Trigger},
    span::Span,
};

/// How many jobs of each sort there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Once a minute, for a millisecond; spread over the seconds of the minute.
    pub short: usize,
    /// Every twelve hours, for an hour.
    pub long: usize,
    /// Every ten seconds, for fifteen: each second tick finds the run before it.
    pub busy: usize,
    /// Every five seconds, for a millisecond or two seconds, and edited all the time.
    pub edited: usize,
}

/// A job as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: JobName,
    /// When it is due.
    pub rhythm: Rhythm,
    /// When it is due while its trigger is another one; none: it is never edited.
    pub other: Option<Rhythm>,
    /// How long a run lasts.
    pub lasts: Duration,
}

/// When a job is due: every so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two ticks, in seconds.
    pub every: i64,
    /// A tick's seconds since 1970 divided by `every` leave this.
    pub phase: i64,
}

impl Load {
    /// All jobs, counting from `start`.
    pub fn plans(&self, start: DateTime<Utc>) -> Vec<Plan> {
        let (moment, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        let (busy, while_edited) = (Duration::from_secs(15), Duration::from_secs(2));
        let rhythm = |every, n: usize| {
            let first = start.timestamp() + 90 + i64::try_from(n).unwrap_or_default();
            Rhythm { every, phase: first.rem_euclid(every) }
        };
        let plan = |sort, n, every, lasts| {
            let name = format!("{sort}-{n:05}").parse().expect("a good name");
            Plan { name, rhythm: rhythm(every, n), other: None, lasts }
        };
        let mut plans = Vec::new();
        plans.extend((0..self.short).map(|n| plan("short", n, 60, moment)));
        plans.extend((0..self.long).map(|n| plan("long", n, 12 * 3600, hour)));
        plans.extend((0..self.busy).map(|n| plan("busy", n, 10, busy)));
        plans.extend((0..self.edited).map(|n| {
            let lasts = if n % 2 == 0 { moment } else { while_edited };
            Plan { other: Some(rhythm(3, n)), ..plan("edited", n, 5, lasts) }
        }));
        plans
    }
}

impl Plan {
    /// The job as it is saved first.
    pub fn job(&self, start: DateTime<Utc>) -> Job {
        self.job_by(self.rhythm, start)
    }

    /// The job with another trigger.
    pub fn job_by(&self, rhythm: Rhythm, start: DateTime<Utc>) -> Job {
        let ahead = (rhythm.phase - start.timestamp()).rem_euclid(rhythm.every);
        let trigger = Trigger::Every {
            period: Span::seconds(rhythm.every.unsigned_abs()),
            anchor: Some(start + TimeDelta::seconds(ahead)),
        };
        let argv = vec!["/bin/sleep".to_owned(), self.lasts.as_secs_f64().to_string()];
        Job::new(self.name.clone(), trigger, Command::Exec(Exec { argv, ..Exec::default() }))
    }

    /// Its first tick behind this second, whatever its trigger is.
    pub fn next_after(&self, second: i64) -> i64 {
        let next = self.rhythm.next_after(second);
        self.other.map_or(next, |other| next.min(other.next_after(second)))
    }
}

impl Rhythm {
    /// The first tick behind this second.
    pub const fn next_after(self, second: i64) -> i64 {
        second + 1 + (self.phase - second - 1).rem_euclid(self.every)
    }

    /// True for a second that is a tick.
    pub const fn is_tick(self, second: i64) -> bool {
        (second - self.phase).rem_euclid(self.every) == 0
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[test]
    fn a_plan_and_its_job_have_the_same_ticks() {
        let start = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 7).unwrap();
        for plan in (Load { short: 70, long: 2, busy: 11, edited: 3 }).plans(start) {
            for rhythm in [Some(plan.rhythm), plan.other].into_iter().flatten() {
                let schedule = plan.job_by(rhythm, start).schedule().unwrap().unwrap();
                let (mut at, mut tick) = (start, start.timestamp());
                for _ in 0..5 {
                    at = schedule.next_after(at).unwrap();
                    tick = rhythm.next_after(tick);
                    assert_eq!(at.timestamp(), tick, "{plan:?}");
                    assert!(rhythm.is_tick(tick) && !rhythm.is_tick(tick + 1));
                }
            }
        }
    }
}
