//! What measurements stand on: real servers, workers in this process, and jobs put into the store at once.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::{
    clock::{Clock, SystemClock},
    job::{Command, Job, Shell, StoredJob, Trigger},
    lock::Lock,
    runlog::{
        RunLog,
        mongo::{MongoOptions, MongoRunLog},
    },
    span::Span,
    store::{
        Op, Store, Txn,
        etcd::{EtcdConfig, EtcdStore},
        key::Keys,
        list_all,
    },
    tick::Tick,
};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tempfile::TempDir;
use test_support::servers::{Durability, EtcdCluster, Mongod, Room};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{
    Worker, WorkerConfig, WorkerPorts,
    driver::{Driver, Exit, RunSpec, Running, StartError, StopSignal},
    output::Output,
};

use crate::{cpu::Part, spread::Spread};

/// One etcd that writes to its disk, and one mongod.
pub(crate) struct Servers {
    etcd: EtcdCluster,
    mongod: Mongod,
    /// Under what all keys are.
    pub(crate) keys: Keys,
}

impl Servers {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let room = Room::temporary();
        let etcd = EtcdCluster::start_in(&room, 1, Durability::Synced).await;
        let mongod = Mongod::start_in(&room).await;
        Ok(Self { etcd, mongod, keys: Keys::new("/quorate/")? })
    }

    fn etcd_pid(&mut self) -> Pid {
        self.etcd.member(0).pid()
    }

    fn mongod_pid(&self) -> Pid {
        self.mongod.pid()
    }

    /// Whose processor time is told: ours and the servers'.
    pub(crate) fn parts(&mut self) -> Vec<(String, Part)> {
        vec![
            ("ours".to_owned(), Part::Own),
            ("etcd".to_owned(), Part::Process(self.etcd_pid())),
            ("mongod".to_owned(), Part::Process(self.mongod_pid())),
        ]
    }

    /// A connection of its own to etcd.
    pub(crate) async fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        let config = EtcdConfig { endpoints: self.etcd.endpoints(), ..EtcdConfig::default() };
        Ok(Arc::new(EtcdStore::connect(config).await?))
    }

    pub(crate) async fn runlog(&self) -> anyhow::Result<Arc<dyn RunLog>> {
        Ok(Arc::new(MongoRunLog::connect(&self.mongod.uri(), MongoOptions::default()).await?))
    }

    /// The run log's database.
    pub(crate) async fn database(&self) -> anyhow::Result<mongodb::Database> {
        Ok(mongodb::Client::with_uri_str(self.mongod.uri()).await?.database("quorate"))
    }

    /// The records of runs in the run log.
    pub(crate) async fn logged(&self) -> anyhow::Result<u64> {
        let log = self.database().await?.collection::<Document>("log");
        Ok(log.count_documents(doc! {}).await?)
    }

    /// The ticks that have more than one run in the run log.
    pub(crate) async fn doubled(&self) -> anyhow::Result<u64> {
        let log = self.database().await?.collection::<Document>("log");
        let tick = doc! { "job": "$jobName", "tick": "$planTime" };
        let counts = doc! { "$group": { "_id": tick, "runs": { "$sum": 1 } } };
        let several = doc! { "$match": { "runs": { "$gt": 1 } } };
        let found = log.aggregate([counts, several]).allow_disk_use(true).await?;
        Ok(found.try_fold(0, |count, _| async move { Ok(count + 1) }).await?)
    }
}

/// Workers of this process, each with connections and a directory of its own.
pub(crate) struct Workers {
    shutdown: CancellationToken,
    running: Vec<JoinHandle<Result<(), worker::WorkerError>>>,
    _dirs: Vec<TempDir>,
}

impl Workers {
    /// Starts them and waits until all are registered.
    pub(crate) async fn start(
        servers: &Servers,
        count: usize,
        driver: &Arc<dyn Driver>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let mut workers = Self { shutdown: CancellationToken::new(), running: Vec::new(), _dirs: Vec::new() };
        for n in 0..count {
            let dir = tempfile::tempdir()?;
            let ports = WorkerPorts {
                store: servers.store().await?,
                runlog: servers.runlog().await?,
                clock: clock.clone(),
            };
            let worker = Worker::with_driver(config(n, &servers.keys, &dir), ports, driver.clone())?;
            workers.running.push(tokio::spawn(worker.run(None, workers.shutdown.clone())));
            workers._dirs.push(dir);
        }
        let store = servers.store().await?;
        while list_all(&*store, &servers.keys.workers).await?.0.len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(workers)
    }

    /// Ends them as a service manager would.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        for worker in self.running {
            worker.await??;
        }
        Ok(())
    }
}

fn config(n: usize, keys: &Keys, dir: &TempDir) -> WorkerConfig {
    WorkerConfig {
        id: format!("worker-{n}").parse().expect("a good id"),
        keys: keys.clone(),
        labels: BTreeMap::new(),
        slots: 20_000,
        lease_ttl: Duration::from_secs(15),
        hedge: Duration::from_millis(250),
        data_dir: dir.path().to_owned(),
        shell: "/bin/sh".into(),
        http_forbid: worker::driver::Forbidden::default(),
        engine: worker::driver::EngineAddress::default(),
        registry_auth: None,
        self_exe: "/nowhere".into(),
        address: String::new(),
        host: "bench".into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        retention: Duration::from_secs(86_400),
    }
}

/// The machine's clock.
pub(crate) fn clock() -> anyhow::Result<Arc<dyn Clock>> {
    Ok(Arc::new(SystemClock::start().context("start the clock")?))
}

/// A job that does nothing, so often, from an instant on.
pub(crate) fn job(n: usize, period: Duration, anchor: DateTime<Utc>) -> anyhow::Result<Job> {
    every(n, period, anchor, "true")
}

/// A job that runs this, so often, from an instant on.
pub(crate) fn every(n: usize, period: Duration, anchor: DateTime<Utc>, command: &str) -> anyhow::Result<Job> {
    named(n, Trigger::Every { period: Span(period), anchor: Some(anchor) }, command)
}

/// A job as most are, and which is not due while anything is measured: at a minute of New Year's Day.
pub(crate) fn idle(n: usize) -> anyhow::Result<Job> {
    let new_year = Trigger::Cron {
        // As many different ones as a day has minutes: equal ones could be kept once.
        expressions: vec![format!("{} {} 1 1 *", n % 60, n / 60 % 24)],
        zone: Some("UTC".parse().map_err(anyhow::Error::msg)?),
        anchor: None,
    };
    named(n, new_year, "/usr/local/bin/backup --full --level 9 /srv/data")
}

fn named(n: usize, trigger: Trigger, command: &str) -> anyhow::Result<Job> {
    let command = Command::Shell(Shell { command: command.into(), ..Shell::default() });
    Ok(Job::new(name(n).parse()?, trigger, command))
}

/// A job's name.
pub(crate) fn name(n: usize) -> String {
    format!("job-{n:07}")
}

/// Puts jobs and their locks into the store, many in a transaction. `jobs` are made as they are needed: a million
/// at once would be a gigabyte.
pub(crate) async fn put_jobs(
    store: &dyn Store,
    keys: &Keys,
    jobs: impl IntoIterator<Item = anyhow::Result<Job>>,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let fence = Lock::new(Tick::from_instant(now)).encode();
    let puts = |job: anyhow::Result<Job>| {
        let job = job?;
        let lock = Op::Put(keys.lock(&job.name), fence.clone(), None);
        let key = keys.job(&job.name);
        anyhow::Ok([lock, Op::Put(key, StoredJob::new(job, now).encode(), None)])
    };
    let mut done = stream::iter(jobs.into_iter().map(puts))
        .chunks(50)
        .map(|batch| async {
            let puts: Vec<[Op; 2]> = batch.into_iter().collect::<anyhow::Result<_>>()?;
            anyhow::Ok(store.txn(Txn::when(Vec::new(), puts.concat())).await?)
        })
        .buffer_unordered(8);
    while let Some(result) = done.next().await {
        result?;
    }
    Ok(())
}

/// A driver that starts no process, and keeps how late it was asked to.
pub(crate) struct NoOp {
    runs: Runs,
    total: AtomicU64,
    late: Mutex<Vec<chrono::Duration>>,
}

/// How long runs last that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// They end at once.
    EndAtOnce,
    /// They end when they are told to, as when the next tick replaces them.
    UntilTold,
}

impl NoOp {
    pub(crate) fn new(runs: Runs) -> Arc<Self> {
        Arc::new(Self { runs, total: AtomicU64::new(0), late: Mutex::default() })
    }

    /// All runs so far.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::SeqCst)
    }

    /// How late the runs were since the last call.
    pub(crate) fn take(&self) -> Spread {
        Spread::of(std::mem::take(&mut *self.late.lock()))
    }
}

struct Nothing(Runs);

#[async_trait]
impl Driver for NoOp {
    async fn start(&self, spec: &RunSpec, _output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        self.total.fetch_add(1, Ordering::SeqCst);
        if let Some(tick) = spec.tick {
            self.late.lock().push(now() - tick.instant());
        }
        Ok(Box::new(Nothing(self.runs)))
    }
}

#[async_trait]
impl Running for Nothing {
    async fn wait(self: Box<Self>, mut stop: StopSignal) -> Exit {
        if self.0 == Runs::EndAtOnce {
            return Exit::code(0);
        }
        // An error says that nobody is left who could tell.
        stop.wait_for(Option::is_some).await.ok();
        Exit::signal(15)
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement asks the machine itself")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Waits for an instant.
pub(crate) async fn until(instant: DateTime<Utc>) {
    tokio::time::sleep((instant - now()).to_std().unwrap_or_default()).await;
}

/// The first whole second at least so far ahead.
pub(crate) fn second_in(ahead: chrono::Duration) -> DateTime<Utc> {
    DateTime::from_timestamp((now() + ahead).timestamp() + 1, 0).expect("a near instant")
}

/// Builds the program as this one was built, if cargo runs this: what is measured is to be what stands in the sources.
pub(crate) fn build_program() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let built = std::process::Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", "quorate", "--profile", profile])
        .status()?;
    anyhow::ensure!(built.success(), "quorate cannot be built");
    Ok(())
}

/// The program as it was built with this one.
pub(crate) fn beside_this_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test is one folder further down.
    let mut places = own.ancestors().skip(1).take(2).map(|dir| dir.join("quorate"));
    places.find(|path| path.is_file()).with_context(|| {
        format!(
            "there is no quorate beside {}: `cargo build` makes it, or give --quorate PATH",
            own.display()
        )
    })
}
