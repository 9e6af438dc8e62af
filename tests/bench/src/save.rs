//! Saving jobs: one POST each, 64 in flight, and many in one request. The ceiling is etcd's: the same two puts in a
//! transaction each, or many in one.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use chaos::{api, cluster::Cluster};
use common::{
    job::StoredJob,
    lock::Lock,
    store::{Compare, Op, Store, Txn, key::Keys},
    tick::Tick,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Amount,
    cpu::Meter,
    processes,
    report::{Figure, Row, Target},
    stage,
};

const IN_FLIGHT: usize = 64;

/// Jobs in one request: as many as it takes.
const BULK: usize = 5_000;

/// Requests with many jobs at the same time, as of one who sends a large file.
const BULKS_IN_FLIGHT: usize = 2;

const SECONDS: u64 = 10;

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let mut cluster = processes::start(&amount.quorate, amount.workers.unwrap_or(1)).await?;
    let store = processes::store(&cluster).await?;
    let time = Duration::from_secs(amount.seconds(SECONDS));
    let most = amount.jobs.unwrap_or(usize::MAX);
    let one = one_by_one(&mut cluster, &store, time, most).await?;
    let many = many_at_once(&mut cluster, &store, time, most).await?;
    Ok(vec![one, many])
}

async fn one_by_one(
    cluster: &mut Cluster,
    store: &Arc<dyn Store>,
    time: Duration,
    most: usize,
) -> anyhow::Result<Row> {
    let raw_before = raw(store.clone(), "before", time / 4, most).await?;
    let meter = Meter::start(processes::parts(cluster))?;
    let (client, url) = (api::client(), processes::url(cluster, "jobs"));
    let saved = repeat(IN_FLIGHT, time / 2, most, move |n| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let answer = client.post(&url).json(&job("single", n)).send().await?;
            // What a busy machine does not save in time counts as not saved.
            let saved = match answer.status().as_u16() {
                201 => 1,
                503 => 0,
                _ => anyhow::bail!("{}", answer.text().await?),
            };
            Ok(saved)
        }
    })
    .await?;
    let cpu = meter.per("job", saved.count)?;
    let raw_after = raw(store.clone(), "after", time / 4, most).await?;
    let bench = format!("save: one POST a job, {IN_FLIGHT} in flight");
    Ok(Row::new(bench, Figure::new(saved.rate, "jobs/s"))
        .ceiling(Figure::new(f64::midpoint(raw_before.rate, raw_after.rate), "raw transactions/s"))
        .reaching(Target::ShareAtLeast(0.6))
        .cpu(cpu)
        .notes(format!("{} jobs, each shown by the manager when its answer came", saved.count)))
}

async fn many_at_once(
    cluster: &mut Cluster,
    store: &Arc<dyn Store>,
    time: Duration,
    most: usize,
) -> anyhow::Result<Row> {
    let bulk = BULK.min(most);
    let meter = Meter::start(processes::parts(cluster))?;
    let (client, url) = (api::client(), processes::url(cluster, "save"));
    let saved = repeat(BULKS_IN_FLIGHT, time / 2, most, move |n| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let jobs: Vec<Value> = (n * bulk..(n + 1) * bulk).map(|n| job("bulk", n)).collect();
            let answer = client.post(&url).json(&jobs).send().await?.error_for_status()?;
            let answer: Value = answer.json().await?;
            answer["created"].as_u64().context("an answer without a count")
        }
    })
    .await?;
    let jobs = saved.count;
    let cpu = meter.per("job", jobs)?;
    let (begun, keys) = (Instant::now(), Keys::new("/raw-bulk/")?);
    let raw_jobs = usize::try_from(jobs)?;
    stage::put_jobs(&**store, &keys, (0..raw_jobs).map(stage::idle), stage::now()).await?;
    let raw = jobs as f64 / begun.elapsed().as_secs_f64();
    let bench = format!("save: {BULK} jobs in a POST, {BULKS_IN_FLIGHT} in flight");
    Ok(Row::new(bench, Figure::new(saved.rate, "jobs/s"))
        .ceiling(Figure::new(raw, "raw jobs/s, 50 in a transaction"))
        .reaching(Target::AtLeast(10_000.0))
        .cpu(cpu)
        .notes(format!("{jobs} jobs, each shown by the manager when its answer came")))
}

fn job(kind: &str, n: usize) -> Value {
    json!({
        "name": format!("{kind}-{n:07}"),
        "trigger": {"cron": ["0 0 1 1 *"], "zone": "UTC"},
        "driver": {"shell": {"command": "/usr/local/bin/backup --full --level 9 /srv/data"}},
    })
}

struct Done {
    count: u64,
    rate: f64,
}

/// Does it again and again, so many at a time, for so long or so often, and counts what was saved.
async fn repeat<F>(
    in_flight: usize,
    time: Duration,
    most: usize,
    run: impl Fn(usize) -> F,
) -> anyhow::Result<Done>
where
    F: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    let begun = Instant::now();
    let calls = stream::iter((0..most).take_while(|_| begun.elapsed() < time)).map(|n| tokio::spawn(run(n)));
    let mut calls = calls.buffer_unordered(in_flight);
    let mut count = 0;
    while let Some(call) = calls.next().await {
        count += call??;
    }
    Ok(Done { count, rate: count as f64 / begun.elapsed().as_secs_f64() })
}

/// A job and its lock where neither was.
async fn raw(store: Arc<dyn Store>, root: &str, time: Duration, most: usize) -> anyhow::Result<Done> {
    let keys = Keys::new(&format!("/raw-{root}/"))?;
    repeat(IN_FLIGHT, time, most, move |n| {
        let (store, keys) = (store.clone(), keys.clone());
        async move {
            let (job, now) = (stage::idle(n)?, stage::now());
            let (key, lock) = (keys.job(&job.name), keys.lock(&job.name));
            let puts = vec![
                Op::Put(key.clone(), StoredJob::new(job, now).encode(), None),
                Op::Put(lock, Lock::new(Tick::from_instant(now)).encode(), None),
            ];
            let outcome = store
                .txn(Txn::when(vec![Compare::CreateRevision(key, common::revision::Revision::NONE)], puts))
                .await?;
            anyhow::ensure!(outcome.succeeded, "a key was there");
            Ok(1)
        }
    })
    .await
}
