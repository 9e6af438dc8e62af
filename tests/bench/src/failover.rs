//! `kill -9` of a worker: how late the ticks run that were its own, until its registration ends and they have another
//! first choice. A job that it was running waits for its lease, and is told apart.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use common::{
    lock::Lock,
    store::{Store, key::Keys, list_all},
};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio::time::{Instant, sleep};

use crate::{
    Amount, processes,
    report::{Figure, Row, Target},
    spread::Spread,
    stage,
};

const JOBS: usize = 200;

/// Its registration ends 15 s after the kill: until then every tick of its own is late.
const SECONDS: u64 = 12;

/// Before the kill, so that it is seen whose a job is.
const BEFORE: Duration = Duration::from_secs(2);

/// Until the last records are in the run log, at most.
const SETTLE: Duration = Duration::from_secs(20);

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let (jobs, seconds) = (amount.jobs.unwrap_or(JOBS), amount.seconds(SECONDS));
    let workers = amount.workers.unwrap_or(2).max(2);
    let mut cluster = processes::start(&amount.quorate, workers).await?;
    let (store, keys) = (processes::store(&cluster).await?, processes::keys()?);
    let first = stage::second_in(chrono::Duration::seconds(1));
    let all = (0..jobs).map(|n| stage::job(n, Duration::from_secs(1), first));
    stage::put_jobs(&*store, &keys, all, stage::now()).await?;
    stage::until(first).await;
    // Between two ticks: their runs have ended, and it is the next ticks that have to be met.
    sleep(BEFORE + Duration::from_millis(600)).await;
    let killed = stage::now();
    cluster.worker(0).kill_9();
    let victim = cluster.workers()[0].id().to_owned();
    let running = held_by(&*store, &keys, &victim).await?;
    sleep(Duration::from_secs(seconds)).await;
    let until = killed + chrono::Duration::seconds(i64::try_from(seconds)?);
    let begun = Instant::now();
    loop {
        let runs = read(&cluster.mongod.uri()).await?;
        let seen = judge(&runs, &victim, &running, killed.timestamp_millis(), until.timestamp_millis());
        if seen.late.len() >= seen.expected || begun.elapsed() > SETTLE {
            return Ok(vec![seen.row(jobs, seconds)]);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The jobs that a worker was running when it was killed.
async fn held_by(store: &dyn Store, keys: &Keys, worker: &str) -> anyhow::Result<HashSet<String>> {
    let locks = list_all(store, &keys.locks).await?.0;
    let held = locks.iter().filter_map(|entry| match Lock::decode(&entry.value) {
        Ok(Lock::Held(held)) if held.worker.as_str() == worker => Some(held.job.to_string()),
        _ => None,
    });
    Ok(held.collect())
}

/// A record, as far as it matters here.
struct Run {
    job: String,
    worker: String,
    plan: i64,
    start: i64,
}

async fn read(uri: &str) -> anyhow::Result<Vec<Run>> {
    let client = mongodb::Client::with_uri_str(uri).await?;
    let log = client.database(chaos::cluster::DATABASE).collection::<Document>("log");
    let fields = doc! { "jobName": 1, "worker": 1, "planTime": 1, "startTime": 1 };
    let documents: Vec<Document> = log.find(doc! {}).projection(fields).await?.try_collect().await?;
    let run = |document: &Document| {
        Ok(Run {
            job: document.get_str("jobName")?.to_owned(),
            worker: document.get_str("worker")?.to_owned(),
            plan: document.get_i64("planTime")?,
            start: document.get_i64("startTime")?,
        })
    };
    documents.iter().map(run).collect()
}

/// What became of the ticks of a killed worker.
struct Seen {
    own: usize,
    running: usize,
    expected: usize,
    late: Vec<Duration>,
}

fn judge(runs: &[Run], victim: &str, running: &HashSet<String>, killed: i64, until: i64) -> Seen {
    // Whose rank 0 it was: who ran its last tick before the kill.
    let mut owners: HashMap<&str, (i64, &str)> = HashMap::new();
    for run in runs.iter().filter(|run| run.plan <= killed) {
        let owner = owners.entry(&run.job).or_insert((run.plan, &run.worker));
        *owner = (*owner).max((run.plan, &run.worker));
    }
    let own: HashSet<&str> = owners
        .iter()
        .filter(|(job, (_, worker))| *worker == victim && !running.contains(**job))
        .map(|(job, _)| *job)
        .collect();
    let after = runs.iter().filter(|run| killed < run.plan && run.plan < until);
    let late = after
        .filter(|run| own.contains(run.job.as_str()))
        .map(|run| Duration::from_millis(u64::try_from(run.start - run.plan).unwrap_or_default()))
        .collect();
    let ticks = usize::try_from((until - 1).div_euclid(1000) - killed.div_euclid(1000)).unwrap_or_default();
    Seen { own: own.len(), running: running.len(), expected: own.len() * ticks, late }
}

impl Seen {
    fn row(self, jobs: usize, seconds: u64) -> Row {
        let (found, late) = (self.late.len(), self.late.into_iter().collect::<Spread>());
        let bench =
            format!("failover: kill -9 of a worker, {jobs} every-second jobs on two: p99 of its ticks");
        Row::new(bench, Figure::ms(late.permille(990))).reaching(Target::AtMost(500.0)).notes(format!(
            "{found} of {} ticks of its {} jobs in the {seconds} s after it; late {late}; {} more jobs were running and wait for its lease",
            self.expected, self.own, self.running
        ))
    }
}
