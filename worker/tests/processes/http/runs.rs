//! Calls of a whole worker: attempts, pauses, kills and deaths.

use axum::http::{StatusCode, header::RETRY_AFTER};
use common::{
    id::RunId,
    job::Job,
    queue::Kill,
    run::RunState,
    runlog::{RunLog as _, RunRecord},
    store::{Op, Store as _, Txn},
};

use super::*;
use crate::world::{Living, World, until};

fn job(http: Value, more: Value) -> Job {
    let mut job = json!({"name": "hook", "trigger": {"manual": true}, "driver": {"http": http}});
    job.as_object_mut().expect("it is right").extend(more.as_object().expect("it is right").clone());
    Job::from_value(job).expect("it is right")
}

/// The attempts of a job, once the last of so many has ended.
async fn attempts(world: &World, job: &Job, count: usize) -> Vec<RunRecord> {
    let log = async || {
        let mut records = world.runlog.log(job.name.as_str(), 0, 100).await.expect("it is right");
        records.sort_by_key(|record| record.attempt);
        records
    };
    until("all attempts are on record", log, |records| records.len() >= count).await
}

/// Answers with these, one after the other, and then with the last one.
async fn serve_in_turn(statuses: &'static [u16]) -> SocketAddr {
    let asked = Arc::new(AtomicU64::new(0));
    serve_always(move || {
        let n = usize::try_from(asked.fetch_add(1, Ordering::SeqCst)).expect("it is right");
        let status = StatusCode::from_u16(statuses[n.min(statuses.len() - 1)]).expect("it is right");
        let wait = if status == 429 { "1" } else { "" };
        (status, [(RETRY_AFTER, wait)], "said")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_twice_is_called_a_third_time() {
    let world = World::new();
    let address = serve_in_turn(&[500, 500, 200]).await;
    let more = json!({"retry": {"attempts": 5, "backoff": "20ms"}});
    let job = job(json!({"url": format!("http://{address}/"), "method": "POST"}), more);
    world.save(&job).await;
    let living = Living::start(world.worker());
    world.want(&job.name).await;
    let records = attempts(&world, &job, 3).await;
    living.end().await;
    let told: Vec<_> =
        records.iter().map(|record| (record.state, record.err.as_str(), record.exit_code)).collect();
    let failed = (RunState::Failed, "HTTP 500 Internal Server Error", Some(500));
    assert_eq!(told, [failed, failed, (RunState::Succeeded, "", Some(0))]);
    assert_eq!(records[0].command, format!("POST http://{address}/"));
    assert!(records[2].output.starts_with("HTTP/1.1 200 OK in ") && records[2].output.ends_with("said"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_asks_to_wait_is_left_alone_for_so_long() {
    let world = World::new();
    let address = serve_in_turn(&[429, 200]).await;
    let job = job(
        json!({"url": format!("http://{address}/")}),
        json!({"retry": {"attempts": 2, "backoff": "1ms"}}),
    );
    world.save(&job).await;
    let living = Living::start(world.worker());
    world.want(&job.name).await;
    let records = attempts(&world, &job, 2).await;
    living.end().await;
    assert_eq!(records[0].err, "HTTP 429 Too Many Requests");
    assert_eq!(records[1].state, RunState::Succeeded);
    let pause = records[1].start_time - records[0].end_time;
    assert!(pause >= 1000, "{pause} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_not_asked_again() {
    let world = World::new();
    let address = serve_in_turn(&[404, 200]).await;
    let more = json!({"retry": {"attempts": 5, "backoff": "1ms"}});
    let job = job(json!({"url": format!("http://{address}/")}), more);
    world.save(&job).await;
    let living = Living::start(world.worker());
    let first = world.want(&job.name).await;
    until("the first is on record", || world.record(first), Option::is_some).await;
    // It comes after what the first would have been followed by.
    let second = world.want(&job.name).await;
    until("the second is on record", || world.record(second), Option::is_some).await;
    living.end().await;
    let records = attempts(&world, &job, 2).await;
    assert_eq!(records.iter().map(|record| record.attempt).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_takes_too_long_has_timed_out() {
    let world = World::new();
    let address = Silent::default().serve().await;
    let url = format!("http://{address}/");
    let living = Living::start(world.worker());
    for (http, more, err) in [
        (json!({"url": url, "timeout": "100ms"}), json!({}), "no answer within 100ms"),
        (json!({"url": url, "timeout": "60s"}), json!({"timeout": "100ms"}), "the call was broken off"),
    ] {
        let job = job(http, more);
        world.save(&job).await;
        let run = world.want(&job.name).await;
        let record = until("it is on record", || world.record(run), Option::is_some).await.unwrap();
        assert_eq!((record.state, record.err.as_str()), (RunState::TimedOut, err), "{record:?}");
    }
    living.end().await;
}

async fn kill(world: &World, run: RunId) {
    let kill = Kill { by: "joe".to_owned(), at: chrono::DateTime::UNIX_EPOCH, worker: None };
    let put = vec![Op::Put(world.keys.kill_run(&run), kill.encode(), None)];
    world.store.txn(Txn::when(Vec::new(), put)).await.expect("it is right");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_killed_is_over_at_once() {
    let world = World::new();
    let silent = Silent::default();
    let address = silent.serve().await;
    let job =
        job(json!({"url": format!("http://{address}/")}), json!({"grace": "1h", "retry": {"attempts": 3}}));
    world.save(&job).await;
    let living = Living::start(world.worker());
    let run = world.want(&job.name).await;
    until("the server is asked", || std::future::ready(silent.asked()), |asked| *asked == 1).await;
    kill(&world, run).await;
    let record = until("it is on record", || world.record(run), Option::is_some).await.unwrap();
    assert_eq!((record.state, record.err.as_str()), (RunState::Killed, "signal: killed"));
    living.end().await;
    assert!(silent.hung_up());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_with_its_worker_and_is_made_again_where_the_job_says_so() {
    let world = World::new();
    let silent = Silent::default();
    let address = silent.serve().await;
    let job = job(json!({"url": format!("http://{address}/")}), json!({"delivery": "at-least-once"}));
    world.save(&job).await;
    let life = world.mortal();
    let run = world.want(&job.name).await;
    until("the server is asked", || std::future::ready(silent.asked()), |asked| *asked == 1).await;
    life.die();
    until("the server is hung up on", || std::future::ready(silent.hung_up()), |hung_up| *hung_up).await;
    let living = Living::start(world.worker());
    until("the server is asked again", || std::future::ready(silent.asked()), |asked| *asked == 2).await;
    let lost = until("it is on record", || world.record(run), Option::is_some).await.unwrap();
    assert_eq!((lost.state, lost.attempt), (RunState::Lost, 1));
    kill(&world, run).await;
    living.end().await;
}
