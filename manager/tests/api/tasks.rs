//! Tasks: handed in, shown while they wait, run and end, and told apart from jobs.

use common::{
    lock::HeldLock,
    queue::QueuedRun,
    run::RunState,
    runlog::{LogEntry, RunRecord},
    task::{ActiveTask, Ended},
};
use serde_json::json;

use super::{
    runs::record,
    support::{Bench, held},
};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";
const TASK: &str = r#"{"name": "a", "driver": {"shell": {"command": "date"}}, "deadline": "10m"}"#;

fn with_run(run: &str) -> String {
    format!(r#"{{"run": "{run}", "name": "a", "driver": {{"shell": {{"command": "date"}}}}}}"#)
}

#[tokio::test]
async fn a_task_is_queued_and_shown_and_is_none_of_the_job_of_its_name() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let answer = bench.send_json("POST", "/api/v1/runs", TASK).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let run = answer.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/api/v1/runs/{run}"));
    let entry = bench.entry(&bench.keys.queue.key(&run)).await.unwrap();
    let wanted = QueuedRun::decode(&entry.value).unwrap();
    assert_eq!(wanted.deadline.unwrap() - wanted.since, chrono::TimeDelta::minutes(10));
    let shown = bench.get(&format!("/api/v1/runs/{run}")).await.json();
    assert_eq!(
        (&shown["task"], &shown["job"], &shown["state"], &shown["command"]),
        (&json!(true), &json!("a"), &json!("queued"), &json!("date"))
    );
    assert_eq!(bench.get("/api/v1/jobs/a").await.json()["status"]["running"], json!([]));
    assert_eq!(bench.get("/api/v1/runs?job=a").await.json()["items"], json!([]));
    assert_eq!(bench.get("/api/v1/runs?task=a").await.json()["items"][0]["run"], run.as_str());
    assert_eq!(bench.get("/api/v1/runs?task=b").await.json()["items"], json!([]));
    // A kill of the job leaves it alone; one of its own does not.
    assert_eq!(bench.post("/api/v1/jobs/a/kill").await.json()["runs"], json!([]));
    let read =
        async || QueuedRun::decode(&bench.entry(&bench.keys.queue.key(&run)).await.unwrap().value).unwrap();
    assert_eq!(read().await.killed, None);
    assert_eq!(bench.post(&format!("/api/v1/runs/{run}/kill")).await.status, 202);
    assert!(read().await.killed.is_some());
}

#[tokio::test]
async fn a_task_that_is_handed_in_twice_under_its_id_is_wanted_once() {
    let bench = Bench::start().await;
    let body = with_run(RUN);
    assert_eq!(bench.send_json("POST", "/api/v1/runs", &body).await.status, 201);
    let first = bench.entry(&bench.keys.queue.key(RUN)).await.unwrap();
    assert_eq!(bench.send_json("POST", "/api/v1/runs", &body).await.status, 200);
    assert_eq!(bench.entry(&bench.keys.queue.key(RUN)).await.unwrap(), first);
    let other = body.replace("date", "uptime");
    let refused = bench.send_json("POST", "/api/v1/runs", &other).await;
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("run-exists")), "{refused:?}");
    let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5c";
    bench
        .append(&[LogEntry::Run(Box::new(record("a", run, "2026-11-22T09:00:00Z", RunState::Succeeded)))])
        .await;
    assert_eq!(bench.send_json("POST", "/api/v1/runs", &with_run(run)).await.status, 409);
}

#[tokio::test]
async fn a_task_is_found_from_its_claim_until_its_record_and_no_moment_without() {
    let bench = Bench::start().await;
    let path = format!("/api/v1/runs/{RUN}");
    let task = serde_json::from_str(r#"{"name": "a", "driver": {"shell": {"command": "date"}}}"#).unwrap();
    let held = HeldLock { tick: None, ..held("a", RUN, "2026-11-22T10:00:00Z") };
    let active = ActiveTask { held, task: std::sync::Arc::new(task), ended: None };
    bench.put(bench.keys.active.key(RUN), active.encode()).await;
    let running = bench.until(&path, |answer| answer.status == 200).await.json();
    assert_eq!((&running["state"], &running["command"]), (&json!("running"), &json!("date")));
    // In the log, and not yet told to have ended: another attempt may follow.
    let logged = RunRecord { task: true, ..record("a", RUN, "2026-11-22T10:00:00Z", RunState::Failed) };
    bench.append(&[LogEntry::Run(Box::new(logged))]).await;
    assert_eq!(bench.get(&path).await.json()["state"], "running");
    let at = "2026-11-22T10:00:01Z".parse().unwrap();
    let (state, err) = (RunState::Failed, "exit status 1".to_owned());
    let ended =
        Ended { state, started: at, at, err, reason: String::new(), exit_code: Some(1), signal: None };
    let ended = ActiveTask { ended: Some(ended), ..active };
    bench.put(bench.keys.active.key(RUN), ended.encode()).await;
    let failed = bench.until(&path, |answer| answer.json()["state"] == "failed").await.json();
    assert_eq!(failed["exit_code"], 1);
    assert_eq!(bench.post(&format!("{path}/kill")).await.status, 409);
    let list = bench.get("/api/v1/runs").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn a_task_says_what_it_waits_for() {
    let bench = Bench::start().await;
    let body = |require: &str| {
        let placement = json!({"require": [require]});
        json!({"driver": {"shell": {"command": "date"}}, "placement": placement}).to_string()
    };
    let reason = async |require: &str| {
        let run = bench.send_json("POST", "/api/v1/runs", &body(require)).await.json()["run"].clone();
        let path = format!("/api/v1/runs/{}", run.as_str().unwrap());
        bench.get(&path).await.json()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("gpu").await, "there is no worker to run it; asked for by api");
    bench.register("w1", "w1:5556").await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"].as_array().unwrap().len() == 1).await;
    assert_eq!(reason("gpu").await, "no worker has the labels that it requires: gpu; asked for by api");
    assert_eq!(reason("!gpu").await, "asked for by api", "it is ready");
}

#[tokio::test]
async fn what_is_wrong_with_a_task_is_told_by_field() {
    let bench = Bench::start().await;
    for (body, field) in [
        ("{}", "driver"),
        (r#"{"driver": {"shell": {"command": ""}}}"#, "driver.shell.command"),
        (r#"{"driver": {"shell": {"command": "date"}}, "trigger": {"manual": true}}"#, "trigger"),
        (r#"{"driver": {"shell": {"command": "date"}}, "run": "x"}"#, "run"),
        (r#"{"driver": {"shell": {"command": "date"}}, "deadline": "yesterday"}"#, "deadline"),
    ] {
        let refused = bench.send_json("POST", "/api/v1/runs", body).await;
        assert_eq!(refused.status, 422, "{body}: {refused:?}");
        assert_eq!(refused.json()["errors"][0]["field"], field, "{body}");
    }
    assert_eq!(bench.get("/api/v1/runs?job=a&task=a").await.status, 400);
}
