//! Pages of 100,000 jobs: search by a part of the name, filters that look at every job, and pages far behind.

use std::time::Duration;

use anyhow::Context as _;
use chaos::{api, cluster::Cluster};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{Amount, cpu::Meter, processes, report::Row, spread::Spread, stage};

const JOBS: usize = 100_000;

/// How long a manager may take to know them.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    let mut cluster = processes::start(&amount.quorate, amount.workers.unwrap_or(1)).await?;
    let store = processes::store(&cluster).await?;
    let all = (0..jobs).map(stage::idle);
    stage::put_jobs(&*store, &processes::keys()?, all, stage::now()).await?;
    until_known(&cluster, jobs).await?;
    // What a page of the UI asks for, in turn; the third reads every job and finds none.
    let kinds = [
        ("search", "jobs?limit=100&q="),
        ("a page far behind", "jobs?limit=100&after=job-00"),
        ("a state that no job has", "jobs?limit=100&state=failed&q="),
    ];
    let time = Duration::from_secs(amount.seconds) / 3;
    let mut rows = Vec::new();
    for (name, query) in kinds {
        let meter = Meter::start(processes::parts(&mut cluster))?;
        let (times, bytes) = ask(&cluster, query, time).await?;
        let count = times.len() as u64;
        rows.push(Row {
            bench: format!("list: {name}, {jobs} jobs"),
            value: times.into_iter().collect::<Spread>().to_string(),
            ceiling: String::new(),
            ratio: None,
            cpu: meter.per("page", count)?,
            notes: format!("{count} pages, at most {bytes} bytes each"),
        });
    }
    Ok(rows)
}

/// One after the other with other words each; how long each took, and the longest answer.
async fn ask(cluster: &Cluster, query: &str, time: Duration) -> anyhow::Result<(Vec<Duration>, usize)> {
    let (client, begun) = (api::client(), Instant::now());
    let (mut times, mut longest) = (Vec::new(), 0);
    while begun.elapsed() < time {
        let url = processes::url(cluster, &format!("{query}{:03}", times.len() * 7 % 1000));
        let asked = Instant::now();
        let answer = client.get(&url).send().await?.error_for_status()?;
        longest = longest.max(answer.bytes().await?.len());
        times.push(asked.elapsed());
    }
    Ok((times, longest))
}

async fn until_known(cluster: &Cluster, jobs: usize) -> anyhow::Result<()> {
    let (client, begun) = (api::client(), Instant::now());
    let last = processes::url(cluster, &format!("jobs?limit=1&q={}", stage::name(jobs - 1)));
    loop {
        let page: Value = client.get(&last).send().await?.error_for_status()?.json().await?;
        if page.get("items").and_then(Value::as_array).context("a page has items")?.len() == 1 {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the manager does not get to know its jobs");
        sleep(Duration::from_millis(50)).await;
    }
}
