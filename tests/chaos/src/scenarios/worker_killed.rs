//! A worker's machine dies: others take the next ticks of its idle jobs within a second, and of those that it was
//! running within its lease and a second; what it was running is lost, and says so. Then another dies and is started
//! again at once: it first frees what it held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result};
use common::run::RunState;

use super::SETTLE;
use crate::{
    checker::{Kind, Spread},
    options::Options,
    trial::{TestJob, Trial, Verdict},
    truth::{Line, Mark},
};

/// How long a running job lasts, in halves of a second: so long that most of them run at any time.
const LASTS: u32 = 16;

/// In so many milliseconds before the kill a job has to have run on the victim to count as its.
const RECENT_MS: i64 = 3_500;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    // A run that starts in the moment of the kill is lost as well, and its job waits for the lease.
    trial.rules.tolerated.insert(Kind::Lost);
    trial.rules.lost_jobs_may_miss = true;
    let idle = TestJob::several(options.jobs(60), "idle", 1, &trial.truth.once());
    let busy = TestJob::several(options.jobs(60).div_ceil(3), "busy", 1, &trial.truth.lasting(LASTS));
    trial.save(&idle).await?;
    trial.save(&busy).await?;
    trial.run_for(Duration::from_secs(8)).await;
    let ttl = options.lease_ttl;

    let (victim, killed_ms) = kill_busiest(&mut trial, None)?;
    let mut lost = runs_of(&trial, &victim, killed_ms)?;
    trial.run_for(ttl + Duration::from_secs(8)).await;
    let within = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).saturating_add(1_000);
    measure(&mut trial, "killed", &victim, killed_ms, within)?;
    restart(&mut trial, &victim).await?;

    trial.run_for(Duration::from_secs(8)).await;
    let (second, killed_ms) = kill_busiest(&mut trial, Some(&victim))?;
    lost.extend(runs_of(&trial, &second, killed_ms)?);
    restart(&mut trial, &second).await?;
    trial.run_for(ttl + Duration::from_secs(3)).await;
    measure(&mut trial, "killed and started again", &second, killed_ms, within)?;

    trial.close_window();
    trial.delete(&idle).await?;
    trial.delete(&busy).await?;
    trial.settle(SETTLE).await?;
    let records = trial.records().await?;
    let said =
        records.runs.iter().filter(|row| lost.contains(&row.run) && row.state == RunState::Lost).count();
    trial.require(
        said == lost.len(),
        "runs that were killed, and are lost in the log",
        format_args!("{}, {said}", lost.len()),
    );
    trial.finish(SETTLE).await
}

/// The runs that a worker was at.
fn runs_of(trial: &Trial, worker: &str, at_ms: i64) -> Result<BTreeSet<String>> {
    let running = executing(&trial.truth.read()?, at_ms).into_values();
    Ok(running.filter(|line| line.worker == worker).map(|line| line.run).collect())
}

/// Kills the machine of the worker that runs most.
fn kill_busiest(trial: &mut Trial, except: Option<&str>) -> Result<(String, i64)> {
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for line in executing(&trial.truth.read()?, i64::MAX).into_values() {
        *running.entry(line.worker).or_default() += 1;
    }
    let most = running.iter().filter(|(id, _)| except != Some(id.as_str())).max_by_key(|(_, count)| **count);
    let (victim, count) = most.map(|(id, count)| (id.clone(), *count)).context("no worker runs anything")?;
    let n = number(trial, &victim)?;
    let killed_ms = trial.now_ms();
    let processes = trial.cluster.worker(n).kill_machine();
    trial.note(format!("killed {victim}, which ran {count} jobs: {processes} processes"));
    Ok((victim, killed_ms))
}

async fn restart(trial: &mut Trial, id: &str) -> Result<()> {
    let n = number(trial, id)?;
    let earlier = trial.cluster.session_of(id).await?.unwrap_or_default();
    trial.cluster.worker(n).start_again();
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
    trial.note(format!("{id} is back"));
    Ok(())
}

fn number(trial: &Trial, id: &str) -> Result<usize> {
    let workers = trial.cluster.workers();
    workers.iter().position(|worker| worker.id() == id).context("a worker of the cluster")
}

/// The last line of each job's run that has started and not ended, at this time.
fn executing(lines: &[Line], at_ms: i64) -> HashMap<String, Line> {
    let mut executing = HashMap::new();
    for line in lines.iter().filter(|line| line.job.starts_with("busy") && line.at_ms <= at_ms) {
        match line.mark {
            Mark::End => executing.remove(&line.job),
            Mark::Start | Mark::Beat => executing.insert(line.job.clone(), line.clone()),
        };
    }
    executing
}

/// How soon others took over.
fn measure(trial: &mut Trial, how: &str, victim: &str, killed_ms: i64, lease_ms: i64) -> Result<()> {
    let lines = trial.truth.read()?;
    let ran: BTreeSet<String> = executing(&lines, killed_ms)
        .into_values()
        .filter(|line| line.worker == victim)
        .map(|line| line.job)
        .collect();
    let waits = ran.iter().map(|job| {
        let next =
            lines.iter().find(|line| line.job == *job && line.at_ms > killed_ms && line.mark == Mark::Start);
        next.map_or(i64::MAX, |line| line.at_ms - killed_ms)
    });
    let waits = Spread::of(waits);
    trial.require(
        waits.max() <= lease_ms,
        format!("{how}: {} running jobs start again after", ran.len()),
        &waits,
    );

    let idle = idle_of(&lines, victim, killed_ms);
    let until_ms = killed_ms + lease_ms;
    let of_them = |line: &&Line| line.mark == Mark::Start && idle.contains(&line.job);
    let after =
        |line: &&Line| line.tick.is_some_and(|tick| tick.millis() > killed_ms && tick.millis() < until_ms);
    let late = lines.iter().filter(of_them).filter(after).filter_map(|line| {
        let tick = line.tick?;
        Some(line.at_ms - tick.millis())
    });
    let late = Spread::of(late);
    trial.require(
        late.max() <= 1_000,
        format!("{how}: ticks of {} idle jobs start late by", idle.len()),
        &late,
    );
    Ok(())
}

/// The idle jobs whose last runs were all the victim's, and none of them was lost.
fn idle_of(lines: &[Line], victim: &str, killed_ms: i64) -> BTreeSet<String> {
    let recent = |line: &&Line| line.at_ms > killed_ms - RECENT_MS && line.at_ms <= killed_ms;
    let mut jobs: BTreeMap<&str, bool> = BTreeMap::new();
    for line in lines.iter().filter(recent).filter(|line| line.job.starts_with("idle")) {
        *jobs.entry(&line.job).or_insert(true) &= line.worker == victim;
    }
    jobs.into_iter().filter(|(_, all)| *all).map(|(job, _)| job.to_owned()).collect()
}
