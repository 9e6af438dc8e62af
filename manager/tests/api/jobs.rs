//! Jobs through the native API, and what saving does to the store.

use std::{sync::atomic::Ordering, time::Duration};

use common::{
    clock::Clock as _,
    lock::{FreeLock, LastRun, Lock},
    queue::Passed,
    run::RunState,
    store::list_all,
    worker::Registration,
};
use serde_json::json;

use super::support::{Answer, Bench, held, request};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

#[tokio::test]
async fn a_job_is_created_shown_replaced_and_deleted() {
    let bench = Bench::start().await;
    let job =
        r#"{"name": "a", "trigger": {"cron": ["30 2 * * *"]}, "driver": {"shell": {"command": "date"}}}"#;
    let created = bench.send_json("POST", "/api/v1/jobs", job).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/v1/jobs/a"), "{created:?}");
    let view = created.json();
    assert_eq!(view["trigger"]["zone"], "Europe/Berlin");
    assert_eq!(view["status"]["describe"], "at 02:30 every day (Europe/Berlin)");
    assert_eq!(view["status"]["next"][0], "2026-11-23T01:30:00.000Z");
    assert_eq!(view["status"]["next"].as_array().unwrap().len(), 5);
    assert_eq!(view["status"]["warning"], "there is no worker to run it");
    let again = bench.send_json("POST", "/api/v1/jobs", job).await;
    assert_eq!((again.status, &again.json()["type"]), (409, &json!("job-exists")));

    let shown = bench.get("/api/v1/jobs/a").await;
    assert_eq!((shown.status, shown.json()), (200, view.clone()));
    assert_eq!(shown.header("etag"), format!("\"{}\"", view["status"]["revision"]));
    // What was read can be edited and sent back, status and all.
    let mut edited = view.clone();
    edited["description"] = json!("prints the time");
    let replaced = bench.send_json("PUT", "/api/v1/jobs/a", &edited.to_string()).await;
    assert_eq!((replaced.status, &replaced.json()["description"]), (200, &json!("prints the time")));

    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 204);
    assert_eq!(bench.get("/api/v1/jobs/a").await.status, 404);
    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 404);
    assert!(bench.lock("a").await.is_none());
}

#[tokio::test]
async fn a_fence_counts_from_saving_and_moves_only_with_the_trigger() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let (lock, created) = bench.lock("a").await.unwrap();
    assert_eq!(lock.fence().to_string(), "2026-11-22T10:00:00Z");

    bench.clock.advance(Duration::from_secs(90));
    let body = r#"{"trigger": {"cron": ["* * * * *"]}, "driver": {"shell": {"command": "other"}}}"#;
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", body).await.status, 200);
    assert_eq!(bench.lock("a").await.unwrap().1, created, "another command is no reason to touch the lock");

    let body = r#"{"trigger": {"cron": ["*/2 * * * *"]}, "driver": {"shell": {"command": "other"}}}"#;
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", body).await.status, 200);
    assert_eq!(bench.lock("a").await.unwrap().0.fence().to_string(), "2026-11-22T10:01:30Z");
}

#[tokio::test]
async fn a_held_lock_keeps_its_holder_and_no_fence_goes_back() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let holder = held("a", RUN, "2026-11-22T12:00:00Z");
    bench.put(bench.keys.locks.key("a"), Lock::Held(holder.clone()).encode()).await;
    let claimed = bench.lock("a").await.unwrap().1;
    let body = r#"{"trigger": {"cron": ["*/2 * * * *"]}, "driver": {"shell": {"command": "date"}}}"#;
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", body).await.status, 200);
    let holder = holder.clone().at_fence(holder.fence, claimed);
    assert_eq!(bench.lock("a").await.unwrap().0, Lock::Held(holder.clone()));

    bench.clock.advance(Duration::from_secs(3 * 3600));
    assert_eq!(bench.post("/api/v1/jobs/a/pause").await.status, 200);
    assert_eq!(bench.post("/api/v1/jobs/a/resume").await.status, 200);
    let Lock::Held(after) = bench.lock("a").await.unwrap().0 else { panic!("the lock is free") };
    assert_eq!(after.fence.to_string(), "2026-11-22T13:00:00Z");
    assert_eq!(common::lock::HeldLock { fence: holder.fence, ..after }, holder);

    // Deleting leaves the lock to its holder, who removes it at the end.
    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 204);
    assert!(bench.lock("a").await.is_some());
    // Saved anew meanwhile: the run that executes still keeps others away.
    bench.save("a").await;
    assert!(matches!(bench.lock("a").await.unwrap().0, Lock::Held(_)));
}

#[tokio::test]
async fn a_fence_ahead_of_now_is_warned_of_and_can_be_reset() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let last = LastRun {
        run: RUN.parse().unwrap(),
        state: RunState::Succeeded,
        ended: bench.clock.now(),
        worker: "w1".parse().unwrap(),
        claimed: None,
        recorded: None,
    };
    let ahead = FreeLock { fence: "2031-01-01T00:00:00Z".parse().unwrap(), last: Some(last) };
    bench.put(bench.keys.locks.key("a"), Lock::Free(ahead.clone()).encode()).await;
    let warned = |answer: &Answer| {
        answer.json()["status"]["warning"].as_str().unwrap_or_default().contains("reset-fence")
    };
    bench.until("/api/v1/jobs/a", warned).await;

    let answer = bench.post("/api/v1/jobs/a/reset-fence").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!warned(&answer), "{answer:?}");
    let now = FreeLock { fence: "2026-11-22T10:00:00Z".parse().unwrap(), ..ahead };
    let (lock, revision) = bench.lock("a").await.unwrap();
    assert_eq!(lock, Lock::Free(now));

    // What is in order stays, also what was claimed a moment ahead.
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
    assert_eq!(bench.lock("a").await.unwrap().1, revision);
    let soon = Lock::new("2026-11-22T10:01:02Z".parse().unwrap());
    bench.put(bench.keys.locks.key("a"), soon.encode()).await;
    assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
    assert_eq!(bench.lock("a").await.unwrap().0, soon);

    let executing = Lock::Held(held("a", RUN, "2031-01-01T00:00:00Z"));
    bench.put(bench.keys.locks.key("a"), executing.encode()).await;
    let refused = bench.post("/api/v1/jobs/a/reset-fence").await;
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("lock-held")));
    assert_eq!(bench.lock("a").await.unwrap().0, executing);
    assert_eq!(bench.post("/api/v1/jobs/b/reset-fence").await.status, 404);
}

#[tokio::test]
async fn a_paused_job_has_no_next_run_and_resuming_counts_from_now() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let paused = bench.post("/api/v1/jobs/a/pause").await.json();
    assert_eq!((&paused["status"]["paused"], &paused["status"]["next"]), (&json!(true), &json!([])));
    // Replacing it does not resume it.
    assert_eq!(bench.save("a").await["status"]["paused"], true);
    assert_eq!(bench.get("/api/v1/jobs?state=paused").await.names("name"), ["a"]);
    bench.clock.advance(Duration::from_secs(600));
    let resumed = bench.post("/api/v1/jobs/a/resume").await.json();
    assert_eq!(resumed["status"]["next"][0], "2026-11-22T10:11:00.000Z");
    assert_eq!(bench.lock("a").await.unwrap().0.fence().to_string(), "2026-11-22T10:10:00Z");
    assert_eq!(bench.post("/api/v1/jobs/b/pause").await.status, 404);
}

/// The keys that name passed ticks, and what they say.
async fn passed(bench: &Bench) -> Vec<(String, Passed)> {
    let (entries, _) = list_all(&*bench.store, &bench.keys.passed).await.expect("list");
    let name =
        |entry: &common::store::Entry| bench.keys.passed.name(&entry.key).expect("of this place").to_owned();
    entries.iter().map(|entry| (name(entry), Passed::decode(&entry.value).expect("it decodes"))).collect()
}

// Once: it left them without a record (1 play in 4 on a busy machine): no worker had decided them yet, and
// nobody named them.
#[tokio::test]
async fn a_change_that_passes_over_ticks_which_nobody_decided_names_them() {
    let bench = Bench::start().await;
    for job in ["changed", "deleted", "paused", "running"] {
        bench.save(job).await;
    }
    let mut holder = held("running", RUN, "2026-11-22T10:01:00Z");
    holder.tick = Some(holder.fence);
    bench.put(bench.keys.locks.key("running"), Lock::Held(holder).encode()).await;
    bench.clock.advance(Duration::from_secs(150));
    let other =
        json!({"name": "changed", "trigger": {"every": "7s"}, "driver": {"shell": {"command": "true"}}});
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/changed", &other.to_string()).await.status, 200);
    assert_eq!(bench.delete("/api/v1/jobs/deleted").await.status, 204);
    assert_eq!(bench.post("/api/v1/jobs/paused/pause").await.status, 200);
    assert_eq!(bench.delete("/api/v1/jobs/running").await.status, 204);
    let named = passed(&bench).await;
    let keys: Vec<&str> = named.iter().map(|(key, _)| key.as_str()).collect();
    let at = |job: &str| format!("{job}@2026-11-22T10:02:00Z");
    assert_eq!(keys, ["changed", "deleted", "paused", "running"].map(at));
    let counts: Vec<u64> = named.iter().map(|(_, passed)| passed.ticks.count).collect();
    assert_eq!(counts, [2, 2, 2, 1], "of the one that runs, the first tick is decided");
    assert_eq!(named[2].1.reason, "its job was paused before anybody had claimed it");
    assert_eq!(bench.lock("running").await.unwrap().0.fence().to_string(), "2026-11-22T10:02:30Z");

    // Ticks of a pause are no ticks, and an edit that leaves the trigger alone leaves its ticks to the workers.
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.post("/api/v1/jobs/paused/resume").await.status, 200);
    bench.clock.advance(Duration::from_secs(60));
    bench.save("paused").await;
    assert_eq!(passed(&bench).await, named);

    // Until a worker has put them on record, the page has them from here.
    let range = "from=2026-11-22T10:00:00Z&to=2026-11-22T10:03:00Z";
    let ticks = bench.get(&format!("/api/v1/jobs/paused/ticks?{range}")).await.json();
    let reason = &ticks["items"][0]["reason"];
    assert_eq!(reason, "its job was paused before anybody had claimed it", "{ticks:#}");
}

#[tokio::test]
async fn a_replacement_of_another_revision_is_refused() {
    let bench = Bench::start().await;
    let first = bench.save("a").await;
    let second = bench.save("a").await;
    let body = second.to_string();
    for (given, status) in [
        (first["status"]["revision"].to_string(), 412),
        ("rubbish".to_owned(), 400),
        ("\"rubbish\"".to_owned(), 412),
        (format!("\"{}\"", second["status"]["revision"]), 200),
        ("*".to_owned(), 200),
    ] {
        let mut put = request("PUT", "/api/v1/jobs/a", body.clone().into());
        put.headers_mut().insert("content-type", "application/json".parse().unwrap());
        put.headers_mut().insert("if-match", given.parse().unwrap());
        let answer = bench.send(put).await;
        assert_eq!(answer.status, status, "{given}: {answer:?}");
    }
}

#[tokio::test]
async fn writers_at_the_same_time_all_get_through() {
    let bench = Bench::start().await;
    let body = |n: usize| {
        json!({"trigger": {"every": format!("{n}m")}, "driver": {"shell": {"command": "date"}}}).to_string()
    };
    let writers = (1..=5).map(|n| {
        let (bench, body) = (&bench, body(n));
        async move { bench.send_json("PUT", "/api/v1/jobs/a", &body).await }
    });
    let answers = futures::future::join_all(writers).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 201)), "{answers:?}");
    assert_eq!(created, 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_read_back() {
    let bench = Bench::start().await;
    bench.store.lose_answer.store(true, Ordering::SeqCst);
    let saved = bench.save("a").await;
    assert_eq!(bench.get("/api/v1/jobs/a").await.json(), saved);
    bench.store.lose_answer.store(true, Ordering::SeqCst);
    let run = bench.post("/api/v1/jobs/a/run").await;
    assert_eq!(run.status, 202, "{run:?}");
    bench.store.lose_answer.store(true, Ordering::SeqCst);
    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 204);
}

#[tokio::test]
async fn a_stored_value_that_is_no_job_is_shown_and_harms_only_itself() {
    let bench = Bench::start().await;
    bench.save("good").await;
    bench.put(bench.keys.jobs.key("bad"), "{").await;
    bench.put(bench.keys.jobs.key("odd/name"), "{}").await;
    // Read as a job, though no schedule can be made of it.
    let never = r#"{"name": "never", "command": "date", "cronExpr": "0 50-10 * * * * x"}"#;
    bench.put(bench.keys.jobs.key("never"), never).await;
    let list = bench.until("/api/v1/jobs", |list| list.json()["items"].as_array().unwrap().len() == 2).await;
    assert_eq!(list.names("name"), ["good", "never"]);
    let json = list.json();
    assert!(json["items"][1]["status"]["warning"].as_str().unwrap().contains("never runs by itself"));
    let broken: Vec<_> = json["broken"].as_array().unwrap().iter().map(|job| &job["name"]).collect();
    assert_eq!(broken, ["bad", "odd/name"]);
    assert!(json["broken"][0]["problem"].as_str().unwrap().contains("is not JSON"), "{json}");

    let shown = bench.get("/api/v1/jobs/bad").await;
    assert_eq!((shown.status, &shown.json()["type"]), (409, &json!("broken-job")));
    assert_eq!(bench.post("/api/v1/jobs/bad/run").await.status, 409);
    assert_eq!(bench.post("/api/v1/jobs/bad/pause").await.status, 409);
    bench.save("bad").await;
    assert_eq!(bench.get("/api/v1/jobs").await.names("name"), ["bad", "good", "never"]);
}

#[tokio::test]
async fn lists_are_paged_by_name_and_filtered() {
    let bench = Bench::start().await;
    for name in ["b", "a", "c-x", "d", "e-x"] {
        bench.save(name).await;
    }
    let first = bench.get("/api/v1/jobs?limit=2").await;
    assert_eq!((first.names("name"), &first.json()["next"]), (vec!["a".into(), "b".into()], &json!("b")));
    let second = bench.get("/api/v1/jobs?limit=3&after=b").await;
    assert_eq!(second.names("name"), ["c-x", "d", "e-x"]);
    assert_eq!(second.json()["next"], json!(null));
    assert_eq!(bench.get("/api/v1/jobs?q=-x&limit=1").await.json()["next"], "c-x");
    assert_eq!(bench.get("/api/v1/jobs?q=-x&limit=1&after=c-x").await.names("name"), ["e-x"]);
    assert_eq!(bench.get("/api/v1/jobs?state=running").await.names("name"), [""; 0]);
    bench.put(bench.keys.locks.key("d"), Lock::Held(held("d", RUN, "2026-11-22T10:00:00Z")).encode()).await;
    let running = bench
        .until("/api/v1/jobs?state=running", |list| !list.json()["items"].as_array().unwrap().is_empty())
        .await;
    assert_eq!(running.names("name"), ["d"]);
    assert_eq!(running.json()["items"][0]["status"]["running"][0]["run"], RUN);
}

#[tokio::test]
async fn what_is_wrong_with_a_job_shows_as_its_warning() {
    let bench = Bench::start().await;
    bench.register("w1", "127.0.0.1:5556").await;
    bench.until("/api/v1/workers", |list| !list.names("id").is_empty()).await;
    assert_eq!(bench.save("a").await["status"]["warning"], "");
    let body = r#"{"trigger": {"manual": true}, "driver": {"exec": {"argv": ["/bin/true"]}},
                   "placement": {"require": ["disk=ssd", "gpu"]}}"#;
    let view = bench.send_json("PUT", "/api/v1/jobs/b", body).await.json();
    assert_eq!(view["status"]["warning"], "no worker has the labels that it requires: disk=ssd, gpu");
    bench.put(bench.keys.locks.key("a"), "2030-01-01T00:00:00Z {}").await;
    let ahead = |answer: &super::support::Answer| answer.text.contains("ahead of now");
    bench.until("/api/v1/jobs/a", ahead).await;
}

#[tokio::test]
async fn an_edit_of_a_job_whose_instant_has_passed_is_no_mistake() {
    let bench = Bench::start().await;
    let body = r#"{"trigger": {"at": "2026-11-22T10:00:05Z"}, "driver": {"shell": {"command": "date"}}}"#;
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", body).await.status, 201);
    bench.clock.advance(Duration::from_secs(60));
    let other = body.replace("date", "hostname");
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", &other).await.status, 200);
    let refused = bench.send_json("PUT", "/api/v1/jobs/b", body).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (422, &json!("trigger.at")));
}

fn minutely(name: &str) -> String {
    format!(
        r#"{{"name": "{name}", "trigger": {{"cron": ["* * * * *"]}}, "driver": {{"shell": {{"command": "date"}}}}}}"#
    )
}

#[tokio::test]
async fn many_jobs_are_saved_at_once_and_a_bad_one_stops_no_other() {
    let bench = Bench::start().await;
    bench.save("there").await;
    bench.post("/api/v1/jobs/there/pause").await;
    let bad =
        r#"{"name": "bad", "trigger": {"cron": ["61 * * * *"]}, "driver": {"shell": {"command": "date"}}}"#;
    let mut jobs: Vec<String> = (0..300).map(|n| minutely(&format!("many-{n:03}"))).collect();
    jobs.extend([bad.to_owned(), minutely("there"), minutely("many-000"), "7".to_owned()]);
    let answer = bench.send_json("POST", "/api/v1/save", &format!("[{}]", jobs.join(","))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let report = answer.json();
    assert_eq!(
        (&report["created"], &report["replaced"], &report["refused"]),
        (&300.into(), &1.into(), &3.into())
    );
    let results = report["results"].as_array().unwrap();
    assert_eq!((&results[0]["job"], &results[0]["result"]), (&"many-000".into(), &"created".into()));
    assert!(results[0]["revision"].as_i64().unwrap() > 0 && results[0]["problem"].is_null());
    assert_eq!(results[300]["problem"]["errors"][0]["field"], "trigger.cron[0]", "{}", results[300]);
    assert_eq!((&results[301]["job"], &results[301]["result"]), (&"there".into(), &"replaced".into()));
    assert_eq!(results[302]["problem"]["errors"][0]["field"], "name", "{}", results[302]);
    assert_eq!((&results[303]["job"], &results[303]["result"]), (&json!(null), &"refused".into()));
    // Each is whole: its definition is shown, its lock is there, and what it was before is kept.
    assert_eq!(bench.get("/api/v1/jobs?limit=500").await.names("name").len(), 301);
    let (Lock::Free(free), _) = bench.lock("many-299").await.unwrap() else { panic!("it is held") };
    assert_eq!(free.fence.to_string(), "2026-11-22T10:00:00Z");
    assert_eq!(bench.get("/api/v1/jobs/there").await.json()["status"]["paused"], true);
    let jobs = format!("{{\"jobs\": [{}, {}]}}", minutely("there"), minutely("new"));
    let report = bench.send_json("POST", "/api/v1/save?existing=refuse", &jobs).await.json();
    assert_eq!(report["results"][0]["problem"]["type"], "job-exists", "{report}");
    assert_eq!(report["results"][1]["result"], "created");
}

#[tokio::test]
async fn a_request_of_many_jobs_is_bounded_and_says_what_it_takes() {
    let bench = Bench::start().await;
    let too_many = format!("[{}1]", "1,".repeat(5_000));
    for body in ["[]", "{}", "7", r#"{"jobs": 7}"#, r#"{"jobs": [1], "other": 1}"#, &too_many] {
        let answer = bench.send_json("POST", "/api/v1/save", body).await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["field"]),
            (400, &json!("jobs")),
            "{body:.40}"
        );
    }
    let answer = bench.send_json("POST", "/api/v1/save?existing=perhaps", "[1]").await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (400, &json!("existing")));
    let large = format!("[\"{}\"]", "x".repeat(9 << 20));
    assert_eq!(bench.send_json("POST", "/api/v1/save", &large).await.status, 413);
}

#[tokio::test]
async fn a_save_that_the_lists_know_nothing_of_yet_replaces_nothing_blindly() {
    let bench = Bench::start().await;
    bench.get("/api/v1/jobs").await;
    // Somebody else's job, a moment ago: whether the lists show it already makes no difference.
    bench.put(bench.keys.jobs.key("other"), minutely("other")).await;
    let create = bench.send_json("POST", "/api/v1/jobs", &minutely("other")).await;
    assert_eq!((create.status, &create.json()["type"]), (409, &json!("job-exists")));
    bench.put(bench.keys.jobs.key("third"), minutely("third")).await;
    let replaced = bench.send_json("PUT", "/api/v1/jobs/third", &minutely("third")).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
}

#[tokio::test]
async fn jobs_are_listed_in_the_order_that_is_asked_for() {
    let bench = Bench::start().await;
    for (name, cron) in [("a", "0 13 * * *"), ("b", "0 12 * * *"), ("C", "0 14 * * *")] {
        let body = format!(
            r#"{{"name": "{name}", "trigger": {{"cron": ["{cron}"]}}, "driver": {{"shell": {{"command": "date"}}}}}}"#
        );
        assert_eq!(bench.send_json("POST", "/api/v1/jobs", &body).await.status, 201);
    }
    let first = bench.get("/api/v1/jobs?sort=next&limit=2").await;
    assert_eq!(first.names("name"), ["b", "a"]);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let rest = bench.get(&format!("/api/v1/jobs?sort=next&limit=2&after={next}")).await;
    assert_eq!((rest.names("name"), &rest.json()["next"]), (vec!["C".to_owned()], &json!(null)));
    assert_eq!(bench.get("/api/v1/jobs?sort=-name&q=c").await.names("name"), ["C"]);
    bench.post("/api/v1/jobs/b/pause").await;
    assert_eq!(bench.get("/api/v1/jobs?sort=next").await.names("name"), ["a", "C", "b"]);
    for (query, field) in [("sort=colour", "sort"), ("sort=next&after=b", "after")] {
        let answer = bench.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (400, &json!(field)), "{query}");
    }
}

// Once: an edit by such a manager silenced its job until then; only workers compared their clocks.
#[tokio::test]
async fn a_manager_whose_clock_is_ahead_of_the_workers_moves_no_fence() {
    let bench = Bench::start().await;
    bench.save("a").await;
    bench.save("b").await;
    bench.register("w1", "127.0.0.1:1").await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"][0]["id"] == "w1").await;
    let before = bench.entry(&bench.keys.locks.key("a")).await;
    let w1 = bench.entry(&bench.keys.workers.key("w1")).await.unwrap();
    let w1 = Registration::decode(&w1.value).unwrap();
    bench.clock.advance(Duration::from_secs(3700));
    // What it said an hour ago says nothing of our clock.
    assert_eq!(bench.send_json("POST", "/api/v1/jobs", &minutely("c")).await.status, 201);
    bench.put(bench.keys.workers.key("w1"), Registration { running: 3, ..w1 }.encode()).await;
    bench.until("/api/v1/workers", |answer| answer.json()["items"][0]["running"] == 3).await;
    let pause = bench.post("/api/v1/jobs/a/pause").await;
    assert_eq!((pause.status, &pause.json()["type"]), (503, &json!("clock-ahead")));
    assert!(pause.text.contains("3700 s ahead"), "{pause:?}");
    assert_eq!(bench.send_json("POST", "/api/v1/jobs", &minutely("d")).await.status, 503);
    assert_eq!(bench.delete("/api/v1/jobs/b").await.status, 503);
    assert_eq!(bench.entry(&bench.keys.locks.key("a")).await, before);
    // What moves no fence is as good as ever.
    assert_eq!(bench.post("/api/v1/jobs/a/run").await.status, 202);
}
