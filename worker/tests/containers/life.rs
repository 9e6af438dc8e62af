//! Containers of workers that die, and of those that start again.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Child, time::Duration};

use common::{job::OnLeaseLoss, run::RunState};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tempfile::TempDir;
use test_support::servers::EngineKind;
use worker::guard::GuardHandle;

use super::support::{Place, command, on_both_engines, sh, spec_of};
use crate::{
    support::{Bench, own_binary, play, until},
    world::{World, manual},
};

on_both_engines!(
    containers_go_with_a_worker_that_is_killed,
    containers_go_when_the_trust_in_a_stopped_worker_runs_out,
    a_worker_that_starts_again_removes_what_its_earlier_life_left,
    a_job_with_a_container_is_on_record_and_can_be_killed,
);

/// A worker in a process of its own, with a container of each kind.
struct Dying {
    process: Child,
    session: String,
    _dir: TempDir,
}

impl Dying {
    async fn start(place: &Place) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("engine"), place.socket.to_str().expect("text")).expect("a file");
        let process = play("container-worker", dir.path().to_str().expect("a path in UTF-8"));
        let ready = dir.path().join("ready");
        let session =
            until("the worker has started its runs", || std::fs::read_to_string(&ready), Result::is_ok).await;
        Self { process, session: session.expect("a session"), _dir: dir }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"))
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        // Its guard does the rest.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process: two containers, one to be kept on lease loss; then it renews its trust until its end.
pub(crate) fn worker(dir: &Path) -> i32 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine: worker::driver::EngineAddress = std::fs::read_to_string(dir.join("engine"))
            .ok()
            .and_then(|path| path.parse().ok())
            .expect("an engine's address");
        let session = worker::guard::new_session_token();
        let guard = GuardHandle::spawn(own_binary(dir), &session, Some(engine.clone())).expect("a guard");
        let trust = || crate::guard::since_boot() + Duration::from_secs(5);
        guard.trust_until(trust());
        let bench = Bench::with(guard.clone(), session.clone(), |config| config.containers.engine = engine);
        let mut started = Vec::new();
        for on_lease_loss in [OnLeaseLoss::Kill, OnLeaseLoss::Keep] {
            let spec = spec_of(sh("echo up; sleep 600", json!({})), |job| job.on_lease_loss = on_lease_loss);
            let run = bench.start_spec(&spec).await.expect("it starts");
            guard.trust_until(trust());
            run.until_printed("up").await;
            started.push(run);
        }
        std::fs::write(dir.join("ready.new"), &session).expect("a file");
        std::fs::rename(dir.join("ready.new"), dir.join("ready")).expect("a file");
        loop {
            guard.trust_until(trust());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn containers_go_with_a_worker_that_is_killed(kind: EngineKind) {
    let place = Place::on(kind);
    let mut worker = Dying::start(&place).await;
    let mine = format!("quorate.session={}", worker.session);
    assert_eq!(place.labelled(&mine).await.len(), 2);
    kill(worker.pid(), Signal::SIGKILL).expect("it lives");
    worker.process.wait().expect("it ends");
    place.until_gone(&mine).await;
}

async fn containers_go_when_the_trust_in_a_stopped_worker_runs_out(kind: EngineKind) {
    let place = Place::on(kind);
    let mut worker = Dying::start(&place).await;
    let mine = format!("quorate.session={}", worker.session);
    kill(worker.pid(), Signal::SIGSTOP).expect("it lives");
    let left = place.until_left(&mine, 1).await;
    assert_eq!(left[0]["Labels"]["quorate.on-lease-loss"], "keep");
    assert_eq!(left[0]["State"], "running");
    kill(worker.pid(), Signal::SIGKILL).expect("it lives");
    worker.process.wait().expect("it ends");
    place.until_gone(&mine).await;
}

fn world_on(place: &Place) -> World {
    let engine = place.socket.to_str().and_then(|path| path.parse().ok()).expect("an engine's address");
    World { engine, ..World::new() }
}

async fn a_worker_that_starts_again_removes_what_its_earlier_life_left(kind: EngineKind) {
    let world = world_on(&Place::on(kind));
    std::fs::create_dir_all(world.data_dir()).expect("a directory");
    let dir = std::fs::metadata(world.data_dir()).expect("it is there");
    let own = format!("{}:{}", dir.dev(), dir.ino());
    // Lives whose guards died with them, as with their machine's power. One was lived in a copy of the directory.
    let spec = || spec_of(sh("echo up; sleep 600", json!({})), |_| {});
    let (ours, theirs) = (spec(), spec());
    Place::of_worker(kind.shared(), own).die_with(ours.clone()).await;
    Place::of_worker(kind.shared(), "1:1".to_owned()).die_with(theirs.clone()).await;
    let later = crate::world::Living::start(world.worker());
    let place = Place::on(kind);
    place.until_gone(&format!("quorate.run={}", ours.run)).await;
    let left = place.containers_of(theirs.run).await;
    assert_eq!((left.len(), &left[0]["State"]), (1, &json!("running")));
    let (status, _) = place
        .ask("DELETE", &format!("/containers/{}?force=true", left[0]["Id"].as_str().expect("an id")))
        .await;
    assert_eq!(status, 204);
    later.end().await;
}

async fn a_job_with_a_container_is_on_record_and_can_be_killed(kind: EngineKind) {
    let place = Place::on(kind);
    let world = world_on(&place);
    let worker = world.worker();
    let runner = worker.runner();
    let living = crate::world::Living::start(worker);
    let mut job = manual(command(sh("echo hello; exit 7", json!({}))));
    world.save(&job).await;
    let run = world.want(&job.name).await;
    let on_record = |record: &Option<common::runlog::RunRecord>| record.is_some();
    let record =
        crate::world::until("it is on record", || world.record(run), on_record).await.expect("a record");
    assert_eq!(
        (record.state, record.exit_code, record.output.as_str()),
        (RunState::Failed, Some(7), "hello\n")
    );

    job.driver = command(sh("echo up; sleep 600", json!({})));
    job.timeout = Some(common::span::Span::seconds(1));
    world.save(&job).await;
    let run = world.want(&job.name).await;
    let record =
        crate::world::until("it is on record", || world.record(run), on_record).await.expect("a record");
    assert_eq!((record.state, record.output.as_str()), (RunState::TimedOut, "up\n"));
    assert!(place.containers_of(run).await.is_empty());
    assert_eq!(runner.executing(), 0);
    living.end().await;
}
