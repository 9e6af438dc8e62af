//! No-op runs the whole way: claim, start, spool, finish, ship. The ceiling is the same transactions in the same
//! nested batches with nothing around them.

use std::{sync::Arc, time::Duration};

use common::job::Overlap;
use tokio::time::sleep;
use worker::driver::Driver;

use crate::{
    Amount,
    cpu::Meter,
    report::{self, Figure, Row, Target},
    spread::Spread,
    stage::{self, NoOp, Runs, Servers, Workers},
};

mod raw;

/// The first load that is tried, and by how much more it is tried while all ticks run.
const LOAD: (usize, usize) = (8_000, 4_000);

/// Between what was carried and what was not: closer is not looked.
const CLOSE: usize = 1_000;

/// The load at which costs are compared: well below what is carried.
const MODERATE: usize = 4_000;

const SECONDS: u64 = 6;

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let seconds = amount.seconds(SECONDS);
    let jobs = amount.jobs.unwrap_or(MODERATE);
    let load = |workers, runs| Load { workers, jobs, seconds, runs };
    let workers = amount.workers.unwrap_or(1);
    let many = amount.workers.unwrap_or(10);

    let most = most_carried(amount, workers, seconds).await?;
    let alone = carry(load(workers, Runs::EndAtOnce)).await?;
    let several = carry(load(many, Runs::EndAtOnce)).await?;
    let merged = carry(load(workers, Runs::UntilTold)).await?;
    let micros = |what: &str, carried: &Carried| {
        Row::new(format!("claims: {what}"), Figure::new(carried.etcd_micros, "µs"))
            .cpu(&*carried.cpu)
            .notes(carried.notes())
    };
    let ticks = |count| format!("{jobs} every-second jobs, {}", report::workers(count));
    Ok(vec![
        most,
        micros(&format!("etcd's time a tick, {}", ticks(workers)), &alone)
            .ceiling(Figure::new(alone.raw.etcd_micros, "µs of raw batches"))
            .reaching(Target::AtMost(80.0)),
        micros(&format!("etcd's time a tick, {} in one process", ticks(many)), &several)
            .ceiling(Figure::new(alone.etcd_micros, "µs with the fewer workers"))
            .reaching(Target::ShareAtMost(1.3))
            .reaching(Target::AtMost(80.0)),
        micros(&format!("etcd's time a tick that replaces the run before it, {}", ticks(workers)), &merged)
            .reaching(Target::AtMost(45.0)),
    ])
}

/// Looks for the most every-second jobs of which every tick runs.
async fn most_carried(amount: &Amount, workers: usize, seconds: u64) -> anyhow::Result<Row> {
    let (mut tried, mut good, mut bad) = (Vec::new(), 0, None);
    let mut jobs = amount.jobs.unwrap_or(LOAD.0);
    loop {
        let carried = carry(Load { workers, jobs, seconds, runs: Runs::EndAtOnce }).await?;
        if carried.is_whole() {
            good = jobs
        } else {
            bad = Some(jobs)
        }
        tried.push(carried);
        jobs = match bad {
            _ if amount.jobs.is_some() => break,
            None => jobs + LOAD.1,
            Some(bad) if bad - good > CLOSE => usize::midpoint(good, bad),
            Some(_) => break,
        };
    }
    tried.sort_by_key(|carried| (carried.is_whole(), carried.load.jobs));
    let others: Vec<String> = tried.iter().map(Carried::notes).collect();
    let best = tried.pop().expect("one at least is tried");
    Ok(Row::new(
        format!("claims: no-op runs the whole way, {}", report::workers(workers)),
        Figure::new(best.rate, "runs/s"),
    )
    .ceiling(Figure::new(best.raw.rate, "raw claims and finishes/s"))
    .reaching(Target::ShareAtLeast(0.7))
    .reaching(Target::AtLeast(8_000.0))
    .limit("the raw claims have the cores for etcd and for themselves; here each run is also started, spooled and shipped into a mongod on the same cores, and all of a second's ticks come at its first instant")
    .cpu(best.cpu)
    .notes(others.join("; ")))
}

/// Every-second jobs, and who carries them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) workers: usize,
    pub(crate) jobs: usize,
    pub(crate) seconds: u64,
    pub(crate) runs: Runs,
}

/// What became of it.
pub(crate) struct Carried {
    load: Load,
    raw: raw::Raw,
    pub(crate) rate: f64,
    runs: u64,
    total: u64,
    logged: u64,
    doubled: u64,
    late: Spread,
    /// Processor time for a run, in microseconds: etcd's, mongod's, and that of this process with the workers.
    pub(crate) etcd_micros: f64,
    pub(crate) mongod_micros: f64,
    pub(crate) own_micros: f64,
    cpu: String,
}

impl Carried {
    /// True when every tick ran, about once a second, and is in the run log, and none twice.
    fn is_whole(&self) -> bool {
        let due = self.load.jobs as u64 * self.load.seconds;
        let in_time = self.late.permille(990) < Duration::from_secs(1);
        // The measurement begins and ends in the middle of a second's runs.
        self.runs >= due - due / 100 && in_time && self.logged == self.total && self.doubled == 0
    }

    fn notes(&self) -> String {
        let due = self.load.jobs as u64 * self.load.seconds;
        format!(
            "{} jobs: {} of {due} ticks run, {} of {} runs in the run log, {} ticks doubled; late {}",
            self.load.jobs, self.runs, self.logged, self.total, self.doubled, self.late
        )
    }
}

/// Carries it, on servers of its own.
pub(crate) async fn carry(load: Load) -> anyhow::Result<Carried> {
    let Load { workers, jobs, seconds, runs } = load;
    let mut servers = Servers::start().await?;
    let raw = raw::measure(&mut servers, Duration::from_secs(seconds.min(3))).await?;
    let driver = NoOp::new(runs);
    let started =
        Workers::start(&servers, workers, &(driver.clone() as Arc<dyn Driver>), &stage::clock()?).await?;
    let store = servers.store().await?;
    // Time to save them all, and for the workers to read them.
    let first = stage::second_in(chrono::Duration::seconds(2));
    let job = |n| {
        let mut job = stage::job(n, Duration::from_secs(1), first)?;
        if runs == Runs::UntilTold {
            job.overlap = Overlap::Replace;
        }
        Ok(job)
    };
    stage::put_jobs(&*store, &servers.keys, (0..jobs).map(job), stage::now()).await?;
    // The first seconds warm caches and connections up.
    stage::until(first + chrono::Duration::milliseconds(2_500)).await;
    driver.take();
    let meter = Meter::start(servers.parts())?;
    sleep(Duration::from_secs(seconds)).await;
    let late = driver.take();
    let runs = late.count() as u64;
    let cpu = meter.per("run", runs)?;
    let [etcd_micros, mongod_micros, own_micros] =
        [meter.micros("etcd", runs)?, meter.micros("mongod", runs)?, meter.micros("ours", runs)?];
    started.end().await?;
    Ok(Carried {
        load,
        raw,
        rate: runs as f64 / seconds as f64,
        runs,
        total: driver.total(),
        logged: servers.logged().await?,
        doubled: servers.doubled().await?,
        late,
        etcd_micros,
        mongod_micros,
        own_micros,
        cpu,
    })
}
