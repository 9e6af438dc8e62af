//! `quorate shim`: a process between the worker and a command that has to run as another user, or with another umask or
//! limit on handles than the worker's. It becomes the user and then the command.
//!
//! The worker cannot do that itself: between fork and exec that needs a real fork, which costs 50 ms a
//! gigabyte of the worker, where a plain start costs less than one. The shim runs as root, so the job's variables
//! reach it under other names and mean nothing to it (`LD_PRELOAD` would be root's otherwise).

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    sys::stat::{Mode, umask},
    unistd::{User, initgroups, setgid, setuid},
};

/// The name of the hidden subcommand under which the binary has to call [`run`].
pub const SUBCOMMAND: &str = "shim";

/// In front of the names of the job's variables.
pub(super) const VARIABLE_PREFIX: &str = "QUORATE_SHIM_";

/// The subcommand's arguments: `--umask OCTAL [--handles SOFT] [--user NAME] [--dir DIR] -- PROGRAM ARGS…`.
pub(super) fn arguments(
    umask: u32,
    handles: Option<u64>,
    user: Option<&str>,
    dir: Option<&Path>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec![SUBCOMMAND.into(), "--umask".into(), format!("{umask:03o}").into()];
    if let Some(handles) = handles {
        arguments.extend(["--handles".into(), handles.to_string().into()]);
    }
    if let Some(user) = user {
        arguments.extend(["--user".into(), user.into()]);
    }
    if let Some(dir) = dir {
        arguments.extend(["--dir".into(), dir.into()]);
    }
    arguments.push("--".into());
    arguments
}

/// Becomes the user and the program that `args` (those behind the subcommand) name. Returns only if that fails,
/// with what to say on standard error; the exit code is then 126. Must be called before threads are started.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<Infallible, String> {
    let (surroundings, mut words) = read(args)?;
    let program = words.next().ok_or_else(usage)?;
    umask(surroundings.umask);
    if let Some(soft) = surroundings.handles {
        let hard = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(|error| format!("the limit on handles cannot be read: {error}"))?
            .1;
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)
            .map_err(|error| format!("the limit on handles cannot be set to {soft}: {error}"))?;
    }
    let who = match &surroundings.user {
        Some(user) => {
            switch_to(user)?;
            format!("user {user}")
        }
        None => "the worker's user".to_owned(),
    };
    if let Some(dir) = surroundings.dir {
        // As the user, who may be allowed more (a network file system) or less than root.
        std::env::set_current_dir(&dir)
            .map_err(|error| format!("{who} cannot enter working directory {}: {error}", dir.display()))?;
    }
    let mut command = Command::new(&program);
    command.args(words).env_clear().envs(variables(std::env::vars_os()));
    let error = command.exec();
    Err(format!("{who} cannot start {}: {error}", super::spawn::shown(&program)))
}

fn switch_to(user: &str) -> Result<(), String> {
    let found = User::from_name(user)
        .map_err(|error| format!("user {user} cannot be looked up: {error}"))?
        .ok_or_else(|| format!("user {user} does not exist on this worker"))?;
    let name = std::ffi::CString::new(user).map_err(|_| usage())?;
    let failed = |what: &str, error| format!("cannot become user {user}: {what}: {error}");
    initgroups(&name, found.gid).map_err(|error| failed("initgroups", error))?;
    setgid(found.gid).map_err(|error| failed("setgid", error))?;
    setuid(found.uid).map_err(|error| failed("setuid", error))
}

/// The variables under their own names; the job's come last and so win.
fn variables(own: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let of_job = |name: &OsStr| name.as_bytes().starts_with(VARIABLE_PREFIX.as_bytes());
    let (mut of_job, mut variables): (Vec<_>, Vec<_>) = own.partition(|(name, _)| of_job(name));
    for (name, _) in &mut of_job {
        *name = OsStr::from_bytes(&name.as_bytes()[VARIABLE_PREFIX.len()..]).to_owned();
    }
    variables.append(&mut of_job);
    variables
}

/// What the command is to find around it.
#[derive(Debug)]
struct Surroundings {
    umask: Mode,
    /// How many it may have open.
    handles: Option<u64>,
    user: Option<String>,
    dir: Option<PathBuf>,
}

fn read<I: IntoIterator<Item = OsString>>(args: I) -> Result<(Surroundings, I::IntoIter), String> {
    let mut args = args.into_iter();
    let (mut umask, mut handles, mut user, mut dir) = (None, None, None, None);
    loop {
        let word = args.next().ok_or_else(usage)?;
        let mut text = || args.next().and_then(|word| word.into_string().ok()).ok_or_else(usage);
        match word.to_str() {
            Some("--umask") => {
                let bits = u32::from_str_radix(&text()?, 8).map_err(|_| usage())?;
                umask = Some(Mode::from_bits_truncate(bits & 0o777));
            }
            Some("--handles") => handles = Some(text()?.parse().map_err(|_| usage())?),
            Some("--user") => user = Some(text()?),
            Some("--dir") => dir = Some(PathBuf::from(args.next().ok_or_else(usage)?)),
            Some("--") => {
                let umask = umask.ok_or_else(usage)?;
                return Ok((Surroundings { umask, handles, user, dir }, args));
            }
            _ => return Err(usage()),
        }
    }
}

fn usage() -> String {
    "usage: quorate shim --umask OCTAL [--handles SOFT] [--user NAME] [--dir DIR] -- PROGRAM ARGUMENTS…"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn arguments_are_read_as_they_are_written() {
        let mut args = arguments(0o027, Some(1024), Some("backup"), Some(Path::new("/srv")));
        args.extend(words("/bin/sh -c --user"));
        let (read, rest) = read(args.into_iter().skip(1)).unwrap();
        assert_eq!((read.user.as_deref(), read.dir), (Some("backup"), Some("/srv".into())));
        assert_eq!((read.umask.bits(), read.handles), (0o027, Some(1024)));
        assert_eq!(rest.collect::<Vec<_>>(), words("/bin/sh -c --user"));
    }

    #[test]
    fn the_variables_of_the_job_get_their_names_back_and_win() {
        let own = [("QUORATE_SHIM_SHELL", "job's"), ("SHELL", "user's"), ("HOME", "/srv")];
        let own = own.map(|(name, value)| (name.into(), value.into()));
        let pairs = [("SHELL", "user's"), ("HOME", "/srv"), ("SHELL", "job's")];
        assert_eq!(variables(own.into_iter()), pairs.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn a_call_that_says_too_little_gets_the_usage() {
        for bad in [
            "",
            "--user",
            "--user x",
            "--dir /srv -- /bin/true",
            "--umask 22 --user x --",
            "--umask 9 -- x",
            "--umask 022 --handles many -- x",
            "/bin/true",
        ] {
            let said = run(words(bad)).unwrap_err();
            assert!(said.contains("usage: quorate shim"), "{bad}: {said}");
        }
        assert!(
            run(words("--umask 022 --user no-such-user -- /bin/true")).unwrap_err().contains("no-such-user")
        );
    }
}
