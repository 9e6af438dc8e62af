//! The worker's own drivers, watched: what was started, when that was asked for, when it was done, when all ended.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::{id::JobName, tick::Tick};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use worker::{
    driver::{Driver, DriverConfig, Drivers, Exit, RunSpec, Running, StartError, StopSignal},
    guard::{self, GuardHandle},
    output::Output,
};

use crate::{
    report::{Figure, Row, Target},
    stage,
};

/// One start.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) job: JobName,
    pub(crate) tick: Option<Tick>,
    /// When the driver was asked: what comes after is the wait for other starts, and the start.
    pub(crate) asked: DateTime<Utc>,
    /// When the program ran.
    pub(crate) running: DateTime<Utc>,
}

/// Watches real drivers.
pub(crate) struct Spy {
    drivers: Drivers,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    started: Mutex<Vec<Started>>,
    ended: AtomicU64,
}

impl Spy {
    /// The drivers with a guard of their own, as `quorate worker` has them.
    pub(crate) fn new(quorate: &Path) -> anyhow::Result<Arc<Self>> {
        let session = guard::new_session_token();
        let guard = GuardHandle::spawn(quorate.to_owned(), &session, None)
            .with_context(|| format!("start {} guard", quorate.display()))?;
        let drivers = Drivers::new(DriverConfig::new(quorate.to_owned(), session, guard));
        Ok(Arc::new(Self { drivers, seen: Arc::default() }))
    }

    /// How many runs have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.seen.ended.load(Ordering::SeqCst)
    }

    /// Waits until so many have ended, for at most so long; when.
    pub(crate) async fn until_ended(&self, count: u64, patience: Duration) -> DateTime<Utc> {
        let deadline = Instant::now() + patience;
        while self.ended() < count && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
        stage::now()
    }

    /// All starts since the last call.
    pub(crate) fn take(&self) -> Vec<Started> {
        std::mem::take(&mut *self.seen.started.lock())
    }
}

#[async_trait]
impl Driver for Spy {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let asked = stage::now();
        let running = self.drivers.start(spec, &output).await?;
        let started = Started { job: spec.job.name.clone(), tick: spec.tick, asked, running: stage::now() };
        self.seen.started.lock().push(started);
        Ok(Box::new(Watched { running, seen: self.seen.clone() }))
    }
}

struct Watched {
    running: Box<dyn Running>,
    seen: Arc<Seen>,
}

#[async_trait]
impl Running for Watched {
    async fn wait(self: Box<Self>, stop: StopSignal) -> Exit {
        let exit = self.running.wait(stop).await;
        self.seen.ended.fetch_add(1, Ordering::SeqCst);
        exit
    }
}

/// What became of ticks: how many of `expected` never ran, and how many runs were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Once {
    pub(crate) expected: usize,
    pub(crate) missed: usize,
    pub(crate) doubled: usize,
}

impl Once {
    /// Compares ticks that had to run with those that did.
    pub(crate) fn of(
        expected: impl IntoIterator<Item = (String, Tick)>,
        ran: impl IntoIterator<Item = (String, Tick)>,
    ) -> Self {
        let mut counts: HashMap<(String, Tick), usize> = HashMap::new();
        for tick in ran {
            *counts.entry(tick).or_default() += 1;
        }
        let doubled = counts.values().map(|count| count - 1).sum();
        let (mut of, mut missed) = (0, 0);
        for tick in expected {
            of += 1;
            missed += usize::from(!counts.contains_key(&tick));
        }
        Self { expected: of, missed, doubled }
    }

    /// Neither missed nor doubled.
    pub(crate) fn is_kept(self) -> bool {
        self.missed == 0 && self.doubled == 0
    }

    /// As a measurement, in which there is to be nothing of either.
    pub(crate) fn row(self, bench: String) -> Row {
        Row::new(bench, Figure::new((self.missed + self.doubled) as f64, "missed or doubled"))
            .reaching(Target::AtMost(0.0))
            .notes(self.to_string())
    }
}

impl std::fmt::Display for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} missed, {} doubled of {}", self.missed, self.doubled, self.expected)
    }
}
