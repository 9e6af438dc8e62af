//! `quorate shim`: a process between the worker and a command that has to run as another user. It becomes the
//! user and then the command.
//!
//! The worker cannot switch users itself: between fork and exec that needs a real fork, which costs 50 ms a
//! gigabyte of the worker, where a plain start costs less than one. The shim runs as root, so the job's variables
//! reach it under other names and mean nothing to it (`LD_PRELOAD` would be root's otherwise).

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use nix::unistd::{User, initgroups, setgid, setuid};

/// The name of the hidden subcommand under which the binary has to call [`run`].
pub const SUBCOMMAND: &str = "shim";

/// In front of the names of the job's variables.
pub(super) const VARIABLE_PREFIX: &str = "QUORATE_SHIM_";

/// The subcommand's arguments: `--user NAME [--dir DIR] -- PROGRAM ARGS…`.
pub(super) fn arguments(user: &str, dir: Option<&str>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![SUBCOMMAND.into(), "--user".into(), user.into()];
    if let Some(dir) = dir {
        arguments.extend(["--dir".into(), dir.into()]);
    }
    arguments.push("--".into());
    arguments
}

/// Becomes the user and the program that `args` (those behind the subcommand) name. Returns only if that fails,
/// with what to say on standard error; the exit code is then 126. Must be called before threads are started.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<Infallible, String> {
    let (user, dir, mut words) = read(args)?;
    let program = words.next().ok_or_else(usage)?;
    let found = User::from_name(&user)
        .map_err(|error| format!("user {user} cannot be looked up: {error}"))?
        .ok_or_else(|| format!("user {user} does not exist on this worker"))?;
    let name = std::ffi::CString::new(user.as_str()).map_err(|_| usage())?;
    let failed = |what: &str, error| format!("cannot become user {user}: {what}: {error}");
    initgroups(&name, found.gid).map_err(|error| failed("initgroups", error))?;
    setgid(found.gid).map_err(|error| failed("setgid", error))?;
    setuid(found.uid).map_err(|error| failed("setuid", error))?;
    if let Some(dir) = dir {
        // As the user, who may be allowed more (a network file system) or less than root.
        std::env::set_current_dir(&dir).map_err(|error| {
            format!("user {user} cannot enter working directory {}: {error}", dir.display())
        })?;
    }
    let mut command = Command::new(&program);
    command.args(words).env_clear().envs(variables(std::env::vars_os()));
    let error = command.exec();
    Err(format!("user {user} cannot start {}: {error}", super::error::shown(&program)))
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

type Words<I> = (String, Option<PathBuf>, I);

fn read<I: IntoIterator<Item = OsString>>(args: I) -> Result<Words<I::IntoIter>, String> {
    let mut args = args.into_iter();
    let (mut user, mut dir) = (None, None);
    loop {
        let word = args.next().ok_or_else(usage)?;
        match word.to_str() {
            Some("--user") => user = args.next().and_then(|user| user.into_string().ok()),
            Some("--dir") => dir = Some(PathBuf::from(args.next().ok_or_else(usage)?)),
            Some("--") => return Ok((user.ok_or_else(usage)?, dir, args)),
            _ => return Err(usage()),
        }
    }
}

fn usage() -> String {
    "usage: quorate shim --user NAME [--dir DIR] -- PROGRAM ARGUMENTS…".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn arguments_are_read_as_they_are_written() {
        let mut args = arguments("backup", Some("/srv"));
        args.extend(words("/bin/sh -c --user"));
        let (user, dir, rest) = read(args.into_iter().skip(1)).unwrap();
        assert_eq!((user.as_str(), dir), ("backup", Some("/srv".into())));
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
        for bad in ["", "--user", "--user x", "--dir /srv -- /bin/true", "--user x --", "/bin/true"] {
            let said = run(words(bad)).unwrap_err();
            assert!(said.contains("usage: quorate shim"), "{bad}: {said}");
        }
        assert!(run(words("--user no-such-user -- /bin/true")).unwrap_err().contains("no-such-user"));
    }
}
