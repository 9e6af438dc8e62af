//! `quorate shim`, hidden: what stands between a worker and a command that needs another user.

use std::ffi::OsString;

/// What a shell answers for a program that cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// Becomes the command; comes back only when that fails.
pub(crate) fn run(args: Vec<OsString>) -> std::process::ExitCode {
    match worker::driver::shim::run(args) {
        Ok(never) => match never {},
        Err(problem) => {
            crate::telemetry::say(format_args!("quorate: {problem}"));
            CANNOT_EXECUTE.into()
        }
    }
}
