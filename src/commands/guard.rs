//! `quorate guard`, hidden: ends what a dead worker left behind.

use std::{ffi::OsString, process::ExitCode};

/// Guards one worker until it is gone. The arguments are its session's token, and where its container engine listens.
/// Blocks.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    worker::guard::main(args.map(|arg| arg.to_string_lossy().into_owned()), std::io::stdin())
}
