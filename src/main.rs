//! `quorate`: the one binary. Arguments → settings → tracing → runtime → command → exit code.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

mod assets;
mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod init;
mod output;
mod signal;
mod telemetry;
mod wiring;

/// A third less processor time for a run than with the C library's: a worker makes and drops small values all day, on
/// one thread and on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Started for every run or beside every worker: no settings, no runtime, nothing to wait for.
    match args.next().as_ref().and_then(|first| first.to_str()) {
        Some("shim") => return commands::shim::run(args.collect::<Vec<OsString>>()),
        Some("guard") => return commands::guard::run(args),
        _ => {}
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        // Nothing else runs before; another provider would be a mistake of ours, not a reason to serve nobody.
        telemetry::say(format_args!("warning: TLS already has a provider"));
    }
    let cli = cli::Cli::parse();
    if cli.command.is_role() && init::is_first_process() {
        return init::stand_in().unwrap_or_else(|error| exit::code(Err(error)));
    }
    exit::code(commands::run(cli))
}
