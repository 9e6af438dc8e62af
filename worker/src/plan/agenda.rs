//! Which jobs are due when. Pure. Schedules have whole seconds, so there is one list of due jobs per second; an entry
//! whose job has changed meanwhile is recognised by its generation and ignored when its second comes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::{Job, JobError, SharedSchedules},
    schedule::Schedule,
    tick::Tick,
};

use super::{Due, Planned};

/// Where a worker stands for a job by a view of who may claim: to be asked again only when one of them changes.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    view: u64,
    rank: Option<usize>,
}

/// All jobs, and the seconds at which they are due.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Where each job's line is.
    places: HashMap<JobName, usize>,
    lines: Vec<Option<Line>>,
    /// Places without a line.
    vacant: Vec<usize>,
    seconds: BTreeMap<i64, Vec<(usize, u64)>>,
    generation: u64,
    schedules: SharedSchedules,
}

/// A tick that comes this late is missed, and the newest one of its job stands for all of them: after a machine has
/// slept for hours there are many.
const PASSED: chrono::Duration = chrono::Duration::seconds(10);

#[derive(Debug)]
struct Line {
    planned: Arc<Planned>,
    generation: u64,
    /// No tick lies between this and the next one.
    since: Tick,
    ranked: Option<Ranked>,
}

impl Agenda {
    /// A job's schedule, which equal triggers share.
    pub fn schedule_of(&mut self, job: &Job) -> Result<Option<Schedule>, JobError> {
        self.schedules.of(&job.trigger)
    }

    /// Puts a job in, or in place of what it was. Its ticks count from `since`, exclusive; if it had the same
    /// trigger before, they go on from where they were.
    pub fn put(&mut self, planned: Arc<Planned>, since: DateTime<Utc>) {
        self.generation += 1;
        let name = planned.job.name.clone();
        let place = *self.places.entry(name).or_insert_with(|| {
            self.vacant.pop().unwrap_or_else(|| {
                self.lines.push(None);
                self.lines.len() - 1
            })
        });
        let before = self.lines[place].as_ref().filter(|line| line.planned.has_ticks_of(&planned));
        let since = before.map_or_else(|| Tick::from_instant(since), |line| line.since);
        let line = Line { planned, generation: self.generation, since, ranked: None };
        line.enter(&mut self.seconds, place);
        self.lines[place] = Some(line);
    }

    /// Takes a job out.
    pub fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.lines[place] = None;
            self.vacant.push(place);
        }
    }

    /// The job, if it is there.
    pub fn get(&self, name: &str) -> Option<&Arc<Planned>> {
        let line = self.lines[*self.places.get(name)?].as_ref();
        line.map(|line| &line.planned)
    }

    /// True when there is no job.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All jobs, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Planned>> {
        self.lines.iter().flatten().map(|line| &line.planned)
    }

    /// The jobs that have this rank. `rank` says it of a job by `view`, which tells one such function from another.
    pub fn ranked(
        &mut self,
        wanted: usize,
        view: u64,
        rank: impl Fn(&Job) -> Option<usize>,
    ) -> Vec<Arc<Planned>> {
        let lines = self.lines.iter_mut().flatten();
        let of_rank =
            lines.filter_map(|line| (line.rank(view, &rank) == Some(wanted)).then_some(&line.planned));
        of_rank.cloned().collect()
    }

    /// The next second at which a job may be due.
    pub fn next(&self) -> Option<Tick> {
        let (second, _) = self.seconds.first_key_value()?;
        DateTime::from_timestamp(*second, 0).map(Tick::from_instant)
    }

    /// Everything due up to `now`, second by second, with its rank; each job is entered again for its next tick. `rank`
    /// and `view` are as with [`Agenda::ranked`].
    pub fn pop(
        &mut self,
        now: DateTime<Utc>,
        view: u64,
        rank: impl Fn(&Job) -> Option<usize>,
    ) -> Vec<(Due, Option<usize>)> {
        let mut due = Vec::new();
        while let Some(entry) = self.seconds.first_entry() {
            if *entry.key() > now.timestamp() {
                break;
            }
            let second = *entry.key();
            let tick = DateTime::from_timestamp(second, 0)
                .map_or_else(|| Tick::from_instant(now), Tick::from_instant);
            for (place, generation) in entry.remove() {
                let Some(line) = self.lines[place].as_mut().filter(|line| line.generation == generation)
                else {
                    continue;
                };
                let rank = line.rank(view, &rank);
                let (previous, tick) =
                    if now - tick.instant() > PASSED { line.newest(tick, now) } else { (line.since, tick) };
                due.push((Due { job: line.planned.clone(), tick, previous }, rank));
                line.since = tick;
                line.enter(&mut self.seconds, place);
            }
        }
        due
    }

    /// The clock was ahead, and says `now`: no job has had a tick behind that.
    pub fn set_back(&mut self, now: DateTime<Utc>) {
        let now = Tick::from_instant(now);
        self.seconds.clear();
        for (place, line) in self.lines.iter_mut().enumerate() {
            let Some(line) = line else { continue };
            line.since = line.since.min(now);
            line.enter(&mut self.seconds, place);
        }
    }
}

impl Line {
    fn rank(&mut self, view: u64, rank: impl Fn(&Job) -> Option<usize>) -> Option<usize> {
        match self.ranked {
            Some(ranked) if ranked.view == view => ranked.rank,
            _ => self.ranked.insert(Ranked { view, rank: rank(&self.planned.job) }).rank,
        }
    }

    /// The last tick up to `now`, and the one before it. `tick` is the next one behind `since`.
    fn newest(&self, tick: Tick, now: DateTime<Utc>) -> (Tick, Tick) {
        let last = |until| {
            let schedule = self.planned.schedule.as_ref()?;
            schedule.latest_in(self.since.instant(), until).map(Tick::from_instant)
        };
        let newest = last(now).unwrap_or(tick);
        let before = newest.instant() - chrono::Duration::seconds(1);
        (last(before).unwrap_or(self.since), newest)
    }

    fn enter(&self, seconds: &mut BTreeMap<i64, Vec<(usize, u64)>>, place: usize) {
        if self.planned.paused {
            return;
        }
        let schedule = self.planned.schedule.as_ref();
        if let Some(next) = schedule.and_then(|schedule| schedule.next_after(self.since.instant())) {
            seconds.entry(next.timestamp()).or_default().push((place, self.generation));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use common::job::{Command, Exec, Trigger};

    use common::revision::Revision;

    use super::*;

    fn at(second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, second).unwrap()
    }

    fn every(name: &str, seconds: u64, revision: Revision) -> Arc<Planned> {
        let period = common::span::Span::seconds(seconds);
        let trigger = Trigger::Every { period, anchor: Some(at(0)) };
        let job = Job::new(name.parse().unwrap(), trigger, Command::Exec(Exec::default()));
        let schedule = job.schedule().unwrap();
        Arc::new(Planned { job: Arc::new(job), revision, created: revision, schedule, paused: false })
    }

    fn pop(agenda: &mut Agenda, now: DateTime<Utc>) -> Vec<Due> {
        agenda.pop(now, 0, |_| Some(0)).into_iter().map(|(due, _)| due).collect()
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
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        assert_eq!(agenda.next().unwrap().instant(), at(2));
        assert!(pop(&mut agenda, at(1)).is_empty());
        assert_eq!(seconds(&pop(&mut agenda, at(5))), [("a".into(), 2, 1), ("a".into(), 4, 2)]);
        assert!(pop(&mut agenda, at(5)).is_empty());
    }

    #[test]
    fn after_a_long_sleep_the_newest_tick_stands_for_those_before_it() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        agenda.put(every("b", 40, Revision::new(1)), at(0));
        assert_eq!(seconds(&pop(&mut agenda, at(45))), [("a".into(), 44, 42), ("b".into(), 40, 0)]);
        assert_eq!(seconds(&pop(&mut agenda, at(46))), [("a".into(), 46, 44)]);
    }

    // Once: jobs were silent until the clock caught up; what the wrong clock had passed on stood.
    #[test]
    fn when_the_clock_is_set_back_ticks_come_again() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        agenda.put(every("b", 40, Revision::new(1)), at(0));
        pop(&mut agenda, at(50));
        agenda.set_back(at(9));
        assert_eq!(seconds(&pop(&mut agenda, at(10))), [("a".into(), 10, 9)]);
        assert_eq!(seconds(&pop(&mut agenda, at(12))), [("a".into(), 12, 10)]);
        assert_eq!(seconds(&pop(&mut agenda, at(40))).len(), 2);
    }

    #[test]
    fn an_edit_that_leaves_the_trigger_alone_loses_no_tick() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        // Seen when the tick at 2 was due already, and not looked at yet.
        agenda.put(every("a", 2, Revision::new(2)), at(3));
        assert_eq!(seconds(&pop(&mut agenda, at(3))), [("a".into(), 2, 1)]);
    }

    #[test]
    fn a_changed_or_removed_job_leaves_no_old_tick() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        agenda.put(every("b", 2, Revision::new(1)), at(1));
        agenda.put(every("a", 3, Revision::new(2)), at(1));
        agenda.remove("b");
        assert_eq!(seconds(&pop(&mut agenda, at(4))), [("a".into(), 3, 1)]);
    }

    #[test]
    fn a_rank_is_asked_for_again_when_the_view_or_the_job_changes() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 1, Revision::new(1)), at(0));
        let rank_at = |agenda: &mut Agenda, second, view, rank| agenda.pop(at(second), view, |_| rank)[0].1;
        assert_eq!(rank_at(&mut agenda, 1, 7, Some(2)), Some(2));
        assert_eq!(rank_at(&mut agenda, 2, 7, Some(0)), Some(2), "nothing has changed");
        assert_eq!(rank_at(&mut agenda, 3, 8, None), None);
        agenda.put(every("a", 1, Revision::new(2)), at(3));
        assert_eq!(rank_at(&mut agenda, 4, 8, Some(1)), Some(1));
        assert_eq!((agenda.ranked(1, 8, |_| None).len(), agenda.ranked(0, 8, |_| None).len()), (1, 0));
    }

    #[test]
    fn a_place_that_was_left_is_taken_by_another_job() {
        let mut agenda = Agenda::default();
        agenda.put(every("a", 2, Revision::new(1)), at(1));
        agenda.remove("a");
        agenda.put(every("b", 3, Revision::new(1)), at(1));
        assert_eq!(seconds(&pop(&mut agenda, at(4))), [("b".into(), 3, 1)]);
        assert!(agenda.get("a").is_none() && agenda.jobs().count() == 1);
    }
}
