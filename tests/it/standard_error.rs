//! Nobody reads what a process says, or nobody can: it does its work as if somebody did, and ends when it is told to.

use std::{
    fs::File,
    io::{self, ErrorKind, PipeReader, PipeWriter, Write as _},
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    cli::quorate,
    support::{
        dev::{PATIENCE, http},
        link::Link,
        servers::{free_port, shared_etcd, shared_mongodb, unique_database, unique_keys},
        wait::until,
    },
};

/// What is wrong with standard output and standard error.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Whoever read them is gone, as behind `| head`.
    ReaderGone,
    /// They lead into a file on a device that is full.
    DeviceFull,
    /// Whoever reads them has stopped, and no more goes in.
    ReaderStalls,
}

/// The writing end of a pipe into which nothing goes any more, while the reading end is kept.
fn stalled() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let flags = |flags| fcntl(&writer, FcntlArg::F_SETFL(flags)).expect("it is ours");
    flags(OFlag::O_NONBLOCK);
    // One by one at the end: a byte must not find room either.
    for piece in [&[b'x'; 4096][..], b"x"] {
        let full = loop {
            if let Err(error) = writer.write_all(piece) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("it is ours");
    (reader, writer)
}

/// A role in a process of its own, killed when dropped.
struct Role {
    process: Child,
    url: String,
    // After the process: what still runs may write into it.
    _directory: TempDir,
    /// It is open as long as the process lives, and nobody reads from it.
    _stalled: Option<PipeReader>,
}

impl Role {
    fn start(role: &str, wrong: Wrong, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let address = format!("127.0.0.1:{}", free_port());
        let (output, stalled): (OwnedFd, _) = match wrong {
            // The reading end is dropped.
            Wrong::ReaderGone => (io::pipe().expect("a pipe").1.into(), None),
            Wrong::DeviceFull => {
                (File::options().write(true).open("/dev/full").expect("it is there").into(), None)
            }
            Wrong::ReaderStalls => {
                let (reader, writer) = stalled();
                (writer.into(), Some(reader))
            }
        };
        let mut command = quorate(&[role, "--log", "debug", "--listen", &address]);
        if role != "manager" {
            command.arg("--data-dir").arg(&data);
        }
        command.args(more).stdout(output.try_clone().expect("a copy")).stderr(Stdio::from(output));
        let process = Command::from(command).kill_on_drop(true).spawn().expect("start quorate");
        Self { process, url: format!("http://{address}"), _directory: directory, _stalled: stalled }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.id().expect("it has not ended by itself");
        kill(Pid::from_raw(pid.try_into().expect("a process id is small")), signal).expect("it is ours");
    }

    async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("it ends").expect("it was started")
    }

    async fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "{status}");
    }

    async fn get(&self, path: &str) -> Option<reqwest::Response> {
        let answer = http().get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.status().is_success().then_some(answer)
    }

    async fn ready(&self) {
        until("it is ready", PATIENCE, || self.get("/readyz")).await;
    }

    async fn json(&self, path: &str) -> Option<Value> {
        self.get(path).await?.json().await.ok()
    }

    /// Saves a job and has it run, again if its worker loses it.
    async fn start_run(&self, name: &str, command: &str) {
        // A busy machine may cost the worker a lease as short as this one's, and with it the run.
        let job = json!({"trigger": {"manual": true}, "driver": {"shell": {"command": command}},
                         "delivery": "at-least-once"});
        let url = format!("{}/api/v1/jobs/{name}", self.url);
        let saved = http().put(&url).json(&job).send().await.expect("an answer");
        assert!(saved.status().is_success(), "{saved:?}");
        let wanted = http().post(format!("{url}/run")).send().await.expect("an answer");
        assert!(wanted.status().is_success(), "{wanted:?}");
    }

    async fn run_in_state(&self, job: &str, state: &str) {
        until(&format!("a run of {job} is {state}"), PATIENCE, || async {
            let runs = self.json(&format!("/api/v1/runs?job={job}")).await?;
            (runs["items"][0]["state"] == state).then_some(())
        })
        .await;
    }
}

/// The session in which the worker is registered: the revision that created its key.
async fn session(key: &str) -> Option<i64> {
    let mut etcd = etcd_client::Client::connect([shared_etcd().await], None).await.expect("it is lazy");
    let reply = etcd.get(key, None).await.expect("etcd is there");
    reply.kvs().first().map(etcd_client::KeyValue::create_revision)
}

async fn outlives_an_outage(wrong: Wrong) {
    let keys = unique_keys();
    let key = keys.worker(&"w1".parse().expect("a good id"));
    let link = Link::to(shared_etcd().await).await;
    let (etcd, prefix) = (link.address(), keys.root.key(""));
    let mongodb = format!("{}{}", shared_mongodb().await, unique_database());
    let stores = ["--etcd", &etcd, "--mongodb", &mongodb, "--prefix", prefix.as_str()];
    let mut manager = Role::start("manager", wrong, &stores);
    let own = ["--id", "w1", "--lease-ttl", "3s"];
    let mut worker = Role::start("worker", wrong, &[&stores[..], &own].concat());
    manager.ready().await;
    let first = until("it is registered", PATIENCE, || session(key.as_str())).await;

    link.cut();
    let is_gone = async || session(key.as_str()).await.is_none().then_some(());
    until("its lease has ended", PATIENCE, is_gone).await;
    let is_stale = async || manager.get("/api/v1/jobs").await?.headers().get("quorate-stale").map(|_| ());
    until("the manager says that it is cut off", PATIENCE, is_stale).await;
    link.mend();
    let is_back = async || session(key.as_str()).await.filter(|new| *new != first);
    until("it is registered again", PATIENCE, is_back).await;
    let is_seen = async || {
        let answer = manager.get("/api/v1/workers").await?;
        let is_stale = answer.headers().contains_key("quorate-stale");
        let workers: Value = answer.json().await.ok()?;
        (!is_stale && workers["items"][0]["id"] == "w1").then_some(())
    };
    until("the manager sees it", PATIENCE, is_seen).await;

    manager.start_run("after", "echo works").await;
    manager.run_in_state("after", "succeeded").await;
    worker.terminate().await;
    manager.terminate().await;
}

// Once: with nobody left to read the log, a worker never registered again after an outage, and ignored SIGTERM;
// a failed write of a line panicked in whichever task had to say something.
#[tokio::test]
async fn an_outage_is_outlived_when_nobody_is_left_to_read() {
    outlives_an_outage(Wrong::ReaderGone).await;
}

#[tokio::test]
async fn an_outage_is_outlived_when_the_device_of_the_log_is_full() {
    outlives_an_outage(Wrong::DeviceFull).await;
}

#[tokio::test]
async fn an_outage_is_outlived_when_the_reader_of_the_log_stalls() {
    outlives_an_outage(Wrong::ReaderStalls).await;
}

#[tokio::test]
async fn dev_serves_runs_and_ends_whatever_became_of_its_readers() {
    for wrong in [Wrong::ReaderGone, Wrong::DeviceFull, Wrong::ReaderStalls] {
        let mut dev = Role::start("dev", wrong, &[]);
        dev.ready().await;
        dev.start_run("job", "echo works").await;
        dev.run_in_state("job", "succeeded").await;
        dev.terminate().await;
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_whatever_became_of_the_readers() {
    for wrong in [Wrong::ReaderGone, Wrong::DeviceFull, Wrong::ReaderStalls] {
        let mut dev = Role::start("dev", wrong, &[]);
        dev.ready().await;
        // It holds up the end.
        dev.start_run("long", "trap '' TERM; sleep 600").await;
        dev.run_in_state("long", "running").await;
        dev.signal(Signal::SIGTERM);
        let is_closed = async || dev.get("/healthz").await.is_none().then_some(());
        until("it serves no more", PATIENCE, is_closed).await;
        dev.signal(Signal::SIGTERM);
        let status = dev.ended().await;
        assert_eq!(status.code(), Some(143), "{status}");
    }
}

#[test]
fn a_command_that_fails_says_so_by_its_code_when_it_cannot_in_words() {
    let full = File::options().write(true).open("/dev/full").expect("it is there");
    let status = quorate(&["next", "every morning"]).stderr(full).status().expect("start quorate");
    assert_eq!(status.code(), Some(2), "{status}");
}
