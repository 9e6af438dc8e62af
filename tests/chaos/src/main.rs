//! `tests/chaos/run`: plays a scenario and says how it came out. Exit code 1: something was not as it has to be.

use std::process::ExitCode;

use chaos::{options::Options, scenarios};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    if scenarios::run(&Options::parse()).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
