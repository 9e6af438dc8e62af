//! Pure: which jobs are due when. Schedules have whole seconds, so due jobs stand in one list a second; an entry
//! whose job has changed meanwhile is recognised by its generation and passed over when its second comes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use common::{id::JobName, job::Job, schedule::Schedule, store::Revision, tick::Tick};

/// A job as a worker goes by it.
#[derive(Debug)]
pub struct Planned {
    /// The definition.
    pub job: Job,
    /// The revision of its definition: claims compare it.
    pub revision: Revision,
    /// None: only people start it.
    pub schedule: Option<Schedule>,
    /// True: its ticks pass.
    pub paused: bool,
}

impl Planned {
    fn has_ticks_of(&self, other: &Self) -> bool {
        self.paused == other.paused && self.job.trigger == other.job.trigger
    }
}

/// A job that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The job as it stood when its second came.
    pub job: Arc<Planned>,
    /// The tick.
    pub tick: Tick,
    /// The tick before it, or the instant since which the job has had none.
    pub previous: Tick,
}

/// All jobs, and the seconds at which they are due.
#[derive(Debug, Default)]
pub struct Agenda {
    jobs: HashMap<JobName, Line>,
    seconds: BTreeMap<i64, Vec<(JobName, u64)>>,
    generation: u64,
}

#[derive(Debug)]
struct Line {
    planned: Arc<Planned>,
    generation: u64,
    /// No tick lies between this and the next one.
    since: Tick,
}

impl Agenda {
    /// Puts a job in, or in place of what it was. Its ticks count from `since`, exclusive; if it had the same
    /// trigger before, they go on from where they were.
    pub fn put(&mut self, planned: Arc<Planned>, since: DateTime<Utc>) {
        self.generation += 1;
        let name = planned.job.name.clone();
        let before = self.jobs.get(&name).filter(|line| line.planned.has_ticks_of(&planned));
        let since = before.map_or_else(|| Tick::from_instant(since), |line| line.since);
        self.jobs.insert(name.clone(), Line { planned, generation: self.generation, since });
        self.enter(&name, since);
    }

    /// Takes a job out.
    pub fn remove(&mut self, name: &str) {
        self.jobs.remove(name);
    }

    /// The job, if it is there.
    pub fn get(&self, name: &str) -> Option<&Arc<Planned>> {
        self.jobs.get(name).map(|line| &line.planned)
    }

    /// True when there is no job.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// All jobs, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Planned>> {
        self.jobs.values().map(|line| &line.planned)
    }

    /// The next second at which a job may be due.
    pub fn next(&self) -> Option<Tick> {
        let (second, _) = self.seconds.first_key_value()?;
        DateTime::from_timestamp(*second, 0).map(Tick::from_instant)
    }

    /// Everything due up to `now`, second by second; each job is entered again for its next tick.
    pub fn pop(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        let mut due = Vec::new();
        while let Some(entry) = self.seconds.first_entry() {
            if *entry.key() > now.timestamp() {
                break;
            }
            let second = *entry.key();
            let tick = DateTime::from_timestamp(second, 0)
                .map_or_else(|| Tick::from_instant(now), Tick::from_instant);
            for (name, generation) in entry.remove() {
                let Some(line) = self.jobs.get_mut(&name).filter(|line| line.generation == generation) else {
                    continue;
                };
                due.push(Due { job: line.planned.clone(), tick, previous: line.since });
                line.since = tick;
                self.enter(&name, tick);
            }
        }
        due
    }

    fn enter(&mut self, name: &JobName, after: Tick) {
        let Some(line) = self.jobs.get(name) else { return };
        if line.planned.paused {
            return;
        }
        if let Some(next) =
            line.planned.schedule.as_ref().and_then(|schedule| schedule.next_after(after.instant()))
        {
            self.seconds.entry(next.timestamp()).or_default().push((name.clone(), line.generation));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use common::job::{Command, Exec, Trigger};

    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, second).unwrap()
    }

    fn every(name: &str, seconds: u64, revision: Revision) -> Arc<Planned> {
        let period = common::span::Span::seconds(seconds);
        let trigger = Trigger::Every { period, anchor: Some(at(0)) };
        let job = Job::new(name.parse().unwrap(), trigger, Command::Exec(Exec::default()));
        let schedule = job.schedule().unwrap();
        Arc::new(Planned { job, revision, schedule, paused: false })
    }

    fn seconds(due: &[Due]) -> Vec<(String, i64, i64)> {
        let zero = at(0).timestamp();
        due.iter()
            .map(|due| {
                (due.job.job.name.to_string(), due.tick.seconds() - zero, due.previous.seconds() - zero)
            })
            .collect()
    }

    #[test]
    fn each_tick_comes_once_with_the_one_before_it() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, 1), at(1));
        assert_eq!(agenda.next().unwrap().instant(), at(2));
        assert!(agenda.pop(at(1)).is_empty());
        assert_eq!(seconds(&agenda.pop(at(5))), [("a".into(), 2, 1), ("a".into(), 4, 2)]);
        assert!(agenda.pop(at(5)).is_empty());
    }

    #[test]
    fn an_edit_that_leaves_the_trigger_alone_loses_no_tick() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, 1), at(1));
        // Seen when the tick at 2 was due already, and not looked at yet.
        agenda.put(every("a", 2, 2), at(3));
        assert_eq!(seconds(&agenda.pop(at(3))), [("a".into(), 2, 1)]);
    }

    #[test]
    fn a_changed_or_removed_job_leaves_no_old_tick() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, 1), at(1));
        agenda.put(every("b", 2, 1), at(1));
        agenda.put(every("a", 3, 2), at(1));
        agenda.remove("b");
        assert_eq!(seconds(&agenda.pop(at(4))), [("a".into(), 3, 1)]);
    }
}
