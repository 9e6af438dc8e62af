//! A cluster of separate processes keeps its promises: short plays of what `tests/chaos` does at length.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use chaos::{
    checker::Kind,
    options::Options,
    scenarios,
    trial::{TestJob, Trial, Verdict},
    truth::{Line, Mark},
};
use clap::Parser as _;

use crate::support::wait::until;

/// Long enough for a loaded machine; a healthy one needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(scenario: &str, others: &[&str]) -> Options {
    let fixed = ["chaos", scenario, "--quorate", env!("CARGO_BIN_EXE_quorate"), "--members", "1"];
    Options::parse_from(fixed.iter().chain(&["--managers", "1", "--workers", "2"]).chain(others))
}

#[track_caller]
fn all_is_well(verdict: &Verdict) {
    let report = verdict.report.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(verdict.violations.is_empty(), "{:#?}\n{report}", verdict.violations);
    assert!(verdict.report.as_ref().is_none_or(|report| report.ran > 0), "nothing ran: {report}");
}

#[tokio::test]
async fn every_tick_of_every_job_runs_once() -> Result<()> {
    let options = options("every-second", &["--jobs", "20", "--seconds", "5"]);
    all_is_well(&scenarios::play(options.scenario, &options).await?);
    Ok(())
}

#[tokio::test]
async fn rubbish_among_the_stored_jobs_harms_only_itself() -> Result<()> {
    let options = options("bad-jobs", &["--jobs", "5", "--seconds", "4"]);
    all_is_well(&scenarios::play(options.scenario, &options).await?);
    Ok(())
}

#[tokio::test]
async fn jobs_of_a_worker_whose_machine_died_go_on_elsewhere() -> Result<()> {
    let mut trial = Trial::start(&options("worker-killed", &["--lease-ttl", "5s"]).layout()).await?;
    trial.rules.tolerated.extend([Kind::Lost, Kind::Missed]);
    let idle = TestJob::several(6, "idle", 1, &trial.truth.once());
    let busy = TestJob::several(6, "busy", 1, &trial.truth.lasting(8));
    trial.save(&idle).await?;
    trial.save(&busy).await?;
    let truth = trial.truth.clone();
    let running = until("all busy jobs run", PATIENCE, || async {
        let lines = starts_of_busy(truth.read().ok()?);
        (jobs_of(&lines).len() == busy.len()).then_some(lines)
    })
    .await;
    let victim = running.first().context("a run")?.worker.clone();
    let orphans = jobs_of(&running.into_iter().filter(|line| line.worker == victim).collect::<Vec<_>>());
    let position = trial.cluster.workers().iter().position(|worker| worker.id() == victim);
    let position = position.context("a worker of the cluster")?;
    trial.cluster.worker(position).kill_machine();
    until("the survivor runs them", PATIENCE, || async {
        let mut lines = starts_of_busy(truth.read().ok()?);
        lines.retain(|line| line.worker != victim);
        orphans.is_subset(&jobs_of(&lines)).then_some(())
    })
    .await;
    // What it had spooled is on its disk only.
    trial.cluster.worker(position).start_again();
    all_is_well(&trial.finish(PATIENCE).await?);
    Ok(())
}

#[tokio::test]
async fn jobs_of_many_sorts_survive_one_fault_after_the_other() -> Result<()> {
    let plan =
        ["--seed", "1", "--seconds", "45", "--nemesis", "worker-kill,worker-machine-kill,mongodb-kill"];
    // A machine that is busy with other tests says nothing about punctuality.
    let rest = ["--jobs", "12", "--lease-ttl", "5s", "--slack", "20s"];
    let options = options("mixed", &[&plan[..], &rest].concat());
    all_is_well(&scenarios::play(options.scenario, &options).await?);
    Ok(())
}

fn starts_of_busy(mut lines: Vec<Line>) -> Vec<Line> {
    lines.retain(|line| line.mark == Mark::Start && line.job.starts_with("busy"));
    lines
}

fn jobs_of(lines: &[Line]) -> BTreeSet<String> {
    lines.iter().map(|line| line.job.clone()).collect()
}
