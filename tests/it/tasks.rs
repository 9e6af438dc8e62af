//! Tasks in a cluster of separate processes, on real servers: handed in, lost with a machine, repeated, and looked up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chaos::{
    options::Options,
    trial::Trial,
    truth::{Line, Mark},
};
use clap::Parser as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::wait::until;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two workers, a manager, one etcd and MongoDB.
async fn cluster() -> Result<Trial> {
    let fixed = ["chaos", "worker-killed", "--quorate", env!("CARGO_BIN_EXE_quorate"), "--lease-ttl", "5s"];
    let few = ["--members", "1", "--managers", "1", "--workers", "2"];
    Trial::start(&Options::parse_from(fixed.iter().chain(&few)).layout()).await
}

async fn hand_in(trial: &Trial, task: &Value) -> Result<String> {
    let (status, answer) = trial.api.call(Method::POST, "/api/v1/runs", Some(task)).await?;
    ensure!(status == 201, "{status}: {answer}");
    Ok(answer["run"].as_str().context("a run's id")?.to_owned())
}

/// The run, once it has ended.
async fn ended(trial: &Trial, run: &str) -> Value {
    until("the task has ended", PATIENCE, || async {
        let view = trial.api.get(&format!("/api/v1/runs/{run}")).await.ok()?;
        let is_final = !["queued", "claimed", "running"].contains(&view["state"].as_str()?);
        is_final.then_some(view)
    })
    .await
}

/// Which attempts of which runs have started, and how often.
fn starts(lines: &[Line]) -> BTreeMap<(String, u32), usize> {
    let mut starts = BTreeMap::new();
    for line in lines.iter().filter(|line| line.mark == Mark::Start) {
        *starts.entry((line.run.clone(), line.attempt)).or_default() += 1;
    }
    starts
}

#[tokio::test]
async fn tasks_of_a_machine_that_died_are_lost_or_repeated_and_no_attempt_runs_twice() -> Result<()> {
    let mut trial = cluster().await?;
    let command = trial.truth.lasting(6);
    let task = |delivery: &str| {
        let driver = json!({"shell": {"command": command}});
        json!({"name": delivery, "delivery": delivery, "driver": driver, "retry": {"attempts": 1}})
    };
    let (mut repeated, mut once) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        repeated.push(hand_in(&trial, &task("at-least-once")).await?);
        once.push(hand_in(&trial, &task("at-most-once")).await?);
    }
    let truth = trial.truth.clone();
    let running = until("all tasks run", PATIENCE, || async {
        let lines = truth.read().ok()?;
        (starts(&lines).len() == 16).then_some(lines)
    })
    .await;
    let workers: BTreeSet<&str> = running.iter().map(|line| line.worker.as_str()).collect();
    ensure!(workers.len() == 2, "one worker has them all: {workers:?}");
    let victim = trial.cluster.workers()[0].id().to_owned();
    trial.cluster.worker(0).kill_machine();
    let mut lost = 0;
    for run in repeated.iter().chain(&once) {
        let view = ended(&trial, run).await;
        let was_there = running.iter().any(|line| line.run == *run && line.worker == victim);
        let wanted = match (was_there, view["job"].as_str()) {
            (true, Some("at-most-once")) => ("lost", 1),
            (true, _) => ("succeeded", 2),
            (false, _) => ("succeeded", 1),
        };
        lost += usize::from(was_there);
        let seen =
            (view["state"].as_str().context("a state")?, view["attempt"].as_i64().context("a number")?);
        ensure!(seen == wanted, "{run} of {}: {view}", view["worker"]);
    }
    ensure!(lost > 0, "the machine that died had none of them");
    let twice: Vec<_> = starts(&truth.read()?).into_iter().filter(|(_, starts)| *starts != 1).collect();
    ensure!(twice.is_empty(), "these attempts ran twice: {twice:?}");
    // When the run log has them all, the store has nothing of them.
    trial.cluster.worker(0).start_again();
    for run in repeated.iter().chain(&once) {
        until("it is listed by the run log alone", PATIENCE, || async {
            let list = trial.api.get("/api/v1/runs?limit=500").await.ok()?;
            let of_run = |item: &&Value| item["run"] == run.as_str();
            let items = list["items"].as_array()?;
            let attempts = items.iter().filter(of_run).count();
            (attempts > 0 && items.iter().filter(of_run).all(|item| !item["ended"].is_null())).then_some(())
        })
        .await;
    }
    Ok(())
}
