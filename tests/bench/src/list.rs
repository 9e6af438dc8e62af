//! Pages of 100,000 jobs: search by a part of the name, filters that look at every job, and pages far behind.

use std::time::Duration;

use anyhow::Context as _;
use chaos::{api, cluster::Cluster};
use serde_json::Value;
use test_support::browser::Browser;
use tokio::time::{Instant, sleep};

use crate::{
    Amount,
    cpu::Meter,
    processes,
    report::{Figure, Row, Target, number},
    spread::Spread,
    stage,
};

const JOBS: usize = 100_000;

const SECONDS: u64 = 12;

/// How often the page is loaded.
const LOADS: usize = 5;

/// What a page of the UI asks for, each with three digits behind it that change. Those sorted and by state look at
/// every job, and the last finds none.
const KINDS: [(&str, &str); 4] = [
    ("search", "jobs?limit=100&q="),
    ("search, sorted by the next tick", "jobs?limit=100&sort=next&q="),
    ("a page far behind", "jobs?limit=100&after=job-00"),
    ("a state that no job has", "jobs?limit=100&state=failed&q="),
];

/// How long a manager may take to know them.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let jobs = amount.jobs.unwrap_or(JOBS);
    let mut cluster = processes::start(&amount.quorate, amount.workers.unwrap_or(1)).await?;
    let store = processes::store(&cluster).await?;
    let all = (0..jobs).map(stage::idle);
    stage::put_jobs(&*store, &processes::keys()?, all, stage::now()).await?;
    until_known(&cluster, jobs).await?;
    let time = Duration::from_secs(amount.seconds(SECONDS)) / u32::try_from(KINDS.len())?;
    let mut rows = Vec::new();
    for (name, query) in KINDS {
        let meter = Meter::start(processes::parts(&mut cluster))?;
        let (times, bytes) = ask(&cluster, query, time).await?;
        let (count, times) = (times.len(), times.into_iter().collect::<Spread>());
        let bench = format!("list: {} jobs, {name}: p99", number(jobs as f64));
        rows.push(
            Row::new(bench, Figure::ms(times.permille(990)))
                .reaching(Target::AtMost(50.0))
                .cpu(meter.per("page", count as u64)?)
                .notes(format!("{count} pages, at most {bytes} bytes each; {times}")),
        );
    }
    rows.extend(paint(&cluster, jobs).await?);
    Ok(rows)
}

/// The page in a browser, with nothing kept from the time before: the longest of several loads.
async fn paint(cluster: &Cluster, jobs: usize) -> anyhow::Result<[Row; 2]> {
    // Which entry of the browser's own account, and since when the list stands on the page.
    const PAINTED: &str =
        "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
    const FILLED: &str =
        "return document.querySelector('[data-test=job]') === null ? null : performance.now()";
    let (mut painted, mut filled) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let browser = Browser::open(1300, 900).await?;
        browser.go(&format!("http://{}/", cluster.managers()[0])).await?;
        filled.push(answer(&browser, FILLED).await?);
        painted.push(answer(&browser, PAINTED).await?);
    }
    let row = |what: &str, times: Vec<Duration>| {
        let times = times.into_iter().collect::<Spread>();
        let bench = format!("list: {} jobs, the page in Chromium: {what}", number(jobs as f64));
        Row::new(bench, Figure::ms(times.permille(1000)))
            .reaching(Target::AtMost(1000.0))
            .notes(format!("{LOADS} loads, each in a new browser; {times}"))
    };
    Ok([row("first paint", painted), row("the first jobs are on it", filled)])
}

/// Asks a page until it has an answer, in milliseconds since it was asked for.
async fn answer(browser: &Browser, script: &str) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        if let Some(millis) = browser.run(script).await?.as_f64() {
            return Ok(Duration::from_secs_f64(millis / 1000.0));
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the page does not answer {script}");
        sleep(Duration::from_millis(5)).await;
    }
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
