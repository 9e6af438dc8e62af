//! `quorate guard`, hidden: ends what a dead worker left behind.

use std::{ffi::OsString, process::ExitCode};

/// Guards one worker, whose session's token is the argument, until it is gone. Blocks.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let session = args.next().and_then(|token| token.into_string().ok());
    worker::guard::main(session, std::io::stdin())
}
