//! A job's ticks, expected against happened: what its schedule says, beside what the run log, the lock and the queue
//! know. Pure; [`gather`] asks for what it needs.
//!
//! The walk goes from the newest tick to the oldest, from one event to the next: what lies between two of them is
//! counted, not visited, so that an outage of a month costs no more than one of a minute.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use common::{
    job::StoredJob,
    run::RunState,
    runlog::{TickOutcome, TickRecord},
    schedule::Schedule,
    tick::Tick,
};

pub(crate) mod gather;
mod passed;
#[cfg(test)]
mod tests;

/// More ticks in one row are not counted: with several expressions each one has to be visited.
const COUNTED: u64 = 3_000_000;

/// So many stretches that end at or after a tick are looked at for the one that has it.
const MOST_OVERLAPPING: usize = 64;

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Where its run is, or how it ended.
    Run(RunState),
    /// It got no run.
    Without(TickOutcome),
    /// It is due, and nobody has decided it.
    Waiting,
    /// It has not come.
    Upcoming,
    /// It was decided, and the run log does not say how.
    NoRecord,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Run(state) => state.name(),
            Self::Without(outcome) => outcome.name(),
            Self::Waiting => "waiting",
            Self::Upcoming => "upcoming",
            Self::NoRecord => "no_record",
        }
    }

    /// True for what is over and was no success.
    fn is_unsuccessful(self) -> bool {
        match self {
            Self::Run(state) => state.is_final() && state != RunState::Succeeded,
            Self::Without(_) | Self::NoRecord => true,
            Self::Waiting | Self::Upcoming => false,
        }
    }
}

/// Which ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those that are over and were no success.
    Unsuccessful,
    One(Outcome),
}

impl Wanted {
    fn fits(self, outcome: Outcome) -> bool {
        match self {
            Self::Unsuccessful => outcome.is_unsuccessful(),
            Self::One(wanted) => wanted == outcome,
        }
    }
}

/// One attempt at a tick's run, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) run: String,
    pub(crate) attempt: u32,
    pub(crate) state: RunState,
    pub(crate) worker: String,
    /// When the command was started, in milliseconds since 1970.
    pub(crate) started: Option<i64>,
    /// When it ended.
    pub(crate) ended: Option<i64>,
    /// `err`, or the reason if there is one.
    pub(crate) reason: String,
}

/// Ticks next to each other that had the same fate; one, where they had runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The oldest and the newest of them, in seconds since 1970.
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// The second at which it stands among the others: its newest tick, but of a stretch that stands for itself the
    /// oldest one in the range.
    pub(crate) stands_at: i64,
    pub(crate) count: u64,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// Whether the schedule as it stands has them; `None`: it did not stand then.
    pub(crate) expected: Option<bool>,
    pub(crate) attempts: Vec<Attempt>,
    /// The record that tells of them, if they got no run.
    pub(crate) stretch: Option<TickRecord>,
}

/// Whether ticks of the same fate share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    Each,
    Folded,
}

/// Which ticks of a job are expected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectation {
    schedule: Option<Schedule>,
    /// Only ticks after this second; before, nobody knows.
    pub(crate) since: i64,
    /// Not those after the first and up to the second; disjoint, in order.
    pauses: Vec<(i64, i64)>,
}

impl Expectation {
    /// `oldest` is the first tick that is known of a job that does not say since when it counts.
    pub(crate) fn new(stored: &StoredJob, oldest: Option<i64>, now: i64) -> Self {
        let second = |at: DateTime<Utc>| Tick::from_instant(at).seconds();
        let since = stored.since.or(stored.saved).map(second);
        let mut until_paused = i64::MIN;
        let mut pauses = Vec::new();
        for pause in &stored.pauses {
            let from = second(pause.from).max(until_paused);
            let to = pause.to.map_or(i64::MAX, second);
            if to > from {
                pauses.push((from, to));
                until_paused = to;
            }
        }
        if stored.paused && until_paused < i64::MAX {
            pauses.push((now.max(until_paused), i64::MAX));
        }
        Self {
            schedule: stored.job.schedule().ok().flatten(),
            since: since.unwrap_or_else(|| oldest.map_or(now, |oldest| oldest - 1)),
            pauses,
        }
    }

    /// The newest tick after `after`, up to `until`.
    fn latest(&self, after: i64, until: i64) -> Option<i64> {
        let (schedule, after) = (self.schedule.as_ref()?, after.max(self.since));
        let mut until = until;
        loop {
            let tick = schedule.latest_in(at(after), at(until))?.timestamp();
            match self.pauses.iter().find(|(from, to)| *from < tick && tick <= *to) {
                Some((from, _)) => until = *from,
                None => return Some(tick),
            }
        }
    }

    /// The oldest tick after `after`, up to `until`.
    fn earliest(&self, after: i64, until: i64) -> Option<i64> {
        let schedule = self.schedule.as_ref()?;
        let mut after = after.max(self.since);
        loop {
            let tick = schedule.next_after(at(after))?.timestamp();
            match self.pauses.iter().find(|(from, to)| *from < tick && tick <= *to) {
                _ if tick > until => return None,
                Some((_, to)) => after = *to,
                None => return Some(tick),
            }
        }
    }

    /// How many there are after `after`, up to `until`.
    fn count(&self, after: i64, until: i64) -> u64 {
        let Some(schedule) = &self.schedule else { return 0 };
        let between = |after: i64, until: i64| {
            if after < until { schedule.count_in(at(after), at(until), COUNTED) } else { 0 }
        };
        let after = after.max(self.since);
        let paused: u64 =
            self.pauses.iter().map(|(from, to)| between(after.max(*from), until.min(*to))).sum();
        between(after, until).saturating_sub(paused)
    }

    fn of(&self, tick: i64) -> Option<bool> {
        if tick <= self.since { None } else { Some(self.latest(tick - 1, tick).is_some()) }
    }
}

/// An instant that a schedule can be asked about.
pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap_or(if second < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// All that is known of a job's ticks from `floor` on, before `end`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) expectation: Expectation,
    /// In seconds since 1970.
    pub(crate) floor: i64,
    /// True: the range that was asked for begins at the floor.
    pub(crate) is_bottom: bool,
    pub(crate) end: i64,
    pub(crate) now: i64,
    /// Ticks up to this one are decided.
    pub(crate) fence: Option<i64>,
    /// Why nobody may have decided the others.
    pub(crate) waiting: String,
    /// True: the record of the last decided tick may be on its way.
    pub(crate) just_ended: bool,
    /// By tick, the attempts of each in order.
    pub(crate) runs: BTreeMap<i64, Vec<Attempt>>,
    /// Newest last tick first; only those that begin before the end and end at or after the begin of the range.
    pub(crate) stretches: Vec<TickRecord>,
    /// True: the store did not say which ticks changes of the job passed over.
    pub(crate) lacks_passed: bool,
}

/// A record on its way from a worker's disk to the run log takes no longer, unless the run log is away.
pub(crate) const ON_ITS_WAY: i64 = 60;

impl Known {
    /// The rows that are wanted, newest first; none: all. What is not wanted is passed over in one step, also where
    /// each tick has a row.
    pub(crate) fn walk(&self, rows: Rows, wanted: Option<Wanted>) -> Walk<'_> {
        // Stretches of ticks that the schedule as it stands does not have stand for themselves, at their first tick.
        let mut unexpected: Vec<&TickRecord> = self
            .stretches
            .iter()
            .filter(|stretch| self.is_bottom || stretch.from.seconds() >= self.floor)
            .filter(|stretch| self.expectation.count(stretch.from.seconds() - 1, stretch.to.seconds()) == 0)
            .collect();
        unexpected.sort_by_key(|stretch| stretch.from);
        Walk { known: self, rows, wanted, until: self.end - 1, unexpected }
    }

    /// The stretch that has this tick. They hardly overlap, so it is among the first that end at it or later.
    fn stretch(&self, tick: i64) -> Option<&TickRecord> {
        let not_before = self.ending_before(tick);
        let candidates = self.stretches[..not_before].iter().rev().take(MOST_OVERLAPPING);
        candidates.into_iter().find(|stretch| stretch.from.seconds() <= tick)
    }

    /// The place of the first stretch that ends before this tick.
    fn ending_before(&self, tick: i64) -> usize {
        self.stretches.partition_point(|stretch| stretch.to.seconds() >= tick)
    }

    /// What became of a tick without a run, why, and the oldest second of which the same is true.
    fn without_run(&self, tick: i64) -> (Outcome, String, i64) {
        if tick > self.now {
            return (Outcome::Upcoming, String::new(), self.now + 1);
        }
        if let Some(stretch) = self.stretch(tick) {
            return (Outcome::Without(stretch.outcome), stretch.reason.clone(), stretch.from.seconds());
        }
        let below = self.stretches.get(self.ending_before(tick));
        let above = below.map_or(i64::MIN, |below| below.to.seconds() + 1);
        match self.fence {
            Some(fence) if tick <= fence => {
                let recent = (self.now - ON_ITS_WAY).min(if self.just_ended { fence - 1 } else { i64::MAX });
                if tick > recent {
                    let reason = "it is decided, and its record is on its way";
                    return (Outcome::NoRecord, reason.to_owned(), above.max(recent + 1));
                }
                let reason = "it was decided, and the run log has no record of it (any more)";
                (Outcome::NoRecord, reason.to_owned(), above)
            }
            fence => {
                (Outcome::Waiting, self.waiting.clone(), above.max(fence.map_or(i64::MIN, |fence| fence + 1)))
            }
        }
    }
}

/// Goes through ticks, from the newest to the oldest.
pub(crate) struct Walk<'a> {
    known: &'a Known,
    rows: Rows,
    wanted: Option<Wanted>,
    /// The next row's newest tick is at or before this second.
    until: i64,
    unexpected: Vec<&'a TickRecord>,
}

impl Iterator for Walk<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let row = self.row()?;
            if self.wants(row.outcome) {
                return Some(row);
            }
        }
    }
}

impl Walk<'_> {
    fn wants(&self, outcome: Outcome) -> bool {
        self.wanted.is_none_or(|wanted| wanted.fits(outcome))
    }

    fn row(&mut self) -> Option<Row> {
        let known = self.known;
        if self.until < known.floor {
            return None;
        }
        let run = known.runs.range(known.floor..=self.until).next_back();
        let run_tick = run.map(|(tick, _)| *tick);
        let expected = known.expectation.latest(known.floor - 1, self.until);
        let alone = self.unexpected.last().map(|stretch| stretch.from.seconds().max(known.floor));
        let newest = run_tick.max(expected).max(alone)?;
        // Before a run at the same second: with that one the walk may be at its floor.
        if alone == Some(newest) {
            let stretch = self.unexpected.pop()?;
            return Some(by_itself(stretch, newest, known.expectation.of(stretch.from.seconds())));
        }
        if let Some((tick, attempts)) = run.filter(|(tick, _)| **tick == newest) {
            self.until = newest - 1;
            return Some(with_run(*tick, attempts.clone(), known.expectation.of(*tick)));
        }
        Some(self.without_run(newest, run_tick.max(alone)))
    }

    /// `below`: where the next run or stretch by itself stands. What is one row ends before it, so that rows never go
    /// back in time.
    fn without_run(&mut self, newest: i64, below: Option<i64>) -> Row {
        let known = self.known;
        let (outcome, reason, bound) = known.without_run(newest);
        let bound = match self.rows {
            Rows::Each if self.wants(outcome) => newest,
            _ => bound.max(below.map_or(i64::MIN, |second| second + 1)).max(known.floor),
        };
        self.until = bound - 1;
        let stretch = known.stretch(newest).filter(|_| matches!(outcome, Outcome::Without(_)));
        Row {
            from: known.expectation.earliest(bound - 1, newest).unwrap_or(newest),
            to: newest,
            stands_at: newest,
            count: known.expectation.count(bound - 1, newest).max(1),
            outcome,
            reason,
            expected: Some(true),
            attempts: Vec::new(),
            stretch: stretch.cloned(),
        }
    }
}

fn with_run(tick: i64, attempts: Vec<Attempt>, expected: Option<bool>) -> Row {
    let last = attempts.last();
    Row {
        from: tick,
        to: tick,
        stands_at: tick,
        count: 1,
        outcome: last.map_or(Outcome::NoRecord, |last| Outcome::Run(last.state)),
        reason: last.map(|last| last.reason.clone()).unwrap_or_default(),
        expected,
        attempts,
        stretch: None,
    }
}

fn by_itself(stretch: &TickRecord, stands_at: i64, expected: Option<bool>) -> Row {
    Row {
        from: stretch.from.seconds(),
        to: stretch.to.seconds(),
        stands_at,
        count: stretch.count,
        outcome: Outcome::Without(stretch.outcome),
        reason: stretch.reason.clone(),
        expected,
        attempts: Vec::new(),
        stretch: Some(stretch.clone()),
    }
}
