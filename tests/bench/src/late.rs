//! How late commands start: 10,000 of them over a minute, and 10,000 on one instant. Starting a process takes its
//! time, so the wait for the starts before it is told apart from our own lateness.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::tick::Tick;
use worker::driver::Driver;

use crate::{
    Amount,
    cpu::Meter,
    report::{Figure, Row, Target},
    shell,
    spread::Spread,
    spy::{Once, Spy, Started},
    stage::{self, Servers, Workers},
};

const JOBS: usize = 10_000;
const MINUTE: u64 = 60;

/// Each runs once within the measurement.
const PERIOD: Duration = Duration::from_secs(3600);

/// How long all may take to be saved and read.
const AHEAD: chrono::Duration = chrono::Duration::seconds(3);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    // As many a second as over the whole minute.
    let seconds = amount.seconds(MINUTE).min(MINUTE);
    let spread = (jobs as u64 * seconds / MINUTE).max(1) as usize;
    let mut rows = over_the_minute(amount, spread, seconds).await?;
    rows.push(at_once(amount, jobs).await?);
    Ok(rows)
}

struct Measured {
    started: Vec<Started>,
    once: Once,
    /// From the first tick to the last end.
    took: Duration,
    cpu: String,
    spawns: f64,
}

impl Measured {
    /// Lateness when the driver was asked to start.
    fn asked(&self) -> Spread {
        Spread::of(self.started.iter().filter_map(|run| Some(run.asked - run.tick?.instant())))
    }

    /// Lateness when it ran, beyond what the starts before it at the same tick take on this machine.
    fn beyond_the_queue(&self) -> Spread {
        let mut runs: Vec<(Tick, DateTime<Utc>)> =
            self.started.iter().filter_map(|run| Some((run.tick?, run.running))).collect();
        runs.sort_unstable();
        let of_tick = runs.chunk_by(|run, next| run.0 == next.0);
        let beyond = of_tick.flat_map(|runs| {
            runs.iter().enumerate().map(|(before, (tick, running))| {
                let queue = Duration::from_secs_f64((before + 1) as f64 / self.spawns);
                *running - tick.instant() - chrono::Duration::from_std(queue).unwrap_or_default()
            })
        });
        Spread::of(beyond.collect::<Vec<_>>())
    }

    fn notes(&self) -> String {
        let (asked, beyond) = (self.asked(), self.beyond_the_queue());
        format!("asked to start: {asked}; running, beyond the queue: {beyond}; {}", self.once)
    }
}

async fn run(
    amount: &Amount,
    jobs: usize,
    ticks: impl Fn(DateTime<Utc>, usize) -> DateTime<Utc>,
    patience: Duration,
) -> anyhow::Result<Measured> {
    let mut servers = Servers::start().await?;
    let raw_before = shell::raw(Duration::from_secs(amount.seconds(MINUTE).min(3))).await?;
    let spy = Spy::new(&amount.quorate)?;
    let workers = amount.workers.unwrap_or(2);
    let started =
        Workers::start(&servers, workers, &(spy.clone() as Arc<dyn Driver>), &stage::clock()?).await?;
    let store = servers.store().await?;
    let first = stage::second_in(AHEAD);
    let all = (0..jobs).map(|n| stage::job(n, PERIOD, ticks(first, n)));
    stage::put_jobs(&*store, &servers.keys, all, stage::now()).await?;
    let expected: Vec<_> = (0..jobs).map(|n| (stage::name(n), Tick::from_instant(ticks(first, n)))).collect();
    stage::until(first - chrono::Duration::milliseconds(500)).await;
    let meter = Meter::start(servers.parts())?;
    let ended = spy.until_ended(jobs as u64, patience).await;
    let cpu = meter.per("run", spy.ended())?;
    started.end().await?;
    let started = spy.take();
    let ran = started.iter().filter_map(|run| Some((run.job.to_string(), run.tick?)));
    let once = Once::of(expected, ran);
    let raw_after = shell::raw(Duration::from_secs(amount.seconds(MINUTE).min(3))).await?;
    let took = (ended - first).to_std().unwrap_or_default();
    Ok(Measured { started, once, took, cpu, spawns: f64::midpoint(raw_before.rate, raw_after.rate) })
}

async fn over_the_minute(amount: &Amount, jobs: usize, seconds: u64) -> anyhow::Result<Vec<Row>> {
    let spread = |first, n: usize| {
        first + chrono::Duration::seconds(i64::try_from(n as u64 % seconds).unwrap_or_default())
    };
    let seen = run(amount, jobs, spread, Duration::from_secs(seconds + 30)).await?;
    let beyond = seen.beyond_the_queue();
    let row = |what: &str, permille, most| {
        let bench = format!("late: {jobs} commands in {seconds} s, {what} beyond the queue for starts");
        Row::new(bench, Figure::ms(beyond.permille(permille)))
            .reaching(Target::AtMost(most))
            .limit("all of a second's commands are due at its first instant, and the ends of the first (exit, spool, etcd, mongod) share the cores with the starts of the last; the queue is that of raw starts, which share them with nothing")
    };
    Ok(vec![
        row("p50", 500, 1.0).cpu(&*seen.cpu).notes(seen.notes()),
        row("p99", 990, 10.0).notes(format!("{:.0} raw spawns/s", seen.spawns)),
        seen.once.row(format!("late: {jobs} commands in {seconds} s, run once")),
    ])
}

async fn at_once(amount: &Amount, jobs: usize) -> anyhow::Result<Row> {
    let seen = run(amount, jobs, |first, _| first, Duration::from_secs(120)).await?;
    anyhow::ensure!(seen.once.is_kept(), "{jobs} commands on one instant: {}", seen.once);
    let bench = format!("late: {jobs} commands on one instant, until all have ended");
    Ok(Row::new(bench, Figure::seconds(seen.took))
        .ceiling(Figure::new(jobs as f64 / seen.spawns, "s of raw spawns"))
        .reaching(Target::ShareAtMost(1.2))
        .limit("etcd, mongod and the workers share the cores with the children: what they take, the children lack")
        .cpu(&*seen.cpu)
        .notes(seen.notes()))
}
