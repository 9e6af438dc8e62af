//! What 10,000 jobs cost of which none is due.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Amount,
    cpu::Meter,
    processes,
    report::{self, Figure, Row, Target},
    stage,
};

const JOBS: usize = 10_000;

/// Long enough for the renewal of leases, full passes and reports to have their share.
const SECONDS: u64 = 30;

/// Until what came with the jobs is over, in the servers too.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    let workers = amount.workers.unwrap_or(2);
    let mut cluster = processes::start(&amount.quorate, workers).await?;
    let store = processes::store(&cluster).await?;
    stage::put_jobs(&*store, &processes::keys()?, (0..jobs).map(stage::idle), stage::now()).await?;
    // Its connection has a price too.
    drop(store);
    sleep(SETTLE).await;
    let (meter, begun) = (Meter::start(processes::parts(&mut cluster))?, Instant::now());
    let seconds = amount.seconds(SECONDS);
    sleep(Duration::from_secs(seconds)).await;
    let most = meter.used()?.into_iter().filter(|(name, _)| !["etcd", "mongod"].contains(name));
    let most = most.map(|(_, used)| used).max().unwrap_or_default();
    let percent = 100.0 * most.as_secs_f64() / begun.elapsed().as_secs_f64();
    let bench =
        format!("idle: {jobs} jobs, none due, {}: the busiest of our processes", report::workers(workers));
    Ok(vec![
        Row::new(bench, Figure::new(percent, "% of a core"))
            .reaching(Target::AtMost(1.0))
            .limit("a worker renews its lease and its registration, moves its mark and goes through the queue, whatever there is to run; beside other work on the machine each of these takes longer")
            .cpu(meter.share_of(begun.elapsed())?)
            .notes(format!("over {seconds} s; the kernel counts in steps of 10 ms")),
    ])
}
