//! Engines, containers to run on them, and what an engine says of them.

use std::{path::PathBuf, sync::Arc, time::Duration};

use common::{
    id::RunId,
    job::{Command, Job},
};
use serde_json::{Value, json};
use test_support::servers::{EngineKind, IMAGE, ask_engine};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};
use worker::{
    driver::{Exit, RunSpec, StartError},
    guard::{self, GuardHandle},
    output::Collected,
};

use crate::support::{Bench, Started, spec};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Drivers that run containers on a socket.
pub(crate) struct Place {
    pub(crate) bench: Bench,
    pub(crate) socket: PathBuf,
}

impl Place {
    /// On an engine that others use too.
    pub(crate) fn on(kind: EngineKind) -> Self {
        Self::at(kind.shared())
    }

    pub(crate) fn at(socket: PathBuf) -> Self {
        Self::of_worker(socket, String::new())
    }

    /// The same of a worker whose data directory is told so.
    pub(crate) fn of_worker(socket: PathBuf, place: String) -> Self {
        let address = socket.to_str().and_then(|path| path.parse().ok()).expect("an engine's address");
        let bench = Bench::with(GuardHandle::absent(), guard::new_session_token(), |config| {
            config.containers.engine = address;
            config.containers.place = place;
        });
        Self { bench, socket }
    }

    /// Starts a container, and dies with its process when that has printed "up": nobody clears up.
    pub(crate) async fn die_with(self, spec: RunSpec) {
        let runtime = Runtime::new().expect("a runtime");
        let life = runtime.spawn(async move {
            let run = self.bench.start_spec(&spec).await.expect("it starts");
            run.until_printed("up").await;
            // Not dropped here: as long as a runtime lives, a run that is dropped clears up.
            std::mem::forget((self.bench, run));
        });
        life.await.expect("it prints");
        runtime.shutdown_background();
    }

    pub(crate) async fn start(&self, docker: Value) -> Started {
        self.bench.start(command(docker)).await.expect("a container is told to start")
    }

    /// Runs a container to its end, and sees that nothing of it is left.
    pub(crate) async fn run(&self, docker: Value) -> (Exit, Collected) {
        let started = self.start(docker).await;
        let run = started.run;
        let ended = started.end().await;
        assert_eq!(self.containers_of(run).await, Vec::<Value>::new());
        ended
    }

    /// Why a container cannot be started.
    pub(crate) async fn refusal(&self, docker: Value) -> StartError {
        let (exit, _) = self.run(docker).await;
        exit.into_start_error().unwrap_or_else(|exit| panic!("it started: {exit:?}"))
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        ask_engine(&self.socket, method, path).await
    }

    /// A run's containers, as a list shows them.
    pub(crate) async fn containers_of(&self, run: RunId) -> Vec<Value> {
        self.labelled(&format!("quorate.run={run}")).await
    }

    pub(crate) async fn labelled(&self, label: &str) -> Vec<Value> {
        let filters = format!("%7B%22label%22%3A%5B%22{}%22%5D%7D", label.replace('=', "%3D"));
        let (status, found) = self.ask("GET", &format!("/containers/json?all=1&filters={filters}")).await;
        assert_eq!(status, 200, "{found}");
        found.as_array().cloned().unwrap_or_default()
    }

    /// Waits until no container has a label.
    pub(crate) async fn until_gone(&self, label: &str) {
        self.until_left(label, 0).await;
    }

    /// Waits until so many have it.
    pub(crate) async fn until_left(&self, label: &str, wanted: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.labelled(label).await;
            if found.len() == wanted {
                return found;
            }
            assert!(Instant::now() < deadline, "not {wanted} containers have {label}: {found:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A run's only container, once it is in this state.
    pub(crate) async fn inspect(&self, run: RunId) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.containers_of(run).await;
            if let Some(id) = found.first().and_then(|found| found["Id"].as_str()) {
                let (status, seen) = self.ask("GET", &format!("/containers/{id}/json")).await;
                if status == 200 && seen["State"]["Running"] == true {
                    return seen;
                }
            }
            assert!(Instant::now() < deadline, "the container does not run; last seen: {found:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A job's driver, of the tests' image unless another one is given.
pub(crate) fn command(mut docker: Value) -> Command {
    if docker.get("image").is_none() {
        docker["image"] = json!(IMAGE);
    }
    let job = json!({"name": "a", "trigger": {"manual": true}, "driver": {"docker": docker}});
    let job = Job::from_value(job).expect("a job");
    job.check(chrono::DateTime::UNIX_EPOCH).expect("a right job");
    job.driver
}

/// A shell's text in a container without a network, with more said of it.
pub(crate) fn sh(text: &str, more: Value) -> Value {
    let mut docker = json!({"command": ["/bin/sh", "-c", text], "network": "none"});
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        docker[name] = value;
    }
    docker
}

/// What a run is started by, changed.
pub(crate) fn spec_of(docker: Value, change: impl FnOnce(&mut Job)) -> RunSpec {
    let mut spec = spec(command(docker));
    change(Arc::get_mut(&mut spec.job).expect("nobody shares it"));
    spec
}

/// The same tests on both engines.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::$name(test_support::servers::EngineKind::Docker).await;
            })*
        }
        mod podman {
            $(#[tokio::test]
            async fn $name() {
                super::$name(test_support::servers::EngineKind::Podman).await;
            })*
        }
    };
}

pub(crate) use on_both_engines;
