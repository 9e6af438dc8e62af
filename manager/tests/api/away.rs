//! With the store away or frozen, every request is answered, and what is known is shown as old.

use std::time::Duration;

use tokio::time::timeout;

use super::support::{Answer, Bench, Mode};

#[track_caller]
fn says_away(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["type"], "store-unavailable");
    assert!(answer.json()["title"].as_str().expect("a title").contains("The store cannot be reached"));
}

#[tokio::test]
async fn lists_go_on_from_what_was_known_and_say_so() {
    let bench = Bench::start().await;
    bench.save("a").await;
    assert_eq!(bench.get("/api/v1/jobs").await.header("quorate-stale"), "");
    bench.store.set(Mode::Away);
    let list = bench.until("/api/v1/jobs", |list| list.headers.contains_key("quorate-stale")).await;
    assert_eq!(list.names("name"), ["a"]);
    assert!(list.header("quorate-stale").contains("cannot be reached"), "{list:?}");
    assert_eq!(bench.get("/job/list").await.header("quorate-stale"), list.header("quorate-stale"));
    says_away(&bench.post("/api/v1/jobs/a/run").await);
    says_away(&bench.post("/api/v1/jobs/a/pause").await);
    says_away(&bench.delete("/api/v1/jobs/a").await);
    let gdts = bench.form("/job/delete", "name=a").await;
    assert!(gdts.text.starts_with(r#"{"errno":-1,"msg":"the store cannot be reached"#), "{gdts:?}");
    let ready = bench.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["store"]["ok"].as_bool()), (503, Some(false)), "{ready:?}");
    assert_eq!(bench.get("/healthz").await.status, 200);

    bench.store.set(Mode::Up);
    bench.save("b").await;
    let back = bench.until("/api/v1/jobs", |list| !list.headers.contains_key("quorate-stale")).await;
    assert_eq!(back.names("name"), ["a", "b"]);
    assert_eq!(bench.until("/readyz", |ready| ready.status == 200).await.json()["status"], "ready");
}

#[tokio::test]
async fn a_manager_that_starts_without_a_store_says_so_and_recovers() {
    let bench = Bench::start_in(Mode::Away).await;
    says_away(&bench.get("/api/v1/jobs").await);
    assert!(bench.get("/job/list").await.text.contains("nothing has been read from it yet"));
    assert_eq!(bench.get("/").await.status, 200);
    bench.store.set(Mode::Up);
    let list = bench.until("/api/v1/jobs", |list| list.status == 200).await;
    assert_eq!(list.names("name"), [""; 0]);
}

#[tokio::test]
async fn a_frozen_store_leaves_no_request_without_an_answer() {
    let bench = Bench::start().await;
    bench.save("a").await;
    bench.store.set(Mode::Frozen);
    let body = r#"{"trigger": {"cron": ["@daily"]}, "driver": {"shell": {"command": "date"}}}"#;
    let within = Duration::from_secs(5);
    let (save, delete, run, kill, gdts, ready) = tokio::join!(
        timeout(within, bench.send_json("PUT", "/api/v1/jobs/a", body)),
        timeout(within, bench.delete("/api/v1/jobs/a")),
        timeout(within, bench.post("/api/v1/jobs/a/run")),
        timeout(within, bench.post("/api/v1/jobs/a/kill")),
        timeout(within, bench.form("/job/delete", "name=a")),
        timeout(within, bench.get("/readyz")),
    );
    for answer in [save, delete, run] {
        says_away(&answer.unwrap());
    }
    // Sent, without a look before.
    let kill = kill.unwrap();
    assert_eq!((kill.status, kill.json()["type"].as_str()), (503, Some("in-doubt")));
    assert!(gdts.unwrap().text.starts_with(r#"{"errno":-1,"#));
    assert_eq!(ready.unwrap().status, 503);
    assert_eq!(bench.get("/api/v1/jobs").await.names("name"), ["a"]);
}
