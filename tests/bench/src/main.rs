//! Measurements. Each states what it measured, the ceiling of the raw parts in the same run, their ratio, and what is
//! to be reached; absolute figures of a busy machine say little.
//!
//! `cargo run --release -p bench -- all --runs 3 --write docs/performance.md` writes that page, and
//! `… curves --write docs` the plots that it shows.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use report::{Page, Row, Summary};
use tokio::time::Instant;

mod claims;
mod cpu;
mod curves;
mod failover;
mod idle;
mod late;
mod list;
mod members;
mod memory;
mod peers;
mod plot;
mod processes;
mod queue;
mod report;
mod save;
mod shell;
mod ship;
#[cfg(test)]
mod smoke;
mod spread;
mod spy;
mod stage;

/// The program's: workers are measured in this process as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to measure, and how much of it.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Quorate beside the ceiling of its raw parts")]
struct Options {
    /// Which measurement.
    #[arg(value_enum)]
    bench: Bench,
    /// How long each takes, in seconds; by default each measurement's own choice.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many workers; by default each measurement's own choice.
    #[arg(long)]
    workers: Option<usize>,
    /// How many jobs; by default each measurement's own choice.
    #[arg(long)]
    jobs: Option<usize>,
    /// How often everything is measured: the median counts, the least and the most are said.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// The program; by default the one beside this.
    #[arg(long)]
    quorate: Option<PathBuf>,
    /// Print a Markdown page; otherwise JSON, a line each.
    #[arg(long)]
    markdown: bool,
    /// Write it in place of what is there: `all` a page into this file, `curves` its plots into this folder.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// How much of it.
#[derive(Clone, Debug)]
struct Amount {
    seconds: Option<u64>,
    workers: Option<usize>,
    jobs: Option<usize>,
    quorate: PathBuf,
}

impl Amount {
    /// How long it takes, unless told otherwise.
    fn seconds(&self, unless_told: u64) -> u64 {
        self.seconds.unwrap_or(unless_told).max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// All but the curves.
    All,
    /// No-op runs the whole way, against raw nested transactions.
    Claims,
    /// `sh -c true`, against the raw spawn loop.
    Shell,
    /// How late commands start, spread over a minute and all at once.
    Late,
    /// The loads of other schedulers' measurements.
    Peers,
    /// A million idle jobs in a worker and in a manager.
    Memory,
    /// Pages of many jobs, and the browser's.
    List,
    /// Saving jobs, against raw transactions.
    Save,
    /// How late a killed worker's ticks are.
    Failover,
    /// Jobs of which none is due.
    Idle,
    /// Runs put and claimed while 10,000 wait, against the same while none does.
    Queue,
    /// What it costs when a worker goes or comes.
    Members,
    /// Run logs into MongoDB, against raw inserts.
    Ship,
    /// What more ticks, workers and jobs cost, as plots.
    Curves,
}

impl Bench {
    fn each(self) -> Vec<Self> {
        let part = |bench: &&Self| !matches!(bench, Self::All | Self::Curves);
        if self == Self::All {
            Self::value_variants().iter().filter(part).copied().collect()
        } else {
            vec![self]
        }
    }

    async fn measure(self, amount: &Amount) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::All | Self::Curves => anyhow::bail!("{self:?} is no measurement of its own"),
            Self::Claims => claims::measure(amount).await,
            Self::Shell => shell::measure(amount).await,
            Self::Late => late::measure(amount).await,
            Self::Peers => peers::measure(amount).await,
            Self::Memory => memory::measure(amount).await,
            Self::List => list::measure(amount).await,
            Self::Save => save::measure(amount).await,
            Self::Failover => failover::measure(amount).await,
            Self::Idle => idle::measure(amount).await,
            Self::Queue => queue::measure(amount).await,
            Self::Members => members::measure(amount).await,
            Self::Ship => ship::measure(amount).await,
        }
    }
}

impl Options {
    /// Refuses what would not be true. A page in which some rows are of another day and build than the others would be
    /// read as if they were not.
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.bench != Bench::Curves || self.runs == 1, "curves are drawn from one run");
        if self.write.is_none() {
            return Ok(());
        }
        anyhow::ensure!(
            matches!(self.bench, Bench::All | Bench::Curves),
            "only `all` and `curves` are written: a page has one date, machine and build. Without --write this prints"
        );
        anyhow::ensure!(
            !cfg!(debug_assertions),
            "a debug build's figures are not for a page: cargo run --release"
        );
        Ok(())
    }

    /// As it was typed, but for what is of this machine only.
    fn command(&self) -> String {
        let name =
            self.bench.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut words = vec![format!("cargo run --release -p bench -- {name}")];
        let number = |name: &str, value: Option<usize>| value.map(|value| format!("--{name} {value}"));
        words.extend(number("seconds", self.seconds.and_then(|seconds| usize::try_from(seconds).ok())));
        words.extend(number("workers", self.workers));
        words.extend(number("jobs", self.jobs));
        words.extend((self.runs > 1).then(|| format!("--runs {}", self.runs)));
        let file = self.write.as_deref().and_then(Path::file_name);
        words.extend(file.map(|file| format!("--write docs/{}", file.to_string_lossy())));
        words.join(" ")
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    options.check()?;
    if options.quorate.is_none() {
        stage::build_program()?;
    }
    let quorate = options.quorate.clone().map_or_else(stage::beside_this_program, Ok)?;
    let amount = Amount { seconds: options.seconds, workers: options.workers, jobs: options.jobs, quorate };
    if options.bench == Bench::Curves {
        return Box::pin(curves::draw(&amount, options.write.as_deref())).await;
    }
    let (mut runs, mut failures) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        let mut rows = Vec::new();
        for bench in options.bench.each() {
            let begun = Instant::now();
            // One that fails costs none of the others its result.
            match Box::pin(bench.measure(&amount)).await {
                Ok(measured) => rows.extend(measured),
                Err(error) => failures.push(format!("{bench:?}, run {run}: {error:#}")),
            }
            eprintln!("run {run}: {bench:?} took {:.0} s", begun.elapsed().as_secs_f64());
        }
        runs.push(rows);
    }
    let page = Page {
        command: options.command(),
        runs: runs.len(),
        rows: Summary::of_runs(runs),
        failures: failures.clone(),
    };
    match &options.write {
        Some(path) => std::fs::write(path, page.markdown(path.parent())?)?,
        None if options.markdown => print!("{}", page.markdown(None)?),
        None => print!("{}", page.json()?),
    }
    anyhow::ensure!(failures.is_empty(), "not measured: {}", failures.join("; "));
    Ok(())
}
