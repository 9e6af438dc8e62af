//! Jobs that are edited, paused, deleted, made again and killed close to their ticks, and what that excuses.

use std::time::Duration;

use anyhow::Result;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::workload::{every, spec};
use crate::{
    checker::{Expectation, Kind, Off},
    cluster::PATIENCE,
    trial::Trial,
};

/// A worker that has yet to hear of a change may act by the old state for so long.
const HEARD_MS: i64 = 1_000;

/// How far from a tick a change is made, at most.
const CLOSE_MS: i64 = 50;

/// What is done to a job.
#[derive(Clone, Copy, Debug)]
enum Edit {
    /// Its environment changes: no tick may be lost by that.
    Save,
    /// It is paused and resumed.
    Pause,
    /// It is deleted and made again.
    Delete,
    /// It comes every two seconds for a while.
    Trigger,
    /// What it runs is killed.
    Kill,
}

fn name(n: usize) -> String {
    format!("edited-{n:03}")
}

fn job(trial: &Trial, seconds: u32, turn: u64) -> Value {
    let mut spec = spec(every(seconds), &trial.truth.once());
    spec["driver"]["shell"]["env"]["TURN"] = json!(turn.to_string());
    spec
}

/// Saves the jobs that are to be edited.
pub(super) async fn save(trial: &mut Trial, count: usize) -> Result<()> {
    for n in 1..=count {
        trial.api.put_job(&name(n), &job(trial, 1, 0)).await?;
        let mut one = Expectation::new(&name(n), 1, trial.first_tick(), Trial::no_end());
        one.allowed.insert(Kind::Unsuccessful);
        trial.expected.push(one);
    }
    Ok(())
}

/// Edits for so long.
pub(super) async fn play(trial: &mut Trial, time: Duration, dice: usize) -> Result<usize> {
    let mut chance = StdRng::seed_from_u64(u64::try_from(dice).unwrap_or_default());
    let count = trial.expected.iter().filter(|one| one.job.starts_with("edited")).count().max(1);
    let (begun, mut turn) = (Instant::now(), 0);
    while begun.elapsed() < time {
        turn += 1;
        let job = name(chance.random_range(1..=count));
        let edit = match chance.random_range(0..5) {
            0 => Edit::Save,
            1 => Edit::Pause,
            2 => Edit::Delete,
            3 => Edit::Trigger,
            _ => Edit::Kill,
        };
        close_to_a_tick(trial, chance.random_range(-CLOSE_MS..=CLOSE_MS)).await;
        play_one(trial, &job, edit, turn, chance.random_range(0..=2)).await?;
    }
    Ok(usize::try_from(turn).unwrap_or_default())
}

async fn close_to_a_tick(trial: &Trial, by_ms: i64) {
    let now = trial.now_ms();
    let next = now - now.rem_euclid(1000) + 1000 + by_ms;
    let wait = if next > now { next - now } else { next + 1000 - now };
    sleep(Duration::from_millis(wait.unsigned_abs())).await;
}

async fn play_one(trial: &mut Trial, name: &str, edit: Edit, turn: u64, ticks: u64) -> Result<()> {
    let path = format!("/api/v1/jobs/{name}");
    let begun_ms = trial.now_ms();
    let post = |verb: &str| (Method::POST, format!("{path}/{verb}"), None);
    let put = |seconds| (Method::PUT, path.clone(), Some(job(trial, seconds, turn)));
    let (first, second) = match edit {
        Edit::Save => (put(1), None),
        Edit::Kill => (post("kill"), None),
        Edit::Pause => (post("pause"), Some(post("resume"))),
        Edit::Delete => ((Method::DELETE, path.clone(), None), Some(put(1))),
        Edit::Trigger => (put(2), Some(put(1))),
    };
    call(trial, name, first).await?;
    let Some(second) = second else { return Ok(()) };
    let off_ms = trial.now_ms() + HEARD_MS;
    sleep(Duration::from_millis(ticks * 1000)).await;
    let asked_ms = trial.now_ms();
    call(trial, name, second).await?;
    let silent = matches!(edit, Edit::Pause | Edit::Delete);
    let off = Off {
        asked_ms: (begun_ms - HEARD_MS, trial.now_ms() + HEARD_MS),
        silent_ms: silent.then_some((off_ms, asked_ms)),
    };
    let mut of_job = trial.expected.iter_mut().filter(|one| one.job == name);
    of_job.by_ref().for_each(|one| one.off.push(off));
    Ok(())
}

async fn call(
    trial: &Trial,
    name: &str,
    (method, path, body): (Method, String, Option<Value>),
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let (status, answer) = trial.api.call(method.clone(), &path, body.as_ref()).await?;
        match status {
            200..300 | 404 => return Ok(()),
            // On a busy machine etcd elects a leader also where nothing is broken: ask again, as a person would.
            503 if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(100)).await,
            _ => anyhow::bail!("{method} of {name}: {status} {answer}"),
        }
    }
}
