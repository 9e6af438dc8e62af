//! Measurements. Each states what it measured, the ceiling of the raw parts in the same run, and their ratio;
//! absolute figures of a busy machine say little.
//!
//! `cargo run --release -p bench -- all --markdown` writes the table of docs/performance.md.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use report::Row;

mod claims;
mod cpu;
mod failover;
mod idle;
mod late;
mod list;
mod memory;
mod peers;
mod processes;
mod report;
mod save;
mod shell;
mod ship;
#[cfg(test)]
mod smoke;
mod spread;
mod spy;
mod stage;

/// What to measure, and how much of it.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Quorate beside the ceiling of its raw parts")]
struct Options {
    /// Which measurement.
    #[arg(value_enum)]
    bench: Bench,
    /// How long each takes, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many workers; by default each measurement's own choice.
    #[arg(long)]
    workers: Option<usize>,
    /// How many jobs; by default each measurement's own choice.
    #[arg(long)]
    jobs: Option<usize>,
    /// The program; by default the one beside this.
    #[arg(long)]
    quorate: Option<PathBuf>,
    /// Print a Markdown table; otherwise JSON, a line each.
    #[arg(long)]
    markdown: bool,
    /// Write it to this file, in place of what is there.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// How much of it.
#[derive(Clone, Debug)]
struct Amount {
    seconds: u64,
    workers: Option<usize>,
    jobs: Option<usize>,
    quorate: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// All of them.
    All,
    /// No-op runs the whole way, against raw nested transactions.
    Claims,
    /// `sh -c true`, against the raw spawn loop.
    Shell,
    /// A million idle jobs in a worker and in a manager.
    Memory,
    /// How late commands start, spread over a minute and all at once.
    Late,
    /// Saving jobs, against raw transactions.
    Save,
    /// Pages of many jobs.
    List,
    /// How late a killed worker's ticks are.
    Failover,
    /// Run logs into MongoDB, against raw inserts.
    Ship,
    /// Jobs of which none is due.
    Idle,
    /// The loads of other schedulers' measurements.
    Peers,
}

impl Bench {
    async fn measure(self, amount: &Amount) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::All => {
                let mut rows = Vec::new();
                for bench in Self::value_variants().iter().filter(|bench| **bench != Self::All) {
                    eprintln!("{bench:?} …");
                    rows.extend(Box::pin(bench.measure(amount)).await?);
                }
                Ok(rows)
            }
            Self::Claims => claims::measure(amount).await,
            Self::Shell => shell::measure(amount).await,
            Self::Memory => memory::measure(amount).await,
            Self::Late => late::measure(amount).await,
            Self::Save => save::measure(amount).await,
            Self::List => list::measure(amount).await,
            Self::Failover => failover::measure(amount).await,
            Self::Ship => ship::measure(amount).await,
            Self::Idle => idle::measure(amount).await,
            Self::Peers => peers::measure(amount).await,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let quorate = options.quorate.map_or_else(stage::beside_this_program, Ok)?;
    let amount = Amount { seconds: options.seconds, workers: options.workers, jobs: options.jobs, quorate };
    let rows = options.bench.measure(&amount).await?;
    let text = if options.markdown { report::markdown(&rows)? } else { report::json(&rows)? };
    match options.write {
        Some(path) => std::fs::write(path, text)?,
        None => print!("{text}"),
    }
    Ok(())
}
