//! `quorate guard`, hidden: ends what a dead worker left behind.

use std::process::ExitCode;

/// Guards one worker until it is gone. Blocks.
pub(crate) fn run() -> ExitCode {
    worker::guard::main(std::io::stdin())
}
