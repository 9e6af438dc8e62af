//! Every tick of a job, expected against happened.

use common::{
    id::JobName,
    lock::{Lock, Stretch, Why},
    queue::Passed,
    run::RunState,
    runlog::{LogEntry, RunRecord, TickOutcome, TickRecord},
};
use serde_json::{Value, json};

use super::{
    runs::record,
    support::{Bench, Mode, held},
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

fn ticks(from: &str, to: &str, count: u64) -> Stretch {
    Stretch {
        from: from.parse().expect("a literal of the test"),
        to: to.parse().expect("a literal of the test"),
        count,
        why: Why::Usual,
    }
}

/// Names ticks in the store, as a change that passes over them does.
async fn pass_over(bench: &Bench, job: &str, ticks: Stretch) {
    let job: JobName = job.parse().expect("a literal of the test");
    let key = bench.keys.passed(&job, ticks.to);
    let reason = "its trigger was changed before anybody had claimed it".to_owned();
    bench.put(key, Passed { job, ticks, reason }.encode()).await;
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

/// The items of all pages, each asked for with a limit of one.
async fn one_by_one(bench: &Bench, path: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = bench.get(&format!("{path}&limit=1{after}")).await.json();
        all.extend(page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone());
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("&after={next}");
    }
    panic!("the pages do not end: {all:?}");
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
    let stretch = ticks("2026-11-22T09:57:00Z", "2026-11-22T09:58:00Z", 2).because(Why::OneWaits);
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
    assert_eq!(page["items"][1]["reason"], "there is no worker to run it");
    let skipped = page["items"][3]["reason"].as_str().unwrap();
    assert!(skipped.ends_with("one tick waited already (overlap: queue-one)"), "{skipped}");
    assert_eq!(page["items"][5]["runs"][0]["run"], RUN);
    bench.register("w1", "127.0.0.1:1").await;
    let page = bench.until(path, |page| !page.text.contains("there is no worker")).await.json();
    assert_eq!(page["items"][1]["reason"], "it waits for the run before it to end");
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
async fn what_lock_and_store_name_is_told_in_its_time_only_and_on_one_page() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    // All from before the trigger as it stands, so that each stretch is an item of its own.
    let mut lock = held("a", RUN, "2026-11-22T10:00:00Z");
    lock.missed = Some(ticks("2026-11-22T07:40:00Z", "2026-11-22T07:41:00Z", 2));
    bench.put(bench.keys.locks.key("a"), Lock::Held(lock).encode()).await;
    pass_over(&bench, "a", ticks("2026-11-22T07:30:00Z", "2026-11-22T07:34:00Z", 5)).await;
    let same_second = of_tick(1, "2026-11-22T07:30:00Z", RunState::Failed);
    // Two that reach into the range.
    pass_over(&bench, "a", ticks("2026-11-22T06:50:00Z", "2026-11-22T07:02:00Z", 13)).await;
    let missed = stretch("2026-11-22T06:55:00Z", "2026-11-22T07:05:00Z", 11);
    bench.append(&[LogEntry::Run(Box::new(same_second)), LogEntry::Ticks(missed)]).await;

    let path = "/api/v1/jobs/a/ticks?from=2026-11-22T07:00:00Z&to=2026-11-22T08:00:00Z";
    let page = bench.until(path, |page| page.text.contains("07:41:00")).await.json();
    let expected = [
        "07:41:00 missed 2",
        "07:34:00 missed 5",
        "07:30:00 failed 1",
        "07:05:00 missed 11",
        "07:02:00 missed 13",
    ];
    assert_eq!(short(&page), expected);
    assert_eq!(Value::from(one_by_one(&bench, path).await), page["items"]);

    let path = "/api/v1/jobs/a/ticks?from=2026-11-22T07:32:00Z&to=2026-11-22T07:33:00Z";
    let inside = json!({"items": one_by_one(&bench, path).await});
    assert_eq!(short(&inside), ["07:34:00 missed 5"], "it begins before and ends after");

    let path = "/api/v1/jobs/a/ticks?from=2026-11-21T07:00:00Z&to=2026-11-21T08:00:00Z";
    let yesterday = bench.get(&format!("{path}&limit=1")).await.json();
    assert!(short(&yesterday).is_empty(), "{yesterday}");
    assert_eq!((&yesterday["next"], &yesterday["counts"]["outcomes"]), (&json!(null), &json!({})));
}

#[tokio::test]
async fn what_is_on_record_is_not_told_again_while_its_key_stands() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    let (from, to) = ("2026-11-22T07:30:00Z", "2026-11-22T07:34:00Z");
    pass_over(&bench, "a", ticks(from, to, 5)).await;
    let path = "/api/v1/jobs/a/ticks?from=2026-11-22T07:00:00Z&to=2026-11-22T08:00:00Z";
    let before = bench.get(path).await.json();
    assert_eq!(before["items"][0]["stretch"]["worker"], "m1", "{before}");
    bench.append(&[LogEntry::Ticks(stretch(from, to, 5))]).await;
    let page = bench.get(path).await.json();
    assert_eq!(short(&page), ["07:34:00 missed 5"]);
    assert_eq!(page["counts"]["outcomes"], json!({"missed": 5}));
    assert_eq!(page["items"][0]["stretch"]["worker"], "w1", "the record is told: {page}");
}

#[tokio::test]
async fn an_answer_without_what_the_store_would_name_says_so() {
    let bench = Bench::start().await;
    minutely(&bench).await;
    let path = "/api/v1/jobs/a/ticks";
    assert_eq!(bench.get(path).await.header("quorate-stale"), "");
    bench.store.set(Mode::Frozen);
    let answer = bench.get(path).await;
    assert_eq!((answer.status, answer.json()["counts"]["expected"].as_u64()), (200, Some(60)), "{answer:?}");
    assert!(answer.header("quorate-stale").contains("passed over"), "{answer:?}");
    let unknown = bench.get("/api/v1/jobs/b/ticks").await;
    assert_eq!(unknown.status, 503, "the store may name ticks of it: {unknown:?}");
    bench.store.set(Mode::Up);
    assert_eq!(bench.get(path).await.header("quorate-stale"), "");
    assert_eq!(bench.get("/api/v1/jobs/b/ticks").await.status, 404);
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

    // Also when nothing happened in the time that is asked for.
    let by_hand = record("ran-by-hand", RUN, "2026-11-20T09:00:00Z", RunState::Succeeded);
    bench.append(&[LogEntry::Run(Box::new(by_hand))]).await;
    pass_over(&bench, "passed-over", ticks("2026-11-20T09:00:00Z", "2026-11-20T09:05:00Z", 6)).await;
    for job in ["a", "ran-by-hand", "passed-over"] {
        let path = format!("/api/v1/jobs/{job}/ticks?from=2026-11-01T00:00:00Z&to=2026-11-01T01:00:00Z");
        let answer = bench.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(short(&answer.json()).is_empty(), "{answer:?}");
    }
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
