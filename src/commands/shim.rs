//! `quorate shim`, hidden: a command's first breath, as another user.

use std::{ffi::OsString, process::ExitCode};

/// What shells end with when a command is there and cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// Becomes the command; returns only if it cannot. To be called before threads are started.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Err(problem) = worker::driver::shim::run(args);
    eprintln!("{problem}");
    ExitCode::from(CANNOT_EXECUTE)
}
