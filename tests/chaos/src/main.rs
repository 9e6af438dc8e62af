//! `tests/chaos/run`: plays a scenario and says how it came out. Exit code 1: something was not as it has to be.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use chaos::{mounts, options::Options, scenarios};
use clap::Parser as _;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    // Before there are threads.
    mounts::take_own();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let all_is_well = runtime.block_on(scenarios::run(&options));
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
