//! A worker as a process that can be killed, alone or with everything that it started, stopped and started again.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use test_support::servers::{Room, Server, free_port};

use super::process::{clean, descendants};

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerLayout {
    /// Its id.
    pub id: String,
    /// By how much its clock is ahead, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Its lease.
    pub lease_ttl: Duration,
    /// How long it waits for a better-ranked worker.
    pub hedge: Duration,
    /// Runs at the same time.
    pub slots: u32,
}

impl WorkerLayout {
    /// `n` of them, with right clocks and the program's own defaults.
    pub fn several(n: usize) -> Vec<Self> {
        let own = |n: usize| Self {
            id: format!("w{n}"),
            clock_ahead_ms: 0,
            lease_ttl: Duration::from_secs(15),
            hedge: Duration::from_millis(250),
            slots: 1024,
        };
        (1..=n).map(own).collect()
    }
}

/// A worker.
pub struct WorkerProcess {
    layout: WorkerLayout,
    listen: String,
    quorate: PathBuf,
    stores: Vec<OsString>,
    server: Server,
}

impl WorkerProcess {
    pub(super) fn start(quorate: &Path, room: &Room, layout: &WorkerLayout, stores: &[OsString]) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let server = Server::start(room, &layout.id, |dir| command(quorate, &listen, layout, stores, dir));
        let (layout, quorate, stores) = (layout.clone(), quorate.to_owned(), stores.to_owned());
        Self { layout, listen, quorate, stores, server }
    }

    /// By how much its clock is ahead, in milliseconds, from its next start on.
    pub fn set_clock(&mut self, ahead_ms: i64) {
        self.layout.clock_ahead_ms = ahead_ms;
        let Self { layout, listen, quorate, stores, server } = self;
        server.set_command(|dir| command(quorate, listen, layout, stores, dir));
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.layout.id
    }

    /// How it was started.
    pub fn layout(&self) -> &WorkerLayout {
        &self.layout
    }

    /// Its process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Kills it alone: its guard lives and ends its runs.
    pub fn kill_9(&mut self) {
        self.server.kill_9();
    }

    /// Kills it, its guard and its runs at once, as when its machine dies. How many processes that were.
    pub fn kill_machine(&mut self) -> usize {
        let worker = self.server.pid();
        // Stopped, so that nobody starts or kills anything between the look and the kill.
        self.server.signal(Signal::SIGSTOP);
        let mut processes = descendants(worker);
        for pid in processes.iter().filter(|pid| is_guard(**pid)) {
            kill(*pid, Signal::SIGSTOP).ok();
        }
        processes.push(worker);
        for pid in &processes {
            kill(*pid, Signal::SIGKILL).ok();
        }
        self.server.kill_9();
        processes.len()
    }

    /// Tells it to end in good order.
    pub fn terminate(&self) {
        self.server.signal(Signal::SIGTERM);
    }

    /// Starts an ended one again, with the data that it kept.
    pub fn start_again(&mut self) {
        // Its keeper waits for it also when it ended by itself.
        self.server.kill_9();
        self.server.spawn();
    }
}

fn command(
    quorate: &Path,
    listen: &str,
    layout: &WorkerLayout,
    stores: &[OsString],
    dir: &Path,
) -> Vec<OsString> {
    let mut command = clean(quorate, faketime(layout.clock_ahead_ms));
    command.push("worker".into());
    command.extend_from_slice(stores);
    command.extend(["--data-dir".into(), dir.join("data").into_os_string()]);
    let settings = [
        ["--id".to_owned(), layout.id.clone()],
        ["--listen".to_owned(), listen.to_owned()],
        ["--lease-ttl".to_owned(), format!("{}ms", layout.lease_ttl.as_millis())],
        ["--hedge".to_owned(), format!("{}ms", layout.hedge.as_millis())],
        ["--slots".to_owned(), layout.slots.to_string()],
    ];
    command.extend(settings.into_iter().flatten().map(OsString::from));
    command
}

fn is_guard(pid: Pid) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(1) == Some(b"guard")
}

/// The variables that move a process's wall clock. What it starts inherits them: jobs clear `LD_PRELOAD` for
/// themselves.
fn faketime(ahead_ms: i64) -> Vec<String> {
    if ahead_ms == 0 {
        return Vec::new();
    }
    let (sign, ahead) = if ahead_ms < 0 { ('-', -ahead_ms) } else { ('+', ahead_ms) };
    vec![
        format!("LD_PRELOAD={}", library().display()),
        format!("FAKETIME={sign}{}.{:03}s", ahead / 1000, ahead % 1000),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ]
}

/// faketime's library, for processes with threads.
fn library() -> PathBuf {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let library = below.map(|dir| dir.join(NAME)).find(|path| path.is_file());
    library.expect("clocks are moved by the package faketime: `apt-get install faketime`")
}
