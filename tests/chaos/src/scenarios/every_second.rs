//! Many jobs every second: each tick runs once, or was skipped because its job still ran. None is missed.

use anyhow::Result;

use super::SETTLE;
use crate::{
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let jobs = TestJob::several(options.jobs(500), "second", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(options.duration(60)).await;
    trial.close_window();
    trial.delete(&jobs).await?;
    trial.finish(SETTLE).await
}
