//! `quorate guard`, hidden: kills what a dead worker left behind.

use std::process::ExitCode;

/// Follows standard input until its end. Blocks.
pub(crate) fn run() -> ExitCode {
    worker::guard::main(std::io::stdin())
}
