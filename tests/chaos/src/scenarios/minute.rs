//! Very many jobs on the same instant of every minute: all of them run, each once.

use std::time::Duration;

use anyhow::Result;

use crate::{
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// The last of a burst may take so long to be in the run log.
const SETTLE: Duration = Duration::from_secs(50);

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let jobs = TestJob::several(options.jobs(10_000), "minute", 60, &trial.truth.once());
    trial.save(&jobs).await?;
    let minutes = (options.duration(120).as_secs() / 60).max(1);
    for _ in 0..minutes {
        let now = trial.now_ms();
        let next = now.div_euclid(60_000) * 60_000 + 60_000;
        let wait = u64::try_from(next - now).unwrap_or_default();
        trial.run_for(Duration::from_millis(wait + 100)).await;
        burst(&mut trial, next, jobs.len()).await?;
    }
    trial.finish(SETTLE).await
}

/// Waits until so many runs have started since, and says how long that took. What is not there after most of the
/// minute is left to the checker.
async fn burst(trial: &mut Trial, since_ms: i64, count: usize) -> Result<()> {
    loop {
        let starts = trial.starts_since(since_ms)?;
        let now = trial.now_ms();
        if starts.len() >= count || now - since_ms > 45_000 {
            let last = starts.last().map_or(now, |line| line.at_ms);
            let rate = starts.len() as f64 * 1000.0 / (last - since_ms).max(1) as f64;
            let seconds = (last - since_ms) as f64 / 1000.0;
            let text = format!(
                "{} runs, the last started {seconds:.2} s after the instant, {rate:.0}/s",
                starts.len()
            );
            trial.note(text);
            return Ok(());
        }
        trial.run_for(Duration::from_millis(500)).await;
    }
}
