//! A clock that was ahead when a job was saved, and that is right by now.

use std::time::Duration;

use common::{
    clock::Clock as _,
    lock::{FreeLock, LastRun, Lock},
    run::RunState,
    worker::Registration,
};
use serde_json::{Value, json};

use super::support::Bench;

const DAY: Duration = Duration::from_secs(24 * 3600);

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

fn every(command: &str) -> String {
    json!({"trigger": {"every": "90s"}, "driver": {"shell": {"command": command}}}).to_string()
}

/// A job of every 90 s, saved when the clock was a day ahead.
async fn saved_a_day_ahead() -> Bench {
    let bench = Bench::start().await;
    bench.clock.advance(DAY);
    let saved = bench.send_json("PUT", "/api/v1/jobs/a", &every("date")).await;
    assert_eq!(saved.status, 201, "{saved:?}");
    bench.clock.set_back(DAY);
    bench
}

async fn status(bench: &Bench) -> Value {
    bench.get("/api/v1/jobs/a").await.json()["status"].clone()
}

async fn fence(bench: &Bench) -> String {
    bench.lock("a").await.expect("the job has a lock").0.fence().to_string()
}

// Once: it was silent until then, also after a reset, a save, a pause and a resume; its anchor stood, and
// nothing but a reset took back a fence that nobody had used.
#[tokio::test]
async fn a_job_that_was_saved_by_a_clock_that_was_ahead_counts_from_now_once_it_is_changed() {
    for change in ["save", "read and save", "pause", "reset-fence"] {
        let bench = saved_a_day_ahead().await;
        let before = status(&bench).await;
        let warning = before["warning"].as_str().expect("a text");
        assert!(warning.contains("reset-fence"), "{warning}");
        assert_eq!(before["next"][0], "2026-11-23T10:01:30.000Z", "none comes before");
        let answer = match change {
            "save" => bench.send_json("PUT", "/api/v1/jobs/a", &every("other")).await,
            "read and save" => {
                let shown = bench.get("/api/v1/jobs/a").await.json();
                bench.send_json("PUT", "/api/v1/jobs/a", &shown.to_string()).await
            }
            other => bench.post(&format!("/api/v1/jobs/a/{other}")).await,
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        if change != "reset-fence" {
            let says = answer.json()["status"]["warning"].clone();
            let says = says.as_str().expect("a text");
            let expected =
                "it counted from a clock that was 1day ahead of this one; its ticks count from now";
            assert!(says.starts_with(expected), "{says}");
        }
        if change == "pause" {
            assert_eq!(bench.post("/api/v1/jobs/a/resume").await.status, 200);
        }
        assert_eq!(fence(&bench).await, "2026-11-22T10:00:00Z", "{change}");
        let after = status(&bench).await;
        assert_eq!(after["next"][0], "2026-11-22T10:01:30.000Z", "{change}: {after}");
        assert_eq!(after["warning"], "there is no worker to run it", "{change}");
        let ticks = bench.get("/api/v1/jobs/a/ticks?to=2026-11-22T10:03:10Z").await.json();
        assert_eq!(ticks["counts"]["expected"], 2, "{change}: {ticks}");
    }
}

#[tokio::test]
async fn a_job_with_times_of_day_counts_from_now_as_well() {
    let bench = Bench::start().await;
    bench.clock.advance(DAY);
    bench.save("a").await;
    bench.clock.set_back(DAY);
    assert_eq!(status(&bench).await["next"][0], "2026-11-23T10:01:00.000Z");
    bench.save("a").await;
    assert_eq!(fence(&bench).await, "2026-11-22T10:00:00Z");
    assert_eq!(status(&bench).await["next"][0], "2026-11-22T10:01:00.000Z");
}

#[tokio::test]
async fn only_a_reset_takes_a_fence_back_over_ticks_that_may_have_run() {
    let last = LastRun {
        run: RUN.parse().expect("a literal of this file"),
        state: RunState::Succeeded,
        ended: "2026-11-23T10:00:05Z".parse().expect("a literal of this file"),
        worker: "w1".parse().expect("a literal of this file"),
        claimed: None,
        recorded: None,
    };
    let tomorrow = || "2026-11-23T10:00:00Z".parse().expect("a literal of this file");
    let later = Lock::new("2026-11-23T10:01:30Z".parse().expect("a literal of this file"));
    for lock in [Lock::Free(FreeLock { fence: tomorrow(), last: Some(last) }), later] {
        let bench = saved_a_day_ahead().await;
        bench.put(bench.keys.locks.key("a"), lock.encode()).await;
        let fence_before = lock.fence().to_string();
        bench.until("/api/v1/jobs/a", |answer| answer.text.contains("reset-fence")).await;
        let saved = bench.send_json("PUT", "/api/v1/jobs/a", &every("other")).await.json();
        let says = saved["status"]["warning"].as_str().expect("a text");
        let expected = "it counted from a clock that was 1day ahead of this one; its ticks up to";
        assert!(says.starts_with(expected), "{says}");
        assert_eq!(bench.post("/api/v1/jobs/a/pause").await.status, 200);
        assert_eq!(bench.post("/api/v1/jobs/a/resume").await.status, 200);
        assert_eq!(fence(&bench).await, fence_before);
        let told = status(&bench).await;
        assert!(told["warning"].as_str().expect("a text").contains("reset-fence"), "{told}");
        assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
        assert_eq!(fence(&bench).await, "2026-11-22T10:00:00Z");
        assert_eq!(status(&bench).await["next"][0], "2026-11-22T10:01:30.000Z");
    }
}

#[tokio::test]
async fn an_anchor_that_is_ahead_alone_is_warned_of_and_reset_and_one_that_was_given_stays() {
    let bench = saved_a_day_ahead().await;
    bench.put(bench.keys.locks.key("a"), Lock::new("2026-11-22T09:59:00Z".parse().unwrap()).encode()).await;
    let path = "/api/v1/jobs/a";
    let warned =
        |answer: &super::support::Answer| answer.text.contains("its ticks count from a clock that was 1day");
    bench.until(path, warned).await;
    assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
    let after = status(&bench).await;
    assert_eq!(after["next"][0], "2026-11-22T10:01:30.000Z", "{after}");

    let given = json!({
        "trigger": {"every": "90s", "anchor": "2027-01-01T00:00:00Z"}, "driver": {"shell": {"command": "date"}},
    });
    assert_eq!(bench.send_json("PUT", path, &given.to_string()).await.status, 200);
    assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
    let after = status(&bench).await;
    assert_eq!(after["next"][0], "2027-01-01T00:00:00.000Z");
    assert_eq!(after["warning"], "there is no worker to run it");
}

#[tokio::test]
async fn a_manager_whose_clock_is_behind_the_workers_takes_no_fence_back() {
    let bench = saved_a_day_ahead().await;
    bench.register("w1", "127.0.0.1:1").await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"][0]["id"] == "w1").await;
    let w1 = bench.entry(&bench.keys.workers.key("w1")).await.unwrap();
    let w1 = Registration::decode(&w1.value).unwrap();
    let tomorrow = bench.clock.now() + DAY;
    bench
        .put(bench.keys.workers.key("w1"), Registration { running: 3, clock: tomorrow, ..w1 }.encode())
        .await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"][0]["running"] == 3).await;
    let before = bench.entry(&bench.keys.locks.key("a")).await;
    let refused = bench.post("/api/v1/jobs/a/reset-fence").await;
    assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("clock-behind")), "{refused:?}");
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", &every("other")).await.status, 200);
    assert_eq!(bench.entry(&bench.keys.locks.key("a")).await, before);
    let shown = bench.get("/api/v1/jobs/a").await.json();
    assert_eq!(shown["trigger"]["anchor"], "2026-11-23T10:00:00Z");
}
