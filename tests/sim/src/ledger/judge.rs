//! Judges ticks, and runs without one, of which everything is known that will be.

use common::{
    id::RunId,
    run::RunState,
    runlog::{Author, TickOutcome},
    tick::Tick,
};

use super::{
    AHEAD_MS, EDGE_MS, End, Expected, Fault, JobFacts, RunFacts, SLACK_MS, State, TickFacts, Wanted,
};
use crate::report::Finding;

/// A lock is held so long after its run, at most: the record is being kept, and the lock's end is on its way.
const RELEASE_MS: i64 = 2_000;

impl State {
    /// Judges the ticks that are so old.
    pub(super) fn judge(&mut self, now: i64, horizon: i64) {
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in &mut jobs {
            loop {
                let next = job.plan.next_after(job.judged);
                let settled =
                    next * 1000 + horizon <= now && (horizon == 0 || job.is_settled(next, now - horizon));
                if !settled {
                    break;
                }
                let facts = job.ticks.remove(&next).unwrap_or_default();
                self.judge_tick(job, next, &facts);
                job.judged = next;
            }
            self.judge_wanted(job, now, horizon);
            let old = job.judged * 1000 - horizon;
            while job.spans.front().is_some_and(|(_, end)| end.is_some_and(|end| end < old)) {
                job.spans.pop_front();
            }
            if let Some(timeline) = &mut job.timeline {
                timeline.forget(old - EDGE_MS);
            }
        }
        self.jobs = jobs;
        let oldest = now - horizon - 2 * 3600 * 1000;
        while self.faults.front().is_some_and(|fault| fault.to_ms < oldest) {
            self.faults.pop_front();
        }
    }

    fn judge_tick(&mut self, job: &JobFacts, second: i64, facts: &TickFacts) {
        let at_ms = second * 1000;
        let expected = job.expected(second, if job.timeline.is_some() { self.clocks_near(at_ms) } else { 0 });
        let told = !facts.runs.is_empty() || facts.outcome.is_some();
        match expected {
            Expected::Tick => self.report.expected += 1,
            Expected::Either if told => self.report.either += 1,
            Expected::Either => return,
            // A run that was withdrawn has a record; one that started was found by then.
            Expected::Nothing => return,
        }
        let what = || {
            let at = Tick::from_instant(chrono::DateTime::from_timestamp(second, 0).unwrap_or_default());
            format!("{} {at}", job.plan.name)
        };
        let ran = facts.runs.iter().any(|run| run.started_ms.is_some());
        // One that was withdrawn was claimed ahead, and what was passed over was so before anybody told of it.
        let started = facts.runs.iter().map(|run| run.started_ms.unwrap_or(at_ms - AHEAD_MS));
        let first = started.chain(facts.outcome.map(|_| at_ms - AHEAD_MS)).min().unwrap_or(at_ms);
        let made_again = job.timeline.as_ref().is_some_and(|line| line.is_made_again(first, at_ms));
        if !made_again && facts.runs.iter().any(|run| run.run != facts.runs[0].run) {
            let runs: Vec<_> = facts.runs.iter().map(|run| (run.run, run.started_ms, run.record)).collect();
            self.report.add(Finding::Doubled, format!("{} has several runs: {runs:?}", what()));
        }
        if ran && facts.outcome.is_some() && !made_again {
            self.report.add(Finding::Contradiction, format!("{} ran, and is {:?}", what(), facts.outcome));
        }
        let edited = job.timeline.as_ref().is_some_and(|line| line.is_edge(at_ms, EDGE_MS));
        match (facts.runs.last(), facts.outcome) {
            (Some(run), _) => self.judge_run(job, &what, at_ms, run),
            (None, Some((TickOutcome::Skipped, _))) if job.executed(at_ms, at_ms) => self.report.skipped += 1,
            // Whoever looks at it late may find a run that began meanwhile, and a run that somebody wanted may be claimed
            // just then.
            (None, Some((TickOutcome::Skipped, told)))
                if job.executed(at_ms, told)
                    && (job.timeline.is_some() || self.faults_in(at_ms, at_ms).next().is_some()) =>
            {
                self.report.skipped += 1;
            }
            (None, Some(_)) if edited => self.report.passed += 1,
            (None, Some((TickOutcome::Skipped, _))) => {
                self.report
                    .add(Finding::SkippedIdle, format!("{} was skipped, and its job did not run", what()));
            }
            (None, Some((TickOutcome::Missed, _))) => self.excused(Finding::Missed, what, at_ms, at_ms),
            (None, None) => self.report.add(Finding::Gap, format!("{} has no outcome", what())),
        }
    }

    /// Judges the runs that people asked for so long ago.
    fn judge_wanted(&mut self, job: &mut JobFacts, now: i64, horizon: i64) {
        let ripe = |wanted: &Wanted| {
            wanted.since_ms + horizon <= now && (horizon == 0 || wanted.facts.is_settled(now - horizon))
        };
        let all: Vec<RunId> =
            job.wanted.iter().filter(|(_, wanted)| ripe(wanted)).map(|(run, _)| *run).collect();
        for run in all {
            let Some(wanted) = job.wanted.remove(&run) else { continue };
            let what = || format!("{} run {run}, wanted at {}", job.plan.name, wanted.since_ms);
            match wanted.facts.runs.last() {
                Some(facts) => self.judge_run(job, &what, wanted.since_ms, facts),
                None if wanted.promised => {
                    self.report.add(Finding::Gap, format!("{} has no outcome", what()))
                }
                None => {}
            }
        }
    }

    fn judge_run(&mut self, job: &JobFacts, what: &dyn Fn() -> String, at_ms: i64, run: &RunFacts) {
        let until = run.ended.map_or(at_ms, |(end, _)| end);
        let Some((state, by)) = run.record else {
            let what = format!("{}: run {} is not in the run log", what(), run.run);
            self.report.add(Finding::WithoutRecord, what);
            return;
        };
        let complete = matches!(run.ended, Some((_, End::Complete)));
        match state {
            RunState::Succeeded if complete => self.report.succeeded += 1,
            RunState::Succeeded => {
                let what = format!("{} succeeded, and did not come to its end: {:?}", what(), run.ended);
                self.report.add(Finding::Untrue, what);
            }
            RunState::Lost => {
                if complete && by == Author::Worker {
                    self.report.ended_unknown += 1;
                }
                self.excused(Finding::Lost, || format!("{}: lost, says {by:?}", what()), at_ms, until);
            }
            other if complete => {
                self.report.add(Finding::Untrue, format!("{} came to its end, and is {other}", what()));
            }
            // It was killed, or paused or deleted before it started.
            _ if job.timeline.is_some() => self.report.killed += 1,
            other => self.excused(Finding::Unsuccessful, || format!("{}: {other}", what()), at_ms, until),
        }
    }

    /// What may happen in the time of a fault only. A claim may be on its way when something breaks.
    fn excused(&mut self, finding: Finding, what: impl Fn() -> String, from_ms: i64, to_ms: i64) {
        let to_ms = to_ms.max(from_ms + self.rules.late_ms);
        let fault = self.faults_in(from_ms, to_ms).last().map(|fault: &Fault| fault.name.clone());
        match fault {
            Some(_) => self.report.excuse(finding),
            None => self.report.add(finding, format!("{}, and nothing was broken", what())),
        }
    }
}

impl JobFacts {
    /// True when nothing more can come of a tick: its runs have ended so long ago.
    fn is_settled(&self, second: i64, before: i64) -> bool {
        self.ticks.get(&second).is_none_or(|facts| facts.is_settled(before))
    }

    /// True when a run executed in this time, or had just done so.
    fn executed(&self, from_ms: i64, to_ms: i64) -> bool {
        let meets = |(start, end): &(i64, Option<i64>)| {
            *start <= to_ms + SLACK_MS && end.is_none_or(|end| from_ms <= end + RELEASE_MS)
        };
        self.spans.iter().any(meets)
    }
}

impl TickFacts {
    fn is_settled(&self, before: i64) -> bool {
        let ended = |run: &RunFacts| match (run.started_ms, run.ended) {
            (Some(_), None) => false,
            (_, Some((end, _))) => end <= before,
            (None, None) => true,
        };
        self.runs.iter().all(ended)
    }
}
