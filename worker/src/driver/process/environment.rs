//! The variables that a process gets.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

use common::tick::Tick;
use nix::unistd::User;

use crate::driver::RunSpec;

/// Where the system's programs are, for a worker that has no PATH itself.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The service manager's word to the worker itself: with it a job could speak in the worker's name.
const OF_THE_SERVICE: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
];

/// What tells a process which run it is; the guard and a kill go by the run and the session.
const OF_THE_RUN: [&str; 7] = [
    "QUORATE_JOB",
    "QUORATE_RUN",
    "QUORATE_TICK",
    "QUORATE_ATTEMPT",
    "QUORATE_FENCE",
    "QUORATE_WORKER",
    "QUORATE_SESSION",
];

type Variable = (OsString, OsString);

/// What of the worker's own environment its processes inherit: its settings, passwords among them, are not theirs.
pub(super) fn inherited(own: Vec<Variable>) -> Vec<Variable> {
    let mut inherited: Vec<Variable> = own
        .into_iter()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"QUORATE_"))
        .filter(|(name, _)| OF_THE_SERVICE.iter().all(|other| name != other))
        .collect();
    if !inherited.iter().any(|(name, _)| name == "PATH") {
        inherited.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    inherited
}

/// The inherited PATH.
pub(super) fn search_path(inherited: &[Variable]) -> OsString {
    let path = inherited.iter().find(|(name, _)| name == "PATH");
    path.map_or_else(|| DEFAULT_PATH.into(), |(_, value)| value.clone())
}

/// What a login as `user` sets, and cron. The worker's own may be another's, or none, as under a service manager.
pub(super) fn of_user(user: &User) -> [Variable; 4] {
    // No shell at all, but what refuses to be one, would break programs that ask for the user's shell.
    let refuses = user.shell.ends_with("nologin") || user.shell.ends_with("false");
    let shell = if refuses || user.shell.as_os_str().is_empty() {
        OsStr::new("/bin/sh")
    } else {
        user.shell.as_os_str()
    };
    [
        ("HOME".into(), user.dir.clone().into()),
        ("USER".into(), user.name.clone().into()),
        ("LOGNAME".into(), user.name.clone().into()),
        ("SHELL".into(), shell.to_owned()),
    ]
}

/// The job's own variables, but for those that only we may set.
pub(in crate::driver) fn of_job(env: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    env.iter().filter(|(name, _)| !OF_THE_RUN.contains(&name.as_str()))
}

/// What tells a process which run it is.
pub(in crate::driver) fn of_run(
    spec: &RunSpec,
    session: &str,
) -> impl Iterator<Item = (&'static str, String)> {
    let values = [
        spec.job.name.to_string(),
        spec.run.to_string(),
        spec.tick.as_ref().map(Tick::to_string).unwrap_or_default(),
        spec.attempt.to_string(),
        spec.fence.to_string(),
        spec.worker.to_string(),
        session.to_owned(),
    ];
    OF_THE_RUN.into_iter().zip(values)
}
