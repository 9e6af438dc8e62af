//! Runs: wanted, killed, listed from both places that know them, and their output.

use std::sync::atomic::Ordering;

use common::{
    id::JobName,
    live::LiveOutput,
    lock::{ClaimedCommand, HeldLock, Lock},
    queue::{Kill, QueuedRun},
    run::{Cause, RunState},
    runlog::{Author, LogEntry, Piece, RunLog as _, RunRecord, Stream},
};
use serde_json::json;

use super::support::{Bench, NOW, held};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

pub(crate) fn record(job: &str, run: &str, planned: &str, state: RunState) -> RunRecord {
    let planned = chrono::DateTime::parse_from_rfc3339(planned).expect("an instant").timestamp_millis();
    RunRecord {
        job_name: job.parse().expect("a literal of the test"),
        command: "echo hällo".to_owned(),
        err: if state == RunState::Succeeded { String::new() } else { "exit status 1".to_owned() },
        output: "hällo\nwörld\n".to_owned(),
        plan_time: planned,
        schedule_time: planned + 1,
        start_time: planned + 2,
        end_time: planned + 30,
        run: run.parse().expect("a literal of the test"),
        task: false,
        attempt: 1,
        state,
        reason: String::new(),
        by: Author::Worker,
        trigger: Cause::Schedule,
        tick: None,
        worker: "w1".parse().expect("a literal of the test"),
        fence: common::revision::Token(7),
        claim_time: planned + 1,
        exit_code: Some(i32::from(state != RunState::Succeeded)),
        signal: None,
        truncated: 0,
        gap: None,
        pieces: vec![Piece(3, Stream::Out, 7), Piece(9, Stream::Err, 7)],
        expires: planned + 30 * 86_400_000,
    }
}

fn run_id(n: u8) -> String {
    format!("01935d2e-7b1c-7c3e-9a51-0000000000{n:02x}")
}

#[tokio::test]
async fn a_wanted_run_is_queued_and_shown() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let answer = bench.post("/api/v1/jobs/a/run").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let run = answer.json()["run"].as_str().unwrap().to_owned();
    let entry = bench.entry(&bench.keys.queue.key(&run)).await.unwrap();
    let wanted = QueuedRun::decode(&entry.value).unwrap();
    assert_eq!((wanted.cause, wanted.by.as_str(), wanted.attempt), (Cause::Manual, "api", 1));
    assert_eq!(wanted.since, bench_now());
    assert_eq!(wanted.deadline.unwrap() - wanted.since, chrono::TimeDelta::hours(1));

    let list = bench.get("/api/v1/runs").await.json();
    assert_eq!((&list["items"][0]["run"], &list["items"][0]["state"]), (&json!(run), &json!("queued")));
    let shown = bench.get(&format!("/api/v1/runs/{run}")).await.json();
    assert_eq!(
        (&shown["job"], &shown["command"], &shown["attempts"]),
        (&json!("a"), &json!("date"), &json!([]))
    );
    assert_eq!(bench.get("/api/v1/jobs/a").await.json()["status"]["running"][0]["run"], run.as_str());
    let output = bench.get(&format!("/api/v1/runs/{run}/output")).await.json();
    assert_eq!((&output["complete"], &output["output"]), (&json!(false), &json!("")));
    assert_eq!(bench.post("/api/v1/jobs/b/run").await.status, 404);
}

fn bench_now() -> chrono::DateTime<chrono::Utc> {
    NOW.parse().expect("an instant")
}

// Once: it was shown with the command that its job had been given since, and with another fence after each save,
// pause and resume; its lock said neither what was claimed nor when.
#[tokio::test]
async fn a_run_that_executes_is_shown_as_it_was_claimed_whatever_becomes_of_its_job() {
    let bench = Bench::start().await;
    let body = |command: &str, minute: &str| {
        let command = json!({"shell": {"command": command}});
        json!({"trigger": {"cron": [format!("{minute} * * * *")]}, "driver": command}).to_string()
    };
    let script = "echo a long script; ".repeat(100);
    let begins = format!("{}…", &script[..160]);
    for (name, first, second) in [("a", "first", "second"), ("b", script.as_str(), "second")] {
        let path = format!("/api/v1/jobs/{name}");
        let saved = bench.send_json("PUT", &path, &body(first, "1")).await;
        assert_eq!(saved.status, 201, "{saved:?}");
        let run = run_id(first.len() as u8);
        let command = Some(ClaimedCommand::of(first));
        let claim = HeldLock { command, ..held(name, &run, "2026-11-22T10:00:00Z") };
        bench.put(bench.keys.locks.key(name), Lock::Held(claim).encode()).await;
        let fence = bench.lock(name).await.unwrap().1;
        let shown = |view: serde_json::Value| (view["command"].clone(), view["fence"].clone());
        let of_run = format!("/api/v1/runs/{run}");
        bench.until(&of_run, |answer| answer.status == 200).await;
        for change in ["pause", "resume"] {
            assert_eq!(bench.post(&format!("{path}/{change}")).await.status, 200);
            assert_eq!(shown(bench.get(&of_run).await.json()), (json!(first), json!(fence)), "{change}");
        }
        assert_eq!(bench.send_json("PUT", &path, &body(second, "*/2")).await.status, 200);
        assert!(bench.lock(name).await.unwrap().1 > fence, "its fence has moved");
        let wanted = if first == script { &begins } else { first };
        assert_eq!(shown(bench.get(&of_run).await.json()), (json!(wanted), json!(fence)));
        let running = bench.get(&path).await.json()["status"]["running"][0].clone();
        assert_eq!(shown(running), (json!(wanted), json!(fence)));
        // What is yet to be claimed will run what stands.
        let queued = bench.post(&format!("{path}/run")).await.json()["run"].as_str().unwrap().to_owned();
        let queued = bench.get(&format!("/api/v1/runs/{queued}")).await.json();
        assert_eq!(shown(queued), (json!(second), json!(0)));
    }
}

#[tokio::test]
async fn a_kill_is_put_under_a_lease_and_only_for_what_has_not_ended() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let run = bench.post("/api/v1/jobs/a/run").await.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(bench.post(&format!("/api/v1/runs/{run}/kill")).await.status, 202);
    let job = bench.post("/api/v1/jobs/a/kill").await;
    assert_eq!((job.status, job.json()), (202, json!({"job": "a", "runs": [run]})));
    for key in [bench.keys.kills.key(&run), bench.keys.kills.key("a")] {
        let entry = bench.entry(&key).await.unwrap();
        assert!(entry.lease.is_some());
        assert_eq!(
            Kill::decode(&entry.value).unwrap(),
            Kill { by: "api".into(), at: bench_now(), worker: None }
        );
    }
    bench
        .append(&[LogEntry::Run(Box::new(record("a", RUN, "2026-11-22T09:00:00Z", RunState::Failed)))])
        .await;
    // The lease ends; where no worker has seen it by then, the queue still says so.
    let queued = bench.entry(&bench.keys.queue.key(&run)).await.unwrap();
    let killed = QueuedRun::decode(&queued.value).unwrap().killed.unwrap();
    assert_eq!((killed.by.as_str(), queued.lease), ("api", None));
    // A worker that does not know marks goes by the kill, which acts on what was wanted before it.
    assert!(queued.mod_revision < bench.entry(&bench.keys.kills.key(&run)).await.unwrap().mod_revision);
    let ended = bench.post(&format!("/api/v1/runs/{RUN}/kill")).await;
    assert_eq!(ended.status, 409);
    assert!(ended.text.contains("has ended already: failed"), "{ended:?}");
    assert_eq!(bench.post(&format!("/api/v1/runs/{}/kill", run_id(9))).await.status, 404);
    assert_eq!(bench.post("/api/v1/jobs/b/kill").await.status, 404);
}

// Once: a queued run that was killed while no worker lived ran later; the kill had a lease, and nothing else
// said so.
#[tokio::test]
async fn a_kill_of_a_job_marks_all_that_is_queued_of_it_and_nothing_of_others() {
    let bench = Bench::start().await;
    bench.save("a").await;
    bench.save("b").await;
    let want = async |job: &str| {
        let run = bench.post(&format!("/api/v1/jobs/{job}/run")).await.json()["run"].clone();
        run.as_str().unwrap().to_owned()
    };
    let (one, two, other) = (want("a").await, want("a").await, want("b").await);
    assert_eq!(bench.post("/api/v1/jobs/a/kill").await.status, 202);
    for (run, is_killed) in [(one, true), (two, true), (other, false)] {
        let queued = bench.entry(&bench.keys.queue.key(&run)).await.unwrap();
        assert_eq!(QueuedRun::decode(&queued.value).unwrap().killed.is_some(), is_killed, "{run}");
    }
}

#[tokio::test]
async fn a_kill_of_a_job_reads_what_is_the_jobs_and_not_a_long_queue_of_others() {
    let bench = Bench::start().await;
    bench.save("a").await;
    bench.save("b").await;
    let run = bench.post("/api/v1/jobs/a/run").await.json()["run"].as_str().unwrap().to_owned();
    let asked = QueuedRun::decode(&bench.entry(&bench.keys.queue.key(&run)).await.unwrap().value).unwrap();
    // Days ago.
    for n in 0..200 {
        let job = if n % 50 == 0 { "a" } else { "b" }.parse().unwrap();
        let wanted = QueuedRun { job, run: run_id(n).parse().unwrap(), ..asked.clone() };
        bench.put(bench.keys.queue.key(run_id(n)), wanted.encode()).await;
        // One tick of each of some jobs that waits: their keys stand behind all runs.
        let job: JobName = format!("z{n}").parse().unwrap();
        let next = QueuedRun { job: job.clone(), cause: Cause::Queued, ..asked.clone() };
        bench.put(bench.keys.next_of(&job), next.encode()).await;
    }
    bench.until("/api/v1/runs?job=z199", |page| page.text.contains("z199")).await;
    // Another manager put it just now; and a tick waits.
    let just_now = common::id::RunId::first_at(bench_now());
    let places = [bench.keys.wanted(&just_now), bench.keys.next_of(&asked.job)];
    for place in &places {
        bench.put(place.clone(), asked.encode()).await;
    }
    bench.store.read.store(0, Ordering::SeqCst);
    assert_eq!(bench.post("/api/v1/jobs/a/kill").await.status, 202);
    let read = bench.store.read.load(Ordering::SeqCst);
    assert!(read <= 60, "{read} entries were read");
    let of_a = [0, 50, 100, 150].map(|n| bench.keys.queue.key(run_id(n)));
    for key in of_a.iter().chain(&places) {
        let queued = bench.entry(key).await.unwrap();
        assert!(QueuedRun::decode(&queued.value).unwrap().killed.is_some(), "{key}");
    }
}

#[tokio::test]
async fn a_kill_of_a_run_marks_the_tick_that_waits_for_its_job() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let run = bench.post("/api/v1/jobs/a/run").await.json()["run"].as_str().unwrap().to_owned();
    // As a worker puts it of a job with overlap `queue-one`.
    let asked = bench.entry(&bench.keys.queue.key(&run)).await.unwrap();
    let waiting = QueuedRun { run: run_id(7).parse().unwrap(), ..QueuedRun::decode(&asked.value).unwrap() };
    let next = bench.keys.next_of(&waiting.job);
    bench.put(next.clone(), waiting.encode()).await;
    let kill = format!("/api/v1/runs/{}/kill", waiting.run);
    assert_eq!(bench.post(&kill).await.status, 202);
    let killed = async |key| QueuedRun::decode(&bench.entry(&key).await.unwrap().value).unwrap().killed;
    assert!(killed(next).await.is_some());
    assert_eq!(killed(asked.key).await, None);
}

#[tokio::test]
async fn deleting_a_job_leaves_its_queued_runs_to_the_workers() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let run = bench.post("/api/v1/jobs/a/run").await.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 204);
    // It is out of the queue when it is on record, and not before.
    assert!(bench.entry(&bench.keys.queue.key(&run)).await.is_some());
}

#[tokio::test]
async fn runs_that_have_not_ended_come_first_and_every_run_comes_once() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let mut all = Vec::new();
    for n in 1..=3 {
        let planned = format!("2026-11-22T09:0{n}:00Z");
        let record = record("a", &run_id(n), &planned, RunState::Succeeded);
        bench.append(&[LogEntry::Run(Box::new(record))]).await;
        all.insert(0, run_id(n));
    }
    for n in 4..=5 {
        let run = held("b", &run_id(n), &format!("2026-11-22T09:0{n}:00Z"));
        bench.put(bench.keys.runs.key(run_id(n)), run.encode()).await;
        all.insert(0, run_id(n));
    }
    // Its record has come, and the news that its lock is free has not.
    let both = held("a", &run_id(3), "2026-11-22T09:03:00Z");
    bench.put(bench.keys.locks.key("a"), Lock::Held(both).encode()).await;
    bench.until("/api/v1/runs?state=running", |list| list.names("run").len() == 3).await;

    assert_eq!(bench.get("/api/v1/runs").await.names("run"), all);
    let mut paged = Vec::new();
    let mut path = "/api/v1/runs?limit=1".to_owned();
    for _ in 0..10 {
        let page = bench.get(&path).await;
        paged.extend(page.names("run"));
        match page.json()["next"].as_str() {
            Some(next) => path = format!("/api/v1/runs?limit=1&after={next}"),
            None => break,
        }
    }
    paged.dedup();
    assert_eq!(paged, all);
    assert_eq!(bench.get("/api/v1/runs?state=succeeded&job=a").await.names("run"), all[2..]);
    assert_eq!(bench.get("/api/v1/runs?job=b").await.names("run"), all[..2]);
    assert_eq!(
        bench.get("/api/v1/runs?from=2026-11-22T09:02:00Z&to=2026-11-22T09:05:00Z").await.names("run"),
        all[1..4]
    );
    assert_eq!(bench.get("/api/v1/runs?worker=nobody").await.names("run"), [""; 0]);
}

#[tokio::test]
async fn a_finished_run_shows_its_attempts_and_its_output_from_any_offset() {
    let bench = Bench::start().await;
    let first = record("a", RUN, "2026-11-22T09:00:00Z", RunState::Failed);
    let second = RunRecord { attempt: 2, state: RunState::Succeeded, output: "2".into(), ..first.clone() };
    bench.append(&[LogEntry::Run(Box::new(first)), LogEntry::Run(Box::new(second))]).await;
    let shown = bench.get(&format!("/api/v1/runs/{RUN}")).await.json();
    assert_eq!((&shown["attempt"], &shown["state"]), (&json!(2), &json!("succeeded")));
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(shown["planned"], "2026-11-22T09:00:00.000Z");
    let output = |query: &str| {
        let (bench, path) = (&bench, format!("/api/v1/runs/{RUN}/output{query}"));
        async move { bench.get(&path).await.json() }
    };
    assert_eq!(output("").await["output"], "2");
    let whole = output("?attempt=1").await;
    assert_eq!((&whole["output"], &whole["next"]), (&json!("hällo\nwörld\n"), &json!(14)));
    let rest = output("?attempt=1&from=7").await;
    assert_eq!((&rest["output"], &rest["pieces"]), (&json!("wörld\n"), &json!([[9, "err", 7]])));
    assert_eq!(output("?attempt=1&from=2").await["output"], "llo\nwörld\n", "an offset within a character");
    let end = output("?from=99&wait=20s").await;
    assert_eq!((&end["complete"], &end["output"]), (&json!(true), &json!("")));
    assert_eq!(bench.get(&format!("/api/v1/runs/{RUN}/output?attempt=3")).await.status, 404);
    assert_eq!(bench.get(&format!("/api/v1/runs/{}", run_id(1))).await.status, 404);
    assert_eq!(bench.get(&format!("/api/v1/runs/{}/output", run_id(1))).await.status, 404);
}

#[tokio::test]
async fn a_run_whose_worker_is_gone_shows_the_output_of_its_earlier_attempt() {
    let bench = Bench::start().await;
    let first = record("a", RUN, "2026-11-22T09:00:00Z", RunState::Failed);
    bench.append(&[LogEntry::Run(Box::new(first))]).await;
    let mut again = held("a", RUN, "2026-11-22T09:00:00Z");
    again.attempt = 2;
    bench.put(bench.keys.runs.key(RUN), again.encode()).await;
    bench.until("/api/v1/runs?state=running", |list| !list.names("run").is_empty()).await;

    let output = async |query: &str| bench.get(&format!("/api/v1/runs/{RUN}/output{query}")).await;
    for query in ["", "?attempt=2", "?wait=1s"] {
        let newest = output(query).await.json();
        assert_eq!(
            (&newest["attempt"], &newest["complete"], &newest["output"]),
            (&json!(2), &json!(false), &json!("")),
            "{query}"
        );
    }
    let earlier = output("?attempt=1").await.json();
    assert_eq!(
        (&earlier["complete"], &earlier["output"]),
        (&json!(true), &json!("hällo\nwörld\n")),
        "{earlier}"
    );
    assert_eq!(output("?attempt=3").await.status, 404);
    let shown = bench.get(&format!("/api/v1/runs/{RUN}")).await.json();
    assert_eq!((&shown["attempt"], &shown["attempts"][0]["attempt"]), (&json!(2), &json!(1)), "{shown}");
}

#[tokio::test]
async fn the_output_of_a_running_run_comes_from_its_worker() {
    let bench = Bench::start().await;
    bench.save("a").await;
    bench.register("w1", "127.0.0.1:5556").await;
    bench.put(bench.keys.locks.key("a"), Lock::Held(held("a", RUN, "2026-11-22T10:00:00Z")).encode()).await;
    bench.until("/api/v1/workers", |list| !list.names("id").is_empty()).await;
    bench.until("/api/v1/runs", |list| !list.names("run").is_empty()).await;
    // Between its end and its record.
    let path = format!("/api/v1/runs/{RUN}/output");
    assert_eq!(bench.get(&path).await.json()["complete"], false);
    let live = LiveOutput { attempt: 1, output: "so far".into(), next: 6, ..LiveOutput::default() };
    *bench.live.0.lock().unwrap() = Some(live);
    let output = bench.get(&path).await.json();
    assert_eq!(
        (&output["output"], &output["next"], &output["complete"]),
        (&json!("so far"), &json!(6), &json!(false))
    );
    let shown = bench.get(&format!("/api/v1/runs/{RUN}")).await.json();
    assert_eq!((&shown["state"], &shown["worker"]), (&json!("running"), &json!("w1")));
}

#[tokio::test]
async fn the_newest_runs_by_schedule_tell_how_late_they_started() {
    let bench = Bench::start().await;
    let path = "/api/v1/runs/lateness";
    let none = bench.get(path).await.json();
    assert_eq!((&none["runs"], &none["p50_ms"]), (&json!(0), &json!(null)), "{none}");
    let late = |n: u8, ms: i64| {
        let record = record("a", &run_id(n), &format!("2026-11-22T00:00:{n:02}Z"), RunState::Failed);
        RunRecord { start_time: record.plan_time + ms, ..record }
    };
    let mut records: Vec<RunRecord> = (1..=9).map(|n| late(n, 1)).collect();
    records.push(late(10, 2_500));
    // Late by intent, or never started: not counted.
    records.push(RunRecord { trigger: Cause::Manual, ..late(11, 60_000) });
    records.push(RunRecord { attempt: 2, ..late(12, 60_000) });
    records.push(RunRecord { exit_code: None, ..late(13, 60_000) });
    records.push(RunRecord { job_name: "b".parse().unwrap(), ..late(14, 7) });
    let entries: Vec<LogEntry> = records.into_iter().map(|record| LogEntry::Run(Box::new(record))).collect();
    bench.runlog.append(&entries).await.unwrap();

    let seen = bench.get(&format!("{path}?job=a")).await.json();
    let expected = json!({
        "runs": 10, "from": "2026-11-22T00:00:01.000Z", "to": "2026-11-22T00:00:10.000Z",
        "p50_ms": 1, "p99_ms": 2500, "most_ms": 2500,
        "counts": [
            {"to_ms": 1, "runs": 9}, {"to_ms": 10, "runs": 0}, {"to_ms": 100, "runs": 0},
            {"to_ms": 1000, "runs": 0}, {"to_ms": 10000, "runs": 1}, {"to_ms": null, "runs": 0},
        ],
    });
    assert_eq!(seen, expected);
    assert_eq!(bench.get(path).await.json()["runs"], 11);
    let wrong = bench.get(&format!("{path}?jobs=a")).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}
