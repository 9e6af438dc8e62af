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
}

/// A job as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: JobName,
    /// Between two ticks, in seconds.
    pub every: i64,
    /// A tick's seconds since 1970 divided by `every` leave this.
    pub phase: i64,
    /// How long a run lasts.
    pub lasts: Duration,
}

impl Load {
    /// All jobs, counting from `start`.
    pub fn plans(&self, start: DateTime<Utc>) -> Vec<Plan> {
        let sorts = [
            ("short", self.short, 60, Duration::from_millis(1)),
            ("long", self.long, 12 * 3600, Duration::from_secs(3600)),
            ("busy", self.busy, 10, Duration::from_secs(15)),
        ];
        let mut plans = Vec::new();
        for (sort, count, every, lasts) in sorts {
            for n in 0..count {
                let phase = (start.timestamp() + 90 + i64::try_from(n).unwrap_or_default()).rem_euclid(every);
                let name = format!("{sort}-{n:05}").parse().expect("a good name");
                plans.push(Plan { name, every, phase, lasts });
            }
        }
        plans
    }
}

impl Plan {
    /// The job as it is saved.
    pub fn job(&self, start: DateTime<Utc>) -> Job {
        let ahead = (self.phase - start.timestamp()).rem_euclid(self.every);
        let trigger = Trigger::Every {
            period: Span::seconds(self.every.unsigned_abs()),
            anchor: Some(start + TimeDelta::seconds(ahead)),
        };
        let argv = vec!["/bin/sleep".to_owned(), self.lasts.as_secs_f64().to_string()];
        Job::new(self.name.clone(), trigger, Command::Exec(Exec { argv, ..Exec::default() }))
    }

    /// Its first tick behind this second.
    pub fn next_after(&self, second: i64) -> i64 {
        second + 1 + (self.phase - second - 1).rem_euclid(self.every)
    }

    /// True for a second that is on its schedule.
    pub fn is_tick(&self, second: i64) -> bool {
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
        for plan in (Load { short: 70, long: 2, busy: 11 }).plans(start) {
            let schedule = plan.job(start).schedule().unwrap().unwrap();
            let (mut at, mut tick) = (start, start.timestamp());
            for _ in 0..5 {
                at = schedule.next_after(at).unwrap();
                tick = plan.next_after(tick);
                assert_eq!(at.timestamp(), tick, "{plan:?}");
                assert!(plan.is_tick(tick) && !plan.is_tick(tick + 1));
            }
        }
    }
}
