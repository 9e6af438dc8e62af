//! Starts a program as a run: environment, directory, user, standard input, pipes, group.
//!
//! A start is cheap only as a `posix_spawn`, which the standard library uses for an absolute path, without a hook
//! before exec and without a user switch; else it forks, at the price of the worker's whole page table. So none of
//! those appear here, and users and umasks are switched by the [`shim`]. Limits apply to all threads of a process,
//! and `posix_spawn` cannot set them: once this process has raised its own on handles, the shim also sets the job's.
//! A start blocks its thread until the program runs: a few start at the same time on threads of the runtime's
//! blocking pool, and the others wait.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use common::{
    handles::{self, Steady},
    job::{Environment, OnLeaseLoss},
};
use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
    unistd::{User, geteuid},
};
use tokio::{process::Command, sync::Semaphore};

use super::{Process, capture::Capture, environment, shim, spawn::wrong_dir, tree::Trees};
use crate::{
    driver::{DriverConfig, RunSpec, Running, StartError},
    output::Output,
};

/// No one can make the file executable; nix does not name it yet.
const MFD_NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);

/// What to start: an absolute path and arguments.
pub(in crate::driver) struct Program {
    pub(in crate::driver) path: PathBuf,
    pub(in crate::driver) args: Vec<OsString>,
    pub(in crate::driver) environment: Environment,
}

/// Starts programs for all drivers of a worker. Cheap to clone.
#[derive(Clone)]
pub(in crate::driver) struct Launcher(Arc<Shared>);

struct Shared {
    config: DriverConfig,
    inherited: Vec<(OsString, OsString)>,
    search_path: OsString,
    starts: Arc<Semaphore>,
    trees: Arc<Trees>,
    /// The worker's own account; none: the machine's list of accounts lacks it, as a container's may.
    own: Option<User>,
    /// The worker's own umask, which a plain start hands on.
    umask: u32,
}

/// Who the program runs as.
enum Identity {
    /// The worker's own account.
    Own,
    /// Another one, by the shim.
    Other(User),
}

impl Launcher {
    pub(in crate::driver) fn new(mut config: DriverConfig) -> Self {
        let inherited = environment::inherited(std::mem::take(&mut config.environment));
        let search_path = environment::search_path(&inherited);
        let starts = Arc::new(Semaphore::new(config.spawn_concurrency.max(1)));
        let trees = Arc::new(Trees::new(config.session.clone()));
        let own = User::from_uid(geteuid()).ok().flatten();
        let umask = own_umask();
        Self(Arc::new(Shared { config, inherited, search_path, starts, trees, own, umask }))
    }

    /// The shell of jobs that name none.
    pub(in crate::driver) fn shell(&self) -> &Path {
        &self.0.config.shell
    }

    /// The PATH that programs are looked up in.
    pub(in crate::driver) fn search_path(&self) -> &OsStr {
        &self.0.search_path
    }

    pub(in crate::driver) async fn launch(
        &self,
        program: Program,
        spec: &RunSpec,
        output: Arc<Output>,
    ) -> Result<Box<dyn Running>, StartError> {
        let ended = |_| StartError::new("the worker is shutting down");
        let permit = Arc::clone(&self.0.starts).acquire_owned().await.map_err(|_| ended(()))?;
        let (shared, spec) = (Arc::clone(&self.0), spec.clone());
        let started = tokio::task::spawn_blocking(move || {
            let process = shared.start(program, &spec, output);
            drop(permit);
            process
        });
        // A caller that no longer waits drops the process here, which kills it.
        Ok(Box::new(started.await.map_err(|_| ended(()))??))
    }
}

impl Shared {
    fn start(
        &self,
        mut program: Program,
        spec: &RunSpec,
        output: Arc<Output>,
    ) -> Result<Process, StartError> {
        output.begin();
        let environment = std::mem::take(&mut program.environment);
        let identity = self.identity(environment.user.as_deref())?;
        let dir = environment.dir.as_deref().map(|dir| self.dir(dir, &identity)).transpose()?;
        let dir = dir.as_deref();
        // One that the exec driver found below a directory that begins with `~`.
        if let (Ok(inside), Some(dir)) = (program.path.strip_prefix("~"), dir) {
            let above = environment.dir.as_deref().and_then(|dir| dir.strip_prefix("~/")).unwrap_or_default();
            program.path = dir.join(inside.strip_prefix(above).unwrap_or(inside));
        }
        if let Err(error) = handles::keep_room() {
            tracing::warn!(%error, "the limit on handles cannot be raised");
        }
        let limit = handles::steady();
        let shim = matches!(identity, Identity::Other(_))
            || environment.umask() != self.umask
            || limit.came_with().is_some();
        let by_shim = shim.then_some((&identity, &limit));
        let mut command = self.command(&program, environment.umask(), by_shim, dir)?;
        self.set_variables(&mut command, spec, (&environment, &identity), shim);

        let failed = |error: io::Error| StartError::from_spawn(&error, &program.path, dir);
        let (capture, out, err) = Capture::open().map_err(failed)?;
        let input = environment.stdin.as_deref().map_or_else(|| Ok(Stdio::null()), standard_input);
        command.stdin(input.map_err(failed)?).stdout(out).stderr(err).process_group(0);
        let kept = spec.job.on_lease_loss == OnLeaseLoss::Keep;
        // A last time, since the start had to wait for its turn: this process may have been stopped meanwhile.
        if !kept && self.config.guard.is_past() {
            return Err(StartError::new("its worker's lease could no longer be trusted"));
        }
        let child = command.spawn().map_err(failed)?;
        drop(limit);
        // Our copies of the writing ends, or the output would never end.
        drop(command);

        let process = Process::new(child, capture, spec.run, output, self.config.guard.clone(), &self.trees);
        process.tell_guard(kept);
        Ok(process)
    }

    /// The program or, for another user, umask or limit than this process has, the shim that becomes it.
    fn command(
        &self,
        program: &Program,
        umask: u32,
        by_shim: Option<(&Identity, &Steady)>,
        dir: Option<&Path>,
    ) -> Result<Command, StartError> {
        let Some((identity, limit)) = by_shim else {
            let mut command = Command::new(&program.path);
            command.args(&program.args);
            dir.map(|dir| command.current_dir(dir));
            return Ok(command);
        };
        // Behind the shim these would be no errors of the start.
        if let Some(wrong) = dir.and_then(wrong_dir) {
            return Err(wrong);
        }
        if let Err(error) = std::fs::metadata(&program.path) {
            return Err(StartError::from_spawn(&error, &program.path, dir));
        }
        let mut command = Command::new(&self.config.self_exe);
        let user = match identity {
            Identity::Own => None,
            Identity::Other(user) => Some(&*user.name),
        };
        command.args(shim::arguments(umask, limit.came_with(), user, dir));
        command.arg(&program.path).args(&program.args);
        Ok(command)
    }

    fn identity(&self, user: Option<&str>) -> Result<Identity, StartError> {
        match user {
            Some(name) if self.own.as_ref().is_none_or(|own| own.name != name) => named(name),
            _ => Ok(Identity::Own),
        }
    }

    fn account<'a>(&'a self, identity: &'a Identity) -> Option<&'a User> {
        match identity {
            Identity::Own => self.own.as_ref(),
            Identity::Other(user) => Some(user),
        }
    }

    /// A working directory, with the account's home in place of `~`. An account without a home starts in the root,
    /// so that a job that needs none runs.
    fn dir(&self, dir: &str, identity: &Identity) -> Result<PathBuf, StartError> {
        let Some(inside) = dir.strip_prefix('~') else { return Ok(dir.into()) };
        let inherited = || self.inherited.iter().find(|(name, _)| name == "HOME");
        let home = match self.account(identity) {
            Some(user) => user.dir.clone(),
            None => inherited().map(|(_, home)| PathBuf::from(home)).ok_or_else(|| {
                StartError::new(format!("working directory {dir}: this worker's account has no home"))
            })?,
        };
        let inside = inside.trim_start_matches('/');
        match inside {
            "" if wrong_dir(&home).is_some() => Ok("/".into()),
            "" => Ok(home),
            inside => Ok(home.join(inside)),
        }
    }

    fn set_variables(
        &self,
        command: &mut Command,
        spec: &RunSpec,
        (environment, identity): (&Environment, &Identity),
        by_shim: bool,
    ) {
        command.env_clear().envs(self.inherited.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.account(identity) {
            command.envs(environment::of_user(user));
        }
        for (name, value) in environment::of_job(&environment.env) {
            if by_shim {
                command.env(format!("{}{name}", shim::VARIABLE_PREFIX), value);
            } else {
                command.env(name, value);
            }
        }
        command.envs(environment::of_run(spec, &self.config.session));
    }
}

/// This process's umask, which only the system's table tells without changing it; 022 where it does not.
fn own_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    umask.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok()).unwrap_or(0o022)
}

/// The user that a job names.
fn named(name: &str) -> Result<Identity, StartError> {
    let user = User::from_name(name)
        .map_err(|error| StartError::new(format!("user {name:?} cannot be looked up: {error}")))?
        .ok_or_else(|| StartError::new(format!("user {name:?} does not exist on this worker")))?;
    if user.uid == geteuid() {
        Ok(Identity::Own)
    } else if geteuid().is_root() {
        Ok(Identity::Other(user))
    } else {
        let own =
            User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |own| own.name);
        Err(StartError::new(format!(
            "this worker runs as {own} and only one that runs as root can run commands as {name:?}"
        )))
    }
}

/// The text as a file in memory: the process reads it at its own pace, or not at all, and nobody has to write.
fn standard_input(text: &str) -> io::Result<Stdio> {
    let sealed = memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know the seal; some later ones insist on it.
    let file = match sealed {
        Err(Errno::EINVAL) => memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC),
        sealed => sealed,
    };
    let mut file = std::fs::File::from(file?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}
