//! Drivers: each is one way to execute a run. A driver is told what to run and gives a [`Running`], which ends with
//! an [`Exit`]; whether that was a success, a timeout or a kill is for others to judge.
//!
//! What a process finds around it: the worker's environment without its own settings, the job's variables,
//! `QUORATE_JOB`, `_RUN`, `_TICK`, `_ATTEMPT`, `_FENCE`, `_WORKER` and `_SESSION`; the HOME, USER, LOGNAME
//! and SHELL of the account that it runs as; the job's directory, user, umask and standard input. It leads a process group of its own.
//!
//! **What a kill reaches.** The whole group, every process that carries the run's id in its environment wherever
//! it went, and the descendants of them all; TERM first, KILL after the grace, and the run has ended only when
//! nothing of it is left. While `/proc` does not answer a kill reaches the group alone, whose end is then the run's.
//!
//! **What a normal end leaves alone.** A command may start something in the background and end; as under cron, that
//! goes on, but what it prints later than a second after the command's end is not kept, and the record says so. The
//! pipes are read until it ends, so that printing does not kill it. It still dies with its worker: the guard finds it
//! by its session.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    id::{RunId, WorkerId},
    job::{Command, Job},
    revision::Token,
    tick::Tick,
};

use crate::{guard::GuardHandle, output::Output};

pub use error::StartError;

use exec::ExecDriver;
use launch::Launcher;
use shell::ShellDriver;

mod capture;
mod environment;
mod error;
mod exec;
mod launch;
mod process;
mod shell;
pub mod shim;
mod stop;
mod tree;

/// What a driver is told.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The job as it was when the run was claimed.
    pub job: Arc<Job>,
    /// The run.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Whose tick it is; none for a manual run.
    pub tick: Option<Tick>,
    /// The fencing token.
    pub fence: Token,
    /// Who runs it.
    pub worker: WorkerId,
}

/// How an execution ended, before anyone judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// "TERM now, KILL after this grace"; `None`: go on. Of several graces the earliest end counts.
pub type StopSignal = tokio::sync::watch::Receiver<Option<Duration>>;

/// A way to execute runs.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Starts a run; what it prints goes to `output`. A caller that stops waiting stops the run too.
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError>;
}

/// A run that executes. Dropping it kills it, without waiting for its end.
#[async_trait]
pub trait Running: Send {
    /// Waits for the end, and brings it about when `stop` says so: TERM to the whole tree, after the grace KILL.
    /// Resolves when what it printed is in its [`Output`] and, after a stop, nothing of the tree is left.
    async fn wait(self: Box<Self>, stop: StopSignal) -> Exit;
}

/// What all drivers of a worker share.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// The shell of jobs that name none.
    pub shell: PathBuf,
    /// Our own binary, which switches the user and the umask when called with [`shim::SUBCOMMAND`].
    pub self_exe: PathBuf,
    /// Told of each process group.
    pub guard: GuardHandle,
    /// This life of the worker, see [`crate::guard::new_session_token`].
    pub session: String,
    /// So many starts at a time. A start occupies a thread until the program runs; more than 4 to 8 only wait for
    /// each other.
    pub spawn_concurrency: usize,
    /// The worker's own environment, which the processes inherit but for the worker's settings.
    pub environment: Vec<(OsString, OsString)>,
}

impl DriverConfig {
    /// The usual: `/bin/sh`, six starts at a time, this process's environment.
    pub fn new(self_exe: PathBuf, session: String, guard: GuardHandle) -> Self {
        Self {
            shell: PathBuf::from("/bin/sh"),
            self_exe,
            guard,
            session,
            spawn_concurrency: 6,
            environment: std::env::vars_os().collect(),
        }
    }
}

/// The drivers of a worker.
pub struct Drivers {
    shell: Arc<dyn Driver>,
    exec: Arc<dyn Driver>,
}

impl Drivers {
    /// All drivers, sharing one bound on concurrent starts.
    pub fn new(config: DriverConfig) -> Self {
        let launcher = Launcher::new(config);
        Self {
            shell: Arc::new(ShellDriver::new(launcher.clone())),
            exec: Arc::new(ExecDriver::new(launcher)),
        }
    }

    /// One driver for all commands.
    #[cfg(any(test, feature = "test-support"))]
    pub fn only(driver: Arc<dyn Driver>) -> Self {
        Self { shell: driver.clone(), exec: driver }
    }

    /// The driver of a command.
    pub fn of(&self, command: &Command) -> &dyn Driver {
        match command {
            Command::Shell(_) => &*self.shell,
            Command::Exec(_) => &*self.exec,
        }
    }
}
