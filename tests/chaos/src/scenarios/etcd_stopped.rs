//! All of etcd is down for a while, longer than a lease: afterwards scheduling goes on within seconds, no tick runs
//! twice, and every tick is accounted for.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;

use super::SETTLE;
use crate::{
    checker::{Kind, Spread},
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// How long scheduling may take to go on.
const RESUMES_MS: i64 = 5_000;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    trial.rules.tolerated.extend([Kind::Missed, Kind::Lost]);
    let jobs = TestJob::several(options.jobs(100), "second", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(Duration::from_secs(5)).await;
    trial.cluster.kill_etcd();
    let down = options.duration(30);
    trial.note(format!("etcd is down for {} s", down.as_secs()));
    trial.run_for(down).await;
    trial.cluster.restart_etcd().await;
    let up_ms = trial.now_ms();
    trial.note("etcd is up: all members answer");
    trial.run_for(Duration::from_secs(15)).await;
    resumed(&mut trial, up_ms, &jobs)?;
    trial.close_window();
    trial.delete(&jobs).await?;
    trial.finish(SETTLE).await
}

/// When each job ran again.
pub(super) fn resumed(trial: &mut Trial, up_ms: i64, jobs: &[TestJob]) -> Result<()> {
    let mut first: HashMap<String, i64> = HashMap::new();
    for line in trial.starts_since(up_ms)? {
        first.entry(line.job).or_insert(line.at_ms - up_ms);
    }
    let waits = Spread::of(jobs.iter().map(|job| first.get(&job.name).copied().unwrap_or(i64::MAX)));
    trial.require(waits.max() <= RESUMES_MS, "after it was back, each job's first run came after", &waits);
    Ok(())
}
