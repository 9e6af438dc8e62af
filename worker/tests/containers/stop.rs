//! Containers that somebody ends, or something.

use std::time::Duration;

use common::job::OnLeaseLoss;
use serde_json::json;
use test_support::servers::EngineKind;

use super::support::{Place, on_both_engines, sh, spec_of};

on_both_engines!(
    a_stop_asks_first_and_kills_after_the_grace,
    a_stop_before_the_start_leaves_nothing,
    a_run_that_is_given_up_leaves_nothing,
    a_container_that_is_removed_from_outside_has_failed_and_says_so,
    a_container_of_an_earlier_life_is_taken_over_with_all_that_it_printed,
);

const LONG: Duration = Duration::from_secs(60);

async fn a_stop_asks_first_and_kills_after_the_grace(kind: EngineKind) {
    let place = Place::on(kind);
    let polite = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let started = place.start(sh(polite, json!({}))).await;
    started.until_printed("up").await;
    started.kill(LONG);
    let (exit, output) = started.end().await;
    assert_eq!((exit.exit_code(), output.text.as_str()), (Some(3), "up\nbye\n"));

    // A first process without a handler takes no TERM.
    let started = place.start(sh("echo up; sleep 600; echo never", json!({}))).await;
    started.until_printed("up").await;
    started.kill(Duration::from_millis(200));
    let run = started.run;
    let (exit, output) = started.end().await;
    assert_eq!((exit.exit_code(), exit.note(), output.text.as_str()), (Some(137), "", "up\n"));
    assert!(place.containers_of(run).await.is_empty());
}

async fn a_stop_before_the_start_leaves_nothing(kind: EngineKind) {
    let place = Place::on(kind);
    let started = place.start(sh("echo up", json!({}))).await;
    // It is heard before, in, or after the start; in each case nothing is left.
    started.kill(Duration::ZERO);
    let run = started.run;
    let (exit, _) = started.end().await;
    assert!(exit.exit_code().is_none_or(|code| code == 137 || code == 0), "{exit:?}");
    assert!(place.containers_of(run).await.is_empty());
}

async fn a_run_that_is_given_up_leaves_nothing(kind: EngineKind) {
    let place = Place::on(kind);
    let started = place.start(sh("echo up; sleep 600", json!({}))).await;
    started.until_printed("up").await;
    let run = started.run;
    started.abandon();
    place.until_gone(&format!("quorate.run={run}")).await;
}

async fn a_container_that_is_removed_from_outside_has_failed_and_says_so(kind: EngineKind) {
    let place = Place::on(kind);
    let started = place.start(sh("echo up; sleep 600", json!({}))).await;
    started.until_printed("up").await;
    let id = place.inspect(started.run).await["Id"].as_str().expect("an id").to_owned();
    let (status, _) = place.ask("DELETE", &format!("/containers/{id}?force=true")).await;
    assert_eq!(status, 204);
    let (exit, output) = started.end().await;
    assert_eq!(output.text, "up\n");
    // Killed before it is removed, it may be seen in between.
    let words = exit.words();
    assert!(words.contains("removed from outside") || words == "exit status 137", "{exit:?}");
    assert!(!exit.is_success() && !exit.is_lost());
    // The next one runs.
    assert!(place.run(sh("true", json!({}))).await.0.is_success());
}

async fn a_container_of_an_earlier_life_is_taken_over_with_all_that_it_printed(kind: EngineKind) {
    let (earlier, dir) = (Place::on(kind), tempfile::tempdir().expect("a directory"));
    let text =
        "seq 1 1000; echo up; while [ ! -e /tmp/on ]; do sleep 0.05; done; echo more; echo oh >&2; exit 5";
    let volume = format!("{}:/tmp", dir.path().display());
    let spec = spec_of(sh(text, json!({"volumes": [volume]})), |job| job.on_lease_loss = OnLeaseLoss::Keep);
    let later = Place::at(earlier.socket.clone());
    earlier.die_with(spec.clone()).await;
    let id = later.inspect(spec.run).await["Id"].clone();
    let again = later.bench.start_spec(&spec).await.expect("it goes on");
    again.until_printed("up").await;
    assert_eq!(later.inspect(again.run).await["Id"], id, "it is the same container");
    std::fs::write(dir.path().join("on"), "").expect("a file");
    let (exit, output) = again.end().await;
    let printed: String = (1..=1000).map(|n| format!("{n}\n")).chain(["up\nmore\n".to_owned()]).collect();
    assert_eq!(exit.exit_code(), Some(5));
    assert_eq!(output.text.replace("oh\n", ""), printed);
    assert!(later.containers_of(spec.run).await.is_empty());
    // What is not there any more is started anew.
    let mut next = spec.clone();
    next.attempt = 2;
    assert_eq!(later.bench.start_spec(&next).await.expect("it starts").end().await.0.exit_code(), Some(5));
}
