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

/// A machine that is busy with other tests says nothing about punctuality.
const PATIENT: [&str; 2] = ["--slack", "20s"];

fn options(scenario: &str, others: &[&str]) -> Options {
    let fixed = ["chaos", scenario, "--quorate", env!("CARGO_BIN_EXE_quorate")];
    let has = |name: &str| others.contains(&name);
    let few = [["--members", "1"], ["--managers", "1"], ["--workers", "2"]];
    let few = few.iter().filter(|few| !has(few[0])).flatten();
    Options::parse_from(fixed.iter().chain(few).chain(others))
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
async fn a_cluster_keeps_its_promises_while_one_thing_after_the_other_is_broken() -> Result<()> {
    let plan = ["--seed", "3", "--minutes", "3", "--quiet", "6s", "--members", "3", "--workers", "3"];
    let rest = ["--jobs", "16", "--lease-ttl", "5s"];
    play("mixed", &[&plan[..], &rest, &PATIENT].concat()).await
}

#[tokio::test]
async fn runs_of_a_worker_that_is_stopped_are_ended_before_others_start_them() -> Result<()> {
    play("worker-stopped", &[&["--seconds", "10", "--jobs", "4", "--lease-ttl", "5s"], &PATIENT[..]].concat())
        .await
}

#[tokio::test]
async fn runs_of_a_worker_that_is_cut_off_are_ended_before_others_start_them() -> Result<()> {
    play("worker-cut-off", &[&["--seconds", "10", "--jobs", "4", "--lease-ttl", "5s"], &PATIENT[..]].concat())
        .await
}

#[tokio::test]
async fn after_a_time_without_workers_each_job_follows_its_misfire_policy() -> Result<()> {
    play("all-workers-killed", &[&["--seconds", "12", "--lease-ttl", "5s"], &PATIENT[..]].concat()).await
}

#[tokio::test]
async fn no_run_is_missing_after_machines_died_while_mongodb_was_away() -> Result<()> {
    let own = ["--seconds", "15", "--jobs", "20", "--lease-ttl", "5s"];
    play("mongodb-stopped-workers-killed", &[&own, &PATIENT[..]].concat()).await
}

async fn play(scenario: &str, others: &[&str]) -> Result<()> {
    let options = options(scenario, others);
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
