//! Compares what should have run, what really ran and what the scheduler says that ran. Pure: it is given all three.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use common::{
    job::{Delivery, Overlap},
    run::{Cause, RunState},
    runlog::TickOutcome,
    tick::Tick,
};

use crate::{
    records::{Records, RunRow, TickRow},
    truth::{Line, Mark, RESOLUTION_MS},
};

pub use chronos::{ChronosJob, WindowCount};
pub use expectation::{Expectation, Off};
pub use history::{History, SeenLock};
pub use kind::Kind;
pub use misfire::Outage;
pub use report::{Lateness, Report, Spread};
pub use rules::{Fault, Punctuality, Rules};

mod chronos;
mod expectation;
mod history;
mod kind;
mod misfire;
mod recovery;
mod report;
mod rules;
#[cfg(test)]
mod tests;

/// A run that was claimed so much after a tick was just faster than the tick's own claim; ticks before that were missed.
const OVERTAKEN_MS: i64 = 1_000;

/// What was seen of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What really ran.
    pub lines: Vec<Line>,
    /// What the run log says in the end.
    pub records: Records,
    /// What the scheduler said meanwhile.
    pub history: History,
    /// Until when, in milliseconds since 1970.
    pub until_ms: i64,
}

/// Compares everything.
pub fn check(
    expected: &[Expectation],
    windows: &[ChronosJob],
    Observed { lines, records, history, until_ms }: &Observed,
    rules: &Rules,
) -> Report {
    let mut jobs: BTreeMap<&str, JobFacts<'_>> = BTreeMap::new();
    for expectation in expected {
        jobs.entry(&expectation.job).or_default().expected = Some(expectation);
    }
    for line in lines {
        jobs.entry(&line.job).or_default().lines.push(line);
    }
    for row in &records.runs {
        jobs.entry(&row.job).or_default().runs.push(row);
    }
    for row in &records.ticks {
        jobs.entry(&row.job).or_default().ticks.push(row);
    }
    let mut report = Report::new(rules.tolerated.clone());
    for (name, job) in &jobs {
        let mut found = Found { job: name, expected: job.expected, report: &mut report, rules };
        if job.expected.is_none_or(|expectation| expectation.overlap != Overlap::Allow) {
            found.order(job);
        }
        found.doubles(job);
        if let Some(expectation) = job.expected {
            found.times(job, expectation);
            found.late(job, expectation);
            found.stretches(job, expectation);
            found.finished(job, expectation);
            found.ticks(job, expectation);
            found.log_against_truth(job, expectation);
        }
    }
    for job in windows {
        job.check(lines, *until_ms, rules, &mut report);
    }
    history.report(&mut report);
    recovery::check(expected, lines, rules, &mut report);
    report.lateness = Lateness::of(expected, &jobs_runs(&jobs), lines);
    report
}

fn jobs_runs<'a>(jobs: &BTreeMap<&str, JobFacts<'a>>) -> Vec<&'a RunRow> {
    jobs.values().flat_map(|job| job.runs.iter().copied()).collect()
}

/// All that is known of one job.
#[derive(Default)]
struct JobFacts<'a> {
    expected: Option<&'a Expectation>,
    lines: Vec<&'a Line>,
    runs: Vec<&'a RunRow>,
    ticks: Vec<&'a TickRow>,
}

/// Finds what is wrong with one job.
struct Found<'a> {
    job: &'a str,
    expected: Option<&'a Expectation>,
    report: &'a mut Report,
    rules: &'a Rules,
}

impl Found<'_> {
    fn say(&mut self, kind: Kind, what: impl std::fmt::Display) {
        if self.expected.is_some_and(|expectation| expectation.allowed.contains(&kind)) {
            self.report.allow(kind);
        } else {
            self.report.add(kind, format!("{}: {what}", self.job));
        }
    }

    /// The same of a tick and what became of it until then, which may have an excuse.
    fn say_of(&mut self, at: Tick, until_ms: i64, kind: Kind, what: impl std::fmt::Display) {
        if self.rules.excuse(kind, at.millis(), until_ms) {
            self.report.allow(kind);
        } else {
            self.say(kind, what);
        }
    }

    /// Runs follow one another, each with a newer fence. Goes by the order of the lines alone.
    fn order(&mut self, job: &JobFacts<'_>) {
        let mut current: Option<&Line> = None;
        let mut ended: HashSet<(&str, u32)> = HashSet::new();
        for line in &job.lines {
            let same = current.is_some_and(|before| before.run == line.run && before.attempt == line.attempt);
            if same && line.mark != Mark::Start {
                continue;
            }
            if !same && ended.contains(&(line.run.as_str(), line.attempt)) {
                let what = format_args!("run {} of {} goes on beside a later one", line.run, line.worker);
                if self.expected.is_some_and(|job| job.keeps) && self.rules.fault_at(line.at_ms).is_some() {
                    self.report.allow(Kind::Overlap);
                } else {
                    self.say(Kind::Overlap, what);
                }
                continue;
            }
            if let Some(before) = current {
                ended.insert((before.run.as_str(), before.attempt));
                if before.fence >= line.fence && !same {
                    let tokens = format!("{} after {}", line.fence, before.fence);
                    let what = format_args!("run {} of {}: {tokens}", line.run, line.worker);
                    let at = chrono::DateTime::from_timestamp_millis(line.at_ms).unwrap_or_default();
                    self.say_of(Tick::from_instant(at), line.at_ms, Kind::StaleFence, what);
                }
            }
            current = Some(line);
        }
    }

    /// No tick has two runs, neither really nor in the log.
    fn doubles(&mut self, job: &JobFacts<'_>) {
        // Attempts of one run are no doubles of one another, where there may be more than one.
        let again = job.expected.is_none_or(Expectation::may_run_again);
        let attempt = |attempt: u32| if again { attempt } else { 1 };
        let mut starts: BTreeMap<(Tick, u32), Vec<&Line>> = BTreeMap::new();
        for line in job.lines.iter().filter(|line| line.mark == Mark::Start) {
            if let Some(tick) = line.tick {
                starts.entry((tick, attempt(line.attempt))).or_default().push(line);
            }
        }
        let mut logged: BTreeMap<(Tick, u32), BTreeSet<&str>> = BTreeMap::new();
        for row in &job.runs {
            if let Some(tick) = row.tick {
                logged.entry((tick, attempt(row.attempt))).or_default().insert(&row.run);
            }
        }
        let mut records: BTreeMap<(&str, u32), usize> = BTreeMap::new();
        for row in &job.runs {
            *records.entry((&row.run, row.attempt)).or_default() += 1;
        }
        for ((run, attempt), count) in records.iter().filter(|(_, count)| **count > 1) {
            self.say(
                Kind::Doubled,
                format_args!("attempt {attempt} of run {run} is on record {count} times"),
            );
        }
        for (key, lines) in starts.iter().filter(|(_, lines)| lines.len() > 1) {
            let by: Vec<_> = lines.iter().map(|line| format!("{} on {}", line.run, line.worker)).collect();
            self.say(Kind::Doubled, format_args!("{} started {} times: {}", key.0, by.len(), by.join(", ")));
        }
        for (key, runs) in logged.iter().filter(|(_, runs)| runs.len() > 1) {
            if starts.get(key).is_none_or(|lines| lines.len() < 2) {
                self.say(Kind::Doubled, format_args!("{} has the runs {runs:?} in the log", key.0));
            }
        }
    }

    /// Runs belong to the schedule and start no earlier than it says.
    fn times(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        for line in job.lines.iter().filter(|line| line.mark == Mark::Start) {
            let Some(tick) = line.tick else { continue };
            if !expectation.is_tick(tick.seconds()) {
                self.say(Kind::Stray, format_args!("{tick} is no tick of it"));
            }
            if expectation.is_silent(tick.seconds()) {
                self.say(Kind::WhileOff, format_args!("{tick} ran on {}", line.worker));
            }
            let early = tick.millis() - line.at_ms - self.rules.ahead_at(line.at_ms);
            // What is computed from two clocks is not exact to the millisecond either.
            if early > 2 * RESOLUTION_MS {
                self.say(Kind::Early, format_args!("{tick} started {early} ms early on {}", line.worker));
            }
        }
    }

    /// Every expected tick has a run or an outcome, and not both.
    fn ticks(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        let started: HashSet<i64> = starts(job).filter_map(|line| line.tick).map(Tick::seconds).collect();
        let mut logged: HashMap<i64, &RunRow> = HashMap::new();
        for row in &job.runs {
            if let Some(tick) = row.tick {
                let last = logged.entry(tick.seconds()).or_insert(row);
                if last.attempt <= row.attempt {
                    *last = row;
                }
            }
        }
        let outcome = |second: i64| {
            let covers = |row: &&&TickRow| row.from.seconds() <= second && second <= row.to.seconds();
            job.ticks.iter().find(covers).map(|row| row.outcome)
        };
        let lost = job.runs.iter().any(|row| row.state == RunState::Lost);
        for second in expectation.ticks() {
            if expectation.is_off(second) {
                continue;
            }
            self.report.expected += 1;
            let ran = started.contains(&second);
            self.report.ran += usize::from(ran);
            let at = Tick::from_instant(chrono::DateTime::from_timestamp(second, 0).unwrap_or_default());
            match (ran || logged.contains_key(&second), outcome(second)) {
                (true, Some(outcome)) => {
                    self.say(Kind::Contradiction, format_args!("{at} has a run and is {outcome:?}"));
                }
                (true, None) => {}
                (false, Some(TickOutcome::Skipped)) => {
                    self.say_of(at, at.millis(), self.skipped(job, at), at);
                }
                (false, Some(TickOutcome::Missed)) if lost && self.rules.lost_jobs_may_miss => {
                    self.report.missed_of_lost += 1;
                }
                (false, Some(TickOutcome::Missed)) => self.say_of(at, at.millis(), Kind::Missed, at),
                (false, None) => self.say_of(at, at.millis(), Kind::Gap, at),
            }
            if let Some(row) = logged.get(&second) {
                self.state(at, row);
            }
        }
    }

    fn state(&mut self, at: Tick, row: &RunRow) {
        match row.state {
            RunState::Succeeded => {}
            RunState::Lost => {
                self.say_of(at, row.ended_ms, Kind::Lost, format_args!("{at} on {}", row.worker))
            }
            state => {
                let how = format!("{at} on {}: {state}, {}", row.worker, row.reason);
                self.say_of(at, row.ended_ms, Kind::Unsuccessful, how);
            }
        }
    }

    /// No run starts later than it may. Runs that wait for others of their job tell nothing.
    fn late(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        let Some(punctuality) = self.rules.punctuality else { return };
        if matches!(expectation.overlap, Overlap::QueueOne | Overlap::Replace) {
            return;
        }
        let caught_up: HashSet<&str> = job
            .runs
            .iter()
            .filter(|row| !matches!(row.trigger, Cause::Schedule | Cause::CatchUp))
            .map(|row| row.run.as_str())
            .collect();
        for line in starts(job).filter(|line| line.attempt == 1 && !caught_up.contains(line.run.as_str())) {
            let Some(tick) = line.tick.filter(|tick| expectation.counts(*tick)) else { continue };
            if line.at_ms > self.rules.latest(punctuality, tick.millis()) {
                let late = line.at_ms - tick.millis();
                self.say(Kind::Late, format_args!("{tick} started {late} ms late on {}", line.worker));
            }
        }
    }

    /// A stretch of ticks says how many there are.
    fn stretches(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        for row in &job.ticks {
            let count = expectation.ticks_in(row.from.seconds(), row.to.seconds()).count();
            if usize::try_from(row.count) != Ok(count) {
                let what = format!("{} to {}: {}, and it is {count}", row.from, row.to, row.count);
                self.say(Kind::Miscounted, what);
            }
        }
    }

    /// A run that is made again until it comes to its end has done so.
    fn finished(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        if !expectation.may_run_again() {
            return;
        }
        let mut last: BTreeMap<&str, &RunRow> = BTreeMap::new();
        for row in job.runs.iter().filter(|row| row.tick.is_some_and(|tick| expectation.counts(tick))) {
            let of_run = last.entry(&row.run).or_insert(row);
            if of_run.attempt < row.attempt {
                *of_run = row;
            }
        }
        for row in last.into_values() {
            let over = match row.state {
                RunState::Succeeded | RunState::Killed => true,
                RunState::Lost => expectation.delivery == Delivery::AtMostOnce,
                _ => row.attempt >= expectation.attempts,
            };
            if !over {
                let what = format!("run {} ended with attempt {}, {}", row.run, row.attempt, row.state);
                self.say(Kind::Unfinished, what);
            }
        }
    }

    /// What stood in the way of a skipped tick.
    fn skipped(&self, job: &JobFacts<'_>, at: Tick) -> Kind {
        let earlier = || job.runs.iter().filter(|row| row.tick.is_none_or(|tick| tick < at));
        // A retry, or a run that was asked for, may take the lock just before the tick is claimed.
        let overtakes = |row: &&RunRow| (0..=OVERTAKEN_MS).contains(&(row.claimed_ms - at.millis()));
        let ended = earlier().filter(|row| row.planned_ms <= at.millis()).map(|row| row.ended_ms).max();
        match ended.map(|ended| at.millis() - ended) {
            Some(since) if since <= RESOLUTION_MS => Kind::Skipped,
            _ if earlier().any(overtakes) => Kind::Skipped,
            Some(since) if since <= self.rules.release_ms => Kind::SkippedHeld,
            _ => Kind::SkippedIdle,
        }
    }

    /// What ran is in the log, and what is in the log ran.
    fn log_against_truth(&mut self, job: &JobFacts<'_>, expectation: &Expectation) {
        let counts = |tick: Option<Tick>| tick.is_none_or(|tick| expectation.counts(tick));
        let logged: HashMap<_, _> =
            job.runs.iter().map(|row| ((row.run.as_str(), row.attempt), *row)).collect();
        let wrote = |mark: Mark| -> HashSet<_> {
            let lines = job.lines.iter().filter(|line| line.mark == mark);
            lines.map(|line| (line.run.as_str(), line.attempt)).collect()
        };
        let (started, ended) = (wrote(Mark::Start), wrote(Mark::End));
        for line in starts(job).filter(|line| counts(line.tick)) {
            match logged.get(&(line.run.as_str(), line.attempt)) {
                None => {
                    self.say(Kind::LineWithoutRecord, format_args!("run {} on {}", line.run, line.worker))
                }
                Some(row) if differs(line, row) => {
                    self.say(Kind::Differs, format_args!("run {} on {}: {row:?}", line.run, line.worker));
                }
                Some(_) => {}
            }
        }
        for row in job.ticks.iter().filter(|row| row.reason.is_empty()) {
            self.say(Kind::NoReason, format_args!("{} to {}", row.from, row.to));
        }
        for row in job.runs.iter().filter(|row| counts(row.tick)) {
            let says_started = row.exit_code.is_some() || row.state == RunState::Succeeded;
            if says_started && !started.contains(&(row.run.as_str(), row.attempt)) {
                self.say(Kind::RecordWithoutLine, format_args!("run {} on {}", row.run, row.worker));
            }
            let says_ended = row.state == RunState::Succeeded && expectation.says_end;
            if says_ended && !ended.contains(&(row.run.as_str(), row.attempt)) {
                let what = format_args!("run {} on {} did not come to its end", row.run, row.worker);
                self.say(Kind::RecordWithoutLine, what);
            }
        }
    }
}

/// Whether a run's own record tells another story than the run.
fn differs(line: &Line, row: &RunRow) -> bool {
    row.fence != line.fence || row.worker != line.worker || row.tick != line.tick
}

fn starts<'a>(job: &JobFacts<'a>) -> impl Iterator<Item = &'a Line> {
    job.lines.iter().copied().filter(|line| line.mark == Mark::Start)
}

/// True when a run's times tell how punctual the scheduler is.
fn tells_lateness(row: &RunRow) -> bool {
    let of_its_tick = matches!(row.trigger, Cause::Schedule | Cause::CatchUp) && row.tick.is_some();
    of_its_tick && row.state != RunState::Lost
}
