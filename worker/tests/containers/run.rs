//! What a container does, what is around it, and what is told of it.

use std::time::Duration;

use serde_json::json;
use test_support::servers::{EngineKind, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{Place, on_both_engines, sh, spec_of};
use crate::support::until;

on_both_engines!(
    a_run_is_over_with_its_container_and_nothing_is_left,
    what_it_prints_is_there_as_it_is_printed,
    a_long_output_is_whole,
    limits_labels_and_signals_reach_the_engine,
    user_directory_variables_and_entrypoint_are_the_jobs,
    volumes_are_where_they_should_be_and_the_unnamed_go,
    a_published_port_is_told_and_can_be_reached,
    a_port_that_is_taken_is_a_failure_that_says_so,
    an_image_that_is_not_there_is_a_failure_that_says_so,
    a_command_that_is_none_is_a_failure_with_its_code,
    what_the_engine_refuses_is_told_in_its_words,
    more_than_the_machine_has_is_refused_before_the_engine_is_asked,
    a_lack_of_memory_is_told,
);

async fn a_run_is_over_with_its_container_and_nothing_is_left(kind: EngineKind) {
    let place = Place::on(kind);
    let (exit, output) = place.run(sh("echo hello; echo oh >&2", json!({}))).await;
    assert!(exit.is_success() && exit.note().is_empty(), "{exit:?}");
    assert!(output.text.contains("hello\n") && output.text.contains("oh\n"), "{output:?}");
    let (exit, _) = place.run(sh("exit 7", json!({}))).await;
    assert_eq!((exit.exit_code(), exit.words().as_str()), (Some(7), "exit status 7"));
}

async fn what_it_prints_is_there_as_it_is_printed(kind: EngineKind) {
    let place = Place::on(kind);
    let started = place.start(sh("printf 'no line yet'; sleep 600", json!({"init": false}))).await;
    started.until_printed("no line yet").await;
    started.kill(Duration::ZERO);
    let (exit, output) = started.end().await;
    assert_eq!((exit.exit_code(), output.text.as_str()), (Some(137), "no line yet"));
}

async fn a_long_output_is_whole(kind: EngineKind) {
    let place = Place::on(kind);
    let (exit, output) = place.run(sh("seq 1 100000; seq 1 1000 >&2", json!({}))).await;
    assert!(exit.is_success(), "{exit:?}");
    let numbers = |most: u32| (1..=most).map(|n| n.to_string().len() + 1).sum::<usize>();
    assert_eq!(output.text.len() as u64 + output.truncated, (numbers(100_000) + numbers(1000)) as u64);
}

async fn limits_labels_and_signals_reach_the_engine(kind: EngineKind) {
    let place = Place::on(kind);
    let started = place
        .start(sh(
            "trap 'exit 0' INT; echo up; while :; do sleep 0.05; done",
            json!({"cpu": "500m", "memory": "64MiB", "pids": 50, "ulimits": {"nofile": "512:1024"},
                   "labels": {"team": "ops"}, "stop_signal": "SIGINT"}),
        ))
        .await;
    started.until_printed("up").await;
    let seen = place.inspect(started.run).await;
    let host = &seen["HostConfig"];
    let cpu = if host["NanoCpus"] == 0 { host["CpuQuota"].clone() } else { host["NanoCpus"].clone() };
    assert!(cpu == 500_000_000 || cpu == 50_000, "{host}");
    assert_eq!((&host["Memory"], &host["PidsLimit"]), (&json!(64 << 20), &json!(50)));
    let limits = host["Ulimits"].as_array().cloned().unwrap_or_default();
    let is_ours = |limit: &serde_json::Value| {
        // Podman spells it RLIMIT_NOFILE.
        let name = limit["Name"].as_str().unwrap_or_default().to_lowercase();
        name.ends_with("nofile") && limit["Soft"] == 512 && limit["Hard"] == 1024
    };
    assert!(limits.iter().any(is_ours), "{limits:?}");
    let labels = &seen["Config"]["Labels"];
    assert_eq!(labels["team"], "ops");
    for (name, value) in [
        ("quorate.run", started.run.to_string()),
        ("quorate.attempt", "1".to_owned()),
        ("quorate.job", "nightly".to_owned()),
        ("quorate.worker", "w1".to_owned()),
        ("quorate.session", place.bench.session.clone()),
    ] {
        assert_eq!(labels[name], json!(value), "{name}");
    }
    assert_eq!(host["NetworkMode"], "none");
    started.kill(Duration::from_secs(60));
    assert!(started.end().await.0.is_success(), "its own signal did not end it");
}

async fn user_directory_variables_and_entrypoint_are_the_jobs(kind: EngineKind) {
    let place = Place::on(kind);
    let docker = json!({
        "entrypoint": ["/bin/sh", "-c"], "command": ["id -u; pwd; echo $LEVEL $QUORATE_JOB $QUORATE_ATTEMPT $QUORATE_FENCE"],
        "network": "none", "user": "nobody", "dir": "/tmp", "env": {"LEVEL": "9", "QUORATE_JOB": "another"}
    });
    let (exit, output) = place.run(docker).await;
    assert_eq!((exit.is_success(), output.text.as_str()), (true, "65534\n/tmp\n9 nightly 1 7\n"));
}

async fn volumes_are_where_they_should_be_and_the_unnamed_go(kind: EngineKind) {
    let place = Place::on(kind);
    let dir = place.bench.dir.path();
    std::fs::create_dir(dir.join("in")).expect("a directory");
    std::fs::write(dir.join("in/a"), "from outside\n").expect("a file");
    std::fs::create_dir(dir.join("out")).expect("a directory");
    let name = format!("quorate-test-{}", place.bench.session);
    let volumes = json!([
        format!("{}:/in:ro", dir.join("in").display()),
        format!("{}:/out", dir.join("out").display()),
        format!("{name}:/cache"),
    ]);
    let text = "cat /in/a; echo x > /in/b; echo done > /out/b; echo kept > /cache/c";
    let (exit, output) = place.run(sh(text, json!({"volumes": volumes}))).await;
    assert!(
        exit.is_success() && output.text.contains("from outside") && output.text.contains("Read-only"),
        "{output:?}"
    );
    assert_eq!(std::fs::read_to_string(dir.join("out/b")).expect("it was written"), "done\n");
    let (_, output) = place.run(sh("cat /cache/c", json!({"volumes": [format!("{name}:/cache:ro")]}))).await;
    assert_eq!(output.text, "kept\n");
    let (status, _) = place.ask("DELETE", &format!("/volumes/{name}")).await;
    assert_eq!(status, 204, "a named volume stays");
}

/// What a container on this port says.
async fn said_at(port: u16) -> String {
    let mut said = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
        let _ = stream.read_to_string(&mut said).await;
    }
    said.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

async fn a_published_port_is_told_and_can_be_reached(kind: EngineKind) {
    let place = Place::on(kind);
    let explicit = free_port();
    let docker = json!({
        "command": ["/bin/sh", "-c", "mkdir /a /b; echo eighty > /a/index.html; echo eighty-one > /b/index.html; \
                                      httpd -p 80 -h /a; exec httpd -f -p 81 -h /b"],
        "ports": ["80/tcp", format!("127.0.0.1:{explicit}:81")]
    });
    let started = place.start(docker).await;
    let ports = || started.status.as_ref().map(|status| status.borrow().ports.clone()).unwrap_or_default();
    let told = until("two ports are told", ports, |ports| ports.len() == 2).await;
    assert_eq!(told[1], ("81/tcp".to_owned(), explicit));
    assert_eq!(told[0].0, "80/tcp");
    for (port, word) in [(told[0].1, "eighty\n"), (explicit, "eighty-one\n")] {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let said = said_at(port).await;
            if said == word {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "port {port} says {said:?} and not {word:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    started.kill(Duration::ZERO);
    started.end().await;
}

async fn a_port_that_is_taken_is_a_failure_that_says_so(kind: EngineKind) {
    let place = Place::on(kind);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let docker = json!({"command": ["/bin/true"], "ports": [format!("127.0.0.1:{port}:80")]});
    let why = place.refusal(docker).await.to_string();
    assert!(
        why.starts_with("a port of this worker's machine is taken") && why.contains(&port.to_string()),
        "{why}"
    );
}

async fn an_image_that_is_not_there_is_a_failure_that_says_so(kind: EngineKind) {
    let place = Place::on(kind);
    let why = place.refusal(json!({"image": "absent:1", "pull": "never"})).await.to_string();
    assert!(why.contains("image absent:1 is not on this worker's machine"), "{why}");
    // Nobody listens there.
    for pull in ["missing", "always"] {
        let why =
            place.refusal(json!({"image": "127.0.0.1:1/team/absent:1", "pull": pull})).await.to_string();
        assert!(
            why.starts_with("image 127.0.0.1:1/team/absent:1 cannot be fetched") && why.contains("refused"),
            "{why}"
        );
    }
}

async fn a_command_that_is_none_is_a_failure_with_its_code(kind: EngineKind) {
    let place = Place::on(kind);
    for (command, code) in [("nope", 127), ("/etc/passwd", 126)] {
        let why = place.refusal(json!({"command": [command], "network": "none"})).await;
        assert_eq!(why.exit_code(), Some(code), "{why}");
        assert!(why.to_string().contains(command), "{why}");
    }
}

async fn what_the_engine_refuses_is_told_in_its_words(kind: EngineKind) {
    let place = Place::on(kind);
    let mut refused = vec![
        (sh("true", json!({"user": "ghost"})), "ghost"),
        (sh("true", json!({"network": "no-such-network"})), "no-such-network"),
    ];
    // Podman makes the directory instead.
    if kind == EngineKind::Docker {
        refused.push((sh("true", json!({"volumes": ["/no/such/place:/x"]})), "/no/such/place"));
    }
    for (docker, word) in refused {
        let why = place.refusal(docker).await.to_string();
        assert!(why.contains(word), "{why}");
    }
}

async fn more_than_the_machine_has_is_refused_before_the_engine_is_asked(kind: EngineKind) {
    let place = Place::on(kind);
    let why = place.refusal(sh("true", json!({"cpu": 1000}))).await.to_string();
    assert!(why.contains("1000 processors and this worker's machine has"), "{why}");
    let why = place.refusal(sh("true", json!({"memory": "900TiB"}))).await.to_string();
    assert!(why.contains("900TiB of memory and this worker's machine has"), "{why}");
}

async fn a_lack_of_memory_is_told(kind: EngineKind) {
    let place = Place::on(kind);
    let hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let spec =
        spec_of(json!({"command": ["/bin/sh", "-c", hungry], "network": "none", "memory": "16MiB"}), |_| {});
    let (exit, _) = place.bench.start_spec(&spec).await.expect("it starts").end().await;
    assert_eq!(exit.exit_code(), Some(137));
    assert!(exit.note().contains("for lack of memory (its limit, 16MiB)"), "{exit:?}");
}
