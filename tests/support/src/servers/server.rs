//! A server process that cannot outlive its owner.
//!
//! It is started by a keeper, a small shell that reads from a pipe whose other end the test process holds. The
//! kernel closes that end however the test process ends, SIGKILL included; the keeper then kills the server and
//! removes its data. The keeper has a process group of its own, so that what kills the test's spares it.

use std::{
    ffi::OsString,
    future::Future,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep, timeout};

use super::random;

/// Says the server's process id, then waits for its input to end. "keep" means: leave the data there.
const KEEPER: &str = r#"
dir=$1; remove=$2; shift 2
"$@" </dev/null >>"$dir/log" 2>&1 &
server=$!
echo $server
while read -r word; do [ "$word" = keep ] && remove=; done
kill -KILL $server 2>/dev/null
wait $server 2>/dev/null
[ -n "$remove" ] && rm -rf "$remove"
exit 0
"#;

/// How long a server may take to start, on a machine that is busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Where servers have their folders, and what becomes of these at the end.
#[derive(Clone, Debug)]
pub struct Room {
    parent: PathBuf,
    leftovers: Leftovers,
}

/// What becomes of a server's folder when it ends for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// It is removed, log and all.
    Remove,
    /// It stays, for somebody to look at.
    Keep,
}

impl Room {
    /// Folders under `parent`.
    pub fn under(parent: PathBuf, leftovers: Leftovers) -> Self {
        Self { parent, leftovers }
    }

    /// Folders among the system's temporary ones, removed at the end.
    pub fn temporary() -> Self {
        Self::under(std::env::temp_dir(), Leftovers::Remove)
    }
}

/// A process that ends with its owner, and its folder.
pub struct Server {
    name: String,
    command: Vec<OsString>,
    dir: PathBuf,
    leftovers: Leftovers,
    keeper: Option<Child>,
    pid: Pid,
}

impl Server {
    /// Starts a server, whose command is made from the folder for its data. What it says goes to `log` there.
    pub fn start(room: &Room, name: &str, command: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("quorate-{name}-"))
            .tempdir_in(&room.parent)
            .expect("make a folder for a server's data")
            .keep();
        let command = command(&dir);
        let mut server = Self {
            name: name.to_owned(),
            command,
            dir,
            leftovers: room.leftovers,
            keeper: None,
            pid: Pid::from_raw(0),
        };
        server.spawn();
        server
    }

    /// What it is started with from now on, made from its folder.
    pub fn set_command(&mut self, command: impl FnOnce(&Path) -> Vec<OsString>) {
        self.command = command(&self.dir);
    }

    /// Starts it again on its data. It has been killed before.
    pub fn spawn(&mut self) {
        let removed: &Path = if self.leftovers == Leftovers::Remove { &self.dir } else { Path::new("") };
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.dir)
            .arg(removed)
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("start the keeper of a server");
        let mut pid = String::new();
        let stdout = keeper.stdout.take().expect("the keeper's output is a pipe");
        BufReader::new(stdout).read_line(&mut pid).expect("read what the keeper says");
        self.pid = Pid::from_raw(pid.trim().parse().expect("the keeper says the server's process id"));
        self.keeper = Some(keeper);
    }

    /// Waits until `answers` does, or shows the log of a server that does not come up.
    pub async fn wait_ready<F: Future<Output = Result<(), String>>>(&self, answers: impl Fn() -> F) {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let problem = match timeout(Duration::from_secs(5), answers()).await {
                Ok(Ok(())) => return,
                Ok(Err(problem)) => problem,
                Err(_) => "no answer".into(),
            };
            assert!(
                self.is_alive() && Instant::now() < deadline,
                "{} did not start ({problem}); the end of its log:\n{}",
                self.name,
                self.end_of_log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines of what it said.
    pub fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Stops the process where it is, with its connections open. The signal stops its threads one by one, so this
    /// waits for the last.
    pub async fn freeze(&self) {
        kill(self.pid, Signal::SIGSTOP).expect("stop a server");
        let deadline = Instant::now() + START_DEADLINE;
        while !is_stopped(self.pid) {
            assert!(Instant::now() < deadline, "{} did not stop", self.name);
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        kill(self.pid, Signal::SIGCONT).expect("let a server go on");
    }

    /// Sends it a signal; that it has ended already is no failure.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).ok();
    }

    /// True while it runs or is frozen.
    pub fn is_alive(&self) -> bool {
        is_alive(self.pid)
    }

    /// Waits until it has ended by itself; false if it has not within `within`.
    pub async fn wait_end(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Kills it at once; its data stays.
    pub fn kill_9(&mut self) {
        self.end(b"keep\n");
    }

    fn end(&mut self, word: &[u8]) {
        let Some(mut keeper) = self.keeper.take() else { return };
        if let Some(mut stdin) = keeper.stdin.take() {
            stdin.write_all(word).expect("tell the keeper");
        }
        keeper.wait().expect("wait for the keeper");
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its folder: `log`, and what it keeps.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(b"");
        if self.leftovers == Leftovers::Remove && self.dir.exists() {
            // A server that had been killed leaves its data to us; a leftover in the temporary folder is no failure.
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// True while the process runs or is frozen; a zombie is dead.
pub(super) fn is_alive(pid: Pid) -> bool {
    state(&PathBuf::from(format!("/proc/{pid}"))).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn is_stopped(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("list the threads of a server");
    threads.flatten().all(|thread| state(&thread.path()).is_none_or(|state| state == 'T'))
}

/// The state's letter of a process or thread; none once it is gone.
fn state(proc: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A port that is free now, outside the range from which the kernel takes ports for connections: so it is still
/// free when a killed server comes back to it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u64 = 18_000;
    loop {
        let offset = u16::try_from(random() % COUNT).expect("below 18,000");
        if TcpListener::bind(("127.0.0.1", FIRST + offset)).is_ok() {
            return FIRST + offset;
        }
    }
}
