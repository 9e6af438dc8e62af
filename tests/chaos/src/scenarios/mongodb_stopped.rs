//! MongoDB is down under load: no tick suffers, and once it is back every run is in the log, none twice.

use std::time::Duration;

use anyhow::Result;

use crate::{
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// What was spooled meanwhile has to be shipped.
const SETTLE: Duration = Duration::from_secs(60);

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let jobs = TestJob::several(options.jobs(200), "second", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(Duration::from_secs(5)).await;
    trial.cluster.mongod.kill_9();
    let down = options.duration(60);
    trial.note(format!("MongoDB is down for {} s", down.as_secs()));
    trial.run_for(down).await;
    let started = trial.starts_since(0)?.len();
    trial.cluster.mongod.restart().await;
    trial.note(format!("MongoDB is back; {started} runs started so far"));
    trial.run_for(Duration::from_secs(5)).await;
    trial.close_window();
    trial.delete(&jobs).await?;
    trial.finish(SETTLE).await
}
