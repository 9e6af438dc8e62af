//! What a million idle jobs take in a worker and in a manager, and how long each needs to know them all.

use std::time::Duration;

use anyhow::Context as _;
use chaos::{
    api,
    cluster::{Cluster, resident_bytes},
};
use common::{
    lock::Lock,
    store::{Store, key::Keys, list_all},
    tick::Tick,
};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::{
    Amount, processes,
    report::{Figure, Row, Target},
    stage,
};

const JOBS: usize = 1_000_000;

/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// After the load: the first full pass over the locks, and what is freed.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let weighed = weigh_jobs(amount, amount.jobs.unwrap_or(JOBS)).await?;
    let Weighed { worker, manager, listed, .. } = &weighed;
    let mut rows = worker.rows("worker", *listed, 1_000.0);
    rows.extend(manager.rows("manager", *listed, 1_500.0));
    Ok(rows)
}

/// What jobs weigh.
pub(crate) struct Weighed {
    pub(crate) worker: Loaded,
    pub(crate) manager: Loaded,
    /// How long a bare client takes to read all definitions.
    listed: Duration,
}

/// A process with its jobs.
pub(crate) struct Loaded {
    jobs: usize,
    took: Duration,
    empty: Weight,
    /// When it just knew them, and at last.
    at_once: Weight,
    pub(crate) full: Weight,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    /// Resident, in bytes.
    pub(crate) now: u64,
    most: u64,
}

/// Puts jobs of which none is due into etcd, and starts a worker, then a manager, with them.
pub(crate) async fn weigh_jobs(amount: &Amount, jobs: usize) -> anyhow::Result<Weighed> {
    let mut cluster = processes::start(&amount.quorate, 1).await?;
    let (store, keys) = (processes::store(&cluster).await?, processes::keys()?);
    let empty = [weigh(cluster.worker(0).server().pid())?, weigh(cluster.manager(0).pid())?];
    cluster.worker(0).kill_9();
    cluster.manager(0).kill_9();
    stage::put_jobs(&*store, &keys, (0..jobs).map(stage::idle), stage::now()).await?;
    let begun = Instant::now();
    anyhow::ensure!(list_all(&*store, &keys.jobs).await?.0.len() == jobs, "not all jobs are there");
    let listed = begun.elapsed();

    let took = load_worker(&mut cluster, &*store, &keys, jobs).await?;
    let worker = Loaded::of(cluster.worker(0).server().pid(), jobs, empty[0], took).await?;
    cluster.worker(0).kill_9();
    let took = load_manager(&mut cluster).await?;
    let manager = Loaded::of(cluster.manager(0).pid(), jobs, empty[1], took).await?;
    Ok(Weighed { worker, manager, listed })
}

fn weigh(pid: Pid) -> anyhow::Result<Weight> {
    let (now, most) = resident_bytes(pid).context("weigh a process")?;
    Ok(Weight { now, most })
}

impl Loaded {
    async fn of(pid: Pid, jobs: usize, empty: Weight, took: Duration) -> anyhow::Result<Self> {
        let at_once = weigh(pid)?;
        sleep(SETTLE.min(took * 10)).await;
        Ok(Self { jobs, took, empty, at_once, full: weigh(pid)? })
    }

    fn each(&self, bytes: u64) -> f64 {
        bytes.saturating_sub(self.empty.now) as f64 / self.jobs as f64
    }

    fn rows(&self, who: &str, listed: Duration, most: f64) -> Vec<Row> {
        let jobs = format!("{} idle jobs in a {who}", crate::report::number(self.jobs as f64));
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let each = Figure::new(self.each(self.full.now), "bytes a job");
        let notes = format!(
            "{:.0} MB, of that {:.0} MB without jobs; {:.0} bytes a job when just loaded, at most {:.0}",
            mb(self.full.now),
            mb(self.empty.now),
            self.each(self.at_once.now),
            self.each(self.full.most)
        );
        vec![
            Row::new(format!("memory: {jobs}"), each).reaching(Target::AtMost(most)).notes(notes),
            Row::new(format!("memory: {jobs}, from start until it knows them"), Figure::seconds(self.took))
                .ceiling(Figure::new(listed.as_secs_f64(), "s to list them"))
                .reaching(Target::AtMost(30.0)),
        ]
    }
}

/// Starts it; it knows all jobs when it runs one that came with them.
async fn load_worker(
    cluster: &mut Cluster,
    store: &dyn Store,
    keys: &Keys,
    jobs: usize,
) -> anyhow::Result<Duration> {
    let (saved, second) = (stage::now(), Duration::from_secs(1));
    let probe = stage::job(jobs, second, saved)?;
    let lock = keys.lock(&probe.name);
    stage::put_jobs(store, keys, [Ok(probe)], saved).await?;
    let begun = Instant::now();
    cluster.worker(0).start_again();
    loop {
        let (entry, _) = store.get(&lock).await?;
        let lock = Lock::decode(&entry.context("the probe's lock is there")?.value)?;
        let moved = match lock {
            Lock::Free(free) => free.fence.seconds() > Tick::from_instant(saved).seconds(),
            Lock::Held(_) => true,
        };
        if moved {
            return Ok(begun.elapsed());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "a worker does not get to know its jobs");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Starts it; it knows all jobs when it shows some.
async fn load_manager(cluster: &mut Cluster) -> anyhow::Result<Duration> {
    let (client, url) = (api::client(), processes::url(cluster, "jobs?limit=1"));
    let begun = Instant::now();
    cluster.manager(0).spawn();
    loop {
        if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(begun.elapsed());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "a manager does not get to know its jobs");
        sleep(Duration::from_millis(20)).await;
    }
}
