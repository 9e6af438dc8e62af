//! Nothing is broken for a long time, under GDTS's load scaled to the machine: many short jobs on every minute, and a
//! few long ones. What each process uses, and the size of etcd, have to stay as they are.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep_until};

use super::SETTLE;
use crate::{
    cluster::{DATABASE, Layout, Usage},
    growth::Series,
    options::Options,
    records::RecordReader,
    trial::{TestJob, Trial, Verdict},
};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);

/// How long a long job runs, in halves of a second.
const LONG: u32 = 240;

/// Between two ticks of a long job.
const LONG_EVERY_SECONDS: u32 = 300;

const MIB: f64 = 1024.0 * 1024.0;

/// What was sampled, by the name of its series.
#[derive(Default)]
struct Samples(BTreeMap<(&'static str, String), Series>);

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&Layout { compacts: true, ..options.layout() }).await?;
    let short = TestJob::several(options.jobs(1_000), "minute", 60, &trial.truth.once());
    let long = TestJob::several(10, "long", LONG_EVERY_SECONDS, &trial.truth.lasting(LONG));
    trial.save(&short).await?;
    trial.save(&long).await?;
    let reader = RecordReader::connect(&trial.cluster.mongod.uri(), DATABASE).await?;
    let (begun, lasts) = (Instant::now(), options.duration(1_800));
    let mut samples = Samples::default();
    let mut next = begun;
    while begun.elapsed() < lasts {
        let at = begun.elapsed().as_secs_f64();
        samples.take(&trial, &reader, at).await?;
        next += EVERY;
        sleep_until(next).await;
    }
    samples.judge(&mut trial);
    if let Some(path) = &options.csv {
        samples.write(path)?;
    }
    trial.close_window();
    trial.finish(Duration::from_millis(u64::from(LONG) * 500) + SETTLE).await
}

impl Samples {
    async fn take(&mut self, trial: &Trial, reader: &RecordReader, at: f64) -> Result<()> {
        for (name, pid) in trial.cluster.processes() {
            let Some(usage) = Usage::of(pid) else { continue };
            let resident = usage.resident_bytes as f64 / MIB;
            // What a process holds settles for a while: pools, caches and the allocator's own.
            self.add("resident", &name, "MiB", (at, resident), Some((0.1, 4.0)));
            self.add("handles", &name, "", (at, usage.handles as f64), Some((0.1, 4.0)));
            self.add("threads", &name, "", (at, usage.threads as f64), Some((0.1, 4.0)));
        }
        let mut etcd = trial.cluster.etcd_client().await?;
        let status = etcd.status().await.context("ask for etcd's size")?;
        let (file, used) = (status.db_size() as f64 / MIB, status.raft_used_db_size() as f64 / MIB);
        self.add("size", "etcd's file", "MiB", (at, file), Some((0.1, 2.0)));
        self.add("size", "etcd's data", "MiB", (at, used), Some((0.1, 2.0)));
        // It keeps what ran, for a month.
        self.add("size", "the run log", "MiB", (at, reader.stored_bytes().await? / MIB), None);
        Ok(())
    }

    fn add(
        &mut self,
        of: &'static str,
        name: &str,
        unit: &'static str,
        (at, value): (f64, f64),
        bound: Option<(f64, f64)>,
    ) {
        let series = || Series { name: name.to_owned(), unit, samples: Vec::new(), bound };
        self.0.entry((of, name.to_owned())).or_insert_with(series).samples.push((at, value));
    }

    /// Shows all courses, and requires that nothing grows.
    fn judge(&self, trial: &mut Trial) {
        let mut table = format!("\n{:<34}{:>10}{:>10}{:>10}{:>12}", "", "start", "middle", "end", "an hour");
        for ((of, _), series) in &self.0 {
            write!(table, "\n{of:<10}{series}").expect("a string takes everything");
        }
        trial.note(table);
        for ((of, name), series) in self.0.iter().filter(|(_, series)| series.grows()) {
            let grown = series.course().map_or(0.0, |course| course.grown);
            trial.require(false, format!("{of} of {name} grew in the second half by"), format!("{grown:.1}"));
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut text = "seconds,of,name,value\n".to_owned();
        for ((of, name), series) in &self.0 {
            for (at, value) in &series.samples {
                writeln!(text, "{at:.0},{of},{name},{value:.2}").expect("a string takes everything");
            }
        }
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}
