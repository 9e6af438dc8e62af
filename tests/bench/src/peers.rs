//! What measurements of other schedulers load them with: 800 jobs every 10 s, 1,000 every 5 s, 5,000 on one instant,
//! 2,000 registrations at once. Each job says itself that it ran: none may be missed, none doubled.

use std::time::Duration;

use chaos::{
    api,
    cluster::Cluster,
    truth::{Mark, Truth},
};
use chrono::{DateTime, Utc};
use common::tick::Tick;
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{
    Amount, processes,
    report::{self, Row},
    spread::Spread,
    spy::Once,
    stage,
};

/// How the jobs come to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// All written into etcd beforehand.
    Store,
    /// One POST each, all at once.
    Api,
}

struct Load {
    name: &'static str,
    jobs: usize,
    period: Duration,
    ticks: usize,
    by: By,
}

/// Two ticks of the slowest, three of the faster.
const SECONDS: u64 = 15;

/// Between the last save and the first tick.
const AHEAD: chrono::Duration = chrono::Duration::seconds(2);

/// How long the last may take after its tick.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second run of a tick has so long to show.
const LATE: Duration = Duration::from_secs(1);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let hour = Duration::from_secs(3600);
    let ticks = |period: u64| usize::try_from(amount.seconds(SECONDS) / period).unwrap_or(1).max(2);
    let load = |name, jobs, period, ticks, by| Load { name, jobs, period, ticks, by };
    let all = [
        load("jobs every 10 s", 800, Duration::from_secs(10), ticks(10), By::Store),
        load("jobs every 5 s", 1_000, Duration::from_secs(5), ticks(5), By::Store),
        load("jobs on one instant", 5_000, hour, 1, By::Store),
        load("registrations at once", 2_000, hour, 1, By::Api),
    ];
    let mut rows = Vec::new();
    for load in all {
        // A small measurement keeps the shape and not the waits.
        let load = match amount.jobs {
            Some(jobs) => Load { jobs: load.jobs.min(jobs), ticks: 1, ..load },
            None => load,
        };
        rows.push(carry(amount, &load).await?);
    }
    Ok(rows)
}

async fn carry(amount: &Amount, load: &Load) -> anyhow::Result<Row> {
    let workers = amount.workers.unwrap_or(2);
    let cluster = processes::start(&amount.quorate, workers).await?;
    let truth = Truth::create(cluster.dir(), &*stage::clock()?)?;
    let command = truth.once();
    let begun = Instant::now();
    // Registrations take their time: their tick is later.
    let ahead = if load.by == By::Api {
        AHEAD + chrono::Duration::milliseconds(i64::try_from(load.jobs)? * 4)
    } else {
        AHEAD
    };
    let first = stage::second_in(ahead);
    let job = |n| stage::every(n, load.period, first, &command);
    match load.by {
        By::Store => {
            let store = processes::store(&cluster).await?;
            stage::put_jobs(&*store, &processes::keys()?, (0..load.jobs).map(job), stage::now()).await?;
        }
        By::Api => register(&cluster, load.jobs, job).await?,
    }
    let saved = begun.elapsed();
    anyhow::ensure!(stage::now() < first, "saving took longer than it may: {saved:?}");
    let period = chrono::Duration::from_std(load.period)?;
    let tick = |n: usize| Tick::from_instant(first + period * i32::try_from(n).unwrap_or(i32::MAX));
    let expected: Vec<(String, Tick)> =
        (0..load.ticks).flat_map(|t| (0..load.jobs).map(move |n| (stage::name(n), tick(t)))).collect();
    stage::until(tick(load.ticks - 1).instant()).await;
    let (once, late) = settle(&truth, &expected, tick(load.ticks).instant()).await?;
    let row = once.row(format!("peers: {} {}, {}", load.jobs, load.name, report::workers(workers)));
    let times = format!("saved in {:.2} s; late with the queue for starts: {late}", saved.as_secs_f64());
    Ok(Row { notes: format!("{}; {times}", row.notes), ..row })
}

/// All POSTs in flight at once.
async fn register(
    cluster: &Cluster,
    jobs: usize,
    job: impl Fn(usize) -> anyhow::Result<common::job::Job>,
) -> anyhow::Result<()> {
    let (client, url) = (api::client(), processes::url(cluster, "jobs"));
    let posts: Vec<_> =
        (0..jobs).map(|n| Ok(client.post(&url).json(&job(n)?))).collect::<anyhow::Result<_>>()?;
    let mut posts = stream::iter(posts).map(|post| async { post.send().await }).buffer_unordered(jobs);
    while let Some(answer) = posts.next().await {
        let answer = answer?;
        anyhow::ensure!(answer.status().as_u16() == 201, "{}", answer.text().await?);
    }
    Ok(())
}

/// Reads what ran until nothing is missed; ticks from `end` on do not count.
async fn settle(
    truth: &Truth,
    expected: &[(String, Tick)],
    end: DateTime<Utc>,
) -> anyhow::Result<(Once, Spread)> {
    let begun = Instant::now();
    loop {
        let counts = |tick: Tick| tick.instant() < end;
        let missing = judge(truth, expected, counts)?.0.missed;
        let over = missing == 0 || begun.elapsed() > PATIENCE;
        sleep(if over { LATE } else { Duration::from_millis(200) }).await;
        if over {
            return judge(truth, expected, counts);
        }
    }
}

fn judge(
    truth: &Truth,
    expected: &[(String, Tick)],
    counts: impl Fn(Tick) -> bool,
) -> anyhow::Result<(Once, Spread)> {
    let starts: Vec<(String, Tick, i64)> = truth
        .read()?
        .into_iter()
        .filter(|line| line.mark == Mark::Start)
        .filter_map(|line| Some((line.job, line.tick.filter(|tick| counts(*tick))?, line.at_ms)))
        .collect();
    let once = Once::of(expected.iter().cloned(), starts.iter().map(|(job, tick, _)| (job.clone(), *tick)));
    let late = starts
        .iter()
        .map(|(_, tick, at)| chrono::Duration::milliseconds(at - tick.instant().timestamp_millis()));
    Ok((once, Spread::of(late)))
}
