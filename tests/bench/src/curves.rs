//! What more ticks, more workers and more jobs cost, as plots.

use std::path::Path;

use anyhow::Context as _;

use crate::{
    Amount,
    claims::{self, Carried, Load},
    memory,
    plot::{Axis, Line, Plot, Scale},
    stage::Runs,
};

const TICKS: [usize; 5] = [500, 1_000, 2_000, 4_000, 8_000];
const WORKERS: [usize; 4] = [1, 2, 5, 10];
/// Ticks a second while the workers become more.
const SHARED: usize = 2_000;
const JOBS: [usize; 3] = [10_000, 100_000, 1_000_000];

const SECONDS: u64 = 8;

/// The files, in the order of [`measure`].
const FILES: [(&str, &str); 3] = [
    ("performance-ticks.svg", "Ticks a second against processor time"),
    ("performance-workers.svg", "Workers against processor time a tick"),
    ("performance-jobs.svg", "Idle jobs against memory"),
];

/// Draws the plots into a folder; without one it prints them, a file after the other.
pub(crate) async fn draw(amount: &Amount, folder: Option<&Path>) -> anyhow::Result<()> {
    let plots = measure(amount).await?;
    for ((file, _), plot) in FILES.iter().zip(plots) {
        match folder {
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, plot.svg()).with_context(|| format!("write {}", path.display()))?;
            }
            None => print!("<!-- {file} -->\n{}", plot.svg()),
        }
    }
    Ok(())
}

/// Those of the plots that are in a folder, and what they show.
pub(crate) fn plots_in(folder: &Path) -> Vec<(&'static str, &'static str)> {
    FILES.into_iter().filter(|(file, _)| folder.join(file).is_file()).collect()
}

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<[Plot; 3]> {
    Ok([ticks(amount).await?, workers(amount).await?, jobs(amount).await?])
}

/// The amounts of a curve, none above what was asked for.
fn up_to<const N: usize>(amounts: [usize; N], most: Option<usize>) -> Vec<usize> {
    let mut amounts: Vec<usize> =
        amounts.into_iter().map(|amount| amount.min(most.unwrap_or(usize::MAX))).collect();
    amounts.dedup();
    amounts
}

async fn carry(amount: &Amount, workers: usize, jobs: usize) -> anyhow::Result<Carried> {
    eprintln!("curves: {jobs} every-second jobs, {workers} workers");
    claims::carry(Load { workers, jobs, seconds: amount.seconds(SECONDS), runs: Runs::EndAtOnce }).await
}

async fn ticks(amount: &Amount) -> anyhow::Result<Plot> {
    let (mut etcd, mut mongod, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for jobs in up_to(TICKS, amount.jobs) {
        let carried = carry(amount, 1, jobs).await?;
        // Microseconds a tick, so many times a second.
        let share = |micros: f64| (carried.rate, micros * carried.rate / 10_000.0);
        etcd.push(share(carried.etcd_micros));
        mongod.push(share(carried.mongod_micros));
        own.push(share(carried.own_micros));
    }
    Ok(Plot {
        title: FILES[0].1,
        x: Axis { label: "ticks/s, each with its claim, finish and run log", scale: Scale::Linear },
        y: Axis { label: "processor time, % of a core", scale: Scale::Linear },
        lines: vec![
            Line { name: "etcd", points: etcd },
            Line { name: "the worker", points: own },
            Line { name: "mongod", points: mongod },
        ],
    })
}

async fn workers(amount: &Amount) -> anyhow::Result<Plot> {
    let (mut etcd, mut own) = (Vec::new(), Vec::new());
    for workers in up_to(WORKERS, amount.workers) {
        let carried = carry(amount, workers, amount.jobs.unwrap_or(SHARED)).await?;
        etcd.push((workers as f64, carried.etcd_micros));
        own.push((workers as f64, carried.own_micros));
    }
    Ok(Plot {
        title: FILES[1].1,
        x: Axis { label: "workers, 2,000 ticks/s between them", scale: Scale::Linear },
        y: Axis { label: "processor time a tick, µs", scale: Scale::Linear },
        lines: vec![Line { name: "etcd", points: etcd }, Line { name: "all workers", points: own }],
    })
}

async fn jobs(amount: &Amount) -> anyhow::Result<Plot> {
    let (mut worker, mut manager) = (Vec::new(), Vec::new());
    for jobs in up_to(JOBS, amount.jobs) {
        eprintln!("curves: {jobs} idle jobs");
        let weighed = memory::weigh_jobs(amount, jobs).await?;
        worker.push((jobs as f64, weighed.worker.full.now as f64 / 1e6));
        manager.push((jobs as f64, weighed.manager.full.now as f64 / 1e6));
    }
    Ok(Plot {
        title: FILES[2].1,
        x: Axis { label: "idle jobs", scale: Scale::Log },
        y: Axis { label: "resident memory, MB", scale: Scale::Log },
        lines: vec![Line { name: "a worker", points: worker }, Line { name: "a manager", points: manager }],
    })
}
