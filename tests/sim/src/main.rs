//! `tests/sim/run`: plays a cluster in virtual time and says how it came out. Exit code 1: something was not as it has
//! to be.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum as _};
use sim::{
    load::Load,
    plan::{Nemesis, plan},
    world::{Play, play},
};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays workers and managers in virtual time while their surroundings are broken, and checks every tick.
#[derive(Clone, Debug, Parser)]
#[command(name = "tests/sim/run", max_term_width = 100)]
struct Options {
    /// The first seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// So many seeds, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// How long the jobs run, in virtual time.
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Jobs that run once a minute for a millisecond.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    jobs: usize,
    /// Jobs that run every twelve hours for an hour.
    #[arg(long, value_name = "N", default_value_t = 10)]
    long: usize,
    /// Jobs that run every ten seconds for fifteen.
    #[arg(long, value_name = "N", default_value_t = 20)]
    busy: usize,
    /// Jobs that are edited, paused, deleted and made again all the time, close to their ticks.
    #[arg(long, value_name = "N", default_value_t = 10)]
    edited: usize,
    /// Workers.
    #[arg(long, value_name = "N", default_value_t = 10)]
    workers: usize,
    /// Managers, through which jobs are edited.
    #[arg(long, value_name = "N", default_value_t = 2)]
    managers: usize,
    /// What is broken, by turns [default: everything].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    faults: Option<Vec<Nemesis>>,
    /// Break nothing.
    #[arg(long, conflicts_with = "faults")]
    sound: bool,
    /// Print what is broken when.
    #[arg(long)]
    plan: bool,
    /// Print so many lines of what happened.
    #[arg(long, value_name = "N", default_value_t = 0)]
    trace: usize,
}

impl Options {
    fn play(&self, seed: u64) -> Play {
        let all = || Nemesis::value_variants().to_vec();
        Play {
            seed,
            time: self.time,
            load: Load { short: self.jobs, long: self.long, busy: self.busy, edited: self.edited },
            workers: self.workers,
            managers: self.managers,
            nemeses: if self.sound { Vec::new() } else { self.faults.clone().unwrap_or_else(all) },
            trace: self.trace,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut clean = true;
    for seed in options.seed..options.seed + options.seeds {
        let about = options.play(seed);
        if options.plan {
            for step in plan(seed, about.time, about.workers + about.managers, &about.nemeses) {
                println!("{step}");
            }
        }
        let begun = Instant::now();
        let report = match play(&about) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("seed {seed}: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        for line in report.trace() {
            println!("{line}");
        }
        let took = begun.elapsed().as_secs_f64();
        let verdict = if report.is_clean() { "clean" } else { "NOT CLEAN" };
        println!("seed {seed}: {verdict}; {took:.1} s, {:.0} runs/s", report.starts as f64 / took);
        println!("{report}");
        clean &= report.is_clean();
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
