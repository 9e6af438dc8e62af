use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use common::{
    chance::Chance,
    clock::ManualClock,
    id::RunId,
    live::{LiveError, LiveOutput, LiveOutputs},
    run::{Cause, RunState},
    runlog::{Author, LogEntry, RunRecord, embedded::EmbeddedRunLog},
    store::{embedded::EmbeddedStore, key::Keys},
    vital::Vital,
    worker::Registration,
};
use futures::stream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::*;
use crate::{ManagerConfig, ManagerPorts, cache, router::router};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

struct NoOutputs;

#[async_trait]
impl LiveOutputs for NoOutputs {
    async fn read(&self, _: &Registration, _: &RunId, _: u64) -> Result<LiveOutput, LiveError> {
        Err(LiveError::NotRunning)
    }
}

/// A manager whose large answers may have four units.
struct Bench {
    app: Arc<App>,
    shutdown: CancellationToken,
}

impl Bench {
    async fn start() -> Self {
        let config = ManagerConfig {
            id: "m1".to_owned(),
            keys: Keys::new("/quorate/").unwrap(),
            zone: chrono_tz::Tz::UTC,
            listen: "127.0.0.1:8070".parse().unwrap(),
            allowed_hosts: Vec::new(),
            lease_ttl: Duration::from_secs(15),
            store_history: None,
            version: "0".to_owned(),
        };
        let ports = ManagerPorts {
            store: Arc::new(EmbeddedStore::in_memory()),
            runlog: Arc::new(EmbeddedRunLog::in_memory().unwrap()),
            live: Arc::new(NoOutputs),
            clock: Arc::new(ManualClock::at("2026-11-22T10:00:00Z".parse().unwrap())),
            assets: |_| None,
            metrics: Arc::new(String::new),
        };
        let app = App { budget: Budget::of(4 * UNIT), ..App::new(config, ports, Chance::default()) };
        let bench = Self { app: Arc::new(app), shutdown: CancellationToken::new() };
        cache::feed::start(&bench.app, &Vital::default(), &TaskTracker::new(), &bench.shutdown);
        bench
    }

    fn left(&self) -> usize {
        self.app.budget.units.available_permits()
    }

    async fn send(&self, method: &str, path: &str, body: Body) -> Response {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:8070");
        let request = request.header("content-type", "application/json").body(body).unwrap();
        router(self.app.clone()).oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send("GET", path, Body::empty()).await
    }

    /// A run that printed so much.
    async fn ran(&self, bytes: usize) {
        let now = self.app.now().timestamp_millis();
        let record = RunRecord {
            job_name: "a".parse().unwrap(),
            command: "date".to_owned(),
            err: String::new(),
            output: "x".repeat(bytes),
            plan_time: now,
            schedule_time: now,
            start_time: now,
            end_time: now,
            run: RUN.parse().unwrap(),
            task: false,
            attempt: 1,
            state: RunState::Succeeded,
            reason: String::new(),
            by: Author::Worker,
            trigger: Cause::Manual,
            tick: None,
            worker: "w1".parse().unwrap(),
            fence: common::revision::Token(1),
            claim_time: now,
            exit_code: Some(0),
            signal: None,
            truncated: 0,
            gap: None,
            pieces: Vec::new(),
            expires: now + 1_000_000,
        };
        self.app.runlog.append(&[LogEntry::Run(Box::new(record))]).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn is_busy(response: Response) {
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
    let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains(r#""type":"busy""#), "{text:?}");
}

#[tokio::test]
async fn a_share_grows_up_to_all_there_is_and_gives_back_what_it_held() {
    let budget = Budget::of(4 * UNIT);
    let mut share = budget.hold(SMALL).await.unwrap();
    assert_eq!(budget.units.available_permits(), 4, "small ones are not counted");
    share.hold(SMALL + 1).await.unwrap();
    share.hold(SMALL + UNIT).await.unwrap();
    assert_eq!(budget.units.available_permits(), 3);
    share.hold(SMALL + 3 * UNIT).await.unwrap();
    assert_eq!(budget.units.available_permits(), 1);
    assert!(matches!(budget.hold(SMALL + 2 * UNIT).await, Err(ApiError::Busy)));
    share.hold(usize::MAX).await.unwrap();
    drop(share);
    assert_eq!(budget.units.available_permits(), 4);
}

// Once: clients that did not read their answers held all of them in memory; nobody counted what was under way.
#[tokio::test]
async fn an_answer_holds_its_share_until_the_last_of_its_bytes_is_gone() {
    let bench = Bench::start().await;
    bench.ran(SMALL + UNIT).await;
    for path in ["/job/log?name=a".to_owned(), format!("/api/v1/runs/{RUN}/output")] {
        let unread = bench.get(&path).await;
        assert_eq!((unread.status().as_u16(), bench.left()), (200, 2), "{path}");
        is_busy(bench.get("/job/log?name=a").await).await;
        is_busy(bench.get(&format!("/api/v1/runs/{RUN}/output")).await).await;
        assert_eq!(bench.get("/api/v1/jobs").await.status(), 200, "small ones do not wait");
        // As a connection does that has yet to write them.
        let bytes: Bytes = to_bytes(unread.into_body(), usize::MAX).await.unwrap();
        assert!(bytes.len() > SMALL + UNIT && bytes.ends_with(b"}"), "{path}");
        let rest = bytes.slice(bytes.len() - 1..);
        drop(bytes);
        assert_eq!(bench.left(), 2, "{path}");
        drop(rest);
        assert_eq!(bench.left(), 4, "{path}");
    }
    assert_eq!(bench.get("/job/log?name=a").await.status(), 200);
}

#[tokio::test]
async fn a_large_body_waits_for_room_as_it_comes_and_gives_it_back() {
    let bench = Bench::start().await;
    let many = || Body::from(format!("[{}{{}}]", "{},".repeat(2_000_000)));
    let refused = bench.send("POST", "/api/v1/save", many()).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(bench.left(), 4);
    let held = bench.app.budget.hold(usize::MAX).await.unwrap();
    is_busy(bench.send("POST", "/api/v1/save", many()).await).await;
    // Nobody says how long it is.
    let pieces = stream::iter((0..16).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 32 << 10]))));
    is_busy(bench.send("PUT", "/api/v1/jobs/a", Body::from_stream(pieces)).await).await;
    let job = r#"{"trigger": {"manual": true}, "driver": {"shell": {"command": "date"}}}"#;
    assert_eq!(bench.send("PUT", "/api/v1/jobs/a", Body::from(job)).await.status(), 201);
    drop(held);
    let pieces = stream::iter((0..33).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 32 << 10]))));
    assert_eq!(bench.send("PUT", "/api/v1/jobs/a", Body::from_stream(pieces)).await.status(), 413);
    assert_eq!(bench.left(), 4);
}

#[tokio::test]
async fn an_answer_that_is_made_does_not_wait_behind_those_that_are_not() {
    let bench = Bench::start().await;
    let made = async |State(app): State<Arc<App>>| {
        let share = app.budget.hold(usize::MAX).await.unwrap();
        let other = tokio::spawn(async move {
            let other = app.budget.hold(usize::MAX).await;
            let is_busy = matches!(other, Err(ApiError::Busy));
            // Nobody reads it.
            std::mem::forget(other);
            is_busy
        });
        tokio::task::yield_now().await;
        assert!(!other.is_finished());
        share.left_with(Response::new(Body::from(vec![b'x'; SMALL + UNIT])))
    };
    let routes = axum::Router::new().route("/", axum::routing::get(made));
    let routes = routes.layer(axum::middleware::from_fn_with_state(bench.app.clone(), hold_answers));
    let answer = routes.with_state(bench.app.clone()).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!((answer.status().as_u16(), bench.left()), (200, 0), "three of four are given to who waits");
}
