//! What it costs when a worker goes or comes: the others rank their jobs anew, and read all locks once.

use std::time::Duration;

use anyhow::Context as _;
use chaos::cluster::Cluster;
use tokio::time::{Instant, sleep};

use crate::{
    Amount,
    cpu::Meter,
    processes,
    report::{Figure, Row},
    stage,
};

const JOBS: usize = 100_000;

/// Until what came before is over: the jobs are read, and looked after once.
const SETTLE: Duration = Duration::from_secs(6);

/// A worker that is told to end ends within this.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    let workers = amount.workers.unwrap_or(3).max(2);
    let window = Duration::from_secs(amount.seconds(SETTLE.as_secs()));
    let mut cluster = processes::start(&amount.quorate, workers).await?;
    let store = processes::store(&cluster).await?;
    stage::put_jobs(&*store, &processes::keys()?, (0..jobs).map(stage::idle), stage::now()).await?;
    drop(store);
    sleep(window).await;

    let last = workers - 1;
    let meter = Meter::start(those_that_stay(&mut cluster))?;
    let session = cluster.session_of(cluster.workers()[last].id()).await?.context("it is registered")?;
    cluster.worker(last).terminate();
    anyhow::ensure!(cluster.workers()[last].server().wait_end(ENDS_WITHIN).await, "a worker does not end");
    sleep(window).await;
    let goes = row(&format!("one of {workers} goes"), jobs, &meter, String::new())?;

    let meter = Meter::start(those_that_stay(&mut cluster))?;
    let begun = Instant::now();
    cluster.worker(last).start_again();
    cluster.wait_registered(&cluster.workers()[last], session).await;
    let registered = begun.elapsed();
    sleep(window).await;
    let notes = format!("registered after {:.2} s", registered.as_secs_f64());
    Ok(vec![goes, row(&format!("one comes to {last}"), jobs, &meter, notes)?])
}

/// All processes but the last worker's.
fn those_that_stay(cluster: &mut Cluster) -> Vec<(String, crate::cpu::Part)> {
    let last = cluster.workers().last().map(|worker| format!("worker {}", worker.id()));
    let parts = processes::parts(cluster);
    parts.into_iter().filter(|(name, _)| Some(name) != last.as_ref()).collect()
}

fn row(what: &str, jobs: usize, meter: &Meter, notes: String) -> anyhow::Result<Row> {
    let used = meter.used()?;
    let workers = used.iter().filter(|(name, _)| name.starts_with("worker "));
    let most = workers.map(|(_, used)| used.as_secs_f64()).fold(0.0, f64::max);
    let bench = format!("members: {what}, {jobs} jobs: the busiest worker that stays");
    Ok(Row::new(bench, Figure::new(most, "s of a core")).cpu(meter.per("change", 1)?).notes(notes))
}
