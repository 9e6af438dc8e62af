use serde_json::{Value, json};

use super::*;
use crate::job::{Command, Job};

/// A container with every field given.
fn full() -> Value {
    json!({
        "image": "registry.example:5000/team/tool:2", "command": ["--all", "a b"], "entrypoint": ["/bin/tool"],
        "env": {"LEVEL": "9"}, "dir": "/work", "user": "1000:1000",
        "volumes": ["/srv/data:/data:ro", "cache:/var/cache"], "network": "backend",
        "ports": ["80/tcp", "127.0.0.1:8080:81/tcp"], "cpu": "1.5", "memory": "512MiB", "pids": 100,
        "ulimits": {"nofile": "1024:4096", "core": 0}, "pull": "always", "init": true, "labels": {"team": "ops"},
        "stop_signal": "SIGINT"
    })
}

fn job(docker: Value) -> Value {
    json!({"name": "a", "trigger": {"manual": true}, "driver": {"docker": docker}})
}

fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::UNIX_EPOCH
}

#[test]
fn a_container_is_written_as_it_was_read() {
    for docker in [full(), json!({"image": "busybox"})] {
        let job = Job::from_value(job(docker.clone())).unwrap();
        job.check(now()).unwrap();
        assert_eq!(serde_json::to_value(&job).unwrap()["driver"]["docker"], docker);
        assert_eq!(job.driver.driver(), "docker");
    }
    let job = Job::from_value(job(full())).unwrap();
    assert_eq!(job.driver.text(), "registry.example:5000/team/tool:2 /bin/tool --all 'a b'");
    assert!(job.driver.environment().is_none());
}

#[test]
fn what_is_not_given_is_the_images_or_the_engines() {
    let Command::Docker(docker) = Job::from_value(job(json!({"image": "busybox"}))).unwrap().driver else {
        panic!("another driver")
    };
    assert_eq!(*docker, Docker::of("busybox".parse().unwrap()));
    assert_eq!((docker.network, docker.pull), (Network::Bridge, Pull::Missing));
}

#[test]
fn a_wrong_value_of_a_container_is_told_at_its_own_field_and_with_a_right_one() {
    for (field, value, told) in [
        ("image", json!(""), "image"),
        ("image", json!(1), "image"),
        ("image", json!("Busybox"), "image"),
        ("image", json!("a b"), "image"),
        ("command", json!("date"), "command"),
        ("command", json!(["a", 1]), "command[1]"),
        ("command", json!(["a\0"]), "command[0]"),
        ("entrypoint", json!([""]), "entrypoint[0]"),
        ("env", json!({"A=B": "1"}), "env.A=B"),
        ("env", json!({"A": 1}), "env.A"),
        ("env", json!({"A": "\0"}), "env.A"),
        ("dir", json!("work"), "dir"),
        ("user", json!("a:b:c"), "user"),
        ("user", json!(""), "user"),
        ("volumes", json!(["/a"]), "volumes[0]"),
        ("volumes", json!(["/a:/b", "x y:/c"]), "volumes[1]"),
        ("volumes", json!(["/a:b"]), "volumes[0]"),
        ("volumes", json!(["/a:/"]), "volumes[0]"),
        ("volumes", json!(["/a:/b:z"]), "volumes[0]"),
        ("volumes", json!(["/a:/b", "/c:/b"]), "volumes[1]"),
        ("network", json!("container:x"), "network"),
        ("ports", json!(["0"]), "ports[0]"),
        ("ports", json!(["80/icmp"]), "ports[0]"),
        ("ports", json!(["x:80:80"]), "ports[0]"),
        ("ports", json!([":80"]), "ports[0]"),
        ("ports", json!(["8080:80", "0.0.0.0:8080:81", "8080:82"]), "ports[1]"),
        ("cpu", json!("0"), "cpu"),
        ("cpu", json!(-1), "cpu"),
        ("memory", json!("5MiB"), "memory"),
        ("memory", json!("much"), "memory"),
        ("memory", json!("9999999999GB"), "memory"),
        ("pids", json!(0), "pids"),
        ("pids", json!(-1), "pids"),
        ("ulimits", json!({"files": 1}), "ulimits.files"),
        ("ulimits", json!({"nofile": "9:8"}), "ulimits.nofile"),
        ("ulimits", json!({"nofile": "-1:8"}), "ulimits.nofile"),
        ("ulimits", json!({"nofile": -2}), "ulimits.nofile"),
        ("pull", json!("sometimes"), "pull"),
        ("init", json!("yes"), "init"),
        ("labels", json!({"quorate.run": "x"}), "labels.quorate.run"),
        ("stop_signal", json!("SIGNONE"), "stop_signal"),
        ("stop_signal", json!("0"), "stop_signal"),
        ("stop_signal", json!(15), "stop_signal"),
        ("colour", json!("red"), "colour"),
    ] {
        let mut docker = json!({"image": "busybox"});
        docker[field] = value.clone();
        let read = Job::from_value(job(docker));
        let error = read.and_then(|job| job.check(now())).expect_err(&format!("{field}: {value} is taken"));
        assert_eq!(error.errors[0].field, format!("driver.docker.{told}"), "{value}: {error}");
        assert!(!error.errors[0].example.is_empty(), "{error}");
        assert_eq!(error.to_string().matches("use, for example,").count(), error.errors.len(), "{error}");
    }
}

#[test]
fn what_was_given_is_told_beside_what_is_wrong_with_it() {
    for (field, value) in [("image", "Busybox"), ("cpu", "much"), ("memory", "1XB"), ("network", "a b")] {
        let mut docker = json!({"image": "busybox"});
        docker[field] = json!(value);
        let error = Job::from_value(job(docker)).unwrap_err().errors.remove(0);
        assert_eq!(error.got, value, "{error:?}");
        assert!(error.problem.starts_with("is not "), "{error:?}");
    }
}

#[test]
fn ports_that_nothing_would_lead_to_are_refused() {
    for network in ["none", "host"] {
        let docker = json!({"image": "busybox", "network": network, "ports": ["80"]});
        let error = Job::from_value(job(docker)).unwrap().check(now()).unwrap_err();
        assert_eq!(error.errors[0].field, "driver.docker.ports");
    }
}

#[test]
fn ports_volumes_limits_and_signals_have_one_spelling() {
    fn spelled<T: std::str::FromStr<Err: std::fmt::Debug> + ToString>(text: &str) -> String {
        let printed = text.parse::<T>().unwrap().to_string();
        assert_eq!(printed.parse::<T>().unwrap().to_string(), printed);
        printed
    }
    for (text, printed) in [
        ("80", "80/tcp"),
        ("53/udp", "53/udp"),
        ("8080:80", "8080:80/tcp"),
        ("127.0.0.1::80", "127.0.0.1::80/tcp"),
        ("127.0.0.1:8080:80/tcp", "127.0.0.1:8080:80/tcp"),
        ("[::1]:8080:80", "[::1]:8080:80/tcp"),
    ] {
        assert_eq!(spelled::<Port>(text), printed);
    }
    assert_eq!(spelled::<Volume>("/a:/b:rw"), "/a:/b");
    assert_eq!(spelled::<Volume>("cache:/b:ro"), "cache:/b:ro");
    assert_eq!(spelled::<Ulimit>("5:5"), "5");
    assert_eq!(spelled::<Ulimit>("5:-1"), "5:-1");
    for (text, printed) in [("int", "SIGINT"), ("SIGTERM", "SIGTERM"), ("9", "9"), ("RTMIN+3", "SIGRTMIN+3")]
    {
        assert_eq!(spelled::<Signal>(text), printed);
    }
    for bad in ["SIGRTMIN+99", "65", "+9", "SIG", ""] {
        assert!(bad.parse::<Signal>().is_err(), "{bad}");
    }
}

#[test]
fn an_images_parts_are_what_a_registry_is_asked_for() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, registry, name, reference) in [
        ("busybox", None, "busybox", "latest"),
        ("team/tool:2", None, "team/tool", "2"),
        ("localhost/tool", Some("localhost"), "localhost/tool", "latest"),
        ("host:5000/tool", Some("host:5000"), "host:5000/tool", "latest"),
        ("ghcr.example/a/b_c:v1.0-x", Some("ghcr.example"), "ghcr.example/a/b_c", "v1.0-x"),
        (&format!("tool:2@{digest}"), None, "tool", &digest),
    ] {
        let image: Image = text.parse().unwrap();
        assert_eq!((image.registry(), image.parts()), (registry, (name, reference)), "{text}");
    }
    for bad in ["/a", "a/", "a//b", "a:", "-a", "a@sha256:1", "https://a/b", "host:x/a", "a b", "ä", "a\0"] {
        assert!(bad.parse::<Image>().is_err(), "{bad}");
    }
    assert!("Team/tool".parse::<Image>().is_err(), "a host without a dot, or a name in upper case");
}

#[test]
fn the_documented_container_and_the_example_are_read_and_every_field_is_documented() {
    let page = include_str!("../../../../docs/containers.md");
    let text = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let documented: Value = serde_json::from_str(text).unwrap();
    let read = Job::from_value(job(documented.clone())).unwrap();
    read.check(now()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["driver"]["docker"], documented);
    assert!(full().as_object().unwrap().keys().all(|field| documented.get(field).is_some()));
    for field in documented.as_object().unwrap().keys() {
        let names = |line: &str| line.starts_with('|') && line.contains(&format!("`{field}`"));
        assert!(page.lines().any(names), "{field}");
    }
    let example = include_bytes!("../../../../deploy/examples/container.json");
    Job::from_json(example).unwrap().check(now()).unwrap();
}
