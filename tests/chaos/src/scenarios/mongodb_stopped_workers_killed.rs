//! MongoDB is down for minutes under a hundred runs a second, and meanwhile two workers' machines die and come back with
//! their disks: not one finished run is missing afterwards, and none is there twice.

use std::time::Duration;

use anyhow::Result;
use common::run::RunState;

use super::{CLAIM_MS, punctuality};
use crate::{
    checker::{Fault, Kind, Spread},
    options::Options,
    trial::{TestJob, Trial, Verdict},
    truth::Mark,
};

/// What was spooled meanwhile has to be shipped.
const SETTLE: Duration = Duration::from_secs(180);

/// A run may be lost that ended so shortly before its worker was killed: its record was on the way to the disk.
const ON_THE_WAY_MS: i64 = 3_000;

/// A machine that died.
struct Death {
    worker: String,
    at_ms: i64,
}

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    trial.rules.punctuality = Some(punctuality(options));
    trial.rules.excused.extend([Kind::Missed, Kind::Lost]);
    let count = options.jobs(100);
    let short = TestJob::several(count, "second", 1, &trial.truth.once());
    let longer = TestJob::several(count.div_ceil(10), "longer", 2, &trial.truth.lasting(2));
    trial.save(&short).await?;
    trial.save(&longer).await?;
    trial.run_for(Duration::from_secs(5)).await;

    let down = options.duration(300);
    let before = trial.starts_since(0)?.len();
    let stopped_ms = trial.now_ms();
    trial.cluster.mongod.kill_9();
    trial.note(format!("MongoDB is down for {} s", down.as_secs()));
    let mut deaths = Vec::new();
    for n in 0..trial.cluster.workers().len().min(2) {
        trial.run_for(down / 5).await;
        deaths.push(die_and_return(&mut trial, n, down / 5).await?);
    }
    let passed = Duration::from_millis((trial.now_ms() - stopped_ms).unsigned_abs());
    trial.run_for(down.saturating_sub(passed)).await;
    let started = trial.starts_since(0)?.len() - before;
    trial.cluster.mongod.restart().await;
    let away = (trial.now_ms() - stopped_ms) as f64 / 1000.0;
    let rate = started as f64 / away;
    trial.note(format!(
        "MongoDB is back after {away:.0} s; {started} runs started meanwhile, {rate:.0} a second"
    ));
    trial.run_for(Duration::from_secs(5)).await;
    trial.close_window();
    trial.settle(SETTLE).await?;
    lost_only_in_the_last_moment(&mut trial, &deaths).await?;
    trial.finish(SETTLE).await
}

async fn die_and_return(trial: &mut Trial, n: usize, away: Duration) -> Result<Death> {
    let id = trial.cluster.workers()[n].id().to_owned();
    let earlier = trial.cluster.session_of(&id).await?.unwrap_or_default();
    let at_ms = trial.now_ms();
    let processes = trial.cluster.worker(n).kill_machine();
    trial.note(format!("{id}'s machine died: {processes} processes"));
    trial.run_for(away).await;
    trial.cluster.worker(n).start_again();
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
    let to_ms = trial.now_ms();
    trial.note(format!("{id} is back"));
    let name = format!("the death of {id}");
    trial.rules.faults.push(Fault::new(name, at_ms - CLAIM_MS, to_ms));
    Ok(Death { worker: id, at_ms })
}

/// A run that had ended well before its worker died is no lost one.
async fn lost_only_in_the_last_moment(trial: &mut Trial, deaths: &[Death]) -> Result<()> {
    let (records, lines) = (trial.records().await?, trial.truth.read()?);
    let lost: Vec<_> = records.runs.iter().filter(|row| row.state == RunState::Lost).collect();
    let last_ms = |run: &str| {
        lines.iter().filter(|line| line.run == run && line.mark != Mark::Beat).map(|line| line.at_ms).max()
    };
    let before: Vec<i64> = lost
        .iter()
        .filter_map(|row| {
            let death = deaths.iter().find(|death| death.worker == row.worker)?;
            Some(death.at_ms - last_ms(&row.run)?)
        })
        .collect();
    let longest = Spread::of(before.iter().copied());
    trial.require(
        longest.max() <= ON_THE_WAY_MS,
        format_args!(
            "{} runs were lost, {} of them had begun; their last lines came before the death by",
            lost.len(),
            before.len()
        ),
        &longest,
    );
    Ok(())
}
