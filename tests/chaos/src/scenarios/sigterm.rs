//! Each worker is told to end under load and started again: no record is lost, no tick is without an outcome, none
//! runs twice.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::SETTLE;
use crate::{
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// How long a worker may take to end: its runs get a grace, then it ships what it has.
const ENDS_WITHIN: Duration = Duration::from_secs(35);

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let count = options.jobs(100);
    let short = TestJob::several(count, "short", 1, &trial.truth.once());
    let longer = TestJob::several(count.div_ceil(10), "longer", 5, &trial.truth.lasting(5));
    trial.save(&short).await?;
    trial.save(&longer).await?;
    trial.run_for(Duration::from_secs(5)).await;
    let mut order: Vec<usize> = (0..trial.cluster.workers().len()).collect();
    order.shuffle(&mut StdRng::seed_from_u64(options.seed));
    for n in order {
        restart(&mut trial, n).await?;
        trial.run_for(Duration::from_secs(3)).await;
    }
    trial.close_window();
    trial.delete(&short).await?;
    trial.delete(&longer).await?;
    trial.finish(SETTLE).await
}

async fn restart(trial: &mut Trial, n: usize) -> Result<()> {
    let id = trial.cluster.workers()[n].id().to_owned();
    let earlier = trial.cluster.session_of(&id).await?.unwrap_or_default();
    let begun = Instant::now();
    trial.cluster.worker(n).terminate();
    let ended = trial.cluster.workers()[n].server().wait_end(ENDS_WITHIN).await;
    let took = begun.elapsed().as_secs_f64();
    let left = trial.cluster.session_of(&id).await? == Some(earlier);
    trial.require(
        ended && !left,
        format!("{id} ended"),
        format_args!("after {took:.1} s, lease left: {left}"),
    );
    trial.cluster.worker(n).start_again();
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
    Ok(())
}
