//! One scenario's cluster, jobs and window, and what was measured.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use common::{
    clock::{Clock as _, SystemClock},
    tick::Tick,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use test_support::servers::Leftovers;
use tokio::time::sleep;

use crate::{
    api::Api,
    checker::{ChronosJob, Expectation, History, Observed, Report, Rules, check},
    cluster::{Cluster, DATABASE, Layout},
    plot::Scene,
    records::{RecordReader, Records},
    truth::{Line, Truth},
};

/// Calls to the managers at the same time.
const CONCURRENCY: usize = 16;

/// A run that ought not to be has so long to show, at least.
const LATE: Duration = Duration::from_secs(3);

/// A job of a scenario.
#[derive(Clone, Debug)]
pub struct TestJob {
    /// Its name.
    pub name: String,
    /// Between two ticks; divides an hour.
    pub every_seconds: u32,
    /// What it runs.
    pub command: String,
}

impl TestJob {
    /// `n` jobs that differ in their names only.
    pub fn several(n: usize, name: &str, every_seconds: u32, command: &str) -> Vec<Self> {
        let own = |n| Self { name: format!("{name}-{n:05}"), every_seconds, command: command.to_owned() };
        (1..=n).map(own).collect()
    }

    /// As the API takes it.
    pub fn spec(&self) -> Value {
        let expression = match self.every_seconds {
            0 | 1 => "* * * * * * *".to_owned(),
            seconds @ 2..60 => format!("*/{seconds} * * * * * *"),
            seconds => format!("0 */{} * * * * *", seconds / 60),
        };
        // A worker whose clock is moved by a preloaded library hands it on: it would only cost time here.
        let shell = json!({"command": self.command, "env": {"LD_PRELOAD": ""}});
        json!({"trigger": {"cron": [expression], "zone": "UTC"}, "driver": {"shell": shell}})
    }
}

/// A cluster at work.
pub struct Trial {
    /// The cluster.
    pub cluster: Cluster,
    /// Its managers.
    pub api: Api,
    /// What really ran.
    pub truth: Truth,
    /// What may happen.
    pub rules: Rules,
    /// Ticks that have to be accounted for.
    pub expected: Vec<Expectation>,
    /// Windows that have to be met.
    pub windows: Vec<ChronosJob>,
    /// What the scheduler said meanwhile, where somebody looked.
    pub history: History,
    /// Where what happened is drawn at the end, if anywhere.
    pub picture: Option<PathBuf>,
    clock: SystemClock,
    began: Instant,
    closed_ms: Option<i64>,
    wrong: Vec<String>,
    leftovers: Leftovers,
}

/// How a scenario came out.
pub struct Verdict {
    /// What the checker found, where it had something to check.
    pub report: Option<Report>,
    /// What may not be; empty: all is well.
    pub violations: Vec<String>,
}

impl Trial {
    /// Starts a cluster.
    pub async fn start(layout: &Layout) -> Result<Self> {
        let began = Instant::now();
        let clock = SystemClock::start().context("start the clock")?;
        let cluster = Cluster::start(layout).await?;
        let api = Api::new(cluster.managers());
        let truth = Truth::create(cluster.dir(), &clock).context("create the truth")?;
        let leftovers = layout.leftovers;
        let trial = Self {
            cluster,
            api,
            truth,
            rules: Rules::default(),
            expected: Vec::new(),
            windows: Vec::new(),
            history: History::default(),
            picture: None,
            clock,
            began,
            closed_ms: None,
            wrong: Vec::new(),
            leftovers,
        };
        let parts = format!("{} managers, {} workers", layout.managers, layout.workers.len());
        trial.note(format!("a cluster of {} etcd members, {parts} is ready", layout.members));
        if leftovers == Leftovers::Keep {
            trial.note(format!("everything is in {}", trial.cluster.dir().display()));
        }
        Ok(trial)
    }

    /// Says what is going on.
    pub fn note(&self, what: impl std::fmt::Display) {
        println!("  [{:7.1} s] {what}", self.began.elapsed().as_secs_f64());
    }

    /// Says what was measured, and keeps it if it is not as it has to be.
    pub fn require(&mut self, is_well: bool, name: impl std::fmt::Display, value: impl std::fmt::Display) {
        let measured = format!("{name}: {value}");
        self.note(&measured);
        if !is_well {
            self.wrong.push(measured);
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.clock.now().timestamp_millis()
    }

    /// Saves jobs through the managers. From its acknowledgement on, every tick of a job has to be accounted for.
    pub async fn save(&mut self, jobs: &[TestJob]) -> Result<()> {
        let begun = Instant::now();
        let saved: Vec<Expectation> = stream::iter(jobs)
            .map(|job| async {
                self.api.put_job(&job.name, &job.spec()).await?;
                Ok::<_, anyhow::Error>(self.expectation(job))
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let elapsed = begun.elapsed().as_secs_f64();
        self.expected.extend(saved);
        self.note(format!("saved {} jobs in {elapsed:.1} s", jobs.len()));
        Ok(())
    }

    /// Deletes jobs through the managers.
    pub async fn delete(&self, jobs: &[TestJob]) -> Result<()> {
        let deleted =
            stream::iter(jobs).map(|job| self.api.delete_job(&job.name)).buffer_unordered(CONCURRENCY);
        deleted.try_for_each(|_| async { Ok(()) }).await
    }

    /// From now on every tick of this job has to be accounted for.
    pub fn expect(&mut self, job: &TestJob) {
        let expectation = self.expectation(job);
        self.expected.push(expectation);
    }

    /// A tick that counts for a job saved now, the earliest.
    pub fn first_tick(&self) -> Tick {
        Tick::from_instant(self.clock.now() + chrono::Duration::seconds(1))
    }

    fn expectation(&self, job: &TestJob) -> Expectation {
        Expectation::new(&job.name, job.every_seconds, self.first_tick(), Self::no_end())
    }

    /// Behind every tick, until the window closes.
    pub fn no_end() -> Tick {
        Tick::from_instant(chrono::DateTime::<chrono::Utc>::MAX_UTC)
    }

    /// Lets the jobs run.
    pub async fn run_for(&self, time: Duration) {
        sleep(time).await;
    }

    /// Later ticks do not count.
    pub fn close_window(&mut self) {
        let now = Tick::from_instant(self.clock.now());
        self.closed_ms = Some(now.millis());
        for expectation in &mut self.expected {
            expectation.to = expectation.to.min(now);
        }
    }

    /// The runs that really started since, by the order in which they did.
    pub fn starts_since(&self, at_ms: i64) -> Result<Vec<Line>> {
        let mut lines = self.truth.read()?;
        lines.retain(|line| line.mark == crate::truth::Mark::Start && line.at_ms >= at_ms);
        Ok(lines)
    }

    /// All that the run log has.
    pub async fn records(&self) -> Result<Records> {
        self.reader().await?.read().await
    }

    async fn reader(&self) -> Result<RecordReader> {
        RecordReader::connect(&self.cluster.mongod.uri(), DATABASE).await
    }

    /// Checks until nothing is wrong, or for at most this long: records take their time.
    pub async fn settle(&self, patience: Duration) -> Result<Report> {
        Ok(self.settle_and_show(patience).await?.0)
    }

    async fn settle_and_show(&self, patience: Duration) -> Result<(Report, Observed)> {
        let reader = self.reader().await?;
        let begun = Instant::now();
        // What runs twice may do so late.
        sleep(LATE).await;
        loop {
            let observed = Observed {
                lines: self.truth.read()?,
                records: reader.read().await?,
                history: self.history.clone(),
                until_ms: self.closed_ms.unwrap_or(i64::MAX),
            };
            let report = check(&self.expected, &self.windows, &observed, &self.rules);
            if report.violations().is_empty() || begun.elapsed() >= patience {
                return Ok((report, observed));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Closes the window, settles, and ends the cluster.
    pub async fn finish(mut self, patience: Duration) -> Result<Verdict> {
        self.close_window();
        let (report, observed) = self.settle_and_show(patience).await?;
        self.note("checked");
        if self.leftovers == Leftovers::Keep {
            self.keep_records().await?;
        }
        if let Some(path) = &self.picture {
            let Self { expected, windows, rules, .. } = &self;
            let scene = Scene { expected, windows, faults: &rules.faults, observed: &observed };
            std::fs::write(path, scene.svg()).context("write the picture")?;
        }
        Ok(self.end(Some(report)))
    }

    /// Writes what the run log says beside the truth, for somebody to look at.
    async fn keep_records(&self) -> Result<()> {
        let records = self.records().await?;
        let runs = records.runs.iter().map(|row| format!("{row:?}\n"));
        let text: String = runs.chain(records.ticks.iter().map(|row| format!("{row:?}\n"))).collect();
        std::fs::write(self.cluster.dir().join("records"), text).context("keep the records")
    }

    /// Ends the cluster.
    pub fn end(self, report: Option<Report>) -> Verdict {
        let mut violations = self.wrong;
        violations.extend(report.iter().flat_map(Report::violations));
        Verdict { report, violations }
    }
}
