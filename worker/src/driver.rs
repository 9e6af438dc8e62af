//! Drivers: each is one way to execute a run. A driver is told what to run and gives a [`Running`], which ends with
//! an [`Exit`]; whether that was a success, a timeout or a kill is for others to judge.
//!
//! Beside processes there are calls over HTTP (`http.rs`), and runs that do nothing (`noop.rs`).
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

pub(crate) use docker::leftovers;
pub use docker::{Containers, EngineAddress, EngineAddressError};

use docker::DockerDriver;
use exec::ExecDriver;
pub use exit::{Exit, StartError, Unanswered, Wait};
pub use http::Forbidden;
use http::HttpDriver;
use noop::NoopDriver;
use process::launch::Launcher;
pub use process::shim;
use shell::ShellDriver;

pub(crate) mod docker;
mod exec;
mod exit;
mod http;
mod idle;
mod noop;
mod process;
mod shell;
mod stop;

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

/// What a driver can tell of a run while it executes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Ports of this machine on which it can be reached, and what it calls them.
    pub ports: Vec<(String, u16)>,
    /// Whether it answers as it should; none: it is not asked.
    pub healthy: Option<bool>,
    /// How far it is, in words; "": it does not say.
    pub progress: String,
}

/// A run's [`Status`] as it changes.
pub type StatusSignal = tokio::sync::watch::Receiver<Status>;

/// "TERM now, KILL after this grace"; `None`: go on. Of several graces the earliest end counts.
pub type StopSignal = tokio::sync::watch::Receiver<Option<Duration>>;

/// A way to execute runs.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Starts a run; what it prints goes to `output`. A caller that stops waiting stops the run too.
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError>;

    /// Takes over what executes of a run already, as its worker's earlier life left it; none: nothing of it does, or
    /// this driver cannot tell.
    async fn adopt(&self, _spec: &RunSpec, _output: &Arc<Output>) -> Option<Box<dyn Running>> {
        None
    }
}

/// A run that executes. Dropping it kills it, without waiting for its end.
#[async_trait]
pub trait Running: Send {
    /// Waits for the end, and brings it about when `stop` says so: TERM to the whole tree, after the grace KILL.
    /// Resolves when what it printed is in its [`Output`] and, after a stop, nothing of the tree is left.
    async fn wait(self: Box<Self>, stop: StopSignal) -> Exit;

    /// Tells of it while it executes; none: there is nothing to tell.
    fn status(&self) -> Option<StatusSignal> {
        None
    }
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
    /// How containers are run.
    pub containers: Containers,
    /// Addresses that calls must not reach.
    pub forbidden: Forbidden,
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
            containers: Containers::default(),
            forbidden: Forbidden::default(),
        }
    }
}

/// The drivers of a worker.
pub struct Drivers {
    shell: Arc<dyn Driver>,
    exec: Arc<dyn Driver>,
    docker: Arc<dyn Driver>,
    http: Arc<dyn Driver>,
    noop: Arc<dyn Driver>,
}

impl Drivers {
    /// All drivers, sharing one bound on concurrent starts.
    pub fn new(config: DriverConfig) -> Self {
        let docker = DockerDriver::new(&config);
        let http = HttpDriver::new(config.forbidden, config.guard.clone());
        let launcher = Launcher::new(config);
        Self {
            shell: Arc::new(ShellDriver::new(launcher.clone())),
            exec: Arc::new(ExecDriver::new(launcher)),
            docker: Arc::new(docker),
            http: Arc::new(http),
            noop: Arc::new(NoopDriver),
        }
    }

    /// One driver for all commands.
    #[cfg(any(test, feature = "test-support"))]
    pub fn only(driver: Arc<dyn Driver>) -> Self {
        Self {
            shell: driver.clone(),
            exec: driver.clone(),
            docker: driver.clone(),
            http: driver.clone(),
            noop: driver,
        }
    }

    /// Starts a run by its job's driver, or takes it over where it executes already.
    pub async fn start(&self, spec: &RunSpec, output: &Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let driver = match &spec.job.driver {
            Command::Shell(_) => &self.shell,
            Command::Exec(_) => &self.exec,
            Command::Docker(_) => &self.docker,
            Command::Http(_) => &self.http,
            Command::Noop(_) => &self.noop,
        };
        match driver.adopt(spec, output).await {
            Some(running) => Ok(running),
            None => driver.start(spec, output.clone()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::job::{OutputLimit, Shell, Trigger};
    use tokio::{sync::watch, time::Instant};

    use super::*;

    /// Has what executes of a run already, if `executes`.
    struct Keeps {
        executes: bool,
    }

    struct Kept(&'static str);

    #[async_trait]
    impl Running for Kept {
        async fn wait(self: Box<Self>, _stop: StopSignal) -> Exit {
            Exit::code(0)
        }

        fn status(&self) -> Option<StatusSignal> {
            let status = Status { progress: self.0.to_owned(), ..Status::default() };
            Some(watch::channel(status).1)
        }
    }

    #[async_trait]
    impl Driver for Keeps {
        async fn start(&self, _: &RunSpec, _: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
            Ok(Box::new(Kept("started")))
        }

        async fn adopt(&self, _: &RunSpec, _: &Arc<Output>) -> Option<Box<dyn Running>> {
            self.executes.then(|| Box::new(Kept("taken over")) as Box<dyn Running>)
        }
    }

    #[tokio::test]
    async fn what_executes_already_is_taken_over_and_not_started_again() {
        let command = Command::Shell(Shell { command: "true".into(), ..Shell::default() });
        let spec = RunSpec {
            job: Arc::new(Job::new("a".parse().unwrap(), Trigger::Manual, command)),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
            attempt: 1,
            tick: None,
            fence: Token::default(),
            worker: "w".parse().unwrap(),
        };
        let output = Output::new(OutputLimit::of(1000), Instant::now(), None);
        for (executes, progress) in [(false, "started"), (true, "taken over")] {
            let drivers = Drivers::only(Arc::new(Keeps { executes }));
            let running = drivers.start(&spec, &output).await.unwrap();
            assert_eq!(running.status().unwrap().borrow().progress, progress);
        }
    }
}
