//! What is done to a cluster, one file each, and what of it may show.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::FutureExt as _;

use crate::{
    checker::Punctuality,
    options::{Options, Scenario},
    trial::Verdict,
};

mod all_workers_killed;
mod bad_jobs;
mod big_output;
mod etcd_frozen;
mod etcd_stopped;
mod every_second;
mod gdts;
mod minute;
mod mixed;
mod mongodb_stopped;
mod mongodb_stopped_workers_killed;
mod observer;
mod sigterm;
mod skewed;
mod snapshot_restored;
mod soak;
mod succession;
mod worker_cut_off;
mod worker_killed;
mod worker_stopped;

/// How long records may take to reach the run log.
const SETTLE: Duration = Duration::from_secs(40);

/// No claim takes longer where nothing is broken.
const CLAIM_MS: i64 = 2_000;

/// What a recovery may take beside two leases and the slack: a server has to come up, and clients have to come back.
const RETURN_MS: i64 = 3_000;

/// How punctual runs have to be while nothing is broken, and how soon after a mending.
fn punctuality(options: &Options) -> Punctuality {
    let (hedge, ttl, slack) = (millis(options.hedge), millis(options.lease_ttl), millis(options.slack));
    Punctuality { late_ms: 2 * hedge + slack, recovery_ms: 2 * ttl + RETURN_MS + slack }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Plays what was asked for; true if all is well. One that cannot be played does not keep the others from it.
pub async fn run(options: &Options) -> bool {
    let scenarios: Vec<Scenario> = match options.scenario {
        Scenario::All => Scenario::each().collect(),
        one => vec![one],
    };
    let mut summary = Vec::new();
    for scenario in scenarios {
        let begun = Instant::now();
        println!("== {}", scenario.name());
        // A wait that has failed panics; its cluster ends with it, and the next scenario has one of its own.
        let violations = match AssertUnwindSafe(play(scenario, options)).catch_unwind().await {
            Ok(Ok(verdict)) => {
                show(&verdict);
                verdict.violations
            }
            Ok(Err(error)) => vec![format!("it could not be played: {error:#}")],
            Err(_) => vec!["it was not played to its end: see above".to_owned()],
        };
        summary.push((scenario, begun.elapsed(), violations));
    }
    println!("== summary");
    for (scenario, took, violations) in &summary {
        let word = if violations.is_empty() { "ok" } else { "VIOLATED" };
        println!("  {:<32}{:>8.0} s  {word}", scenario.name(), took.as_secs_f64());
        violations.iter().for_each(|violation| println!("      {violation}"));
    }
    summary.iter().all(|(.., violations)| violations.is_empty())
}

/// Runs one scenario.
pub async fn play(scenario: Scenario, options: &Options) -> Result<Verdict> {
    match scenario {
        Scenario::All => anyhow::bail!("all are not one scenario: play each"),
        Scenario::EverySecond => every_second::run(options).await,
        Scenario::Minute => minute::run(options).await,
        Scenario::Skewed => skewed::run(options).await,
        Scenario::WorkerKilled => worker_killed::run(options).await,
        Scenario::WorkerStopped => worker_stopped::run(options).await,
        Scenario::WorkerCutOff => worker_cut_off::run(options).await,
        Scenario::AllWorkersKilled => all_workers_killed::run(options).await,
        Scenario::EtcdStopped => etcd_stopped::run(options).await,
        Scenario::EtcdFrozen => etcd_frozen::run(options).await,
        Scenario::MongodbStopped => mongodb_stopped::run(options).await,
        Scenario::MongodbStoppedWorkersKilled => mongodb_stopped_workers_killed::run(options).await,
        Scenario::BadJobs => bad_jobs::run(options).await,
        Scenario::Sigterm => sigterm::run(options).await,
        Scenario::BigOutput => big_output::run(options).await,
        Scenario::Gdts => gdts::run(options).await,
        Scenario::SnapshotRestored => snapshot_restored::run(options).await,
        Scenario::Soak => soak::run(options).await,
        Scenario::Mixed => mixed::run(options).await,
    }
}

fn show(verdict: &Verdict) {
    if let Some(report) = &verdict.report {
        print!("\n{report}");
    }
    println!();
}
