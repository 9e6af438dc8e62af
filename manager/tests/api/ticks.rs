//! Every tick of a job, expected against happened.

use common::{
    lock::{Lock, Stretch},
    run::RunState,
    runlog::{LogEntry, RunRecord, TickOutcome, TickRecord},
};
use serde_json::{Value, json};

use super::{
    runs::record,
    support::{Bench, held},
};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

fn of_tick(n: u8, tick: &str, state: RunState) -> RunRecord {
    let record = record("a", &format!("01935d2e-7b1c-7c3e-9a51-0000000000{n:02x}"), tick, state);
    RunRecord { tick: Some(tick.parse().expect("a literal of the test")), ..record }
}

fn stretch(from: &str, to: &str, count: u64) -> TickRecord {
    TickRecord {
        job_name: "a".parse().expect("a literal of the test"),
        from: from.parse().expect("a literal of the test"),
        to: to.parse().expect("a literal of the test"),
        count,
        outcome: TickOutcome::Missed,
        reason: "no worker was there".to_owned(),
        worker: "w1".parse().expect("a literal of the test"),
        expires: i64::MAX / 2,
    }
}

/// A job of every minute, since two hours, whose ticks up to now are decided.
async fn minutely(bench: &Bench) {
    let stored = json!({
        "v": 1, "since": "2026-11-22T08:00:00Z",
        "job": {
            "name": "a", "trigger": {"cron": ["* * * * *"], "zone": "UTC"},
            "driver": {"shell": {"command": "date"}},
        },
    });
    bench
        .put(
            bench.keys.locks.key("a"),
            Lock::new("2026-11-22T10:00:00Z".parse().expect("a literal of the test")).encode(),
        )
        .await;
    bench.put(bench.keys.jobs.key("a"), stored.to_string()).await;
    bench.until("/api/v1/jobs/a", |answer| answer.status == 200).await;
}

fn short(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
    let text = |item: &Value| {
        let (tick, outcome) =
            (item["tick"].as_str().expect("a tick"), item["outcome"].as_str().expect("an outcome"));
        format!("{} {outcome} {}", &tick[11..19], item["count"])
    };
    items.iter().map(text).collect()
}

#[tokio::test]
async fn every_tick_is_told_with_what_became_of_it() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    let second = RunRecord { attempt: 2, ..of_tick(1, "2026-11-22T09:58:00Z", RunState::Succeeded) };
    let failed = of_tick(1, "2026-11-22T09:58:00Z", RunState::Failed);
    let by_hand = record("a", RUN, "2026-11-22T09:58:30Z", RunState::Succeeded);
    let edited = of_tick(2, "2026-11-22T09:55:30Z", RunState::Killed);
    let missed = stretch("2026-11-22T09:56:00Z", "2026-11-22T09:57:00Z", 2);
    let all = [second, failed, by_hand, edited].map(|record| LogEntry::Run(Box::new(record)));
    bench.append(&all).await;
    bench.append(&[LogEntry::Ticks(missed)]).await;
    let page = bench.get("/api/v1/jobs/a/ticks?from=2026-11-22T09:55:00Z").await.json();
    let expected = [
        "10:00:00 no_record 1",
        "09:59:00 no_record 1",
        "09:58:00 succeeded 1",
        "09:57:00 missed 1",
        "09:56:00 missed 1",
        "09:55:30 killed 1",
        "09:55:00 no_record 1",
    ];
    assert_eq!(short(&page), expected);
    let items = page["items"].as_array().unwrap();
    assert_eq!(items[2]["runs"].as_array().unwrap().len(), 2, "{page}");
    assert_eq!((&items[2]["late_ms"], &items[2]["runs"][0]["state"]), (&json!(2), &json!("failed")));
    let stretch = json!({
        "from": "2026-11-22T09:56:00.000Z", "to": "2026-11-22T09:57:00.000Z", "count": 2, "worker": "w1",
    });
    assert_eq!((&items[3]["stretch"], &items[3]["reason"]), (&stretch, &json!("no worker was there")));
    assert_eq!((&items[3]["expected"], &items[5]["expected"]), (&json!(true), &json!(false)));
    let counts = json!({
        "from": "2026-11-22T09:55:00.000Z", "expected": 6,
        "outcomes": {"no_record": 3, "succeeded": 1, "missed": 2, "killed": 1},
    });
    assert_eq!((&page["counts"], &page["next"]), (&counts, &json!(null)));
    assert_eq!(page["since"], "2026-11-22T08:00:00.000Z");
    let bad = bench.get("/api/v1/jobs/a/ticks?from=2026-11-22T09:55:00Z&outcome=unsuccessful").await.json();
    assert_eq!(bad["items"].as_array().unwrap().len(), 6, "{bad}");
    let folded = bench.get("/api/v1/jobs/a/ticks?from=2026-11-22T09:55:00Z&outcome=missed&fold=true").await;
    assert_eq!(short(&folded.json()), ["09:57:00 missed 2"]);
}

#[tokio::test]
async fn what_runs_waits_or_is_only_in_the_lock_is_told() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    let stretch = Stretch {
        from: "2026-11-22T09:57:00Z".parse().unwrap(),
        to: "2026-11-22T09:58:00Z".parse().unwrap(),
        count: 2,
    };
    let mut lock = held("a", RUN, "2026-11-22T09:56:00Z");
    (lock.fence, lock.last_skip) = (stretch.to, Some(stretch));
    bench.put(bench.keys.locks.key("a"), Lock::Held(lock).encode()).await;
    let path = "/api/v1/jobs/a/ticks?from=2026-11-22T09:55:30Z&to=2026-11-22T10:01:30Z";
    let page = bench.until(path, |page| page.text.contains("running")).await.json();
    let expected = [
        "10:01:00 upcoming 1",
        "10:00:00 waiting 1",
        "09:59:00 waiting 1",
        "09:58:00 skipped 1",
        "09:57:00 skipped 1",
        "09:56:00 running 1",
    ];
    assert_eq!(short(&page), expected);
    assert_eq!(page["items"][1]["reason"], "no worker is there to run it");
    assert_eq!(page["items"][5]["runs"][0]["run"], RUN);
    let run = bench.get(&format!("/api/v1/runs/{RUN}")).await.json();
    assert_eq!(run["started"], run["claimed"], "it was claimed after its instant: {run}");
}

#[tokio::test]
async fn pages_of_ticks_follow_each_other_without_gap_or_repetition() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    for n in 0..20 {
        let tick = format!("2026-11-22T09:{:02}:00Z", 20 + n * 2);
        let record = of_tick(n, &tick, if n % 4 == 0 { RunState::Failed } else { RunState::Succeeded });
        bench.append(&[LogEntry::Run(Box::new(record))]).await;
    }
    for (query, expected) in [("", 61), ("&outcome=succeeded", 15), ("&fold=true", 42)] {
        let whole = bench
            .get(&format!("/api/v1/jobs/a/ticks?from=2026-11-22T09:00:00Z&limit=500{query}"))
            .await
            .json();
        assert_eq!(whole["items"].as_array().unwrap().len(), expected, "{query} {whole}");
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/jobs/a/ticks?from=2026-11-22T09:00:00Z&limit=7{query}{after}");
            let page = bench.get(&path).await.json();
            assert_eq!(page["counts"].is_null(), !after.is_empty(), "counts are on the first page");
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(Value::from(paged), whole["items"], "{query}");
    }
}

#[tokio::test]
async fn a_job_that_is_gone_keeps_its_ticks_and_one_that_never_was_is_not_found() {
    let bench = Bench::start().await;
    let missed = stretch("2026-11-22T09:00:00Z", "2026-11-22T09:05:00Z", 6);
    bench.append(&[LogEntry::Ticks(missed)]).await;
    let page = bench.get("/api/v1/jobs/a/ticks").await.json();
    assert_eq!(short(&page), ["09:05:00 missed 6"], "it reaches into the last hour");
    assert_eq!((&page["items"][0]["expected"], &page["since"]), (&json!(null), &json!(null)));
    assert_eq!(bench.get("/api/v1/jobs/b/ticks").await.status, 404);
}

#[tokio::test]
async fn questions_about_ticks_that_make_no_sense_are_refused_with_an_example() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    for (query, field) in [
        ("from=yesterday", "from"),
        ("from=2026-11-22T10:00:00Z&to=2026-11-22T09:00:00Z", "from"),
        ("after=7", "after"),
        ("outcome=bad", "outcome"),
        ("fold=perhaps", "fold"),
        ("limit=501", "limit"),
        ("state=failed", "state"),
    ] {
        let answer = bench.get(&format!("/api/v1/jobs/a/ticks?{query}")).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, "application/problem+json"),
            "{query}"
        );
        let error = &answer.json()["errors"][0];
        assert_eq!(error["field"], field, "{answer:?}");
        assert!(field == "state" || !error["example"].as_str().unwrap().is_empty(), "{answer:?}");
    }
}
