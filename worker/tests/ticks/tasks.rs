//! Tasks: runs without a job.

use std::time::Duration;

use common::{
    job::Delivery,
    run::{Cause, RunState},
    runlog::Author,
    span::Span,
    task::{Ended, Task},
    worker::Readiness,
};

use super::support::{Bench, job, run_of};

fn task() -> Task {
    serde_json::from_str(r#"{"name": "reindex", "driver": {"exec": {"argv": ["/bin/true"]}}}"#)
        .expect("a task")
}

#[tokio::test]
async fn a_task_runs_once_and_leaves_the_store_when_the_run_log_has_it() {
    let mut bench = Bench::start().await;
    let run = bench.hand_in(&task(), None, None).await;
    let started = bench.started().await;
    assert_eq!((run_of(&started), started.spec.job.name.as_str(), started.spec.attempt), (run, "reindex", 1));
    bench.until_nothing_queued().await;
    started.end();
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((record.state, record.task, record.trigger), (RunState::Succeeded, true, Cause::Manual));
    bench.until_no_task().await;
    assert!(bench.none_started());
}

#[tokio::test]
async fn a_task_waits_for_its_time() {
    let mut bench = Bench::start().await;
    let run = bench.hand_in(&task(), Some(10.0), None).await;
    bench.until_awaited(10.0, 10.0).await;
    bench.move_to(9.9).await;
    bench.until_heard().await;
    bench.move_to(10.0).await;
    assert_eq!(run_of(&bench.started().await), run);
}

#[tokio::test]
async fn a_task_that_no_worker_may_run_expires_and_says_why() {
    let bench = Bench::start().await;
    let mut elsewhere = task();
    elsewhere.placement.require = vec!["gpu".to_owned()];
    let run = bench.hand_in(&elsewhere, None, Some(5.0)).await;
    bench.until_awaited(4.9, 5.2).await;
    bench.move_to(20.0).await;
    // An unranked worker comes after those who rank.
    bench.until_awaited(20.7, 20.8).await;
    bench.move_to(21.0).await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((record.state, record.task), (RunState::Expired, true));
    assert!(
        record.reason.contains("no ready worker has the labels that the run requires: gpu"),
        "{}",
        record.reason
    );
    bench.until_nothing_queued().await;
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_after_its_pause() {
    let mut bench = Bench::start().await;
    let mut twice = task();
    twice.timeout = Some(Span(Duration::from_millis(20)));
    twice.retry.attempts = 2;
    let run = bench.hand_in(&twice, None, None).await;
    bench.started().await;
    let first = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((first.state, first.attempt), (RunState::TimedOut, 1));
    // Between 5 and 10 s.
    bench.until_awaited(4.9, 10.1).await;
    bench.move_to(11.0).await;
    let second = bench.started().await;
    assert_eq!((run_of(&second), second.spec.attempt), (run, 2));
    second.end();
    let records = bench.until_records(&run, 2).await;
    assert_eq!((records[1].state, records[1].trigger), (RunState::Succeeded, Cause::Retry));
    bench.until_no_task().await;
    bench.until_nothing_queued().await;
}

#[tokio::test]
async fn a_kill_ends_the_task_that_it_names_and_no_task_by_the_name_of_a_job() {
    let mut bench = Bench::start().await;
    let run = bench.hand_in(&task(), None, None).await;
    let mut started = bench.started().await;
    bench.kill("reindex").await;
    // A kill of a job that is heard of later ends that job's run.
    bench.save(&job("b")).await;
    bench.move_to(1.0).await;
    let mut other = bench.started().await;
    bench.kill("b").await;
    other.until_told_to_end().await;
    bench.kill_run(&run).await;
    started.until_told_to_end().await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((record.state, record.reason.as_str()), (RunState::Killed, "killed by a test"));
    bench.until_no_task().await;
}

#[tokio::test]
async fn a_task_that_is_killed_before_its_time_does_not_start() {
    let mut bench = Bench::start().await;
    let run = bench.hand_in(&task(), Some(100.0), None).await;
    bench.kill_run(&run).await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!(
        (record.state, record.reason.as_str()),
        (RunState::Killed, "killed by a test before it started")
    );
    bench.until_nothing_queued().await;
    assert!(bench.none_started());
}

#[tokio::test]
async fn a_task_whose_worker_is_gone_is_lost_or_repeated_as_it_says() {
    let mut bench = Bench::start().await;
    let run = bench.leave_task_of_a_dead_worker(&task(), None).await;
    bench.register("another").await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((record.state, record.by, record.task), (RunState::Lost, Author::Caretaker, true));
    bench.until_no_task().await;
    assert!(bench.none_started());

    let mut bench = Bench::start().await;
    let mut repeated = task();
    repeated.delivery = Delivery::AtLeastOnce;
    let run = bench.leave_task_of_a_dead_worker(&repeated, None).await;
    bench.register("another").await;
    let started = bench.started().await;
    assert_eq!((run_of(&started), started.spec.attempt), (run, 2));
    started.end();
    let states = bench.until_records(&run, 2).await.into_iter().map(|record| record.state);
    assert_eq!(states.collect::<Vec<_>>(), [RunState::Lost, RunState::Succeeded]);
    bench.until_no_task().await;
}

#[tokio::test]
async fn a_task_whose_claim_was_given_up_is_queued_again_as_the_same_attempt() {
    let mut bench = Bench::start().await;
    let run = bench.leave_phantom_task(&task()).await;
    bench.register("another").await;
    let started = bench.started().await;
    assert_eq!((run_of(&started), started.spec.attempt), (run, 1));
    started.end();
    assert_eq!(bench.until_records(&run, 1).await[0].state, RunState::Succeeded);
    bench.until_no_task().await;
}

#[tokio::test]
async fn how_a_task_ended_goes_on_record_when_its_worker_does_not_return() {
    let bench = Bench::start().await;
    let (started, at) = (bench.instant(1.0), bench.instant(2.0));
    let words = ("exit status 3".to_owned(), String::new());
    let ended = Ended {
        state: RunState::Failed,
        started,
        at,
        err: words.0,
        reason: words.1,
        exit_code: Some(3),
        signal: None,
    };
    let run = bench.leave_task_of_a_dead_worker(&task(), Some(ended)).await;
    // Another one, which was lost, goes on record in the same pass: this one waits for its worker.
    bench.move_to(500.0).await;
    bench.leave_lost_task(&task()).await;
    bench.register("another").await;
    bench.until_one_task().await;
    assert!(bench.records(&run).await.is_empty());
    bench.move_to(700.0).await;
    bench.register("third").await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!((record.state, record.exit_code, record.by), (RunState::Failed, Some(3), Author::Caretaker));
    assert_eq!(record.err, "exit status 3");
    bench.until_no_task().await;
}

#[tokio::test]
async fn a_drained_worker_takes_nothing_new_and_goes_on_with_what_it_runs_unless_it_is_to_be_empty() {
    let mut bench = Bench::start().await;
    let mut repeated = task();
    repeated.delivery = Delivery::AtLeastOnce;
    let run = bench.hand_in(&repeated, None, None).await;
    let mut first = bench.started().await;
    bench.drain(false).await;
    bench.until_readiness(Readiness::Draining).await;
    let waits = bench.want_another_task(&task()).await;
    bench.drain(true).await;
    first.until_told_to_end().await;
    let record = bench.until_records(&run, 1).await.remove(0);
    assert_eq!(record.state, RunState::Lost);
    assert_eq!(record.reason, "killed, because its worker is being emptied by a test (new disk)");
    assert!(bench.none_started(), "it took something new");
    bench.undrain().await;
    bench.until_readiness(Readiness::Ready).await;
    let mut started = std::collections::BTreeSet::new();
    while started.len() < 2 {
        bench.pass(1.0);
        let again = bench.started().await;
        started.insert(run_of(&again));
        again.end();
    }
    assert_eq!(started, [run, waits].into());
}
