//! Long runs on a worker that cannot go on with them: when each of them really ended, and when the next run of its job
//! really began.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::{job::Overlap, run::RunState};
use reqwest::Method;
use serde_json::json;
use test_support::wait::until;

use super::{CLAIM_MS, SETTLE, millis, observer::Observer, punctuality};
use crate::{
    checker::{Fault, Kind},
    cluster::{Layout, PATIENCE},
    options::Options,
    trial::{TestJob, Trial, Verdict},
    truth::{Line, Mark},
};

/// Between two ticks of a long job: so long at most it waits for the next when its lock is free.
const EVERY_SECONDS: u32 = 2;

/// What is done to one worker while it executes long runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// Its runs end before others start them again: it or its guard sees to that.
    Overlap,
    /// Nobody is left to end its runs: they go on beside their successors until somebody is.
    Anybody,
}

/// What became of a run that executed when something happened.
#[derive(Debug)]
struct Handover {
    run: Line,
    /// Its last line.
    last_ms: i64,
    /// The start of the job's next run.
    next: Option<Line>,
}

/// Long and short jobs at work.
pub(super) struct Succession {
    pub(super) trial: Trial,
    long: Vec<TestJob>,
    observer: Observer,
    /// The runs that were cut short.
    broken: Vec<Handover>,
    ttl_ms: i64,
    slack_ms: i64,
}

impl Succession {
    /// Starts a cluster and its jobs. The long ones last `lasts` at least.
    pub(super) async fn start(layout: &Layout, options: &Options, lasts: Duration) -> Result<Self> {
        let mut trial = Trial::start(layout).await?;
        trial.picture.clone_from(&options.svg);
        trial.rules.punctuality = Some(punctuality(options));
        trial.rules.excused.extend([Kind::Missed, Kind::Lost, Kind::Unsuccessful]);
        let halves = u32::try_from(lasts.as_secs() * 2).unwrap_or(u32::MAX);
        let count = options.jobs(10);
        let short = TestJob::several(count * 2, "short", 1, &trial.truth.once());
        let long = TestJob::several(count, "long", EVERY_SECONDS, &trial.truth.lasting(halves));
        trial.save(&short).await?;
        trial.save(&long).await?;
        for one in trial.expected.iter_mut().filter(|one| one.job.starts_with("long")) {
            // They are killed in the end.
            one.allowed.insert(Kind::Unsuccessful);
        }
        let truth = trial.truth.clone();
        until("all long jobs run", PATIENCE, || async {
            let lines = truth.read().ok()?;
            let runs = |job: &TestJob| lines.iter().any(|line| line.job == job.name);
            long.iter().all(runs).then_some(())
        })
        .await;
        let observer = Observer::start(&trial).await?;
        let (ttl_ms, slack_ms) = (millis(options.lease_ttl), millis(options.slack));
        let own = Self { trial, long, observer, broken: Vec::new(), ttl_ms, slack_ms };
        // Whoever starts last has none of the jobs that were saved before; a round of runs spreads them.
        own.trial.run_for(Duration::from_secs(2)).await;
        Ok(own)
    }

    /// The worker that executes most long runs, but for those that were meant before.
    pub(super) fn busiest(&self, except: &[usize]) -> Result<usize> {
        let lines = self.trial.truth.read()?;
        let workers = self.trial.cluster.workers().iter().enumerate();
        let others = workers.filter(|(n, _)| !except.contains(n));
        let most = others.max_by_key(|(_, worker)| executing(&lines, worker.id(), i64::MAX).len());
        most.map(|(n, _)| n).context("a worker that nothing was done to")
    }

    /// Notes what became of the runs that a worker executed at `from_ms`, when `what` began that ended at `to_ms`. The
    /// worker has come back.
    pub(super) async fn measure(
        &mut self,
        n: usize,
        what: &str,
        span: (i64, i64),
        without: Without,
    ) -> Result<()> {
        let (from_ms, to_ms) = span;
        let id = self.trial.cluster.workers()[n].id().to_owned();
        self.trial.rules.faults.push(Fault::new(format!("{what} of {id}"), from_ms - CLAIM_MS, to_ms));
        let truth = self.trial.truth.clone();
        let runs: Vec<Line> = executing(&truth.read()?, &id, from_ms);
        self.trial.require(!runs.is_empty(), format!("{what}: long runs of {id} at the time"), runs.len());
        until("each of its long jobs runs again", PATIENCE, || async {
            let lines = truth.read().ok()?;
            runs.iter().all(|run| handover(&lines, run).next.is_some()).then_some(())
        })
        .await;
        let lines = truth.read()?;
        for run in &runs {
            self.judge(what, handover(&lines, run), (from_ms, to_ms), without);
        }
        Ok(())
    }

    fn judge(&mut self, what: &str, found: Handover, (from_ms, to_ms): (i64, i64), without: Without) {
        let ended = found.last_ms - from_ms;
        let next = found.next.as_ref().map_or(i64::MAX, |next| next.at_ms - from_ms);
        let by = found.next.as_ref().map(|next| next.worker.clone()).unwrap_or_default();
        let job = &found.run.job;
        let newer = found.next.as_ref().is_some_and(|next| next.fence > found.run.fence);
        let is_well = match without {
            Without::Overlap => ended <= self.ttl_ms + self.slack_ms && ended < next,
            // Its guard goes on with it, and has to see at once that it is late.
            Without::Anybody => found.last_ms <= to_ms + self.slack_ms,
        };
        let text = format!("last line after {ended} ms, the next run's first after {next} ms on {by}");
        self.trial.require(is_well && newer, format!("{what}: {job}"), text);
        self.broken.push(found);
    }

    /// Ends the long jobs and checks everything, above all that no broken run's record has replaced anything.
    pub(super) async fn finish(self) -> Result<Verdict> {
        let Self { mut trial, long, observer, broken, .. } = self;
        trial.close_window();
        for job in &long {
            for verb in ["pause", "kill"] {
                let (status, answer) = trial
                    .api
                    .call(Method::POST, &format!("/api/v1/jobs/{}/{verb}", job.name), Some(&json!({})))
                    .await?;
                anyhow::ensure!((200..300).contains(&status), "{verb} of {}: {status} {answer}", job.name);
            }
        }
        trial.settle(SETTLE).await?;
        trial.history = observer.end().await;
        let records = trial.records().await?;
        let lines = trial.truth.read()?;
        for Handover { run, next, .. } in &broken {
            let row = records.runs.iter().find(|row| row.run == run.run && row.attempt == run.attempt);
            let state = row.map(|row| format!("{}, by the {:?}: {}", row.state, row.by, row.reason));
            let is_well = row.is_some_and(|row| matches!(row.state, RunState::Lost));
            trial.require(
                is_well,
                format!("{}: the run that was cut short", run.job),
                state.unwrap_or_else(|| "is not on record".to_owned()),
            );
            let later = next.as_ref().map_or(i64::MAX, |next| next.at_ms);
            let runs_on = |line: &&Line| line.job == run.job && line.at_ms >= later && line.run != run.run;
            let followed = lines.iter().filter(runs_on).all(|line| line.fence > run.fence);
            trial.require(followed, format!("{}: later runs have later fences", run.job), followed);
        }
        trial.finish(SETTLE).await
    }

    /// Runs may go on beside their successors from here on.
    pub(super) fn allow_overlap(&mut self) {
        for one in self.trial.expected.iter_mut().filter(|one| one.job.starts_with("long")) {
            debug_assert_eq!(one.overlap, Overlap::Skip);
            one.allowed.insert(Kind::Overlap);
        }
    }
}

/// The starts of the long runs that a worker executed at this time.
fn executing(lines: &[Line], worker: &str, at_ms: i64) -> Vec<Line> {
    let of_it = |line: &&Line| line.worker == worker && line.job.starts_with("long") && line.at_ms <= at_ms;
    let ended = |run: &Line| {
        let end = |line: &Line| line.run == run.run && line.attempt == run.attempt && line.mark == Mark::End;
        let later = |line: &Line| line.job == run.job && line.fence > run.fence && line.at_ms <= at_ms;
        lines.iter().any(|line| later(line) || line.at_ms <= at_ms && end(line))
    };
    let starts = lines.iter().filter(of_it).filter(|line| line.mark == Mark::Start);
    starts.filter(|run| !ended(run)).cloned().collect()
}

fn handover(lines: &[Line], run: &Line) -> Handover {
    let same = |line: &&Line| line.run == run.run && line.attempt == run.attempt;
    let last_ms = lines.iter().filter(same).map(|line| line.at_ms).max().unwrap_or(run.at_ms);
    let later = |line: &&Line| line.job == run.job && line.mark == Mark::Start && line.fence > run.fence;
    let next = lines.iter().filter(later).min_by_key(|line| line.fence).cloned();
    Handover { run: run.clone(), last_ms, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mark: Mark, run: &str, worker: &str, fence: i64, at_ms: i64) -> Line {
        let (job, run, worker) = ("long-1".to_owned(), run.to_owned(), worker.to_owned());
        Line { mark, job, tick: None, attempt: 1, fence, worker, run, at_ms }
    }

    #[test]
    fn a_run_executes_until_its_end_or_until_its_successor() {
        let lines = [
            line(Mark::Start, "a", "w1", 1, 100),
            line(Mark::End, "a", "w1", 1, 200),
            line(Mark::Start, "b", "w1", 2, 300),
            line(Mark::Beat, "b", "w1", 2, 400),
            line(Mark::Start, "c", "w2", 3, 900),
        ];
        let runs =
            |at_ms| executing(&lines, "w1", at_ms).into_iter().map(|line| line.run).collect::<Vec<_>>();
        assert_eq!((runs(150), runs(250)), (vec!["a".to_owned()], vec![]));
        assert_eq!((runs(500), runs(900)), (vec!["b".to_owned()], vec![]));
        let found = handover(&lines, &lines[2]);
        assert_eq!((found.last_ms, found.next), (400, Some(lines[4].clone())));
    }
}
