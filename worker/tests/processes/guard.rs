//! Nothing outlives its worker.

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use common::job::OnLeaseLoss;
use nix::{
    sys::signal::{Signal, kill},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use tempfile::TempDir;
use worker::guard::GuardHandle;

use crate::support::{Bench, Started, carrying, living, name, own_binary, play, shell, spec, until};

/// A worker in a process of its own, which has started two runs, one to be kept on lease loss.
struct Worker {
    process: std::process::Child,
    dir: TempDir,
    session: String,
}

impl Worker {
    async fn start() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let process = play("worker", dir.path().to_str().expect("a path in UTF-8"));
        let ready = dir.path().join("ready");
        let session =
            until("the worker has started its runs", || std::fs::read_to_string(&ready), Result::is_ok);
        let session = session.await.expect("a session");
        Self { process, dir, session }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"))
    }

    fn runs(&self) -> HashSet<i32> {
        carrying(&format!("QUORATE_SESSION={}", self.session)).into_iter().map(|(pid, _)| pid).collect()
    }

    fn guards(&self) -> Vec<i32> {
        children(self.pid().as_raw())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its guard does the rest.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long the worker is trusted from each of its renewals on.
const TRUST: Duration = Duration::from_secs(5);

/// The worker's process: two runs, each with a child that left its group; then it renews its trust until its end.
pub(crate) fn worker(dir: &Path) -> i32 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let session = worker::guard::new_session_token();
        let guard = GuardHandle::spawn(own_binary(dir), &session, None).expect("a guard");
        guard.trust_until(since_boot() + TRUST);
        let bench = Bench::with(guard.clone(), session.clone(), |_| {});
        let mut started: Vec<Started> = Vec::new();
        for on_lease_loss in [OnLeaseLoss::Kill, OnLeaseLoss::Keep] {
            let mut spec = spec(shell(
                "setsid sh -c 'trap \"\" TERM HUP; echo ready; sleep 600; :' & trap '' TERM HUP; sleep 600; :",
            ));
            Arc::get_mut(&mut spec.job).expect("nobody shares it").on_lease_loss = on_lease_loss;
            let run = bench.start_spec(&spec).await.expect("it starts");
            run.until_printed("ready").await;
            started.push(run);
        }
        let kept = dir.join("kept");
        std::fs::write(kept, started[1].run.to_string()).expect("a file");
        std::fs::write(dir.join("ready.new"), &session).expect("a file");
        std::fs::rename(dir.join("ready.new"), dir.join("ready")).expect("a file");
        loop {
            guard.trust_until(since_boot() + TRUST);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock").into()
}

fn children(parent: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let of_parent = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields.split(' ').nth(1) == Some(parent.to_string().as_str())
    };
    let is_guard = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
            env.split(|byte| *byte == 0).any(|variable| variable == b"QUORATE_TEST_ROLE=guard")
        })
    };
    pids.filter(of_parent).filter(is_guard).collect()
}

#[tokio::test]
async fn runs_die_with_a_worker_that_is_killed() {
    let mut worker = Worker::start().await;
    let (runs, guards) = (worker.runs(), worker.guards());
    assert!(runs.len() >= 4, "{runs:?}");
    assert_eq!(guards.len(), 1);
    // A service manager's signal to all of a worker's processes does not end the guard before its turn.
    kill(Pid::from_raw(guards[0]), Signal::SIGTERM).unwrap();
    kill(worker.pid(), Signal::SIGKILL).unwrap();
    worker.process.wait().unwrap();
    until("all runs are gone", || living(&runs), HashSet::is_empty).await;
    // One of them may have started something just before.
    until("nothing of them is left", || worker.runs(), HashSet::is_empty).await;
    until("the guard is gone", || name(guards[0]), Option::is_none).await;
}

#[tokio::test]
async fn runs_die_when_the_trust_in_a_stopped_worker_runs_out() {
    let mut worker = Worker::start().await;
    // In this order: what the kept run starts in between must not be taken for the other's.
    let all = worker.runs();
    let kept = std::fs::read_to_string(worker.dir.path().join("kept")).unwrap();
    let kept: HashSet<i32> =
        carrying(&format!("QUORATE_RUN={kept}")).into_iter().map(|(pid, _)| pid).collect();
    let others: HashSet<i32> = all.difference(&kept).copied().collect();
    assert!(kept.len() >= 2 && others.len() >= 2, "{kept:?} {others:?}");
    kill(worker.pid(), Signal::SIGSTOP).unwrap();
    until("the runs are gone", || living(&others), HashSet::is_empty).await;
    assert_eq!(living(&kept), kept);
    // A run that is kept on lease loss does not outlive its worker either.
    kill(worker.pid(), Signal::SIGKILL).unwrap();
    worker.process.wait().unwrap();
    until("the kept run is gone", || living(&kept), HashSet::is_empty).await;
}

#[tokio::test]
async fn a_guard_that_dies_is_replaced() {
    let mut worker = Worker::start().await;
    let runs = worker.runs();
    let first = worker.guards();
    kill(Pid::from_raw(first[0]), Signal::SIGKILL).unwrap();
    let second =
        until("there is a new guard", || worker.guards(), |guards| !guards.is_empty() && *guards != first);
    let second = second.await;
    assert_eq!(living(&runs), runs);
    kill(worker.pid(), Signal::SIGKILL).unwrap();
    worker.process.wait().unwrap();
    until("all runs are gone", || living(&runs), HashSet::is_empty).await;
    until("the guard is gone", || name(second[0]), Option::is_none).await;
}

// Once: a worker that was stopped between its last look and a start started that run when it went on, behind its
// successor; the last look came before the start waited for its turn.
#[tokio::test]
async fn nothing_is_started_when_the_guards_time_has_come_but_for_what_is_to_be_kept() {
    let dir = TempDir::new().expect("a temporary directory");
    let session = worker::guard::new_session_token();
    let guard = GuardHandle::spawn(own_binary(dir.path()), &session, None).expect("a guard");
    let bench = Bench::with(guard.clone(), session, |_| {});
    let spec = |on_lease_loss| {
        let mut spec = spec(shell("true"));
        Arc::get_mut(&mut spec.job).expect("nobody shares it").on_lease_loss = on_lease_loss;
        spec
    };
    guard.trust_until(since_boot());
    let refused = bench.start_spec(&spec(OnLeaseLoss::Kill)).await.map(|_| ());
    assert!(refused.is_err_and(|error| error.to_string().contains("lease")));
    bench.start_spec(&spec(OnLeaseLoss::Keep)).await.expect("it starts").end().await;
    guard.trust_until(since_boot() + Duration::from_secs(600));
    bench.start_spec(&spec(OnLeaseLoss::Kill)).await.expect("it starts").end().await;
}

// Once: a worker killed just after its guard had been replaced left its runs alive; the new guard did not know
// the session yet.
#[tokio::test]
async fn a_guard_whose_worker_died_before_it_said_anything_kills_what_is_left() {
    let dir = TempDir::new().expect("a temporary directory");
    let session = worker::guard::new_session_token();
    let mut left = std::process::Command::new("/bin/sleep")
        .arg("1000")
        .env("QUORATE_SESSION", &session)
        .spawn()
        .expect("a process");
    let guard = std::process::Command::new(own_binary(dir.path()))
        .args([worker::guard::SUBCOMMAND, &session])
        .stdin(std::process::Stdio::null())
        .env_clear()
        .spawn();
    guard.expect("a guard").wait().expect("the guard ends");
    let ended = left.try_wait().expect("its state").is_some();
    left.kill().expect("it can be killed");
    assert!(ended, "it went on");
}
