//! What really ran, what the run log says of it, and whether both are as they have to be.
//!
//! The driver tells of starts and ends, the run log of records. What can be judged at once (a second start of a tick,
//! runs side by side, an early start, an old fence) is; a tick as a whole is judged when nothing more can come of it,
//! and forgotten, so that days of a large load fit into memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use common::{
    id::{JobName, RunId},
    run::RunState,
    runlog::{Author, RunRecord, TickOutcome, TickRecord},
    tick::Tick,
};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    clock::Time,
    load::Plan,
    report::{Finding, Report},
    runlog::Reader,
};

pub use timeline::State as JobState;
use timeline::{Expected, Timeline};

mod judge;
mod take;
#[cfg(test)]
mod tests;
mod timeline;

/// A tick is judged so long after it, and after the end of its run.
const HORIZON_MS: i64 = 15 * 60 * 1000;

/// What a clock's step or two readings of it may make of a start.
const SLACK_MS: i64 = 2;

/// How far ahead a claim may be sent, and how far clocks are wrong that nobody has broken.
const AHEAD_MS: i64 = 200;

/// What an edit does to ticks so near has an excuse for how, not for nothing: they are late, or passed.
const EDGE_MS: i64 = 1_000;

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
    /// How far a clock is wrong by it.
    pub clock_ms: i64,
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
    /// What it is when, of a job that is edited.
    timeline: Option<Timeline>,
    /// Runs that people asked for, and that are not judged yet.
    wanted: BTreeMap<RunId, Wanted>,
}

/// A run without a tick.
struct Wanted {
    /// When it was first heard of.
    since_ms: i64,
    /// Somebody was told that it will be.
    promised: bool,
    facts: TickFacts,
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
        let facts = |plan: Plan| JobFacts {
            timeline: plan.other.map(|_| Timeline::new(JobState::On(plan.rhythm))),
            wanted: BTreeMap::new(),
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

    /// A job is to become so, from this time on at the earliest.
    pub fn asks(&self, job: &JobName, becomes: JobState, at_ms: i64) {
        self.lock().asks(job, becomes, at_ms, self.time.millis());
    }

    /// It has become so by this time.
    pub fn asked(&self, job: &JobName, by_ms: i64) {
        self.lock().asked(job, by_ms, self.time.millis());
    }

    /// Somebody was told that this run will be.
    pub fn promised(&self, job: &JobName, run: RunId) {
        self.lock().promised(job, run, self.time.millis());
    }

    /// Somebody was refused what is right.
    pub fn refused(&self, what: String) {
        self.lock().report.add(Finding::Refused, what);
    }

    /// Resolves to when the last fault so far is over.
    pub fn mended_ms(&self) -> i64 {
        self.lock().faults.iter().map(|fault| fault.to_ms).max().unwrap_or_default()
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
        self.state.lock()
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
