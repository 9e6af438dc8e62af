//! The jobs: short and long ones, under each overlap policy, at most and at least once, and as Chronos has them.

use std::time::Duration;

use anyhow::Result;
use common::{
    job::{Delivery, OnLeaseLoss, Overlap},
    tick::Tick,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::{
    checker::{ChronosJob, Expectation, Kind},
    options::Options,
    trial::Trial,
};

/// Jobs without `--jobs`.
const JOBS: usize = 60;

/// How long the longest jobs run, in halves of a second.
const LONG: u32 = 60;

/// How long those run that a worker without its lease does not end, in seconds: longer than another lease.
const KEPT: u32 = 25;

/// How long a Chronos job runs, in halves of a second.
const CHRONOS: u32 = 4;

/// A kind of job.
#[derive(Clone)]
pub(super) struct Sort {
    name: &'static str,
    /// Of a hundred jobs, so many; one at least.
    percent: usize,
    every_seconds: u32,
    command: String,
    overlap: Overlap,
    delivery: Delivery,
    attempts: u32,
    on_lease_loss: OnLeaseLoss,
    /// It says when it has come to its end.
    says_end: bool,
}

/// A job's policies as the API takes them.
pub(super) fn spec(trigger: Value, command: &str) -> Value {
    // A worker whose clock is moved by a preloaded library hands it on: it would only cost time here.
    let shell = json!({"command": command, "env": {"LD_PRELOAD": ""}});
    json!({"trigger": trigger, "driver": {"shell": shell}})
}

/// Every so many seconds.
pub(super) fn every(seconds: u32) -> Value {
    json!({"cron": [format!("*/{seconds} * * * * * *")], "zone": "UTC"})
}

fn sorts(trial: &Trial) -> Vec<Sort> {
    let truth = &trial.truth;
    let plain = Sort {
        name: "short",
        percent: 45,
        every_seconds: 1,
        command: truth.once(),
        overlap: Overlap::Skip,
        delivery: Delivery::AtMostOnce,
        attempts: 1,
        on_lease_loss: OnLeaseLoss::Kill,
        says_end: false,
    };
    let seconds = |seconds: u32| truth.lasting(seconds * 2);
    let own = |name, percent, every_seconds, command| Sort {
        name,
        percent,
        every_seconds,
        command,
        says_end: true,
        ..plain.clone()
    };
    let again = |sort: Sort, attempts| Sort { delivery: Delivery::AtLeastOnce, attempts, ..sort };
    vec![
        plain.clone(),
        own("second", 10, 2, seconds(1)),
        again(own("again", 10, 2, seconds(1)), 1),
        again(own("retried", 5, 10, truth.failing_before(2)), 3),
        own("long", 5, 10, truth.lasting(LONG)),
        Sort { on_lease_loss: OnLeaseLoss::Keep, ..own("kept", 5, 5, seconds(KEPT)) },
        Sort { overlap: Overlap::Allow, ..own("allow", 10, 1, seconds(1)) },
        // Once: after a take-over the waiting tick moved the fence over ticks that then had no outcome.
        Sort { overlap: Overlap::QueueOne, ..own("queue-one", 5, 2, seconds(3)) },
        Sort { overlap: Overlap::Replace, ..own("replace", 5, 3, seconds(4)) },
    ]
}

impl Sort {
    fn spec(&self) -> Value {
        let mut spec = spec(every(self.every_seconds), &self.command);
        spec["overlap"] = json!(self.overlap);
        spec["delivery"] = json!(self.delivery);
        spec["on_lease_loss"] = json!(self.on_lease_loss);
        spec["retry"] = json!({"attempts": self.attempts, "backoff": "1s"});
        spec
    }

    fn expectation(&self, job: &str, from: Tick) -> Expectation {
        let mut one = Expectation::new(job, self.every_seconds, from, Trial::no_end());
        (one.overlap, one.delivery, one.attempts) = (self.overlap, self.delivery, self.attempts);
        (one.says_end, one.keeps) = (self.says_end, self.on_lease_loss == OnLeaseLoss::Keep);
        if self.overlap == Overlap::Replace {
            // That is what it is for.
            one.allowed.insert(Kind::Unsuccessful);
        }
        one
    }
}

/// Saves them all. How long the longest may run.
pub(super) async fn save(trial: &mut Trial, options: &Options) -> Result<Duration> {
    let jobs = options.jobs(JOBS);
    let mut all: Vec<(String, Sort)> = Vec::new();
    let is_wanted = |name: &str| options.sort.is_empty() || options.sort.iter().any(|sort| sort == name);
    for sort in sorts(trial).into_iter().filter(|sort| is_wanted(sort.name)) {
        let count = (jobs * sort.percent).div_ceil(100);
        all.extend((1..=count).map(|n| (format!("{}-{n:03}", sort.name), sort.clone())));
    }
    let trial_now = &*trial;
    let saved: Vec<Expectation> = stream::iter(&all)
        .map(|(name, sort)| async move {
            trial_now.api.put_job(name, &sort.spec()).await?;
            Ok::<_, anyhow::Error>(sort.expectation(name, trial_now.first_tick()))
        })
        .buffer_unordered(8)
        .try_collect()
        .await?;
    trial.expected.extend(saved);
    let few = jobs.div_ceil(20);
    for n in (1..=few).filter(|_| is_wanted("chronos")) {
        save_chronos(trial, n, options.lease_ttl * 2 + options.slack).await?;
    }
    super::edits::save(trial, few).await?;
    trial.note(format_args!("saved {} jobs", trial.expected.len()));
    Ok(Duration::from_millis(u64::from(LONG) * 500))
}

/// A job of Chronos: its window is as long as a recovery takes, so that no fault may keep it from being met.
// Once: a run lost by a worker that was back at once was found only 30 s later; the full pass noted who lived
// after it had looked, and so missed what changed meanwhile.
async fn save_chronos(trial: &mut Trial, n: usize, recovery: Duration) -> Result<()> {
    let name = format!("chronos-{n:03}");
    let epsilon = i64::try_from(recovery.as_secs()).unwrap_or(30) + 3;
    let duration = i64::from(CHRONOS) / 2;
    let interval = epsilon + duration + 3;
    let start = trial.now_ms() / 1000 + 3 + i64::try_from(n).unwrap_or(0);
    let anchor = Tick::from_instant(chrono::DateTime::from_timestamp(start, 0).unwrap_or_default());
    let mut job = spec(
        json!({"every": format!("{interval}s"), "anchor": anchor.to_string()}),
        &trial.truth.lasting(CHRONOS),
    );
    job["delivery"] = json!(Delivery::AtLeastOnce);
    // Each window needs a run of its own, also where the last one's is repeated late and still executes at its tick.
    job["overlap"] = json!(Overlap::QueueOne);
    trial.api.put_job(&name, &job).await?;
    let mut one = Expectation::new(&name, 1, anchor, Trial::no_end());
    one.every_seconds = interval;
    one.phase_seconds = start.rem_euclid(interval);
    (one.delivery, one.overlap, one.says_end) = (Delivery::AtLeastOnce, Overlap::QueueOne, true);
    trial.expected.push(one);
    trial.windows.push(ChronosJob {
        job: name,
        start_ms: start * 1000,
        interval_ms: interval * 1000,
        // More than there is time for: the last that counts ends with the window of the trial.
        count: 10_000,
        epsilon_ms: epsilon * 1000,
        duration_ms: duration * 1000,
    });
    Ok(())
}
