//! `If-Match` and `If-None-Match`: on every route that changes something they hold, or are refused in words.

use axum::http::HeaderName;
use common::{
    lock::{FreeLock, Lock},
    store::{Op, list_all},
};
use serde_json::{Value, json};

use super::support::{Answer, Bench, Done, Fate, Mode, request};

const BODY: &str =
    r#"{"name": "a", "trigger": {"cron": ["* * * * *"]}, "driver": {"shell": {"command": "other"}}}"#;

/// What changes one job: method, path, body, and what is written.
const OF_A_JOB: [(&str, &str, &str, &str); 8] = [
    ("PUT", "/api/v1/jobs/a", BODY, "jobs/a"),
    ("DELETE", "/api/v1/jobs/a", "", "jobs/a"),
    ("POST", "/api/v1/jobs/a/pause", "", "jobs/a"),
    ("POST", "/api/v1/jobs/a/resume", "", "jobs/a"),
    ("POST", "/api/v1/jobs/a/run", "", "queue/"),
    ("POST", "/api/v1/jobs/a/kill", "", "kills/"),
    ("POST", "/api/v1/jobs/a/reset-fence", "", "locks/a"),
    ("POST", "/api/v1/jobs", BODY, "jobs/a"),
];

async fn ask(bench: &Bench, method: &str, path: &str, body: &str, header: (&str, &str)) -> Answer {
    let mut asked = request(method, path, body.to_owned().into());
    if !body.is_empty() {
        asked.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    }
    let name: HeaderName = header.0.parse().expect("a header's name");
    asked.headers_mut().insert(name, header.1.parse().expect("a header"));
    bench.send(asked).await
}

/// All that the store holds of job `a` and its runs.
async fn everything(bench: &Bench) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let keys = &bench.keys;
    for prefix in [&keys.jobs, &keys.locks, &keys.queue, &keys.kills] {
        for entry in list_all(&*bench.store, prefix).await.expect("the store is there").0 {
            all.push((entry.key.to_string(), String::from_utf8_lossy(&entry.value).into_owned()));
        }
    }
    all
}

/// Job `a`, paused, with a fence ahead of now, so that every route has something to change; its revision.
async fn job_to_change(bench: &Bench, paused: bool) -> Value {
    bench.save("a").await;
    if paused {
        assert_eq!(bench.post("/api/v1/jobs/a/pause").await.status, 200);
    }
    let ahead = Lock::Free(FreeLock { fence: "2031-01-01T00:00:00Z".parse().expect("a fence"), last: None });
    bench.put(bench.keys.locks.key("a"), ahead.encode()).await;
    bench.get("/api/v1/jobs/a").await.json()["status"]["revision"].clone()
}

#[tokio::test]
async fn no_route_that_changes_a_job_does_it_at_another_revision() {
    for (method, path, body, _) in OF_A_JOB {
        let bench = Bench::start().await;
        let revision = job_to_change(&bench, path.ends_with("resume")).await;
        let before = everything(&bench).await;
        let old = format!("\"1\", W/\"{revision}\"");
        let answer = ask(&bench, method, path, body, ("if-match", &old)).await;
        assert_eq!((answer.status, &answer.json()["type"]), (412, &json!("changed")), "{path} {answer:?}");
        let answer = ask(&bench, method, path, body, ("if-none-match", "*")).await;
        assert_eq!((answer.status, &answer.json()["type"]), (412, &json!("exists")), "{path} {answer:?}");
        let answer = ask(&bench, method, path, body, ("if-match", "rubbish")).await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["field"]),
            (400, &json!("If-Match")),
            "{path}"
        );
        assert_eq!(everything(&bench).await, before, "{method} {path}");
        // With the right one among them it is done.
        let answer = ask(&bench, method, path, body, ("if-match", &format!("\"1\", \"{revision}\""))).await;
        let done = if path.ends_with("/jobs") { 409 } else { answer.status };
        assert!(answer.status == done && (done == 409 || done < 300), "{method} {path} {answer:?}");
        assert!(done == 409 || everything(&bench).await != before, "{method} {path} did nothing");
    }
}

#[tokio::test]
async fn a_job_that_is_changed_between_the_look_and_the_write_is_left_alone() {
    for (method, path, body, written) in OF_A_JOB.into_iter().filter(|(_, path, ..)| !path.ends_with("/jobs"))
    {
        let bench = Bench::start().await;
        let revision = job_to_change(&bench, path.ends_with("resume")).await;
        let key = bench.keys.jobs.key("a");
        let theirs = bench.entry(&key).await.expect("the job").value;
        let start = format!("/quorate/{written}");
        bench.store.set_fate(
            &start,
            Fate {
                before: vec![Op::Put(key.clone(), theirs.to_vec(), None)],
                done: Done::AtOnce,
                after: Vec::new(),
                answer: None,
                then: Mode::Up,
            },
        );
        let before = everything(&bench).await;
        let answer = ask(&bench, method, path, body, ("if-match", &format!("\"{revision}\""))).await;
        // A kill does not look again: it says that it did nothing.
        let status = if path.ends_with("kill") { 503 } else { 412 };
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        assert_eq!(everything(&bench).await, before, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_to_be_new_is_made_only_where_nothing_is() {
    let bench = Bench::start().await;
    let put = |header| ask(&bench, "PUT", "/api/v1/jobs/a", BODY, header);
    assert_eq!(put(("if-match", "*")).await.status, 412);
    assert_eq!(put(("if-none-match", "*")).await.status, 201);
    let again = put(("if-none-match", "*")).await;
    assert_eq!((again.status, &again.json()["type"]), (412, &json!("exists")), "{again:?}");
    assert!(
        again.json()["detail"].as_str().is_some_and(|text| text.contains("If-None-Match: *")),
        "{again:?}"
    );
    assert_eq!(ask(&bench, "DELETE", "/api/v1/jobs/b", "", ("if-match", "\"3\"")).await.status, 404);
}

#[tokio::test]
async fn where_no_job_has_a_revision_a_precondition_is_refused_and_not_ignored() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let run = bench.post("/api/v1/jobs/a/run").await.json()["run"].as_str().expect("a run").to_owned();
    let before = everything(&bench).await;
    let many = format!("[{BODY}]");
    for (path, body) in [("/api/v1/save", many.as_str()), (&format!("/api/v1/runs/{run}/kill"), "")] {
        for header in ["if-match", "if-none-match"] {
            let answer = ask(&bench, "POST", path, body, (header, "*")).await;
            assert_eq!(answer.status, 400, "{path} {answer:?}");
            assert!(answer.text.contains("changes no single job"), "{answer:?}");
        }
    }
    assert_eq!(everything(&bench).await, before);
}
