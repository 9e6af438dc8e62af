//! One short job every second on workers whose clocks differ by two seconds: each tick runs once.

use std::collections::BTreeMap;

use anyhow::Result;

use super::SETTLE;
use crate::{
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// From the first worker's clock to the last's, in milliseconds.
const SPREAD_MS: i64 = 2_000;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut layout = options.layout();
    let steps = i64::try_from(layout.workers.len()).unwrap_or(1).saturating_sub(1).max(1);
    for (n, worker) in (0..).zip(&mut layout.workers) {
        worker.clock_ahead_ms = n * SPREAD_MS / steps - SPREAD_MS / 2;
    }
    let mut trial = Trial::start(&layout).await?;
    trial.rules.ahead_ms = SPREAD_MS / 2;
    let jobs = TestJob::several(options.jobs(1), "short", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    let since = trial.now_ms();
    trial.run_for(options.duration(300)).await;
    trial.close_window();
    trial.delete(&jobs).await?;
    let mut by_worker: BTreeMap<String, usize> = BTreeMap::new();
    for line in trial.starts_since(since)? {
        *by_worker.entry(line.worker).or_default() += 1;
    }
    for worker in &layout.workers {
        let runs = by_worker.get(&worker.id).copied().unwrap_or_default();
        trial.note(format!("{} ({:+} ms): {runs} runs", worker.id, worker.clock_ahead_ms));
    }
    trial.finish(SETTLE).await
}
