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
dir=$1; remove=$1; shift
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

pub(super) struct Server {
    name: &'static str,
    command: Vec<OsString>,
    dir: PathBuf,
    keeper: Option<Child>,
    pid: Pid,
}

impl Server {
    /// Starts a server, whose command is made from the folder for its data.
    pub(super) fn start(name: &'static str, command: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("quorate-{name}-"))
            .tempdir()
            .expect("make a folder for a server's data")
            .keep();
        let command = command(&dir);
        let mut server = Self { name, command, dir, keeper: None, pid: Pid::from_raw(0) };
        server.spawn();
        server
    }

    /// Starts it again on its data. It has been killed before.
    pub(super) fn spawn(&mut self) {
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.dir)
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
    pub(super) async fn wait_ready<F: Future<Output = Result<(), String>>>(&self, answers: impl Fn() -> F) {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let problem = match timeout(Duration::from_secs(5), answers()).await {
                Ok(Ok(())) => return,
                Ok(Err(problem)) => problem,
                Err(_) => "no answer".into(),
            };
            let gone = !is_alive(self.pid);
            assert!(
                !gone && Instant::now() < deadline,
                "{} did not start ({problem}); the end of its log:\n{}",
                self.name,
                self.end_of_log()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Stops the process where it is, with its connections open. The signal stops its threads one by one, so this
    /// waits for the last.
    pub(super) async fn freeze(&self) {
        kill(self.pid, Signal::SIGSTOP).expect("stop a server");
        let deadline = Instant::now() + START_DEADLINE;
        while !is_stopped(self.pid) {
            assert!(Instant::now() < deadline, "{} did not stop", self.name);
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets a frozen process go on.
    pub(super) fn thaw(&self) {
        kill(self.pid, Signal::SIGCONT).expect("let a server go on");
    }

    /// Kills it at once; its data stays.
    pub(super) fn kill_9(&mut self) {
        self.end(b"keep\n");
    }

    fn end(&mut self, word: &[u8]) {
        let Some(mut keeper) = self.keeper.take() else { return };
        if let Some(mut stdin) = keeper.stdin.take() {
            stdin.write_all(word).expect("tell the keeper");
        }
        keeper.wait().expect("wait for the keeper");
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(b"");
        if self.dir.exists() {
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
pub(super) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u64 = 18_000;
    loop {
        let offset = u16::try_from(random() % COUNT).expect("below 18,000");
        if TcpListener::bind(("127.0.0.1", FIRST + offset)).is_ok() {
            return FIRST + offset;
        }
    }
}
