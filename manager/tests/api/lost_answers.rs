//! Writes whose answers say nothing of them: lost ones, and those of a store that fills. None is denied that may have been
//! done, none is done twice, and no other client's change is written over.

use common::{
    lock::{FreeLock, Lock},
    store::{Op, StoreError},
};
use serde_json::json;

use super::support::{Answer, Bench, Done, Fate, Mode, request};

/// A transaction whose answer is lost.
fn lost(done: Done) -> Fate {
    let answer = Some(StoreError::Ambiguous("the answer was lost".into()));
    Fate { before: Vec::new(), done, after: Vec::new(), answer, then: Mode::Up }
}

/// A transaction that is answered as those are for which the store has no room.
fn full(done: Done) -> Fate {
    Fate { answer: Some(StoreError::Full("database space exceeded".into())), ..lost(done) }
}

/// A transaction that another client's is ahead of.
fn behind(before: Vec<Op>) -> Fate {
    Fate { before, answer: None, ..lost(Done::AtOnce) }
}

/// A job that differs from others by its command.
fn job(name: &str, command: &str) -> String {
    let trigger = json!({"cron": ["* * * * *"]});
    json!({"name": name, "trigger": trigger, "driver": {"shell": {"command": command}}}).to_string()
}

/// What another client writes who saves job `a`.
fn made_by_another(bench: &Bench) -> Vec<Op> {
    let lock = Lock::new("2026-11-22T10:00:00Z".parse().expect("an instant"));
    vec![
        Op::Put(bench.keys.jobs.key("a"), job("a", "another").into_bytes(), None),
        Op::Put(bench.keys.locks.key("a"), lock.encode(), None),
    ]
}

/// What another client writes who deletes job `a`.
fn deleted_by_another(bench: &Bench) -> Vec<Op> {
    vec![Op::Delete(bench.keys.jobs.key("a")), Op::Delete(bench.keys.locks.key("a"))]
}

/// What a worker writes who claims and frees again.
fn lock_moved(bench: &Bench) -> Vec<Op> {
    made_by_another(bench).split_off(1)
}

/// Sets what the next transaction meets that writes job `a`.
fn set(bench: &Bench, fate: Fate) {
    bench.store.set_fate(bench.keys.jobs.key("a").as_str(), fate);
}

/// The stored text of job `a`.
async fn stored(bench: &Bench) -> Option<String> {
    let entry = bench.entry(&bench.keys.jobs.key("a")).await?;
    Some(String::from_utf8_lossy(&entry.value).into_owned())
}

async fn put_if(bench: &Bench, revision: &str, body: String) -> Answer {
    let mut put = request("PUT", "/api/v1/jobs/a", body.into());
    put.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    put.headers_mut().insert("if-match", revision.parse().expect("a header"));
    bench.send(put).await
}

/// Replaces job `a` by another one, or deletes it.
async fn ask(bench: &Bench, method: &str) -> Answer {
    let other = json!({"trigger": {"every": "7s"}, "driver": {"shell": {"command": "true"}}});
    match method {
        "DELETE" => bench.delete("/api/v1/jobs/a").await,
        _ => bench.send_json(method, "/api/v1/jobs/a", &other.to_string()).await,
    }
}

/// A manager whose lists know that there is nothing.
async fn empty() -> Bench {
    let bench = Bench::start().await;
    bench.get("/api/v1/jobs").await;
    bench
}

#[track_caller]
fn says_uncertain(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("in-doubt")), "{answer:?}");
    assert!(answer.text.contains("the write may have happened"), "{answer:?}");
}

#[track_caller]
fn says_full(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["type"]), (507, &json!("store-full")), "{answer:?}");
}

#[tokio::test]
async fn a_delete_that_cannot_be_read_back_may_have_happened() {
    let bench = Bench::start().await;
    bench.save("a").await;
    set(&bench, Fate { then: Mode::Away, ..lost(Done::AtOnce) });
    says_uncertain(&bench.delete("/api/v1/jobs/a").await);
}

// Once: after a lost answer a delete was done again over another client's save, because what was read back was
// judged as if nothing had been sent.
#[tokio::test]
async fn a_job_that_was_made_again_behind_a_lost_delete_stays() {
    let bench = Bench::start().await;
    bench.save("a").await;
    set(&bench, Fate { after: made_by_another(&bench), ..lost(Done::AtOnce) });
    let answer = bench.delete("/api/v1/jobs/a").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(stored(&bench).await, Some(job("a", "another")));
}

#[tokio::test]
async fn a_lost_delete_that_was_not_done_is_tried_again() {
    let bench = Bench::start().await;
    for after in [Vec::new(), made_by_another(&bench)] {
        bench.save("a").await;
        set(&bench, Fate { after, ..lost(Done::Never) });
        let answer = bench.delete("/api/v1/jobs/a").await;
        assert_eq!((answer.status, stored(&bench).await), (204, None), "{answer:?}");
    }
}

// Once: a save whose answer was lost was told as refused: what was read back was judged as if nothing had been
// sent.
#[tokio::test]
async fn a_save_that_arrives_late_is_no_conflict_with_itself() {
    let bench = empty().await;
    set(&bench, lost(Done::Late));
    let created = bench.send_json("POST", "/api/v1/jobs", &job("a", "first")).await;
    assert_eq!(created.status, 201, "{created:?}");
    set(&bench, lost(Done::Late));
    let revision = created.json()["status"]["revision"].to_string();
    let replaced = put_if(&bench, &revision, job("a", "second")).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    let now = bench.entry(&bench.keys.jobs.key("a")).await.unwrap().mod_revision;
    assert_eq!(replaced.json()["status"]["revision"], now.get());
    assert_eq!(bench.get("/api/v1/jobs/a").await.json(), replaced.json());
}

#[tokio::test]
async fn a_save_that_was_not_done_is_tried_again() {
    let bench = Bench::start().await;
    bench.save("a").await;
    set(&bench, lost(Done::Never));
    let replaced = bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "second")).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert!(stored(&bench).await.unwrap().contains("second"));
}

#[tokio::test]
async fn what_another_client_made_of_a_lost_save_stays() {
    for (method, path) in [("POST", "/api/v1/jobs"), ("PUT", "/api/v1/jobs/a")] {
        let bench = empty().await;
        set(&bench, Fate { after: made_by_another(&bench), ..lost(Done::AtOnce) });
        says_uncertain(&bench.send_json(method, path, &job("a", "first")).await);
        assert_eq!(stored(&bench).await, Some(job("a", "another")), "{method}");
    }
    let bench = Bench::start().await;
    bench.save("a").await;
    set(&bench, Fate { after: made_by_another(&bench), ..lost(Done::AtOnce) });
    says_uncertain(&bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "second")).await);
    assert_eq!(stored(&bench).await, Some(job("a", "another")));
    let revision = bench.save("a").await["status"]["revision"].to_string();
    set(&bench, Fate { after: made_by_another(&bench), ..lost(Done::AtOnce) });
    says_uncertain(&put_if(&bench, &revision, job("a", "second")).await);
    assert_eq!(stored(&bench).await, Some(job("a", "another")));
}

#[tokio::test]
async fn a_job_that_another_client_deleted_after_a_lost_save_stays_deleted() {
    for (method, path) in [("POST", "/api/v1/jobs"), ("PUT", "/api/v1/jobs/a")] {
        let bench = empty().await;
        set(&bench, Fate { after: deleted_by_another(&bench), ..lost(Done::AtOnce) });
        says_uncertain(&bench.send_json(method, path, &job("a", "first")).await);
        assert_eq!(stored(&bench).await, None, "{method}");
    }
    let bench = Bench::start().await;
    bench.save("a").await;
    set(&bench, Fate { after: deleted_by_another(&bench), ..lost(Done::AtOnce) });
    says_uncertain(&bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "second")).await);
    assert_eq!(stored(&bench).await, None);
    // The same of a pause, which is a save as well.
    bench.save("a").await;
    set(&bench, Fate { after: deleted_by_another(&bench), ..lost(Done::AtOnce) });
    says_uncertain(&bench.post("/api/v1/jobs/a/pause").await);
}

#[tokio::test]
async fn who_never_gets_through_after_a_lost_answer_is_not_told_that_nothing_was_written() {
    let bench = Bench::start().await;
    bench.save("a").await;
    for method in ["PUT", "DELETE"] {
        set(&bench, lost(Done::Never));
        for _ in 0..7 {
            set(&bench, behind(lock_moved(&bench)));
        }
        says_uncertain(&ask(&bench, method).await);
    }
    // Without a lost answer it is certain.
    for _ in 0..8 {
        set(&bench, behind(lock_moved(&bench)));
    }
    let answer = bench.delete("/api/v1/jobs/a").await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("contended")), "{answer:?}");
}

#[tokio::test]
async fn a_save_that_fills_the_store_is_done() {
    let bench = empty().await;
    set(&bench, full(Done::AtOnce));
    let created = bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "first")).await;
    assert_eq!(created.status, 201, "{created:?}");
    set(&bench, full(Done::AtOnce));
    assert_eq!(bench.post("/api/v1/jobs/a/pause").await.json()["status"]["paused"], true);
    set(&bench, full(Done::Never));
    says_full(&bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "second")).await);
    set(&bench, full(Done::AtOnce));
    assert_eq!(bench.delete("/api/v1/jobs/a").await.status, 204);

    set(&bench, full(Done::Never));
    says_full(&bench.send_json("POST", "/api/v1/jobs", &job("a", "first")).await);
    assert_eq!(stored(&bench).await, None);
    bench.save("a").await;
    set(&bench, full(Done::Never));
    says_full(&bench.delete("/api/v1/jobs/a").await);
    assert!(stored(&bench).await.is_some());
}

#[tokio::test]
async fn a_full_store_behind_a_lost_answer_is_no_certain_answer() {
    let bench = Bench::start().await;
    for method in ["PUT", "DELETE"] {
        bench.save("a").await;
        set(&bench, lost(Done::Never));
        set(&bench, full(Done::Never));
        says_uncertain(&ask(&bench, method).await);
    }
    set(&bench, Fate { then: Mode::Away, ..full(Done::AtOnce) });
    says_uncertain(&bench.send_json("PUT", "/api/v1/jobs/a", &job("a", "second")).await);
}

#[tokio::test]
async fn of_jobs_that_fill_the_store_together_each_is_read_back() {
    let bench = empty().await;
    set(&bench, full(Done::AtOnce));
    let jobs = ["a", "b", "c"].map(|name| job(name, "date")).join(",");
    let report = bench.send_json("POST", "/api/v1/save", &format!("[{jobs}]")).await.json();
    assert_eq!((&report["created"], &report["refused"]), (&json!(3), &json!(0)), "{report}");
}

#[tokio::test]
async fn a_wanted_run_that_fills_the_store_is_wanted_once() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let queue = bench.keys.queue.as_str();
    bench.store.set_fate(queue, full(Done::AtOnce));
    let wanted = bench.post("/api/v1/jobs/a/run").await;
    assert_eq!(wanted.status, 202, "{wanted:?}");
    let run = wanted.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(bench.get("/api/v1/runs").await.names("run"), [run]);
    bench.store.set_fate(queue, full(Done::Never));
    says_full(&bench.post("/api/v1/jobs/a/run").await);
    bench.store.set_fate(queue, Fate { then: Mode::Away, ..full(Done::AtOnce) });
    says_uncertain(&bench.post("/api/v1/jobs/a/run").await);
}

#[tokio::test]
async fn a_reset_that_fills_the_store_is_done() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let key = bench.keys.locks.key("a");
    let ahead = Lock::Free(FreeLock { fence: "2031-01-01T00:00:00Z".parse().unwrap(), last: None });
    bench.put(key.clone(), ahead.encode()).await;
    bench.store.set_fate(key.as_str(), full(Done::Never));
    says_full(&bench.post("/api/v1/jobs/a/reset-fence").await);
    assert_eq!(bench.lock("a").await.unwrap().0, ahead);
    bench.store.set_fate(key.as_str(), full(Done::AtOnce));
    assert_eq!(bench.post("/api/v1/jobs/a/reset-fence").await.status, 200);
    assert_eq!(bench.lock("a").await.unwrap().0.fence().to_string(), "2026-11-22T10:00:00Z");
}

#[tokio::test]
async fn a_reset_whose_answer_is_lost_is_done_once_and_no_other_write_is_undone() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let key = bench.keys.locks.key("a");
    let ahead = Lock::Free(FreeLock { fence: "2031-01-01T00:00:00Z".parse().unwrap(), last: None });
    for done in [Done::AtOnce, Done::Never] {
        bench.put(key.clone(), ahead.encode()).await;
        bench.store.set_fate(key.as_str(), lost(done));
        let answer = bench.post("/api/v1/jobs/a/reset-fence").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(bench.lock("a").await.unwrap().0.fence().to_string(), "2026-11-22T10:00:00Z");
    }
    bench.put(key.clone(), ahead.encode()).await;
    let theirs = Lock::new("2026-11-22T10:00:07Z".parse().unwrap());
    let after = vec![Op::Put(key.clone(), theirs.encode(), None)];
    bench.store.set_fate(key.as_str(), Fate { after, ..lost(Done::Never) });
    says_uncertain(&bench.post("/api/v1/jobs/a/reset-fence").await);
    assert_eq!(bench.lock("a").await.unwrap().0, theirs);
}

#[tokio::test]
async fn a_wanted_run_whose_answer_is_lost_is_wanted_once() {
    let bench = Bench::start().await;
    bench.save("a").await;
    for done in [Done::AtOnce, Done::Late] {
        bench.store.set_fate(bench.keys.queue.as_str(), lost(done));
        assert_eq!(bench.post("/api/v1/jobs/a/run").await.status, 202);
    }
    assert_eq!(bench.get("/api/v1/runs").await.names("run").len(), 2);
    // It may have been done and taken: it is not wanted again.
    bench.store.set_fate(bench.keys.queue.as_str(), lost(Done::Never));
    says_uncertain(&bench.post("/api/v1/jobs/a/run").await);
    assert_eq!(bench.get("/api/v1/runs").await.names("run").len(), 2);
}

#[tokio::test]
async fn a_kill_whose_answer_is_lost_is_recognised() {
    let bench = Bench::start().await;
    bench.save("a").await;
    let key = bench.keys.kills.key("a");
    for done in [Done::AtOnce, Done::Never] {
        bench.store.set_fate(key.as_str(), lost(done));
        let answer = bench.post("/api/v1/jobs/a/kill").await;
        assert_eq!((answer.status, bench.entry(&key).await.is_some()), (202, true), "{answer:?}");
    }
    bench.store.set_fate(key.as_str(), Fate { then: Mode::Away, ..lost(Done::AtOnce) });
    says_uncertain(&bench.post("/api/v1/jobs/a/kill").await);
}
