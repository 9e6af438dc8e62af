//! Runs to start, processes to look for, and this test binary in the roles of Quorate's own.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::{Command as Std, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{
    id::RunId,
    job::{Command, Environment, Exec, Job, Shell, Trigger},
};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use worker::{
    driver::{DriverConfig, Drivers, Exit, RunSpec, StartError, StatusSignal, shim},
    guard::{self, GuardHandle},
    output::{Collected, Output, SpillTo},
};

/// Says which role this test binary plays, see [`plays_its_role`].
const ROLE: &str = "QUORATE_TEST_ROLE";
const ARGS: &str = "QUORATE_TEST_ARGS";

/// Drivers with a session of their own.
pub(crate) struct Bench {
    pub(crate) session: String,
    pub(crate) drivers: Drivers,
    pub(crate) dir: TempDir,
}

/// A started run that is being waited for.
pub(crate) struct Started {
    pub(crate) run: RunId,
    pub(crate) output: Arc<Output>,
    pub(crate) stop: watch::Sender<Option<Duration>>,
    pub(crate) status: Option<StatusSignal>,
    end: JoinHandle<Exit>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(GuardHandle::absent(), guard::new_session_token(), |_| {})
    }

    pub(crate) fn with(guard: GuardHandle, session: String, change: impl FnOnce(&mut DriverConfig)) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let mut config = DriverConfig::new(own_binary(dir.path()), session.clone(), guard);
        change(&mut config);
        Self { session, drivers: Drivers::new(config), dir }
    }

    pub(crate) async fn start(&self, command: Command) -> Result<Started, StartError> {
        self.start_spec(&spec(command)).await
    }

    pub(crate) async fn start_spec(&self, spec: &RunSpec) -> Result<Started, StartError> {
        let spill = Output::spill_path(self.dir.path(), &spec.run, spec.attempt);
        let spill = SpillTo { path: spill, head: Box::new(Vec::new) };
        let output = Output::new(spec.job.output, Instant::now(), Some(spill));
        let running = self.drivers.start(spec, &output).await?;
        let (stop, signal) = watch::channel(None);
        let status = running.status();
        Ok(Started { run: spec.run, output, stop, status, end: tokio::spawn(running.wait(signal)) })
    }

    /// Runs a shell's text to its end.
    pub(crate) async fn shell(&self, text: &str) -> (Exit, Collected) {
        self.start(shell(text)).await.expect("it starts").end().await
    }

    /// The words of the error that a command must not get past.
    pub(crate) async fn refusal(&self, command: Command) -> String {
        match self.start(command).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it started"),
        }
    }
}

impl Started {
    pub(crate) async fn end(self) -> (Exit, Collected) {
        let end = tokio::time::timeout(Duration::from_secs(60), self.end).await;
        let exit = end.expect("a run ends within a minute").expect("waiting does not panic");
        (exit, self.output.finish())
    }

    pub(crate) fn kill(&self, grace: Duration) {
        self.stop.send(Some(grace)).expect("somebody waits for the run");
    }

    pub(crate) async fn until_printed(&self, text: &str) {
        until(
            &format!("{text:?} is printed"),
            || self.output.snapshot(0).text,
            |printed| printed.contains(text),
        )
        .await;
    }

    /// Gives up waiting, which drops the run.
    pub(crate) fn abandon(self) {
        self.end.abort();
    }
}

pub(crate) fn shell(text: &str) -> Command {
    Command::Shell(Shell { command: text.into(), ..Shell::default() })
}

pub(crate) fn shell_in(text: &str, environment: Environment) -> Command {
    Command::Shell(Shell { command: text.into(), environment, ..Shell::default() })
}

pub(crate) fn exec(argv: &[&str]) -> Command {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    Command::Exec(Exec { argv, environment: Environment::default() })
}

pub(crate) fn spec(command: Command) -> RunSpec {
    let name = "nightly".parse().expect("a name");
    RunSpec {
        job: Arc::new(Job::new(name, Trigger::Manual, command)),
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        attempt: 1,
        tick: None,
        fence: common::revision::Token(7),
        worker: "w1".parse().expect("a name"),
    }
}

/// Waits until a value is as wanted, for at most half a minute.
pub(crate) async fn until<T: std::fmt::Debug>(
    what: &str,
    read: impl Fn() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let value = read();
        if wanted(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "not true in time: {what}; last seen: {value:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The living processes whose environment carries a variable, with their names.
pub(crate) fn carrying(variable: &str) -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
    };
    pids.filter(carries).filter_map(|pid| name(pid).map(|name| (pid, name))).collect()
}

/// The living processes of a run.
pub(crate) fn processes_of(run: RunId) -> Vec<(i32, String)> {
    carrying(&format!("QUORATE_RUN={run}"))
}

/// A living process's name; a zombie does not live.
pub(crate) fn name(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    (!tail.starts_with(['Z', 'X'])).then(|| head.rsplit_once('(').map_or("", |(_, name)| name).to_owned())
}

/// Living processes among these.
pub(crate) fn living(pids: &HashSet<i32>) -> HashSet<i32> {
    pids.iter().copied().filter(|pid| name(*pid).is_some()).collect()
}

/// A program that acts as `quorate guard` and `quorate shim` do. Written by another process: were the file open for
/// writing here while another test starts a process, it could not be executed.
pub(crate) fn own_binary(dir: &Path) -> PathBuf {
    let path = dir.join("quorate");
    let tests = std::env::current_exe().expect("the path of this binary");
    let script = format!(
        "#!/bin/sh\n{ROLE}=$1\nshift\n{ARGS}=$(printf '%s\\n' \"$@\")\nexport {ROLE} {ARGS}\n\
         exec '{}' --exact support::plays_its_role --nocapture --quiet --test-threads=1\n",
        tests.display()
    );
    let written = Std::new("/bin/sh")
        .args(["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "write"])
        .arg(&script)
        .arg(&path)
        .status();
    assert!(written.expect("a shell").success());
    path
}

/// Starts this binary in a role of the tests' own.
pub(crate) fn play(role: &str, args: &str) -> std::process::Child {
    let tests = std::env::current_exe().expect("the path of this binary");
    Std::new(tests)
        .args(["--exact", "support::plays_its_role", "--nocapture", "--quiet", "--test-threads=1"])
        .env(ROLE, role)
        .env(ARGS, args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary starts")
}

/// As one of the tests it has nothing to do; started by [`own_binary`] or [`play`] it is the process that they want.
#[test]
fn plays_its_role() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    let args = std::env::var_os(ARGS).unwrap_or_default().into_string().expect("text");
    let code = match role.to_str() {
        Some(guard::SUBCOMMAND) => {
            let _ = guard::main(args.lines().map(str::to_owned), std::io::stdin());
            0
        }
        Some(shim::SUBCOMMAND) => {
            eprintln!("{}", shim::run(args.lines().map(Into::into)).unwrap_err());
            126
        }
        Some("worker") => crate::guard::worker(Path::new(&args)),
        Some("container-worker") => crate::containers::life::worker(Path::new(&args)),
        _ => 2,
    };
    std::process::exit(code);
}
