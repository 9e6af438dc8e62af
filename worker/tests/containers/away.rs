//! Engines that go away, and come back.

use serde_json::json;
use test_support::servers::{Engine, EngineKind};

use super::support::{Place, on_both_engines, sh};

on_both_engines!(an_engine_that_is_killed_and_started_again_makes_no_run_untrue,);

async fn an_engine_that_is_killed_and_started_again_makes_no_run_untrue(kind: EngineKind) {
    let mut engine = Engine::start(kind);
    let place = Place::at(engine.socket().to_owned());
    let text = "echo up; while [ ! -e /tmp/on ]; do sleep 0.05; done; echo more; exit 5";
    let volume = format!("{}:/tmp", place.bench.dir.path().display());
    let started = place.start(sh(text, json!({"volumes": [volume]}))).await;
    started.until_printed("up").await;
    engine.kill_9();
    let why = place.bench.start(super::support::command(sh("true", json!({})))).await.expect("it is told to");
    let why = why.end().await.0.into_start_error().expect("it cannot start").to_string();
    assert!(why.starts_with("the container engine at unix:///") && why.contains("does not answer"), "{why}");
    if kind == EngineKind::Podman {
        // Its containers go on without it.
        std::fs::write(place.bench.dir.path().join("on"), "").expect("a file");
    }
    engine.restart();
    let run = started.run;
    let (exit, output) = started.end().await;
    match kind {
        EngineKind::Docker => {
            assert!(exit.is_lost(), "{exit:?}");
            assert_eq!(output.text, "up\n");
        }
        EngineKind::Podman => assert_eq!((exit.exit_code(), output.text.as_str()), (Some(5), "up\nmore\n")),
    }
    assert!(place.containers_of(run).await.is_empty());
    assert!(place.run(sh("true", json!({}))).await.0.is_success());
}

#[tokio::test]
async fn a_worker_without_an_engine_fails_its_container_runs_and_says_why() {
    let place = Place::at("/no/such/engine.sock".into());
    let started = place.start(sh("true", json!({}))).await;
    let why = started.end().await.0.into_start_error().expect("it cannot start").to_string();
    let said = "the container engine at unix:///no/such/engine.sock does not answer: ";
    assert!(why.starts_with(said) && why.contains("No such file"), "{why}");
}
