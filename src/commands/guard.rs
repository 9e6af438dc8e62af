//! `quorate guard`, hidden: ends what a dead worker left behind.

use std::ffi::OsString;

use crate::exit::Exit;

/// Guards one worker until it is gone.
pub(crate) fn run(args: Vec<OsString>) -> anyhow::Result<Exit> {
    anyhow::bail!("not wired: guard {args:?}")
}
