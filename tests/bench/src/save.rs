//! Saving jobs, one POST each, 64 in flight. The ceiling is etcd's: the same two puts in a transaction each.

use std::{sync::Arc, time::Duration};

use chaos::api;
use common::{
    job::StoredJob,
    lock::Lock,
    store::{Compare, Op, Store, Txn, key::Keys},
    tick::Tick,
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::time::Instant;

use crate::{Amount, cpu::Meter, processes, report::Row, stage};

const IN_FLIGHT: usize = 64;

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let mut cluster = processes::start(&amount.quorate, amount.workers.unwrap_or(1)).await?;
    let store = processes::store(&cluster).await?;
    let time = Duration::from_secs(amount.seconds);
    let most = amount.jobs.unwrap_or(usize::MAX);
    let raw_before = raw(store.clone(), "before", time / 4, most).await?;
    let meter = Meter::start(processes::parts(&mut cluster))?;
    let (client, url) = (api::client(), processes::url(&cluster, "jobs"));
    let saved = repeat(time / 2, most, move |n| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let job = json!({
                "name": stage::name(n),
                "trigger": {"cron": ["0 0 1 1 *"], "zone": "UTC"},
                "driver": {"shell": {"command": "/usr/local/bin/backup --full --level 9 /srv/data"}},
            });
            let answer = client.post(&url).json(&job).send().await?;
            anyhow::ensure!(answer.status().as_u16() == 201, "{}", answer.text().await?);
            Ok(())
        }
    })
    .await?;
    let cpu = meter.per("job", saved.count)?;
    let raw_after = raw(store, "after", time / 4, most).await?;
    let ceiling = f64::midpoint(raw_before.rate, raw_after.rate);
    Ok(vec![Row {
        bench: format!("save: one POST a job, {IN_FLIGHT} in flight"),
        value: format!("{:.0} jobs/s", saved.rate),
        ceiling: format!("{ceiling:.0} raw transactions/s"),
        ratio: Some(saved.rate / ceiling),
        cpu,
        notes: format!("{} jobs, each shown by the manager when its answer came", saved.count),
    }])
}

struct Done {
    count: u64,
    rate: f64,
}

/// Does it again and again, so many at a time, for so long or so often.
async fn repeat<F>(time: Duration, most: usize, run: impl Fn(usize) -> F) -> anyhow::Result<Done>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let begun = Instant::now();
    let calls = stream::iter((0..most).take_while(|_| begun.elapsed() < time)).map(|n| tokio::spawn(run(n)));
    let mut calls = calls.buffer_unordered(IN_FLIGHT);
    let mut count = 0;
    while let Some(call) = calls.next().await {
        call??;
        count += 1;
    }
    Ok(Done { count, rate: count as f64 / begun.elapsed().as_secs_f64() })
}

/// A job and its lock where neither was.
async fn raw(store: Arc<dyn Store>, root: &str, time: Duration, most: usize) -> anyhow::Result<Done> {
    let keys = Keys::new(&format!("/raw-{root}/"))?;
    repeat(time, most, move |n| {
        let (store, keys) = (store.clone(), keys.clone());
        async move {
            let (job, now) = (stage::idle(n)?, stage::now());
            let (key, lock) = (keys.job(&job.name), keys.lock(&job.name));
            let puts = vec![
                Op::Put(key.clone(), StoredJob::new(job, now).encode(), None),
                Op::Put(lock, Lock::new(Tick::from_instant(now)).encode(), None),
            ];
            let outcome = store.txn(Txn::when(vec![Compare::CreateRevision(key, 0)], puts)).await?;
            anyhow::ensure!(outcome.succeeded, "a key was there");
            Ok(())
        }
    })
    .await
}
