//! What can be asked for on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use test_support::servers::{Durability, Leftovers};

use crate::{
    cluster::{Layout, Wires, WorkerLayout},
    nemesis::Nemesis,
};

/// Runs a real cluster, breaks it, and checks that every tick ran once or is accounted for.
#[derive(Clone, Debug, Parser)]
#[command(name = "tests/chaos/run", max_term_width = 100)]
pub struct Options {
    /// What is done to the cluster.
    #[arg(default_value = "mixed")]
    pub scenario: Scenario,
    /// How long the jobs run, in seconds [default: the scenario's].
    #[arg(long, value_name = "N")]
    pub seconds: Option<u32>,
    /// How long the jobs run, in minutes: instead of --seconds.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub minutes: Option<u32>,
    /// What `mixed` breaks, by turns [default: everything].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub nemesis: Vec<Nemesis>,
    /// The sorts of jobs that `mixed` has, by the first part of their names [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub sort: Vec<String>,
    /// How much later than without other work runs may start where nothing is broken.
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = humantime::parse_duration)]
    pub slack: Duration,
    /// How long nothing is broken between two faults, at most (`mixed`) [default: three leases].
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub quiet: Option<Duration>,
    /// Draw each job's windows and runs, and the faults, where a scenario has such.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// How many jobs [default: the scenario's].
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// How many members of etcd.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub members: u16,
    /// How many workers.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// How many managers.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub managers: u16,
    /// How long a worker that is gone keeps its running jobs.
    #[arg(long, value_name = "SPAN", default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease_ttl: Duration,
    /// How long the next worker waits for the first choice at a tick.
    #[arg(long, value_name = "SPAN", default_value = "250ms", value_parser = humantime::parse_duration)]
    pub hedge: Duration,
    /// What chance goes by.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write what was sampled (`soak`).
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Let etcd write through to the disk.
    #[arg(long)]
    pub fsync: bool,
    /// Keep the folders of all processes, with their logs.
    #[arg(long)]
    pub keep: bool,
    /// What managers and workers log.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// The program [default: beside this one].
    #[arg(long, value_name = "PATH")]
    pub quorate: Option<PathBuf>,
}

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// All that follow, one after the other.
    All,
    /// 500 jobs every second for a minute.
    EverySecond,
    /// 10,000 jobs on the minute, for two minutes.
    Minute,
    /// A short job every second on workers whose clocks differ by two seconds.
    Skewed,
    /// A worker's machine dies, then comes back.
    WorkerKilled,
    /// A worker is stopped for a minute in the middle of long runs, alone and then with its guard, and goes on.
    WorkerStopped,
    /// A worker is cut off from etcd for two leases in the middle of long runs.
    WorkerCutOff,
    /// All workers' machines die, and come back after ten minutes of ticks.
    AllWorkersKilled,
    /// All of etcd is down for 30 s.
    EtcdStopped,
    /// All of etcd is frozen.
    EtcdFrozen,
    /// etcd is restored from a copy that is a minute old.
    SnapshotRestored,
    /// MongoDB is down for 60 s.
    MongodbStopped,
    /// MongoDB is down for five minutes under 100 runs a second, and two workers' machines die meanwhile.
    MongodbStoppedWorkersKilled,
    /// Rubbish among the stored jobs.
    BadJobs,
    /// Each worker is told to end and started again.
    Sigterm,
    /// One job prints 100 MB.
    BigOutput,
    /// A GDTS client's calls.
    Gdts,
    /// Nothing is broken, for half an hour: what every process uses has to stay as it is.
    Soak,
    /// All kinds of jobs, and one thing broken and mended after the other by a plan that the seed gives.
    Mixed,
}

impl Scenario {
    /// Everything but [`Scenario::All`], in order.
    pub fn each() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|scenario| *scenario != Self::All)
    }

    /// As it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Options {
    /// The cluster that they ask for.
    pub fn layout(&self) -> Layout {
        let workers = WorkerLayout::several(self.workers.into());
        let with = |own: WorkerLayout| WorkerLayout { lease_ttl: self.lease_ttl, hedge: self.hedge, ..own };
        Layout {
            quorate: self.quorate.clone().unwrap_or_else(beside_this_program),
            members: self.members.into(),
            managers: self.managers.into(),
            workers: workers.into_iter().map(with).collect(),
            wires: Wires::Direct,
            durability: if self.fsync { Durability::Synced } else { Durability::Unsynced },
            compacts: false,
            leftovers: if self.keep { Leftovers::Keep } else { Leftovers::Remove },
            log: self.log.clone(),
        }
    }

    /// How long the jobs run.
    pub fn duration(&self, default_seconds: u32) -> Duration {
        let minutes = self.minutes.map(|minutes| minutes.saturating_mul(60));
        Duration::from_secs(self.seconds.or(minutes).unwrap_or(default_seconds).into())
    }

    /// How many jobs.
    pub fn jobs(&self, default: usize) -> usize {
        self.jobs.unwrap_or(default)
    }
}

fn beside_this_program() -> PathBuf {
    std::env::current_exe().map(|own| own.with_file_name("quorate")).unwrap_or_else(|_| "quorate".into())
}
