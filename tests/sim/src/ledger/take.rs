//! Takes what is told: starts, ends, records and edits; and finds at once what can be found at once.

use std::time::Duration;

use common::{
    id::{JobName, RunId},
    runlog::{RunRecord, TickRecord},
    tick::Tick,
};

use super::{
    AHEAD_MS, EDGE_MS, End, Expected, Fault, JobFacts, JobState, RunFacts, SLACK_MS, Started, State,
    TickFacts, Wanted,
};
use crate::report::Finding;

/// A run's id as numbers, for the trace.
fn numbers(run: RunId) -> [u64; 2] {
    let (high, low) = run.as_uuid().as_u64_pair();
    [high, low]
}

impl State {
    pub(super) fn started(&mut self, started: &Started, now: i64) -> Duration {
        let Some(&index) = self.by_name.get(&started.job) else {
            self.report.add(Finding::Stray, format!("{} is no job of this load", started.job));
            return Duration::ZERO;
        };
        let second = started.tick.map_or(0, Tick::seconds);
        let [high, low] = numbers(started.run);
        let of = [second.unsigned_abs(), high, low, started.worker as u64, started.fence.unsigned_abs()];
        self.report.traced(now, "start", started.job.as_str(), &of);
        self.report.starts += 1;
        self.takes_its_turn(index, started, now);
        let lasts = self.jobs[index].plan.lasts;
        let facts = if started.tick.is_some() {
            self.is_its_tick(index, started, now);
            if second < self.rules.from {
                return lasts;
            }
            let job = &mut self.jobs[index];
            if second <= job.judged {
                let what = what(started, now);
                self.report.add(Finding::Doubled, format!("{what}: long after it was accounted for"));
                return lasts;
            }
            job.ticks.entry(second).or_default()
        } else {
            let job = &mut self.jobs[index];
            if job.timeline.is_none() {
                self.report.add(Finding::Stray, what(started, now));
            }
            &mut job.wanted(started.run, now).facts
        };
        let earlier = facts.runs.iter().filter_map(|run| run.started_ms).max();
        facts.of(started.run, started.attempt).started_ms = Some(now);
        if started.tick.is_some() {
            self.is_in_time(index, started, now);
        }
        if let Some(earlier) = earlier {
            let line = self.jobs[index].timeline.as_ref();
            if started.tick.is_some() && line.is_some_and(|line| line.is_made_again(earlier, second * 1000)) {
                self.report.made_again += 1;
            } else {
                self.report.add(Finding::Doubled, what(started, now));
            }
        }
        lasts
    }

    /// Nothing of the job executes, and its claim is the newest.
    fn takes_its_turn(&mut self, index: usize, started: &Started, now: i64) {
        let (job, report) = (&mut self.jobs[index], &mut self.report);
        if !job.executing.is_empty() {
            report.add(Finding::Overlap, format!("{} beside {:?}", what(started, now), job.executing));
        }
        if started.fence <= job.fence {
            let fences = (started.fence, job.fence);
            report.add(Finding::StaleFence, format!("{}: {fences:?}", what(started, now)));
        }
        job.fence = job.fence.max(started.fence);
        job.executing.push((started.run, started.attempt));
        job.spans.push_back((now, None));
    }

    /// The second is on the job's schedule, as far as it has one just then, and has come.
    fn is_its_tick(&mut self, index: usize, started: &Started, now: i64) {
        let second = started.tick.map_or(0, Tick::seconds);
        let job = &self.jobs[index];
        match &job.timeline {
            None if job.plan.rhythm.is_tick(second) => {}
            None => self.report.add(Finding::Stray, format!("{}: it is no tick", what(started, now))),
            Some(timeline) => {
                let slack = AHEAD_MS + self.clocks_near(second * 1000);
                if timeline.expected(second, slack) == Expected::Nothing {
                    self.report.add(Finding::RanOff, what(started, now));
                }
            }
        }
        let early = second * 1000 - started.ahead_ms.max(0) - now;
        if early > SLACK_MS {
            self.report.add(Finding::Early, format!("{}: {early} ms early", what(started, now)));
        }
    }

    fn is_in_time(&mut self, index: usize, started: &Started, now: i64) {
        let at = started.tick.map_or(now, Tick::millis);
        let edited = self.jobs[index].timeline.as_ref().is_some_and(|line| line.is_edge(at, EDGE_MS));
        // A claim may be on its way when something breaks.
        if edited || self.faults_in(at, now.max(at)).next().is_some() {
            return;
        }
        let late = now - at;
        self.report.late(late);
        if late > self.rules.late_ms {
            let what = what(started, now);
            self.report.add(Finding::Late, format!("{what}: {late} ms late, and nothing was broken"));
        }
    }

    pub(super) fn ended(&mut self, started: &Started, how: End, now: i64) {
        let Some(&index) = self.by_name.get(&started.job) else { return };
        let [high, low] = numbers(started.run);
        self.report.traced(now, "end", started.job.as_str(), &[high, low, how as u64]);
        let job = &mut self.jobs[index];
        job.executing.retain(|one| *one != (started.run, started.attempt));
        // One at a time, or there is a finding already.
        if let Some((_, open)) = job.spans.iter_mut().rev().find(|(_, end)| end.is_none()) {
            *open = Some(now);
        }
        if let Some(facts) = job.facts(started.tick, started.run, now) {
            facts.of(started.run, started.attempt).ended = Some((now, how));
        }
    }

    pub(super) fn logged(&mut self, record: &RunRecord, now: i64) {
        let [high, low] = numbers(record.run);
        self.report.traced(now, "log", record.job_name.as_str(), &[high, low, record.state as u64]);
        let Some(&index) = self.by_name.get(&record.job_name) else { return };
        let job = &mut self.jobs[index];
        if let Some(facts) = job.facts(record.tick, record.run, now) {
            facts.of(record.run, record.attempt).record = Some((record.state, record.by));
        } else if record.tick.map_or(0, Tick::seconds) >= self.rules.from {
            let (job, tick) = (&record.job_name, record.tick);
            let what = format!("{job} {tick:?}: a record long after it was accounted for");
            self.report.add(Finding::Doubled, what);
        }
    }

    pub(super) fn told(&mut self, record: &TickRecord, now: i64) {
        let (from, to) = (record.from.seconds(), record.to.seconds());
        let numbers = [from.unsigned_abs(), to.unsigned_abs(), record.outcome as u64];
        self.report.traced(now, "ticks", record.job_name.as_str(), &numbers);
        let Some(&index) = self.by_name.get(&record.job_name) else { return };
        let clocks = self.clocks_near(from * 1000).max(self.clocks_near(to * 1000));
        let job = &mut self.jobs[index];
        let (mut sure, mut perhaps) = (0, 0);
        let mut second = job.plan.next_after(from - 1);
        while second <= to {
            match job.expected(second, clocks) {
                Expected::Tick => sure += 1,
                Expected::Either => perhaps += 1,
                Expected::Nothing => {
                    second = job.plan.next_after(second);
                    continue;
                }
            }
            if second > job.judged {
                let outcome = &mut job.ticks.entry(second).or_default().outcome;
                let first = outcome.map_or(now, |(_, first)| first);
                *outcome = Some((record.outcome, first));
            }
            second = job.plan.next_after(second);
        }
        if !(sure..=sure + perhaps).contains(&record.count) {
            let (job, from, to, count) = (&record.job_name, record.from, record.to, record.count);
            let what = format!("{job} {from} to {to}: {count} of {sure}, and perhaps {perhaps} more");
            self.report.add(Finding::Miscounted, what);
        }
    }

    pub(super) fn asks(&mut self, job: &JobName, becomes: JobState, at_ms: i64, now: i64) {
        let on = matches!(becomes, JobState::On(_));
        self.report.traced(now, "ask", job.as_str(), &[at_ms.unsigned_abs(), u64::from(on)]);
        self.report.edits += 1;
        if let Some(line) = self.by_name.get(job).and_then(|index| self.jobs[*index].timeline.as_mut()) {
            line.ask(becomes, at_ms);
        }
    }

    pub(super) fn asked(&mut self, job: &JobName, by_ms: i64, now: i64) {
        self.report.traced(now, "done", job.as_str(), &[by_ms.unsigned_abs()]);
        if let Some(line) = self.by_name.get(job).and_then(|index| self.jobs[*index].timeline.as_mut()) {
            line.sure(by_ms);
        }
    }

    pub(super) fn promised(&mut self, job: &JobName, run: RunId, now: i64) {
        self.report.traced(now, "promise", job.as_str(), &numbers(run));
        self.report.promised += 1;
        if let Some(&index) = self.by_name.get(job) {
            self.jobs[index].wanted(run, now).promised = true;
        }
    }

    /// The faults that have to do with this time.
    pub(super) fn faults_in(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.from_ms <= to_ms && from_ms <= fault.to_ms)
    }

    /// How far clocks are wrong at about this time, as far as somebody has broken them.
    pub(super) fn clocks_near(&self, at_ms: i64) -> i64 {
        const NEAR_MS: i64 = 5_000;
        self.faults_in(at_ms - NEAR_MS, at_ms + NEAR_MS).map(|fault| fault.clock_ms).max().unwrap_or_default()
    }
}

/// A start, for people.
fn what(started: &Started, now: i64) -> String {
    let tick = started.tick.map_or_else(|| "no tick".to_owned(), |tick| tick.to_string());
    format!("{} {tick} on worker {} at {now}", started.job, started.worker)
}

impl JobFacts {
    /// What the second has to be, where clocks are wrong by so much.
    pub(super) fn expected(&self, second: i64, clock_ms: i64) -> Expected {
        match &self.timeline {
            Some(timeline) => timeline.expected(second, clock_ms),
            None if self.plan.rhythm.is_tick(second) => Expected::Tick,
            None => Expected::Nothing,
        }
    }

    fn wanted(&mut self, run: RunId, now: i64) -> &mut Wanted {
        let new = || Wanted { since_ms: now, promised: false, facts: TickFacts::default() };
        self.wanted.entry(run).or_insert_with(new)
    }

    /// What is known of a tick, or of a run without one; none: it is judged already.
    fn facts(&mut self, tick: Option<Tick>, run: RunId, now: i64) -> Option<&mut TickFacts> {
        let Some(tick) = tick else { return Some(&mut self.wanted(run, now).facts) };
        (tick.seconds() > self.judged).then(|| self.ticks.entry(tick.seconds()).or_default())
    }
}

impl TickFacts {
    pub(super) fn of(&mut self, run: RunId, attempt: u32) -> &mut RunFacts {
        let found = self.runs.iter().position(|one| one.run == run && one.attempt == attempt);
        let index = found.unwrap_or_else(|| {
            self.runs.push(RunFacts { run, attempt, started_ms: None, ended: None, record: None });
            self.runs.len() - 1
        });
        &mut self.runs[index]
    }
}
