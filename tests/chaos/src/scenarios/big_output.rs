//! One job prints 100 MB: it succeeds, its output is cut, its worker stays small, and other jobs do not notice.

use std::time::Duration;

use anyhow::{Context as _, Result};
use common::run::RunState;
use serde_json::json;
use test_support::wait::until;

use super::SETTLE;
use crate::{
    cluster::resident_bytes,
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

const BYTES: u64 = 100_000_000;

/// By how much a worker may grow meanwhile.
const MAY_GROW_BYTES: u64 = 64 << 20;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let jobs = TestJob::several(options.jobs(50), "second", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(Duration::from_secs(5)).await;
    let before = resident(&trial);
    let command = format!("head -c {BYTES} /dev/zero | tr '\\0' x");
    let spec = json!({"trigger": {"manual": true}, "driver": {"shell": {"command": command}}});
    trial.api.put_job("loud", &spec).await?;
    let run = trial.api.run_job("loud").await?;
    let row = until("the loud run has ended", Duration::from_secs(120), || async {
        let records = trial.records().await.ok()?;
        records.runs.into_iter().find(|row| row.run == run)
    })
    .await;
    let took = row.ended_ms - row.started_ms;
    let kept = i64::try_from(BYTES)? - row.truncated;
    trial.require(
        row.state == RunState::Succeeded,
        "the loud run",
        format_args!("{} after {took} ms", row.state),
    );
    trial.require(row.truncated > 0, "of its output are kept", format_args!("{kept} bytes"));
    let at = trial.cluster.workers().iter().position(|worker| worker.id() == row.worker);
    let at = at.context("a worker of the cluster")?;
    let (was, (is, most)) = (before[at].0, resident(&trial)[at]);
    let sizes = [was, is, most].map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    let text = format!("{} before, {} after, {} at most", sizes[0], sizes[1], sizes[2]);
    trial.require(most <= was + MAY_GROW_BYTES, "its worker's memory", text);
    trial.run_for(options.duration(5)).await;
    trial.close_window();
    trial.delete(&jobs).await?;
    trial.finish(SETTLE).await
}

/// Of each worker: bytes in memory now, and at most.
fn resident(trial: &Trial) -> Vec<(u64, u64)> {
    let workers = trial.cluster.workers().iter();
    workers.map(|worker| resident_bytes(worker.server().pid()).unwrap_or_default()).collect()
}
