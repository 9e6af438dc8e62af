//! How many handles (files, sockets, pipes) this process may have open.
//!
//! A service gets few (1,024) as its soft limit, for the sake of programs that use `select`, and many as its hard
//! one. A process may raise the soft limit to the hard one itself, and whatever it starts inherits both. Only the
//! started process itself can set them in time (when they were set from here as soon as it ran, two of five shells on
//! a busy machine still saw the old limit), so a process that starts jobs keeps its soft limit until it comes near
//! it: see [`keep_room`].

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::OnceLock,
};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use parking_lot::{RwLock, RwLockReadGuard};

/// The soft limit that this process came with, once it has raised it.
static CAME_WITH: RwLock<Option<u64>> = RwLock::new(None);

/// What it came with.
static LIMITS: OnceLock<(u64, u64)> = OnceLock::new();

/// While it lives, the limit stays as it is: what is started meanwhile gets what this says.
pub struct Steady(RwLockReadGuard<'static, Option<u64>>);

impl Steady {
    /// The soft limit that this process came with, if it has raised it since; what it starts is to have that again.
    pub fn came_with(&self) -> Option<u64> {
        *self.0
    }
}

/// Keeps the limit as it is. Not to be held while something is waited for that may take long.
pub fn steady() -> Steady {
    Steady(CAME_WITH.read())
}

/// Takes as many handles as this process may have. Done again it changes nothing.
pub fn raise() -> io::Result<()> {
    let mut came_with = CAME_WITH.write();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        came_with.get_or_insert(soft);
        tracing::info!(soft, hard, "this process has raised its limit on handles");
    }
    Ok(())
}

/// The same as soon as half of the handles that the soft limit allows are in use. Costs a microsecond; to be asked
/// before handles are taken, and now and then.
pub fn keep_room() -> io::Result<()> {
    let (soft, hard) = match LIMITS.get() {
        Some(limits) => *limits,
        None => *LIMITS.get_or_init(|| getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default()),
    };
    if soft >= hard || steady().came_with().is_some() || next_handle() < soft / 2 {
        return Ok(());
    }
    raise()
}

/// The number of the next handle, which is the lowest that is free: the limit is on that number.
fn next_handle() -> u64 {
    let next = io::stdin().as_fd().try_clone_to_owned();
    next.ok().and_then(|next| u64::try_from(next.as_raw_fd()).ok()).unwrap_or(u64::MAX)
}

/// What an error says of a lack of handles, and what would be right; none: it is another error.
pub fn lack_in(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => Some("this process has no handle left, raise its hard limit (ulimit -Hn)."),
        Some(Errno::ENFILE) => Some("this machine has no handle left, raise fs.file-max."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// The limit is this process's: nothing else here may depend on it.
    #[test]
    fn the_limit_is_raised_once_half_of_it_is_in_use_and_what_was_is_known() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let soft = 512;
        if hard < 4 * soft {
            return;
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let now = || getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        keep_room().unwrap();
        assert_eq!((steady().came_with(), now()), (None, (soft, hard)));
        let files: Vec<File> = (0..soft / 2).map(|_| File::open("/dev/null").unwrap()).collect();
        keep_room().unwrap();
        assert_eq!((steady().came_with(), now()), (Some(soft), (hard, hard)));
        drop(files);
        keep_room().unwrap();
        raise().unwrap();
        assert_eq!((steady().came_with(), now()), (Some(soft), (hard, hard)), "it stays so");
    }
}
