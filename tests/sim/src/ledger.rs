//! What really ran, what the run log says of it, and whether both are as they have to be.
//!
//! The driver tells of starts and ends, the run log of records. What can be judged at once (a second start of a tick,
//! runs side by side, an early start, an old fence) is; a tick as a whole is judged when nothing more can come of it,
//! and forgotten, so that days of a large load fit into memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{
    id::{JobName, RunId},
    run::RunState,
    runlog::{Author, RunRecord, TickOutcome, TickRecord},
    tick::Tick,
};

use crate::{
    clock::Time,
    load::Plan,
    report::{Finding, Report},
    runlog::Reader,
};

mod judge;
#[cfg(test)]
mod tests;

/// A tick is judged so long after it, and after the end of its run.
const HORIZON_MS: i64 = 15 * 60 * 1000;

/// What a clock's step or two readings of it may make of a start.
const SLACK_MS: i64 = 2;

/// A start, as the driver tells it.
#[derive(Clone, Debug)]
pub struct Started {
    /// The job.
    pub job: JobName,
    /// Whose tick it is.
    pub tick: Option<Tick>,
    /// The run.
    pub run: RunId,
    /// Which attempt.
    pub attempt: u32,
    /// The fencing token.
    pub fence: i64,
    /// The worker's number.
    pub worker: usize,
    /// How far its clock is ahead.
    pub ahead_ms: i64,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Complete,
    /// It was told to.
    Stopped,
    /// Its machine died.
    Died,
}

/// A time in which something was broken, the recovery from it included, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was broken, for people.
    pub name: String,
    /// From when on.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
}

/// What the ledger goes by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The first second whose ticks count.
    pub from: i64,
    /// How late a run may start where nothing is broken.
    pub late_ms: i64,
    /// How many lines of the trace are kept; the hash is of all.
    pub trace: usize,
}

/// The ledger.
pub struct Ledger {
    time: Time,
    state: Mutex<State>,
}

struct State {
    rules: Rules,
    jobs: Vec<JobFacts>,
    by_name: HashMap<JobName, usize>,
    faults: VecDeque<Fault>,
    report: Report,
}

/// One job.
struct JobFacts {
    plan: Plan,
    /// What is known of ticks that are not judged yet.
    ticks: BTreeMap<i64, TickFacts>,
    /// All ticks up to this second are judged.
    judged: i64,
    executing: Vec<(RunId, u32)>,
    /// When runs executed, the newest last: a skipped tick lies in one of these.
    spans: VecDeque<(i64, Option<i64>)>,
    fence: i64,
}

#[derive(Default)]
struct TickFacts {
    runs: Vec<RunFacts>,
    /// What it is, and when that was first told.
    outcome: Option<(TickOutcome, i64)>,
}

struct RunFacts {
    run: RunId,
    attempt: u32,
    started_ms: Option<i64>,
    ended: Option<(i64, End)>,
    record: Option<(RunState, Author)>,
}

impl Ledger {
    /// An empty one for these jobs.
    pub fn new(time: Time, plans: Vec<Plan>, rules: Rules) -> Arc<Self> {
        let by_name = plans.iter().enumerate().map(|(n, plan)| (plan.name.clone(), n)).collect();
        let facts = |plan| JobFacts {
            plan,
            ticks: BTreeMap::new(),
            judged: rules.from - 1,
            executing: Vec::new(),
            spans: VecDeque::new(),
            fence: 0,
        };
        let jobs = plans.into_iter().map(facts).collect();
        let report = Report::new(rules.trace);
        let state = State { rules, jobs, by_name, faults: VecDeque::new(), report };
        Arc::new(Self { time, state: Mutex::new(state) })
    }

    /// A run starts; how long it lasts.
    pub fn started(&self, started: &Started) -> Duration {
        let now = self.time.millis();
        self.lock().started(started, now)
    }

    /// A run ends.
    pub fn ended(&self, started: &Started, how: End) {
        let now = self.time.millis();
        self.lock().ended(started, how, now);
    }

    /// Something is broken; it has an excuse from `from_ms` to `to_ms`.
    pub fn broken(&self, fault: Fault) {
        let mut state = self.lock();
        state.report.traced(self.time.millis(), "broken", &fault.name, &[]);
        state.report.faults += 1;
        state.faults.push_back(fault);
    }

    /// Judges what can be judged.
    pub fn judge(&self) {
        let now = self.time.millis();
        self.lock().judge(now, HORIZON_MS);
    }

    /// Judges all ticks up to and with this second; nothing more can come of them.
    pub fn close(&self, last: i64) -> Report {
        let mut state = self.lock();
        state.judge(last * 1000, 0);
        state.report.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Ledger {
    fn run(&self, record: &RunRecord) {
        let now = self.time.millis();
        self.lock().logged(record, now);
    }

    fn ticks(&self, record: &TickRecord) {
        let now = self.time.millis();
        self.lock().told(record, now);
    }
}

/// A run's id as numbers, for the trace.
fn numbers(run: RunId) -> [u64; 2] {
    let (high, low) = run.as_uuid().as_u64_pair();
    [high, low]
}

impl State {
    fn started(&mut self, started: &Started, now: i64) -> Duration {
        let Some(&index) = self.by_name.get(&started.job) else {
            self.report.add(Finding::Stray, format!("{} is no job of this load", started.job));
            return Duration::ZERO;
        };
        let second = started.tick.map_or(0, Tick::seconds);
        let [high, low] = numbers(started.run);
        let worker = started.worker as u64;
        self.report.traced(
            now,
            "start",
            started.job.as_str(),
            &[second.unsigned_abs(), high, low, worker, started.fence.unsigned_abs()],
        );
        self.report.starts += 1;
        let (job, report) = (&mut self.jobs[index], &mut self.report);
        let tick = started.tick.map_or_else(|| "no tick".to_owned(), |tick| tick.to_string());
        let what = format_args!("{} {tick} on worker {} at {now}", started.job, started.worker).to_string();
        if !job.executing.is_empty() {
            report.add(Finding::Overlap, format!("{what} beside {:?}", job.executing));
        }
        if started.fence <= job.fence {
            report.add(Finding::StaleFence, format!("{what}: {} after {}", started.fence, job.fence));
        }
        job.fence = job.fence.max(started.fence);
        job.executing.push((started.run, started.attempt));
        job.spans.push_back((now, None));
        if !job.plan.is_tick(second) {
            report.add(Finding::Stray, format!("{what}: it is not on the schedule"));
        }
        let early = second * 1000 - started.ahead_ms.max(0) - now;
        if early > SLACK_MS {
            report.add(Finding::Early, format!("{what}: {early} ms early"));
        }
        if second < self.rules.from {
            return job.plan.lasts;
        }
        if second <= job.judged {
            report.add(Finding::Doubled, format!("{what}: long after it was accounted for"));
            return job.plan.lasts;
        }
        let facts = job.ticks.entry(second).or_default();
        if facts.runs.iter().any(|run| run.started_ms.is_some()) {
            report.add(Finding::Doubled, what.clone());
        }
        let late = now - second * 1000;
        let lasts = job.plan.lasts;
        facts.of(started.run, started.attempt).started_ms = Some(now);
        // A claim may be on its way when something breaks.
        if self.faults_in(second * 1000, now.max(second * 1000)).next().is_none() {
            self.report.late(late);
            if late > self.rules.late_ms {
                self.report.add(Finding::Late, format!("{what}: {late} ms late, and nothing was broken"));
            }
        }
        lasts
    }

    fn ended(&mut self, started: &Started, how: End, now: i64) {
        let Some(&index) = self.by_name.get(&started.job) else { return };
        let [high, low] = numbers(started.run);
        self.report.traced(now, "end", started.job.as_str(), &[high, low, how as u64]);
        let job = &mut self.jobs[index];
        job.executing.retain(|one| *one != (started.run, started.attempt));
        // One at a time, or there is a finding already.
        if let Some((_, open)) = job.spans.iter_mut().rev().find(|(_, end)| end.is_none()) {
            *open = Some(now);
        }
        let second = started.tick.map_or(0, Tick::seconds);
        if second > job.judged {
            job.ticks.entry(second).or_default().of(started.run, started.attempt).ended = Some((now, how));
        }
    }

    fn logged(&mut self, record: &RunRecord, now: i64) {
        let [high, low] = numbers(record.run);
        self.report.traced(now, "log", record.job_name.as_str(), &[high, low, record.state as u64]);
        let Some(&index) = self.by_name.get(&record.job_name) else { return };
        let job = &mut self.jobs[index];
        let second = record.tick.map_or(0, Tick::seconds);
        if second > job.judged {
            let facts = job.ticks.entry(second).or_default();
            facts.of(record.run, record.attempt).record = Some((record.state, record.by));
        } else if second >= self.rules.from {
            let what =
                format!("{} {:?}: a record long after it was accounted for", record.job_name, record.tick);
            self.report.add(Finding::Doubled, what);
        }
    }

    fn told(&mut self, record: &TickRecord, now: i64) {
        let (from, to) = (record.from.seconds(), record.to.seconds());
        let numbers = [from.unsigned_abs(), to.unsigned_abs(), record.outcome as u64];
        self.report.traced(now, "ticks", record.job_name.as_str(), &numbers);
        let Some(&index) = self.by_name.get(&record.job_name) else { return };
        let job = &mut self.jobs[index];
        let mut count = 0;
        let mut second = job.plan.next_after(from - 1);
        while second <= to {
            count += 1;
            if second > job.judged {
                let outcome = &mut job.ticks.entry(second).or_default().outcome;
                let first = outcome.map_or(now, |(_, first)| first);
                *outcome = Some((record.outcome, first));
            }
            second = job.plan.next_after(second);
        }
        if record.count != count {
            let what =
                format!("{} {} to {}: {} of {count}", record.job_name, record.from, record.to, record.count);
            self.report.add(Finding::Miscounted, what);
        }
    }

    /// The faults that have to do with this time.
    fn faults_in(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.from_ms <= to_ms && from_ms <= fault.to_ms)
    }
}

impl TickFacts {
    fn of(&mut self, run: RunId, attempt: u32) -> &mut RunFacts {
        let found = self.runs.iter().position(|one| one.run == run && one.attempt == attempt);
        let index = found.unwrap_or_else(|| {
            self.runs.push(RunFacts { run, attempt, started_ms: None, ended: None, record: None });
            self.runs.len() - 1
        });
        &mut self.runs[index]
    }
}
