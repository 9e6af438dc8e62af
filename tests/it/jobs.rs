//! A job's life as its users see it, on `quorate dev`: saved, run, looked up, killed, kept across a restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{dev::Dev, wait::until};

async fn get(dev: &Dev, path: &str) -> Value {
    let url = format!("{}{path}", dev.url());
    reqwest::get(url).await.expect("an answer").json().await.expect("JSON")
}

async fn put_job(dev: &Dev, name: &str, job: Value) -> (u16, Value) {
    let url = format!("{}/api/v1/jobs/{name}", dev.url());
    let answer = reqwest::Client::new().put(url).json(&job).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn post(dev: &Dev, path: &str) -> Value {
    let url = format!("{}{path}", dev.url());
    reqwest::Client::new().post(url).send().await.expect("an answer").json().await.unwrap_or_default()
}

async fn finished(dev: &Dev, job: &str) -> Vec<Value> {
    let page = get(dev, &format!("/api/v1/runs?job={job}&limit=100")).await;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().filter(|run| run["ended"].is_string()).collect()
}

fn shell(trigger: &Value, command: &str) -> Value {
    json!({"trigger": trigger, "driver": {"shell": {"command": command}}})
}

#[tokio::test]
async fn every_tick_of_a_job_runs_once_and_its_output_can_be_read() {
    let dev = Dev::start().await;
    let job = shell(&json!({"cron": ["* * * * * * *"]}), "echo tick $QUORATE_TICK; echo oops >&2");
    let (status, saved) = put_job(&dev, "each-second", job).await;
    assert_eq!(status, 201, "{saved}");
    let runs = until("four runs are finished", Duration::from_secs(20), || async {
        let runs = finished(&dev, "each-second").await;
        (runs.len() >= 4).then_some(runs)
    })
    .await;
    let mut ticks: Vec<&str> = runs.iter().filter_map(|run| run["tick"].as_str()).collect();
    let count = ticks.len();
    ticks.sort_unstable();
    ticks.dedup();
    assert_eq!(ticks.len(), count, "a tick ran twice: {runs:?}");
    assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:?}");
    let run = runs[0]["run"].as_str().expect("an id");
    let output = get(&dev, &format!("/api/v1/runs/{run}/output")).await;
    let text = output["output"].as_str().unwrap_or_default();
    assert!(text.contains(&format!("tick {}", runs[0]["tick"].as_str().unwrap_or_default())), "{output}");
    assert!(text.contains("oops") && output["complete"] == true, "{output}");
}

#[tokio::test]
async fn a_killed_run_is_killed_and_says_by_whom() {
    let dev = Dev::start().await;
    put_job(&dev, "long", shell(&json!({"manual": true}), "echo started; sleep 60 | cat")).await;
    let run = post(&dev, "/api/v1/jobs/long/run").await["run"].as_str().expect("a run").to_owned();
    until("it has printed", Duration::from_secs(20), || async {
        let output = get(&dev, &format!("/api/v1/runs/{run}/output")).await;
        output["output"].as_str().is_some_and(|text| text.contains("started")).then_some(())
    })
    .await;
    post(&dev, "/api/v1/jobs/long/kill").await;
    let ended = until("it is killed", Duration::from_secs(20), || async {
        finished(&dev, "long").await.into_iter().next()
    })
    .await;
    assert_eq!(ended["state"], "killed", "{ended}");
    assert!(ended["reason"].as_str().unwrap_or_default().contains("killed by"), "{ended}");
}

#[tokio::test]
async fn a_tick_that_finds_its_job_running_is_skipped_and_on_record() {
    let dev = Dev::start().await;
    put_job(&dev, "slow", shell(&json!({"cron": ["* * * * * * *"]}), "sleep 3.5")).await;
    let ticks = until("ticks are skipped", Duration::from_secs(30), || async {
        let page = get(&dev, "/api/v1/jobs/slow/ticks?outcome=skipped").await;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        (items.len() >= 3).then_some(items)
    })
    .await;
    assert!(ticks.iter().all(|tick| tick["outcome"] == "skipped" && tick["expected"] == true), "{ticks:?}");
}

#[tokio::test]
async fn a_failed_run_is_tried_again_as_the_next_attempt() {
    let dev = Dev::start().await;
    let mut job =
        shell(&json!({"manual": true}), "echo attempt $QUORATE_ATTEMPT; test $QUORATE_ATTEMPT -ge 2");
    job["retry"] = json!({"attempts": 3, "backoff": "100ms"});
    put_job(&dev, "shaky", job).await;
    let run = post(&dev, "/api/v1/jobs/shaky/run").await["run"].as_str().expect("a run").to_owned();
    let ended = until("the second attempt has succeeded", Duration::from_secs(20), || async {
        let run = get(&dev, &format!("/api/v1/runs/{run}")).await;
        (run["state"] == "succeeded").then_some(run)
    })
    .await;
    assert_eq!(ended["attempt"], 2, "{ended}");
    assert_eq!(ended["attempts"].as_array().map(Vec::len), Some(2), "{ended}");
}

#[tokio::test]
async fn jobs_and_history_survive_a_restart() {
    let mut dev = Dev::start().await;
    put_job(&dev, "kept", shell(&json!({"manual": true}), "echo kept")).await;
    post(&dev, "/api/v1/jobs/kept/run").await;
    until("it has run", Duration::from_secs(20), || async {
        finished(&dev, "kept").await.into_iter().next()
    })
    .await;
    dev.restart().await;
    let job = get(&dev, "/api/v1/jobs/kept").await;
    assert_eq!(job["driver"]["shell"]["command"], "echo kept", "{job}");
    assert_eq!(finished(&dev, "kept").await.len(), 1);
}
