//! No-op runs the whole way: claim, start, spool, finish, ship. The ceiling is the same transactions in the same
//! nested batches with nothing around them.

use std::{sync::Arc, time::Duration};

use common::{
    id::RunId,
    lock::{Held, LastRun, Lock},
    run::{Cause, RunState},
    store::{Compare, Op, OpOutcome, Store, Txn, key::Keys},
    tick::Tick,
};
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use worker::{claim, driver::Driver};

use crate::{
    Amount,
    cpu::Meter,
    report::Row,
    stage::{self, NoOp, Servers, Workers},
};

/// Every so many jobs a second until ticks are missed.
const LOADS: [usize; 4] = [1_000, 4_000, 8_000, 12_000];

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for workers in amount.workers.map_or_else(|| vec![1, 10], |workers| vec![workers]) {
        for jobs in amount.jobs.map_or_else(|| LOADS.to_vec(), |jobs| vec![jobs]) {
            rows.push(whole_way(workers, jobs, amount.seconds).await?);
        }
    }
    Ok(rows)
}

async fn whole_way(workers: usize, jobs: usize, seconds: u64) -> anyhow::Result<Row> {
    let mut servers = Servers::start().await?;
    let ceiling = raw(&servers, seconds.min(5)).await?;
    let driver = Arc::new(NoOp::default());
    let started =
        Workers::start(&servers, workers, &(driver.clone() as Arc<dyn Driver>), &stage::clock()?).await?;
    let store = servers.store().await?;
    // Time to save them all, and for the workers to read them.
    let first = stage::now() + chrono::Duration::seconds(3);
    let all = (0..jobs).map(|n| stage::job(n, Duration::from_secs(1), first));
    stage::put_jobs(&*store, &servers.keys, all, stage::now()).await?;
    // The first seconds warm caches and connections up.
    stage::until(first + chrono::Duration::milliseconds(2_500)).await;
    driver.take();
    let meter = Meter::start(servers.parts())?;
    sleep(Duration::from_secs(seconds)).await;
    let seen = driver.take();
    let cpu = meter.per("run", seen.runs)?;
    started.end().await?;
    let (total, logged) = (driver.total(), servers.logged().await?);
    let expected = jobs as u64 * seconds;
    let rate = seen.runs as f64 / seconds as f64;
    Ok(Row {
        bench: format!("claims: {jobs} every-second jobs, {workers} workers"),
        value: format!("{rate:.0} runs/s"),
        ceiling: format!("{ceiling:.0} claim + finish/s"),
        ratio: Some(rate / ceiling),
        cpu,
        notes: format!(
            "{expected} ticks due, {} run; of all {total} runs {logged} in the run log; late p50 {:?}, p99 {:?}, max {:?}",
            seen.runs,
            seen.late(500),
            seen.late(990),
            seen.late(1000),
        ),
    })
}

/// Claims and finishes in nested batches under a guard, three in flight: the store's own speed.
async fn raw(servers: &Servers, seconds: u64) -> anyhow::Result<f64> {
    const BATCH: usize = 60;
    let (store, keys) = (servers.store().await?, Keys::new("/raw/")?);
    let session = store
        .txn(Txn::when(Vec::new(), vec![Op::Put(keys.worker(&"raw".parse()?), b"{}".to_vec(), None)]))
        .await?
        .revision;
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(seconds);
    let lanes = stream::iter(0..3).map(|lane| {
        let (store, keys) = (store.clone(), keys.clone());
        async move {
            let locks: Vec<_> = (0..BATCH).map(|n| format!("lane-{lane}-{n}")).collect();
            let start = Tick::from_instant(stage::now());
            let put = |name: &String| {
                let job = name.parse()?;
                Ok(vec![
                    Op::Put(keys.lock(&job), Lock::new(start).encode(), None),
                    Op::Put(keys.job(&job), b"{}".to_vec(), None),
                ])
            };
            let puts: anyhow::Result<Vec<Vec<Op>>> = locks.iter().map(put).collect();
            let definition = store.txn(Txn::when(Vec::new(), puts?.concat())).await?.revision;
            let (mut tick, mut done) = (start, 0_u64);
            while Instant::now() < deadline {
                let previous = tick;
                tick = Tick::from_instant(tick.instant() + chrono::Duration::seconds(1));
                let held: Vec<Held> =
                    locks.iter().map(|name| held(name, tick, session)).collect::<Result<_, _>>()?;
                let claims = held.iter().map(|held| claim::claim(&keys, held, previous, definition));
                let won = nested(&*store, &keys, claims.collect(), session).await?;
                let finishes = held.iter().zip(won).map(|(held, seen)| {
                    let last = LastRun {
                        run: held.run,
                        state: RunState::Succeeded,
                        ended: stage::now(),
                        worker: held.worker.clone(),
                    };
                    claim::finish(&keys, held, seen, Some(last))
                });
                done += nested(&*store, &keys, finishes.collect(), session).await?.len() as u64;
            }
            anyhow::Ok(done)
        }
    });
    let done: Vec<anyhow::Result<u64>> = lanes.buffer_unordered(3).collect().await;
    let done = done.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

fn held(name: &str, tick: Tick, session: i64) -> anyhow::Result<Held> {
    Ok(Held {
        job: name.parse()?,
        fence: tick,
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        attempt: 1,
        tick: Some(tick),
        cause: Cause::Schedule,
        worker: "raw".parse()?,
        session,
        epoch: common::epoch::Epoch::default(),
        claimed: stage::now(),
        skipped: 0,
        last_skip: None,
        missed: None,
    })
}

/// The revisions of those that succeeded.
async fn nested(store: &dyn Store, keys: &Keys, txns: Vec<Txn>, session: i64) -> anyhow::Result<Vec<i64>> {
    let guard = Compare::CreateRevision(keys.worker(&"raw".parse()?), session);
    let inner = Txn::when(vec![guard], txns.into_iter().map(Op::Txn).collect());
    let outcome = store.txn(Txn::when(Vec::new(), vec![Op::Txn(inner)])).await?;
    let Some(OpOutcome::Txn(inner)) = outcome.results.first() else { anyhow::bail!("no nested outcome") };
    let won = inner.results.iter().filter_map(|result| match result {
        OpOutcome::Txn(txn) if txn.succeeded => Some(txn.revision),
        _ => None,
    });
    Ok(won.collect())
}
