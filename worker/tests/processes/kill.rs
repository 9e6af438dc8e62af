//! What a kill reaches, and what a normal end leaves.

use std::time::Duration;

use common::job::OutputLimit;
use tokio::sync::watch;
use worker::{
    driver::Exit,
    guard::{self},
    output::Output,
};

use crate::support::{Bench, carrying, exec, processes_of, shell, spec, until};

const LONG: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_killed_pipeline_leaves_nothing() {
    let bench = Bench::new();
    let started = bench.start(shell("sleep 600 | cat")).await.unwrap();
    let run = started.run;
    let names = || processes_of(run).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    until("both programs run", names, |names| {
        ["sleep", "cat"].iter().all(|name| names.iter().any(|n| n == name))
    })
    .await;
    started.kill(LONG);
    assert_eq!(started.end().await.0, Exit::signal(15));
    assert_eq!(processes_of(run), []);
}

#[tokio::test]
async fn what_ignores_term_is_killed_after_the_grace() {
    let bench = Bench::new();
    let started = bench.start(shell("trap '' TERM; echo ready; while :; do sleep 1; done")).await.unwrap();
    started.until_printed("ready").await;
    let run = started.run;
    started.kill(Duration::from_millis(200));
    assert_eq!(started.end().await.0, Exit::signal(9));
    assert_eq!(processes_of(run), []);
}

#[tokio::test]
async fn a_later_shorter_grace_wins_and_a_longer_one_does_not() {
    let bench = Bench::new();
    let started =
        bench.start(shell("trap 'echo term' TERM; echo ready; while :; do sleep 0.05; done")).await.unwrap();
    started.until_printed("ready").await;
    started.kill(LONG * 10);
    started.until_printed("term").await;
    started.kill(Duration::ZERO);
    started.kill(LONG * 10);
    // Either both sends are seen as one, and the kill never comes, or the first wins: so send it again.
    started.kill(Duration::from_millis(50));
    let (exit, output) = started.end().await;
    // Its shell may also say that its `sleep` was terminated.
    assert!(exit == Exit::signal(9) && output.text.contains("term\n"), "{exit:?} {}", output.text);
}

#[tokio::test]
async fn what_left_the_group_dies_too() {
    let bench = Bench::new();
    // One ignores TERM in a session of its own, one has no environment, one lost its parents.
    // The time of the second's sleep is its name.
    let unique = format!("601.{}", std::process::id());
    let text = format!(
        "setsid sh -c 'trap \"\" TERM; echo one; sleep 600; sleep 600' &
        env -i setsid sh -c 'echo two; sleep {unique}; :' &
        (setsid sh -c 'echo three; sleep 602; :' &)
        wait"
    );
    let started = bench.start(shell(&text)).await.unwrap();
    for word in ["one", "two", "three"] {
        started.until_printed(word).await;
    }
    let run = started.run;
    let two = until(
        "the one without environment runs",
        || children_named("sleep", &unique),
        |found| !found.is_empty(),
    )
    .await;
    started.kill(Duration::from_millis(300));
    assert_eq!(started.end().await.0, Exit::signal(15));
    assert_eq!(processes_of(run), []);
    assert!(two.iter().all(|pid| crate::support::name(*pid).is_none()));
}

#[tokio::test]
async fn a_stopped_process_takes_its_term() {
    let bench = Bench::new();
    let started =
        bench.start(shell("trap 'echo bye; exit 4' TERM; echo ready; kill -STOP $$")).await.unwrap();
    started.until_printed("ready").await;
    started.kill(LONG);
    let (exit, output) = started.end().await;
    assert_eq!((exit, output.text.as_str()), (Exit::code(4), "ready\nbye\n"));
}

#[tokio::test]
async fn the_children_of_a_leader_that_obeys_get_their_grace() {
    let bench = Bench::new();
    // The leader ends at once; its child takes a moment to clean up, in time.
    let child = "trap 'sleep 0.3; echo clean; exit' TERM; echo ready; while :; do sleep 0.05; done";
    let started = bench.start(shell(&format!("trap 'exit 9' TERM; ({child}) & wait"))).await.unwrap();
    started.until_printed("ready").await;
    let run = started.run;
    started.kill(LONG);
    let (exit, output) = started.end().await;
    // Its shell may also say that its `sleep` was terminated.
    assert!(exit == Exit::code(9) && output.text.contains("clean\n"), "{exit:?} {}", output.text);
    assert_eq!(processes_of(run), []);
}

#[tokio::test]
async fn a_stop_that_came_before_the_wait_counts() {
    let bench = Bench::new();
    let spec = spec(exec(&["sleep", "600"]));
    let output = Output::new(OutputLimit::of(100), tokio::time::Instant::now(), None);
    let running = bench.drivers.start(&spec, &output).await.unwrap();
    let (_stop, signal) = watch::channel(Some(LONG));
    assert_eq!(running.wait(signal).await, Exit::signal(15));
}

#[tokio::test]
async fn a_run_that_is_dropped_is_killed() {
    let bench = Bench::new();
    let started =
        bench.start(shell("setsid sleep 600 & trap '' TERM; echo ready; sleep 600; :")).await.unwrap();
    started.until_printed("ready").await;
    let run = started.run;
    started.abandon();
    until("nothing of the run is left", || processes_of(run), Vec::is_empty).await;
}

#[tokio::test]
async fn a_normal_end_leaves_the_background_alone_and_does_not_wait_for_it() {
    let bench = Bench::new();
    let (exit, output) = bench.shell("sleep 600 & echo done").await;
    assert_eq!((exit, output.text.as_str()), (Exit::code(0), "done\n"));
    let session = bench.session.clone();
    let left = move || carrying(&format!("QUORATE_SESSION={session}"));
    assert_eq!(left().len(), 1);
    // It still dies with the worker's life.
    let session = bench.session.clone();
    assert_eq!(tokio::task::spawn_blocking(move || guard::kill_session(&session).unwrap()).await.unwrap(), 1);
    assert_eq!(left(), []);
}

/// Processes with this name and last argument.
fn children_named(name: &str, argument: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let wanted = format!("{name}\0{argument}\0");
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes())
    })
    .collect()
}
