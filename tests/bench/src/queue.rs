//! What it costs that 10,000 runs wait for the next hour while others are put into the queue and claimed. The ceiling is
//! the same with nothing else in the queue.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    id::RunId,
    queue::QueuedRun,
    run::Cause,
    store::{Op, Store, Txn, key::Keys, list_all},
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, interval, sleep};
use worker::driver::Driver;

use crate::{
    Amount,
    cpu::Meter,
    report::{self, Figure, Row, Target},
    stage::{self, NoOp, Runs, Servers, Workers},
};

/// Whose runs they are.
const JOBS: usize = 100;

/// So many runs of each job wait.
const WAITING: usize = 100;

/// Put and claimed in a second.
const RATE: u32 = 100;

const SECONDS: u64 = 25;

/// Until what came with the jobs, or with the runs that wait, is over.
const SETTLE: Duration = Duration::from_secs(5);

/// In which all that was put has to start, when the last of it is.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let (jobs, seconds) = (amount.jobs.unwrap_or(JOBS), amount.seconds(SECONDS));
    let workers = amount.workers.unwrap_or(1);
    let mut servers = Servers::start().await?;
    let driver = NoOp::new(Runs::EndAtOnce);
    let started =
        Workers::start(&servers, workers, &(driver.clone() as Arc<dyn Driver>), &stage::clock()?).await?;
    let (store, keys) = (servers.store().await?, servers.keys.clone());
    stage::put_jobs(&*store, &keys, (0..jobs).map(stage::idle), stage::now()).await?;
    let queue = Queue { store, keys, driver, jobs };
    sleep(SETTLE).await;
    let empty = queue.load(&mut servers, seconds).await?;
    queue.fill(stage::now()).await?;
    sleep(SETTLE).await;
    let full = queue.load(&mut servers, seconds).await?;
    let waiting = queue.waiting().await?;
    started.end().await?;
    anyhow::ensure!(waiting == jobs * WAITING, "{waiting} of {} runs wait", jobs * WAITING);
    let bench = format!(
        "queue: our time a run, {RATE} a second put and claimed while {waiting} of {jobs} jobs wait for the next hour, {}",
        report::workers(workers)
    );
    Ok(vec![
        Row::new(bench, Figure::new(full.micros, "µs"))
            .ceiling(Figure::new(empty.micros, "µs while no other waits"))
            .reaching(Target::ShareAtMost(1.5))
            .cpu(full.cpu)
            .notes(format!(
                "{}; while no other waits: {}; who puts them is in this",
                full.counts, empty.counts
            )),
    ])
}

/// The queue that is filled.
struct Queue {
    store: Arc<dyn Store>,
    keys: Keys,
    driver: Arc<NoOp>,
    jobs: usize,
}

/// What runs cost that were put and claimed.
struct Cost {
    /// This process's time for a run, in microseconds.
    micros: f64,
    cpu: String,
    counts: String,
}

impl Queue {
    /// Puts runs for an hour from now, and a little later each.
    async fn fill(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let runs = (0..self.jobs * WAITING).map(|n| {
            let ahead = chrono::Duration::hours(1) + chrono::Duration::milliseconds(i64::try_from(n)?);
            self.put_of(n, Some(now + ahead))
        });
        stream::iter(runs)
            .chunks(100)
            .map(|puts| async {
                let puts: Vec<Op> = puts.into_iter().collect::<anyhow::Result<_>>()?;
                anyhow::Ok(self.store.txn(Txn::when(Vec::new(), puts)).await?)
            })
            .buffer_unordered(4)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Puts runs for now, one by one, and weighs what is used until all have started.
    async fn load(&self, servers: &mut Servers, seconds: u64) -> anyhow::Result<Cost> {
        let (before, count) = (self.driver.total(), seconds * u64::from(RATE));
        let (meter, begun) = (Meter::start(servers.parts())?, Instant::now());
        let beats = interval(Duration::from_secs(1) / RATE);
        stream::unfold(beats, |mut beats| async {
            beats.tick().await;
            Some(((), beats))
        })
        .zip(stream::iter(0..usize::try_from(count)?))
        .map(|((), n)| async move {
            let put = self.put_of(n, None)?;
            anyhow::Ok(self.store.txn(Txn::when(Vec::new(), vec![put])).await?)
        })
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await?;
        let (put_in, in_time) = (begun.elapsed(), self.driver.total() - before);
        // A worker that is behind costs no less for that: its time is taken when it has caught up.
        while self.driver.total() - before < count {
            anyhow::ensure!(begun.elapsed() < put_in + PATIENCE, "of {count} runs some do not start");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Cost {
            micros: meter.micros("ours", count)?,
            cpu: meter.per("run", count)?,
            counts: format!(
                "{count} put in {:.1} s, {in_time} of them started by then, all after {:.1} s",
                put_in.as_secs_f64(),
                begun.elapsed().as_secs_f64()
            ),
        })
    }

    /// One job after the other has one.
    fn put_of(&self, n: usize, not_before: Option<DateTime<Utc>>) -> anyhow::Result<Op> {
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let wanted = QueuedRun {
            not_before,
            ..QueuedRun::new(stage::name(n % self.jobs).parse()?, run, Cause::Manual, stage::now())
        };
        Ok(Op::Put(self.keys.queue.key(run.to_string()), wanted.encode(), None))
    }

    async fn waiting(&self) -> anyhow::Result<usize> {
        Ok(list_all(&*self.store, &self.keys.queue).await?.0.len())
    }
}
