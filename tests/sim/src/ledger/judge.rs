//! Judges ticks of which everything is known that will be.

use common::{
    run::RunState,
    runlog::{Author, TickOutcome},
    tick::Tick,
};

use super::{End, Fault, JobFacts, RunFacts, SLACK_MS, State, TickFacts};
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
            let old = job.judged * 1000 - horizon;
            while job.spans.front().is_some_and(|(_, end)| end.is_some_and(|end| end < old)) {
                job.spans.pop_front();
            }
        }
        self.jobs = jobs;
        let oldest = now - horizon - 2 * 3600 * 1000;
        while self.faults.front().is_some_and(|fault| fault.to_ms < oldest) {
            self.faults.pop_front();
        }
    }

    fn judge_tick(&mut self, job: &JobFacts, second: i64, facts: &TickFacts) {
        self.report.expected += 1;
        let at = Tick::from_instant(chrono::DateTime::from_timestamp(second, 0).unwrap_or_default());
        let what = format!("{} {at}", job.plan.name);
        let at_ms = second * 1000;
        let ran = facts.runs.iter().any(|run| run.started_ms.is_some());
        if ran && facts.outcome.is_some() {
            self.report.add(Finding::Contradiction, format!("{what} ran, and is {:?}", facts.outcome));
        }
        if facts.runs.len() > 1 && facts.runs.iter().any(|run| run.run != facts.runs[0].run) {
            let runs: Vec<_> = facts.runs.iter().map(|run| (run.run, run.started_ms, run.record)).collect();
            self.report.add(Finding::Doubled, format!("{what} has several runs: {runs:?}"));
        }
        match (facts.runs.last(), facts.outcome) {
            (Some(run), _) => self.judge_run(&what, at_ms, run),
            (None, Some((TickOutcome::Skipped, _))) if job.executed(at_ms, at_ms) => self.report.skipped += 1,
            // Whoever looks at it late may find a run that began meanwhile.
            (None, Some((TickOutcome::Skipped, told)))
                if job.executed(at_ms, told) && self.faults_in(at_ms, at_ms).next().is_some() =>
            {
                self.report.skipped += 1;
            }
            (None, Some((TickOutcome::Skipped, _))) => {
                self.report.add(Finding::SkippedIdle, format!("{what} was skipped, and its job did not run"));
            }
            (None, Some((TickOutcome::Missed, _))) => self.excused(Finding::Missed, &what, at_ms, at_ms),
            (None, None) => self.report.add(Finding::Gap, format!("{what} has no outcome")),
        }
    }

    fn judge_run(&mut self, what: &str, at_ms: i64, run: &RunFacts) {
        let until = run.ended.map_or(at_ms, |(end, _)| end);
        let Some((state, by)) = run.record else {
            self.report.add(Finding::WithoutRecord, format!("{what}: run {} is not in the run log", run.run));
            return;
        };
        let complete = matches!(run.ended, Some((_, End::Complete)));
        match state {
            RunState::Succeeded if complete => self.report.succeeded += 1,
            RunState::Succeeded => {
                self.report.add(
                    Finding::Untrue,
                    format!("{what} succeeded, and did not come to its end: {:?}", run.ended),
                );
            }
            RunState::Lost => {
                if complete && by == Author::Worker {
                    self.report.ended_unknown += 1;
                }
                self.excused(Finding::Lost, &format!("{what}: lost, says {by:?}"), at_ms, until);
            }
            other if complete => {
                self.report.add(Finding::Untrue, format!("{what} came to its end, and is {other}"));
            }
            other => self.excused(Finding::Unsuccessful, &format!("{what}: {other}"), at_ms, until),
        }
    }

    /// What may happen in the time of a fault only. A claim may be on its way when something breaks.
    fn excused(&mut self, finding: Finding, what: &str, from_ms: i64, to_ms: i64) {
        let to_ms = to_ms.max(from_ms + self.rules.late_ms);
        let fault = self.faults_in(from_ms, to_ms).last().map(|fault: &Fault| fault.name.clone());
        match fault {
            Some(_) => self.report.excuse(finding),
            None => self.report.add(finding, format!("{what}, and nothing was broken")),
        }
    }
}

impl JobFacts {
    /// True when nothing more can come of a tick: its runs have ended so long ago.
    fn is_settled(&self, second: i64, before: i64) -> bool {
        let ended = |run: &RunFacts| match (run.started_ms, run.ended) {
            (Some(_), None) => false,
            (_, Some((end, _))) => end <= before,
            (None, None) => true,
        };
        self.ticks.get(&second).is_none_or(|facts| facts.runs.iter().all(ended))
    }

    /// True when a run executed in this time, or had just done so.
    fn executed(&self, from_ms: i64, to_ms: i64) -> bool {
        let meets = |(start, end): &(i64, Option<i64>)| {
            *start <= to_ms + SLACK_MS && end.is_none_or(|end| from_ms <= end + RELEASE_MS)
        };
        self.spans.iter().any(meets)
    }
}
