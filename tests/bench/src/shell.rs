//! `true` through `/bin/sh -c`, its output captured. The ceiling is the same with nothing around it.

use std::{process::Stdio, sync::Arc, time::Duration};

use common::{
    id::RunId,
    job::{Job, MAX_OUTPUT, OutputLimit},
    tick::Tick,
};
use futures::{StreamExt, stream};
use tokio::{
    process::Command,
    sync::watch,
    time::{Instant, sleep},
};
use worker::{
    driver::{Driver, Exit, RunSpec},
    output::Output,
};

use crate::{
    Amount,
    cpu::{Meter, Part},
    report::{self, Figure, Row, Target},
    spy::Spy,
    stage::{self, Servers, Workers},
};

/// At the same time: enough for two cores and for the waits of each.
const CONCURRENCY: usize = 16;

/// The loads of the whole way, in parts of what the raw loop does: more than what is to be reached, and less, should
/// that be more than is carried.
const LOADS: [f64; 2] = [0.9, 0.75];

const SECONDS: u64 = 10;

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![driver_alone(amount).await?];
    rows.extend(whole_way(amount).await?);
    Ok(rows)
}

/// Runs a second, and what one costs.
pub(crate) struct Spawned {
    pub(crate) rate: f64,
    own_micros: f64,
    cpu: String,
}

/// `sh -c true` in a loop, output read to its end: what this machine can do at best, just now.
pub(crate) async fn raw(time: Duration) -> anyhow::Result<Spawned> {
    repeat(time, || async {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "true"]).stdin(Stdio::null()).process_group(0);
        anyhow::ensure!(command.output().await?.status.success(), "true failed");
        Ok(())
    })
    .await
}

async fn repeat<F>(time: Duration, run: impl Fn() -> F + Clone + Send + 'static) -> anyhow::Result<Spawned>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let begun = Instant::now();
    let meter = Meter::start(own_and_children())?;
    let lanes = stream::iter(0..CONCURRENCY).map(|_| {
        let run = run.clone();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while begun.elapsed() < time {
                run().await?;
                done += 1;
            }
            anyhow::Ok(done)
        })
    });
    let mut lanes = lanes.buffer_unordered(CONCURRENCY);
    let mut done = 0;
    while let Some(lane) = lanes.next().await {
        done += lane??;
    }
    Ok(Spawned {
        rate: done as f64 / begun.elapsed().as_secs_f64(),
        own_micros: meter.micros("ours", done)?,
        cpu: meter.per("run", done)?,
    })
}

fn own_and_children() -> [(String, Part); 2] {
    [("ours".to_owned(), Part::Own), ("the child's".to_owned(), Part::Children)]
}

/// The driver without claims and run log, in the raw loop's place.
async fn driver_alone(amount: &Amount) -> anyhow::Result<Row> {
    let time = Duration::from_secs(amount.seconds(SECONDS)) / 2;
    let before = raw(time).await?;
    let spy = Spy::new(&amount.quorate)?;
    let job = Arc::new(stage::job(0, Duration::from_secs(1), stage::now())?);
    let ours = repeat(time, move || run_one(spy.clone(), job.clone())).await?;
    // Around it, since others use this machine too.
    let after = raw(time).await?;
    let ceiling = f64::midpoint(before.rate, after.rate);
    let bench = format!("shell: the driver alone, {CONCURRENCY} at a time");
    Ok(Row::new(bench, Figure::new(ours.rate, "runs/s"))
        .ceiling(Figure::new(ceiling, "raw spawns/s"))
        .reaching(Target::ShareAtLeast(0.85))
        .cpu(ours.cpu)
        .notes(format!("raw: {}", after.cpu)))
}

async fn run_one(spy: Arc<Spy>, job: Arc<Job>) -> anyhow::Result<()> {
    let spec = RunSpec {
        job,
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        attempt: 1,
        tick: Some(Tick::from_instant(stage::now())),
        fence: common::revision::Token(1),
        worker: "bench".parse()?,
    };
    let output = Output::new(OutputLimit::of(MAX_OUTPUT.0), Instant::now(), None);
    let (_stop, never) = watch::channel(None);
    let running = spy.start(&spec, output).await?;
    anyhow::ensure!(running.wait(never).await == Exit::code(0), "true failed");
    Ok(())
}

/// Every-second jobs, nearly as many as the raw loop does in a second: claimed, run, spooled, finished and shipped. Where
/// ticks are skipped, since the runs before them still wait for their turn, fewer jobs may get more runs: that is tried
/// too, and the better one counts.
async fn whole_way(amount: &Amount) -> anyhow::Result<[Row; 2]> {
    let seconds = amount.seconds(SECONDS);
    let raw_before = raw(Duration::from_secs(seconds.min(5))).await?;
    let workers = amount.workers.unwrap_or(1);
    let mut best: Option<Carried> = None;
    for load in LOADS {
        let jobs = amount.jobs.unwrap_or((raw_before.rate * load) as usize).max(1);
        let carried = carry(amount, workers, jobs, seconds).await?;
        let all = carried.rate >= jobs as f64 * 0.98 || amount.jobs.is_some();
        if best.as_ref().is_none_or(|best| best.rate < carried.rate) {
            best = Some(carried);
        }
        if all {
            break;
        }
    }
    let Some(Carried { jobs, rate, own_micros, cpu }) = best else { anyhow::bail!("no load was tried") };
    let raw_after = raw(Duration::from_secs(seconds.min(5))).await?;
    let between = |of: fn(&Spawned) -> f64| f64::midpoint(of(&raw_before), of(&raw_after));
    let load = format!("{jobs} every-second jobs");
    Ok([
        Row::new(format!("shell: the whole way, {}", report::workers(workers)), Figure::new(rate, "runs/s"))
            .ceiling(Figure::new(between(|raw| raw.rate), "raw spawns/s"))
            .reaching(Target::ShareAtLeast(0.85))
            .limit("etcd, mongod and the workers share the cores with the children: what they take, the children lack")
            .cpu(cpu)
            .notes(load.clone()),
        Row::new(
            format!("shell: our time a run beside the child's, {}", report::workers(workers)),
            Figure::new(own_micros, "µs"),
        )
        .ceiling(Figure::new(between(|raw| raw.own_micros), "µs of the raw loop"))
        .reaching(Target::AtMost(180.0))
        .limit("runs that end one by one wake threads, sync the disk and talk to etcd and mongod nearly one by one: a no-op run in full batches takes a tenth of it, the start by the driver half")
        .notes(format!("{load}; claimed, started, spooled, finished and shipped")),
    ])
}

/// What became of a load.
struct Carried {
    jobs: usize,
    rate: f64,
    own_micros: f64,
    cpu: String,
}

/// Carries it, on servers of its own.
async fn carry(amount: &Amount, workers: usize, jobs: usize, seconds: u64) -> anyhow::Result<Carried> {
    let mut servers = Servers::start().await?;
    let spy = Spy::new(&amount.quorate)?;
    let started =
        Workers::start(&servers, workers, &(spy.clone() as Arc<dyn Driver>), &stage::clock()?).await?;
    let first = stage::second_in(chrono::Duration::seconds(2));
    let all = (0..jobs).map(|n| stage::job(n, Duration::from_secs(1), first));
    stage::put_jobs(&*servers.store().await?, &servers.keys, all, stage::now()).await?;
    stage::until(first + chrono::Duration::milliseconds(1_500)).await;
    let parts = servers.parts().into_iter().chain([("the child's".to_owned(), Part::Children)]);
    let (meter, before, begun) = (Meter::start(parts)?, spy.ended(), Instant::now());
    sleep(Duration::from_secs(seconds)).await;
    let (done, elapsed) = (spy.ended() - before, begun.elapsed());
    let (cpu, own_micros) = (meter.per("run", done)?, meter.micros("ours", done)?);
    started.end().await?;
    Ok(Carried { jobs, rate: done as f64 / elapsed.as_secs_f64(), own_micros, cpu })
}
