//! A worker as a process that can be killed, alone or with everything that it started, stopped and started again.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use test_support::servers::{Room, Server, free_port};

use super::process::{clean, descendants};
use crate::mounts;

/// The data directory, in the folder of its process.
const DATA: &str = "data";

/// What a settable clock is read from.
const CLOCK: &str = "clock";

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
    /// What its data directory can hold, where that is bounded: see [`mounts`](crate::mounts).
    pub room_bytes: Option<u64>,
    /// Its clock is read from a file: see [`WorkerProcess::step_clock`].
    pub settable_clock: bool,
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
            room_bytes: None,
            settable_clock: false,
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
        let server = Server::start(room, &layout.id, |dir| {
            if let Some(bytes) = layout.room_bytes {
                mounts::small(&dir.join(DATA), bytes).expect("mount a small file system");
            }
            command(quorate, &listen, layout, stores, dir)
        });
        let (layout, quorate, stores) = (layout.clone(), quorate.to_owned(), stores.to_owned());
        Self { layout, listen, quorate, stores, server }
    }

    /// Another process on a copy of this one's data directory, as it is now: a clone of its machine.
    pub(super) fn start_on_copy(&self, room: &Room) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let layout = WorkerLayout { room_bytes: None, ..self.layout.clone() };
        let (quorate, stores, from) = (self.quorate.clone(), self.stores.clone(), self.data_dir());
        let server = Server::start(room, &format!("{}-copy", layout.id), |dir| {
            // What vanishes meanwhile is not copied, as on a machine that is cloned while it runs.
            Command::new("cp").arg("-a").args([&from, &dir.join(DATA)]).stderr(Stdio::null()).status().ok();
            command(&quorate, &listen, &layout, &stores, dir)
        });
        Self { layout, listen, quorate, stores, server }
    }

    /// Where it keeps what it has to keep.
    pub fn data_dir(&self) -> PathBuf {
        self.server.dir().join(DATA)
    }

    /// From its next start on its clock is right and can be stepped, or is the machine's again.
    pub fn make_clock_settable(&mut self, settable: bool) -> io::Result<()> {
        self.layout.settable_clock = settable;
        self.step_clock(0)?;
        self.set_clock(0);
        Ok(())
    }

    /// Sets a settable clock so many milliseconds ahead of the machine's.
    pub fn step_clock(&self, ahead_ms: i64) -> io::Result<()> {
        let file = self.server.dir().join(CLOCK);
        let next = file.with_extension("next");
        std::fs::write(&next, offset(ahead_ms))?;
        std::fs::rename(next, file)
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

    /// Sends a signal to it and to its guard, and to none of its runs.
    pub fn signal_with_guard(&self, signal: Signal) {
        let worker = self.server.pid();
        for pid in self.guards().into_iter().chain([worker]) {
            kill(pid, signal).ok();
        }
    }

    /// Its guard.
    pub fn guards(&self) -> Vec<Pid> {
        descendants(self.server.pid()).into_iter().filter(|pid| is_guard(*pid)).collect()
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

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.layout.room_bytes.is_some() {
            // What ends the process removes its folder.
            self.server.kill_9();
            mounts::remove(&self.data_dir());
        }
    }
}

fn command(
    quorate: &Path,
    listen: &str,
    layout: &WorkerLayout,
    stores: &[OsString],
    dir: &Path,
) -> Vec<OsString> {
    let moved = match layout {
        WorkerLayout { settable_clock: true, .. } => {
            faketime(format!("FAKETIME_TIMESTAMP_FILE={}", dir.join(CLOCK).display()))
        }
        WorkerLayout { clock_ahead_ms: 0, .. } => Vec::new(),
        WorkerLayout { clock_ahead_ms, .. } => faketime(format!("FAKETIME={}", offset(*clock_ahead_ms))),
    };
    let mut command = clean(quorate, moved);
    command.push("worker".into());
    command.extend_from_slice(stores);
    command.extend(["--data-dir".into(), dir.join(DATA).into_os_string()]);
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

/// The variables that move a process's wall clock as the setting says. What it starts inherits them: jobs clear
/// `LD_PRELOAD` for themselves.
fn faketime(setting: String) -> Vec<String> {
    vec![
        format!("LD_PRELOAD={}", library().display()),
        setting,
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        // A file is read again after so many seconds.
        "FAKETIME_CACHE_DURATION=1".to_owned(),
    ]
}

/// As faketime takes it.
fn offset(ahead_ms: i64) -> String {
    let (sign, ahead) = if ahead_ms < 0 { ('-', -ahead_ms) } else { ('+', ahead_ms) };
    format!("{sign}{}.{:03}s", ahead / 1000, ahead % 1000)
}

/// faketime's library, for processes with threads.
fn library() -> PathBuf {
    const NAME: &str = "faketime/libfaketimeMT.so.1";
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let library = below.map(|dir| dir.join(NAME)).find(|path| path.is_file());
    library.expect("clocks are moved by the package faketime: `apt-get install faketime`")
}
