//! Whole workers on embedded stores, and lives of theirs that end in order or not.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    clock::SystemClock,
    id::{JobName, RunId},
    job::{Command, Job, StoredJob, Trigger},
    lock::Lock,
    queue::QueuedRun,
    run::Cause,
    runlog::{RunLog, RunRecord, embedded::EmbeddedRunLog},
    store::{Op, Revision, Store, Txn, embedded::EmbeddedStore, key::Keys},
    tick::Tick,
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use worker::{Worker, WorkerConfig, WorkerPorts, driver::EngineAddress};

use crate::support::own_binary;

/// A lease that no test outlasts: what happens within a test did not wait for its end.
pub(crate) const TTL: Duration = Duration::from_secs(600);

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The stores that outlive a worker, and its data directory.
pub(crate) struct World {
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) runlog: Arc<EmbeddedRunLog>,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) keys: Keys,
    pub(crate) dir: TempDir,
    pub(crate) ttl: Duration,
    pub(crate) slots: u32,
    pub(crate) engine: EngineAddress,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(EmbeddedStore::in_memory()),
            runlog: Arc::new(EmbeddedRunLog::in_memory().expect("a run log")),
            clock: Arc::new(SystemClock::start().expect("a clock")),
            keys: Keys::new("/quorate/").expect("a root"),
            dir: TempDir::new().expect("a directory"),
            ttl: TTL,
            slots: 4,
            engine: "/no/such/engine.sock".parse().expect("an address"),
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_on(self.store.clone())
    }

    /// The worker, on a store that stands in front of this world's.
    pub(crate) fn worker_on(&self, store: Arc<dyn Store>) -> Worker {
        let config = WorkerConfig {
            id: "w1".parse().expect("a name"),
            keys: self.keys.clone(),
            labels: std::collections::BTreeMap::new(),
            slots: self.slots,
            lease_ttl: self.ttl,
            hedge: Duration::from_millis(50),
            data_dir: self.data_dir(),
            shell: "/bin/sh".into(),
            http_forbid: worker::driver::Forbidden::default(),
            engine: self.engine.clone(),
            registry_auth: None,
            self_exe: own_binary(self.dir.path()),
            address: String::new(),
            host: String::new(),
            version: String::new(),
            retention: Duration::from_secs(3600),
        };
        let ports = WorkerPorts { store, runlog: self.runlog.clone(), clock: self.clock.clone() };
        Worker::new(config, ports).expect("a worker")
    }

    /// A life that ends as suddenly as a killed process does.
    pub(crate) fn mortal(&self) -> Mortal {
        let runtime = Runtime::new().expect("a runtime");
        // What the worker starts belongs to this runtime from the first.
        let entered = runtime.enter();
        runtime.spawn(self.worker().run(None, CancellationToken::new()));
        drop(entered);
        Mortal(Some(runtime))
    }

    pub(crate) async fn save(&self, job: &Job) {
        self.save_at(job, chrono::DateTime::UNIX_EPOCH).await;
    }

    /// Saves a job whose ticks count from `now`.
    pub(crate) async fn save_at(&self, job: &Job, now: DateTime<Utc>) {
        let stored = StoredJob::new(job.clone(), now).encode();
        let lock = Lock::new(Tick::from_instant(now)).encode();
        let puts = vec![
            Op::Put(self.keys.job(&job.name), stored, None),
            Op::Put(self.keys.lock(&job.name), lock, None),
        ];
        self.store.txn(Txn::when(Vec::new(), puts)).await.expect("it is saved");
    }

    pub(crate) async fn want(&self, job: &JobName) -> RunId {
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let wanted = QueuedRun {
            job: job.clone(),
            run,
            attempt: 1,
            cause: Cause::Manual,
            tick: None,
            since: chrono::DateTime::UNIX_EPOCH,
            not_before: None,
            deadline: None,
            worker: None,
            by: "a test".into(),
            killed: None,
            task: None,
        };
        let put = vec![Op::Put(self.keys.wanted(&run), wanted.encode(), None)];
        self.store.txn(Txn::when(Vec::new(), put)).await.expect("it is wanted");
        run
    }

    pub(crate) async fn lock(&self, job: &JobName) -> Option<Lock> {
        let (entry, _) = self.store.get(&self.keys.lock(job)).await.expect("an answer");
        entry.and_then(|entry| Lock::decode(&entry.value).ok())
    }

    /// The revision that created the worker's registration.
    pub(crate) async fn session(&self) -> Option<Revision> {
        let key = self.keys.worker(&"w1".parse().expect("a name"));
        self.store.get(&key).await.expect("an answer").0.map(|entry| entry.create_revision)
    }

    pub(crate) async fn record(&self, run: RunId) -> Option<RunRecord> {
        self.runlog.run(&run).await.expect("an answer").pop()
    }
}

pub(crate) struct Mortal(Option<Runtime>);

impl Mortal {
    pub(crate) fn die(mut self) {
        self.0.take().expect("it lives").shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A life that is can be ended in order.
pub(crate) struct Living {
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

impl Living {
    pub(crate) fn start(worker: Worker) -> Self {
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let ended = tokio::spawn(async move { worker.run(None, token).await.expect("it works") });
        Self { shutdown, ended }
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.ended.await.expect("it ends");
    }
}

pub(crate) async fn until<T: std::fmt::Debug, F: Future<Output = T>>(
    what: &str,
    mut read: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = read().await;
        if wanted(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "not true in time: {what}; last seen: {value:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn manual(command: Command) -> Job {
    Job::new("nightly".parse().expect("a name"), Trigger::Manual, command)
}
