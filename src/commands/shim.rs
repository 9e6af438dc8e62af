//! `quorate shim`, hidden: what stands between a worker and a command that needs another user or other limits.

use std::ffi::OsString;

use crate::exit::Exit;

/// Becomes the command.
pub(crate) fn run(args: Vec<OsString>) -> anyhow::Result<Exit> {
    anyhow::bail!("not wired: shim {args:?}")
}
