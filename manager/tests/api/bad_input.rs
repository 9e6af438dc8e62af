//! What is wrong with a request is said as a problem document that names the field.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Answer, Bench, request};

#[track_caller]
fn is_problem(answer: &Answer, status: u16, kind: &str, field: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!((problem["type"].as_str(), problem["status"].as_u64()), (Some(kind), Some(status.into())));
    assert!(
        !problem["title"].as_str().expect("a title").is_empty()
            && !problem["detail"].as_str().expect("a detail").is_empty()
    );
    if !field.is_empty() {
        let fields: Vec<_> =
            problem["errors"].as_array().expect("errors").iter().map(|error| &error["field"]).collect();
        assert!(fields.iter().any(|given| *given == field), "{problem}");
    }
}

#[tokio::test]
async fn a_bad_job_is_refused_at_its_field() {
    let bench = Bench::start().await;
    let shell = r#""driver": {"shell": {"command": "date"}}"#;
    let daily = r#""trigger": {"cron": ["@daily"]}"#;
    let cases = [
        (format!(r#"{{"name": "", {daily}, {shell}}}"#), "name"),
        (format!(r#"{{"name": "a/b", {daily}, {shell}}}"#), "name"),
        (format!(r#"{{"name": "a", {daily}, {shell}, "colour": 1}}"#), "colour"),
        (format!(r#"{{"name": "a", {daily}, {shell}, "timeout": "soon"}}"#), "timeout"),
        (format!(r#"{{"name": "a", "trigger": {{"cron": ["0 0 30 2 *"]}}, {shell}}}"#), "trigger.cron[0]"),
        (
            format!(r#"{{"name": "a", "trigger": {{"cron": ["@daily", "61 * * * *"]}}, {shell}}}"#),
            "trigger.cron[1]",
        ),
        (
            format!(r#"{{"name": "a", "trigger": {{"cron": ["@daily"], "zone": "Mars"}}, {shell}}}"#),
            "trigger.zone",
        ),
        (format!(r#"{{"name": "a", {daily}, "driver": {{"exec": {{"argv": []}}}}}}"#), "driver.exec.argv"),
    ];
    for (body, field) in cases {
        for path in ["/api/v1/jobs", "/api/v1/validate"] {
            let answer = bench.send_json("POST", path, &body).await;
            is_problem(&answer, 422, "invalid-job", field);
        }
    }
    let renamed =
        bench.send_json("PUT", "/api/v1/jobs/b", &format!(r#"{{"name": "a", {daily}, {shell}}}"#)).await;
    is_problem(&renamed, 422, "invalid-job", "name");
    assert_eq!(bench.get("/api/v1/jobs").await.names("name"), [""; 0]);
}

#[tokio::test]
async fn a_request_that_cannot_be_understood_is_refused() {
    let bench = Bench::start().await;
    is_problem(&bench.send_json("POST", "/api/v1/jobs", "{").await, 400, "bad-request", "");
    is_problem(&bench.send_json("POST", "/api/v1/jobs", "").await, 400, "bad-request", "");
    for twice in [r#"{"name": "a", "name": "b"}"#, r#"{"retry": {"attempts": 1, "attempts": 2}}"#] {
        let answer = bench.send_json("POST", "/api/v1/jobs", twice).await;
        is_problem(&answer, 400, "bad-request", "");
        assert!(answer.text.contains("is given twice"), "{answer:?}");
    }
    is_problem(&bench.form("/api/v1/jobs", "a=b").await, 415, "content-type", "");
    is_problem(&bench.post("/api/v1/jobs").await, 415, "content-type", "");
    is_problem(
        &bench.send_json("POST", "/api/v1/jobs", &" ".repeat((1 << 20) + 1)).await,
        413,
        "too-large",
        "",
    );
    is_problem(&bench.get("/api/v1/jobs?limt=3").await, 400, "bad-request", "limt");
    is_problem(&bench.get("/api/v1/jobs?limit=0").await, 400, "bad-request", "limit");
    is_problem(&bench.get("/api/v1/jobs?limit=501").await, 400, "bad-request", "limit");
    is_problem(&bench.get("/api/v1/jobs?q=a&q=b").await, 400, "bad-request", "q");
    is_problem(&bench.get("/api/v1/jobs?state=odd").await, 400, "bad-request", "state");
    is_problem(&bench.get("/api/v1/jobs/a?x=1").await, 400, "bad-request", "x");
    is_problem(&bench.get("/api/v1/jobs/a%2Fb").await, 400, "bad-request", "job name");
    is_problem(&bench.get("/api/v1/jobs/%FF").await, 400, "bad-request", "");
    is_problem(&bench.get("/api/v1/runs?state=done&from=yesterday").await, 400, "bad-request", "from");
    is_problem(&bench.get("/api/v1/runs?after=x").await, 400, "bad-request", "after");
    is_problem(&bench.get("/api/v1/runs?after=log/rubbish").await, 400, "bad-request", "after");
    is_problem(&bench.get("/api/v1/runs/no-run").await, 400, "bad-request", "run id");
    is_problem(&bench.get("/assets/%FF").await, 400, "bad-request", "");
    is_problem(&bench.get("/api/v1/nothing").await, 404, "not-found", "");
    is_problem(&bench.get("/tasks").await, 404, "not-found", "");
    let patch = bench.send(request("PATCH", "/api/v1/jobs/a", Body::empty())).await;
    is_problem(&patch, 405, "method-not-allowed", "");
    assert!(patch.header("allow").contains("PUT"), "{patch:?}");
}

#[tokio::test]
async fn what_is_right_is_told_once() {
    let bench = Bench::start().await;
    for name in ["", "a/b", "a\\u0000b", &"x".repeat(201)] {
        let job = format!(r#"{{"name": "{name}", "trigger": {{"manual": true}}, "command": "date"}}"#);
        let answer = bench.send_json("POST", "/api/v1/jobs", &job).await;
        is_problem(&answer, 422, "invalid-job", "name");
        let problem = answer.json();
        let detail = problem["detail"].as_str().expect("a detail");
        assert_eq!(detail.matches("nightly-backup").count(), 1, "{detail}");
        let told = problem["errors"][0]["problem"].as_str().expect("a problem");
        assert!(!told.contains("; use, "), "{told}");
    }
}

#[tokio::test]
async fn a_large_request_gets_no_answer_many_times_as_large() {
    let bench = Bench::start().await;
    let job = |more: &str| {
        let driver = r#""driver": {"shell": {"command": "x"}}"#;
        format!(r#"{{"name": "a", "trigger": {{"manual": true}}, {driver}, {more}}}"#)
    };
    let long = "x".repeat(500_000);
    for more in [
        format!(r#""{long}": 1"#),
        format!(r#""overlap": "{long}""#),
        format!(r#""timeout": "{long}""#),
        format!(r#""placement": {{"require": [{}]}}"#, vec![r#""""#; 100_000].join(",")),
    ] {
        let answer = bench.send_json("POST", "/api/v1/validate", &job(&more)).await;
        is_problem(&answer, 422, "invalid-job", "");
        assert!(answer.text.len() < 50_000, "{} bytes", answer.text.len());
    }
    let answer = bench.get(&format!("/api/v1/jobs?{}", "a&".repeat(30_000))).await;
    is_problem(&answer, 400, "bad-request", "a");
    assert!(answer.text.len() < 50_000, "{} bytes", answer.text.len());
}

#[tokio::test]
async fn a_panic_is_an_answer_and_not_the_end() {
    let bench = Bench::start().await;
    is_problem(&bench.get("/metrics").await, 500, "internal", "");
    assert_eq!(bench.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn an_expression_is_previewed_in_words_and_instants() {
    let bench = Bench::start().await;
    let preview = |body: &'static str| {
        let bench = &bench;
        async move { bench.send_json("POST", "/api/v1/preview", body).await }
    };
    let answer = preview(r#"{"cron": ["30 9 * * MON-FRI"], "count": 2}"#).await.json();
    let expected = serde_json::json!({
        "describe": "at 09:30 on weekdays", "zone": "Europe/Berlin",
        "next": ["2026-11-23T09:30:00+01:00", "2026-11-24T09:30:00+01:00"],
    });
    assert_eq!(answer, expected);
    is_problem(&preview(r#"{"cron": ["x"]}"#).await, 422, "invalid-job", "cron[0]");
    is_problem(&preview(r#"{"cron": ["@daily"], "zone": "Berlin"}"#).await, 422, "invalid-job", "zone");
    is_problem(&preview(r#"{"cron": ["@daily"], "count": 101}"#).await, 422, "invalid-job", "count");
    is_problem(&preview(r#"{"corn": ["@daily"]}"#).await, 400, "bad-request", "corn");
    is_problem(&preview(r#"{"cron": [1]}"#).await, 400, "bad-request", "cron[0]");
    is_problem(&preview(r#"{"cron": ["@daily"], "count": -1}"#).await, 400, "bad-request", "count");
    is_problem(&preview(r#"{"cron": ["@daily"], "job": 1}"#).await, 400, "bad-request", "job");
    is_problem(&preview("[]").await, 400, "bad-request", "");
    let job = r#"{"name": "a", "trigger": {"cron": "@daily"}, "driver": {"shell": {"command": "date"}}}"#;
    let valid = bench.send_json("POST", "/api/v1/validate", job).await.json();
    assert_eq!((&valid["valid"], &valid["next"][0]), (&true.into(), &"2026-11-22T23:00:00.000Z".into()));
    assert_eq!(bench.get("/api/v1/jobs").await.names("name"), [""; 0]);
}

/// A job with this trigger, named or not.
fn with_trigger(name: Option<&str>, trigger: &Value) -> String {
    let mut job = json!({"trigger": trigger, "driver": {"shell": {"command": "date"}}});
    if let Some(name) = name {
        job["name"] = json!(name);
    }
    job.to_string()
}

#[tokio::test]
async fn what_is_tried_out_keeps_the_zone_that_a_save_keeps() {
    let bench = Bench::start().await;
    let stored = with_trigger(None, &json!({"cron": ["30 9 * * *"], "zone": "Asia/Tokyo"}));
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", &stored).await.status, 201);
    for (more, zone, next) in [
        (json!({"job": "a"}), "Asia/Tokyo", "2026-11-23T12:00:00+09:00"),
        (json!({"job": "a", "zone": ""}), "Asia/Tokyo", "2026-11-23T12:00:00+09:00"),
        (json!({"job": "a", "zone": "UTC"}), "UTC", "2026-11-22T12:00:00+00:00"),
        (json!({"job": "b"}), "Europe/Berlin", "2026-11-22T12:00:00+01:00"),
        (json!({"job": null}), "Europe/Berlin", "2026-11-22T12:00:00+01:00"),
        (json!({}), "Europe/Berlin", "2026-11-22T12:00:00+01:00"),
    ] {
        let mut body = json!({"cron": ["0 12 * * *"], "count": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = bench.send_json("POST", "/api/v1/preview", &body.to_string()).await.json();
        assert_eq!((&answer["zone"], &answer["next"]), (&json!(zone), &json!([next])), "{more}");
    }
    let edited = with_trigger(Some("a"), &json!({"cron": ["0 12 * * *"]}));
    let valid = bench.send_json("POST", "/api/v1/validate", &edited).await.json();
    assert_eq!(valid["job"]["trigger"]["zone"], "Asia/Tokyo");
    let saved = bench.send_json("PUT", "/api/v1/jobs/a", &edited).await.json();
    assert_eq!(
        (&saved["trigger"], &saved["status"]["next"][0]),
        (&valid["job"]["trigger"], &valid["next"][0])
    );
    let new = with_trigger(Some("b"), &json!({"cron": ["0 12 * * *"]}));
    let valid = bench.send_json("POST", "/api/v1/validate", &new).await.json();
    assert_eq!(valid["job"]["trigger"]["zone"], "Europe/Berlin");
}

#[tokio::test]
async fn what_is_tried_out_counts_from_where_a_save_counts() {
    let bench = Bench::start().await;
    let stored = with_trigger(None, &json!({"every": "90s"}));
    assert_eq!(bench.send_json("PUT", "/api/v1/jobs/a", &stored).await.status, 201);
    bench.clock.advance(Duration::from_secs(60));
    let edited = with_trigger(Some("a"), &json!({"every": "1h"}));
    let valid = bench.send_json("POST", "/api/v1/validate", &edited).await.json();
    assert_eq!(valid["next"][0], "2026-11-22T11:00:00.000Z");
    for (name, next) in [("a", "2026-11-22T12:00:00+01:00"), ("b", "2026-11-22T12:01:00+01:00")] {
        let body = json!({"cron": ["@every 1h"], "job": name, "count": 1}).to_string();
        let answer = bench.send_json("POST", "/api/v1/preview", &body).await.json();
        assert_eq!(answer["next"], json!([next]), "{name}");
    }
    let saved = bench.send_json("PUT", "/api/v1/jobs/a", &edited).await.json();
    assert_eq!(
        (&saved["trigger"], &saved["status"]["next"][0]),
        (&valid["job"]["trigger"], &valid["next"][0])
    );
}

#[tokio::test]
async fn what_is_tried_out_may_keep_a_trigger_that_has_passed() {
    let bench = Bench::start().await;
    let once = json!({"at": "2026-11-22T11:00:00Z"});
    let noon = json!({"cron": ["0 0 12 22 11 * 2026"]});
    for (name, trigger) in [("once", &once), ("noon", &noon)] {
        let path = format!("/api/v1/jobs/{name}");
        assert_eq!(bench.send_json("PUT", &path, &with_trigger(None, trigger)).await.status, 201);
    }
    bench.clock.advance(Duration::from_secs(2 * 3600));
    let validate = |name: &'static str, trigger: &Value| {
        let body = with_trigger(Some(name), trigger);
        let bench = &bench;
        async move { bench.send_json("POST", "/api/v1/validate", &body).await }
    };
    for (name, trigger) in [("once", &once), ("noon", &noon)] {
        let valid = validate(name, trigger).await;
        assert_eq!((valid.status, &valid.json()["next"]), (200, &json!([])), "{valid:?}");
    }
    // Neither for another job, nor another instant that has passed.
    is_problem(&validate("new", &once).await, 422, "invalid-job", "trigger.at");
    let other = json!({"at": "2026-11-22T11:30:00Z"});
    is_problem(&validate("once", &other).await, 422, "invalid-job", "trigger.at");

    let preview = |job: Option<&str>| {
        let body = json!({"cron": noon["cron"], "job": job}).to_string();
        let bench = &bench;
        async move { bench.send_json("POST", "/api/v1/preview", &body).await }
    };
    let passed = preview(Some("noon")).await;
    assert_eq!((passed.status, &passed.json()["next"]), (200, &json!([])), "{passed:?}");
    is_problem(&preview(None).await, 422, "invalid-job", "cron[0]");
}
