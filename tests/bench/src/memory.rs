//! What a million idle jobs take in a worker and in a manager, and how long each needs to know them all.

use std::time::Duration;

use anyhow::Context as _;
use chaos::{
    api,
    cluster::{Cluster, resident_bytes},
};
use common::{
    lock::Lock,
    store::{Store, key::Keys},
    tick::Tick,
};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::{Amount, processes, report::Row, stage};

const JOBS: usize = 1_000_000;

/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    let mut cluster = processes::start(&amount.quorate, 1).await?;
    let (store, keys) = (processes::store(&cluster).await?, processes::keys()?);
    let empty = [weigh(cluster.worker(0).server().pid())?, weigh(cluster.manager(0).pid())?];
    cluster.worker(0).kill_9();
    cluster.manager(0).kill_9();
    let begun = Instant::now();
    stage::put_jobs(&*store, &keys, (0..jobs).map(stage::idle), stage::now()).await?;
    let saved = begun.elapsed();

    let took = load_worker(&mut cluster, &*store, &keys, jobs).await?;
    let worker = row("worker", jobs, empty[0], weigh(cluster.worker(0).server().pid())?, took);
    cluster.worker(0).kill_9();
    let took = load_manager(&mut cluster).await?;
    let mut manager = row("manager", jobs, empty[1], weigh(cluster.manager(0).pid())?, took);
    manager.notes += &format!("; put into etcd in {:.1} s", saved.as_secs_f64());
    Ok(vec![worker, manager])
}

#[derive(Clone, Copy)]
struct Weight {
    now: u64,
    most: u64,
}

fn weigh(pid: Pid) -> anyhow::Result<Weight> {
    let (now, most) = resident_bytes(pid).context("weigh a process")?;
    Ok(Weight { now, most })
}

fn row(who: &str, jobs: usize, empty: Weight, full: Weight, took: Duration) -> Row {
    let each = |bytes: u64| bytes.saturating_sub(empty.now) as f64 / jobs as f64;
    Row {
        bench: format!("memory: {jobs} idle jobs in a {who}"),
        value: format!("{:.0} bytes a job", each(full.now)),
        ceiling: String::new(),
        ratio: None,
        cpu: String::new(),
        notes: format!(
            "started and loaded in {:.1} s; {:.0} MB, of that {:.0} MB without jobs; at most {:.0} bytes a job",
            took.as_secs_f64(),
            full.now as f64 / 1e6,
            empty.now as f64 / 1e6,
            each(full.most)
        ),
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
