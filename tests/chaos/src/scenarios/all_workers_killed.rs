//! All workers' machines die, and come back after many ticks: each job follows its misfire policy, and the API accounts
//! for every tick of that time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use common::{
    job::{Misfire, MisfirePolicy},
    span::Span,
    tick::Tick,
};
use serde_json::{Value, json};
use test_support::wait::until;

use super::{CLAIM_MS, SETTLE, punctuality};
use crate::{
    checker::{Expectation, Fault, Kind, Outage},
    cluster::PATIENCE,
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// Between two ticks of the job whose start deadline is over when the workers come back.
const RARE_SECONDS: i64 = 20;

/// The workers come back so long after one of its ticks, and before the next.
const BETWEEN_SECONDS: i64 = 10;

/// No tick is claimed longer before its instant.
const AHEAD_MS: i64 = 1_000;

/// The most items that the API gives at once.
const PAGE: usize = 500;

/// A job and its policy.
struct Policed {
    job: TestJob,
    misfire: Misfire,
}

fn jobs(command: &str, down: Duration) -> Vec<Policed> {
    let hour = 3_600;
    let half = down.as_secs().div_ceil(2).max(6);
    let own = |name: &str, every_seconds: u32, policy, limit, deadline| Policed {
        job: TestJob { name: name.to_owned(), every_seconds, command: command.to_owned() },
        misfire: Misfire { policy, limit, deadline: Span::seconds(deadline) },
    };
    vec![
        own("latest", 1, MisfirePolicy::Latest, 10, hour),
        own("latest-of-few", 5, MisfirePolicy::Latest, 10, hour),
        own("latest-too-old", 20, MisfirePolicy::Latest, 10, 6),
        own("all-5", 2, MisfirePolicy::All, 5, hour),
        own("all-50", 10, MisfirePolicy::All, 50, hour),
        own("all-young", 5, MisfirePolicy::All, 50, half),
        own("skip", 1, MisfirePolicy::Skip, 10, hour),
        own("skip-few", 5, MisfirePolicy::Skip, 10, hour),
    ]
}

impl Policed {
    fn spec(&self) -> Value {
        let mut spec = self.job.spec();
        let Misfire { policy, limit, deadline } = &self.misfire;
        spec["misfire"] = json!({"policy": policy, "limit": limit, "deadline": deadline});
        spec
    }
}

// Once: ticks that ran by misfire policy `all` were on record as missed as well.
pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let down = options.duration(600);
    let mut trial = Trial::start(&options.layout()).await?;
    trial.picture.clone_from(&options.svg);
    trial.rules.punctuality = Some(punctuality(options));
    trial.rules.excused.extend([Kind::Missed, Kind::Lost]);
    let jobs = jobs(&trial.truth.once(), down);
    for own in &jobs {
        trial.api.put_job(&own.job.name, &own.spec()).await?;
        trial.expect(&own.job);
    }
    trial.run_for(Duration::from_secs(5)).await;

    let killed_ms = trial.now_ms();
    let processes: usize =
        (0..trial.cluster.workers().len()).map(|n| trial.cluster.worker(n).kill_machine()).sum();
    let dead_ms = trial.now_ms();
    trial.note(format!(
        "all workers' machines died: {processes} processes; they are away for {} s",
        down.as_secs()
    ));
    trial.run_for(down).await;
    trial.run_for(until_between(trial.now_ms())).await;
    let started_ms = trial.now_ms();
    (0..trial.cluster.workers().len()).for_each(|n| trial.cluster.worker(n).start_again());
    let back_ms = all_run_again(&trial, &jobs, started_ms).await;
    trial.note(format!(
        "they are back after {:.1} s; each job ran again within {} ms of their start",
        (started_ms - killed_ms) as f64 / 1000.0,
        back_ms - started_ms,
    ));
    let name = "no workers".to_owned();
    trial.rules.faults.push(Fault::new(name, killed_ms - CLAIM_MS, back_ms));
    // The last of a policy's runs, and a lease of a machine that died.
    trial.run_for(options.lease_ttl + Duration::from_secs(10)).await;
    trial.close_window();
    trial.settle(SETTLE).await?;
    // Before that, a tick may have been claimed ahead: its run is lost, and none of the policy's.
    let first_ms = dead_ms + AHEAD_MS;
    for own in &jobs {
        follows_its_policy(&mut trial, own, first_ms, started_ms).await?;
    }
    for own in &jobs {
        is_accounted_for(&mut trial, own, (killed_ms, started_ms)).await?;
    }
    trial.finish(SETTLE).await
}

/// Until the middle between two ticks of the rare job.
fn until_between(now_ms: i64) -> Duration {
    let phase_ms = now_ms.rem_euclid(RARE_SECONDS * 1000);
    let wait_ms = (BETWEEN_SECONDS * 1000 - phase_ms).rem_euclid(RARE_SECONDS * 1000);
    Duration::from_millis(wait_ms.unsigned_abs())
}

/// Waits until each job has run again; when that was.
async fn all_run_again(trial: &Trial, jobs: &[Policed], started_ms: i64) -> i64 {
    until("each job runs again", PATIENCE, || async {
        let again = trial.starts_since(started_ms).ok()?;
        let again: BTreeSet<&str> = again.iter().map(|line| line.job.as_str()).collect();
        jobs.iter().all(|own| again.contains(own.job.name.as_str())).then_some(())
    })
    .await;
    trial.now_ms()
}

async fn follows_its_policy(trial: &mut Trial, own: &Policed, first_ms: i64, started_ms: i64) -> Result<()> {
    let records = trial.records().await?;
    let of_job = records.runs.iter().filter(|row| row.job == own.job.name);
    let ran: BTreeMap<i64, i64> =
        of_job.filter_map(|row| Some((row.tick?.millis(), row.claimed_ms))).collect();
    let ticks: Vec<i64> = ticks_of(own, first_ms, started_ms);
    let outage = Outage { misfire: own.misfire, ticks: &ticks, back_ms: started_ms, ran: &ran };
    let wrong = outage.check();
    let count = ticks.iter().filter(|tick| ran.contains_key(tick)).count();
    let Misfire { policy, limit, deadline } = own.misfire;
    let name = format!("{}: {policy:?}, at most {limit}, none older than {deadline}", own.job.name);
    let text = if wrong.is_empty() { "as it says".to_owned() } else { wrong.join("; ") };
    trial.require(wrong.is_empty(), name, format!("of {} ticks ran {count}: {text}", ticks.len()));
    Ok(())
}

fn ticks_of(own: &Policed, from_ms: i64, to_ms: i64) -> Vec<i64> {
    let end = Tick::from_instant(DateTime::<Utc>::MAX_UTC);
    let all =
        Expectation::new(&own.job.name, own.job.every_seconds, Tick::from_instant(DateTime::UNIX_EPOCH), end);
    let first = from_ms.div_euclid(1000) + 1;
    all.ticks_in(first, (to_ms - 1).div_euclid(1000)).map(|second| second * 1000).collect()
}

/// Asks the API what became of every tick: a run, or why it has none, and not both.
async fn is_accounted_for(trial: &mut Trial, own: &Policed, (from_ms, to_ms): (i64, i64)) -> Result<()> {
    let ticks = ticks_of(own, from_ms, to_ms);
    let (runs, without) = told(trial, &own.job.name, from_ms, to_ms).await?;
    let twice = ticks.iter().filter(|tick| without.contains(tick) && runs.contains(tick)).count();
    let silent = ticks.iter().filter(|tick| !without.contains(tick) && !runs.contains(tick)).count();
    let ran = ticks.iter().filter(|tick| runs.contains(tick)).count();
    trial.require(
        silent == 0 && twice == 0,
        format_args!("{}: by the API, of {} ticks", own.job.name, ticks.len()),
        format_args!(
            "{ran} ran, {} did not, {twice} both, {silent} are not accounted for",
            ticks.len() - ran - silent
        ),
    );
    Ok(())
}

/// The ticks with runs and those without, of a time, as the API tells them, in milliseconds since 1970.
async fn told(trial: &Trial, job: &str, from_ms: i64, to_ms: i64) -> Result<(BTreeSet<i64>, BTreeSet<i64>)> {
    let (mut runs, mut without) = (BTreeSet::new(), BTreeSet::new());
    let span = format!("from={}&to={}&limit={PAGE}", instant(from_ms)?, instant(to_ms)?);
    let mut after = String::new();
    loop {
        let page = trial.api.get(&format!("/api/v1/jobs/{job}/ticks?{span}{after}")).await?;
        for item in items(&page)? {
            let tick = at(&item["tick"])?;
            if item["outcome"] == "skipped" || item["outcome"] == "missed" {
                without.insert(tick);
            }
            if item["runs"].as_array().is_some_and(|runs| !runs.is_empty()) {
                runs.insert(tick);
            }
        }
        let Some(next) = page["next"].as_str() else { return Ok((runs, without)) };
        after = format!("&after={next}");
    }
}

fn items(answer: &Value) -> Result<&Vec<Value>> {
    answer["items"].as_array().with_context(|| format!("no items: {answer}"))
}

fn at(instant: &Value) -> Result<i64> {
    let text = instant.as_str().with_context(|| format!("no instant: {instant}"))?;
    Ok(DateTime::parse_from_rfc3339(text).with_context(|| format!("read {text}"))?.timestamp_millis())
}

fn instant(at_ms: i64) -> Result<String> {
    let at = DateTime::from_timestamp_millis(at_ms).context("an instant of this time")?;
    Ok(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}
