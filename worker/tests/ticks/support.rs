//! One worker, and the hands that move its clock, its jobs and its runs.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, TimeZone, Utc};
use common::{
    clock::{Clock, ManualClock},
    id::{JobName, RunId},
    job::{Command, Exec, Job, StoredJob, Trigger},
    lock::{HeldLock, Lock, Stretch, Why},
    queue::{Kill, Passed, QueuedRun},
    run::{Cause, RunState},
    runlog::{RunLog, RunRecord, TickQuery, TickRecord, embedded::EmbeddedRunLog},
    span::Span,
    store::{Event, Events, Op, Store, StoreError, Txn, embedded::EmbeddedStore, key::Keys, list_all},
    task::{ActiveTask, Ended, Task},
    tick::Tick,
    worker::{Drain, Readiness, Registration},
};
use futures::{StreamExt, stream::BoxStream};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use worker::{
    Worker, WorkerConfig, WorkerPorts,
    driver::{Driver, Exit, RunSpec, Running, StartError, StopSignal},
    output::Output,
};

use crate::filling::Filling;

/// A condition that does not come true in this time never does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker at 01:00:00.
pub(crate) struct Bench {
    store: Arc<EmbeddedStore>,
    /// The same as the worker has it.
    filling: Arc<Filling>,
    runlog: Arc<EmbeddedRunLog>,
    clock: Arc<ManualClock>,
    keys: Keys,
    runs: mpsc::UnboundedReceiver<Started>,
    shutdown: CancellationToken,
    _dir: TempDir,
}

/// A run that goes on until the test ends it, or the worker stops it.
pub(crate) struct Started {
    pub(crate) spec: RunSpec,
    end: oneshot::Sender<()>,
    told_to_end: oneshot::Receiver<()>,
}

impl Started {
    /// It exits with 0.
    pub(crate) fn end(self) {
        self.end.send(()).expect("the worker waits for its run");
    }

    /// Waits until the worker has told it to end.
    pub(crate) async fn until_told_to_end(&mut self) {
        let told = tokio::time::timeout(PATIENCE, &mut self.told_to_end).await.expect("it is told to end");
        told.expect("the worker waits for its run");
    }
}

pub(crate) fn run_of(started: &Started) -> RunId {
    started.spec.run
}

pub(crate) fn job_of(started: &Started) -> &str {
    started.spec.job.name.as_str()
}

/// A job every second.
pub(crate) fn job(name: &str) -> Job {
    let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(start()) };
    Job::new(name.parse().expect("a good name"), trigger, Command::Exec(Exec::default()))
}

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap()
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a data directory");
        let store = Arc::new(EmbeddedStore::in_memory());
        let runlog = Arc::new(EmbeddedRunLog::in_memory().expect("a run log"));
        let clock = Arc::new(ManualClock::at(start()));
        let keys = Keys::new("/quorate/").expect("a good prefix");
        let config = WorkerConfig {
            id: "w".parse().expect("a good id"),
            keys: keys.clone(),
            labels: std::collections::BTreeMap::new(),
            slots: 4,
            lease_ttl: Duration::from_secs(15),
            hedge: Duration::from_millis(250),
            data_dir: dir.path().to_owned(),
            shell: "/bin/sh".into(),
            http_forbid: worker::driver::Forbidden::default(),
            engine: worker::driver::EngineAddress::default(),
            registry_auth: None,
            self_exe: "/nowhere".into(),
            address: String::new(),
            host: "host".into(),
            version: "0".into(),
            retention: Duration::from_secs(3600),
        };
        let filling = Filling::new(store.clone());
        let ports = WorkerPorts { store: filling.clone(), runlog: runlog.clone(), clock: clock.clone() };
        let (sender, runs) = mpsc::unbounded_channel();
        let worker = Worker::with_driver(config, ports, Arc::new(Scripted(sender))).expect("a worker");
        let shutdown = CancellationToken::new();
        tokio::spawn(worker.run(None, shutdown.clone()));
        let bench = Self { store, filling, runlog, clock, keys, runs, shutdown, _dir: dir };
        let workers = async || list_all(&*bench.store, &bench.keys.workers).await.expect("list").0.pop();
        bench.until("the worker is registered", workers).await;
        bench
    }

    /// Saves a job and its lock in the first second, as a manager does, and waits until the worker waits for its tick
    /// at 1, or has claimed it ahead.
    pub(crate) async fn save(&self, job: &Job) {
        self.put(job, self.clock.now()).await;
        let name = job.name.as_str();
        self.until("the worker knows the job", async || {
            let waits = self.clock.is_awaited(self.instant(0.9), self.instant(0.999_9));
            let held = matches!(self.lock(name).await, Some(Lock::Held(_)));
            (waits || held).then_some(())
        })
        .await;
    }

    /// The same by a manager whose clock stood at so many seconds behind the start.
    pub(crate) async fn save_at(&self, job: &Job, seconds: f64) {
        self.put(job, self.instant(seconds)).await;
    }

    pub(crate) async fn put(&self, job: &Job, now: DateTime<Utc>) {
        let (definition, lock) =
            (StoredJob::new(job.clone(), now).encode(), Lock::new(Tick::from_instant(now)).encode());
        let put = vec![
            Op::Put(self.keys.lock(&job.name), lock, None),
            Op::Put(self.keys.job(&job.name), definition, None),
        ];
        self.store.txn(Txn::when(Vec::new(), put)).await.expect("save a job");
    }

    /// A lock that a worker held which is gone, of a job that is gone too.
    pub(crate) async fn leave_lock_of_a_dead_worker(&self, job: &str) {
        let held = self.held(job);
        let put = Op::Put(self.keys.lock(&held.job), Lock::Held(held).encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("leave a lock");
    }

    /// The first tick's run, by a worker that is gone.
    fn held(&self, job: &str) -> HeldLock {
        HeldLock {
            job: name(job),
            fence: self.tick(0),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().expect("a good id"),
            attempt: 1,
            tick: Some(self.tick(0)),
            cause: Cause::Schedule,
            worker: "dead".parse().expect("a good id"),
            session: common::revision::Revision::new(1),
            epoch: common::epoch::Epoch::default(),
            claimed: start(),
            skipped: 0,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: None,
        }
    }

    /// The lock of a job that there is, held for a lost run that was killed before the lock was written anew.
    pub(crate) async fn leave_killed_run_of_a_dead_worker(&self, job: &str) {
        let put = Op::Put(self.keys.lock(&name(job)), b"~ ".to_vec(), None);
        let claimed = self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("claim").revision;
        self.kill(job).await;
        let held = self.held(job).at_fence(self.tick(0), claimed);
        let put = Op::Put(self.keys.lock(&held.job), Lock::Held(held).encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("leave a lock");
    }

    /// A record of a run beside the lock in the worker's own name, of a claim that it has given up.
    pub(crate) async fn leave_phantom_beside(&self, job: &str) {
        let own = list_all(&*self.store, &self.keys.workers).await.expect("list").0.pop();
        let session = own.expect("the worker is registered").create_revision;
        let held = HeldLock { worker: "w".parse().expect("a good id"), session, ..self.held(job) };
        let put = Op::Put(self.keys.run(&held.run), held.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("leave a record");
    }

    pub(crate) async fn until_nothing_beside(&self) {
        let runs = async || list_all(&*self.store, &self.keys.runs).await.expect("list").0;
        self.until("no run is beside a lock", async || runs().await.is_empty().then_some(())).await;
    }

    /// What a manager writes that passes over these ticks of an every-second job.
    pub(crate) async fn name_passed(&self, job: &str, from: i64, to: i64) {
        let (from, to) = (self.tick(from), self.tick(to));
        let count = u64::try_from(to.seconds() - from.seconds() + 1).expect("in order");
        let ticks = Stretch { from, to, count, why: Why::Usual };
        let passed = Passed { job: name(job), ticks, reason: "its job was deleted".into() };
        let put = Op::Put(self.keys.passed(&passed.job, to), passed.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("name ticks");
    }

    /// Wants a run of the job, so many seconds behind the start.
    pub(crate) async fn want(&self, job: &str, seconds: f64) -> RunId {
        self.enqueue(&self.wanted(job, seconds)).await
    }

    /// Wants the next attempt of what [`Bench::want`] wanted, so many seconds behind the start.
    pub(crate) async fn want_again(&self, job: &str, seconds: f64) -> RunId {
        let again = QueuedRun { attempt: 2, cause: Cause::Retry, ..self.wanted(job, seconds) };
        self.enqueue(&again).await
    }

    /// Wants a run, and the next attempt of another job's run so many seconds later, by a clock that is a day ahead.
    pub(crate) async fn want_a_day_ahead(&self, job: &str, again: &str, seconds: f64) {
        let day = chrono::Duration::days(1);
        let since = start() + day;
        let wanted = QueuedRun { since, not_before: None, ..self.wanted(job, 0.0) };
        self.enqueue(&wanted).await;
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5e".parse().expect("a good id");
        let not_before = Some(self.instant(seconds) + day);
        let again =
            QueuedRun { run, attempt: 2, cause: Cause::Retry, since, not_before, ..self.wanted(again, 0.0) };
        self.enqueue(&again).await;
    }

    /// A queued run that was killed before anybody saw it; its kill is gone.
    pub(crate) async fn want_killed(&self, job: &str) -> RunId {
        let kill = Kill { by: "a test".into(), at: start(), worker: None };
        self.enqueue(&QueuedRun { killed: Some(kill), ..self.wanted(job, 0.0) }).await
    }

    /// Wants one more run, of another id.
    pub(crate) async fn want_another(&self, job: &str) -> RunId {
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5d".parse().expect("a good id");
        self.enqueue(&QueuedRun { run, ..self.wanted(job, 0.0) }).await
    }

    async fn enqueue(&self, wanted: &QueuedRun) -> RunId {
        let put = Op::Put(self.keys.wanted(&wanted.run), wanted.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("want a run");
        wanted.run
    }

    fn wanted(&self, job: &str, seconds: f64) -> QueuedRun {
        QueuedRun {
            job: name(job),
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5c".parse().expect("a good id"),
            attempt: 1,
            cause: Cause::Manual,
            tick: None,
            since: start(),
            not_before: Some(self.instant(seconds)),
            deadline: None,
            worker: None,
            by: String::new(),
            killed: None,
            task: None,
        }
    }

    /// Hands in a task, as a manager does.
    pub(crate) async fn hand_in(&self, task: &Task, not_before: Option<f64>, deadline: Option<f64>) -> RunId {
        let at = |seconds: Option<f64>| seconds.map(|seconds| self.instant(seconds));
        let wanted = QueuedRun {
            job: task.name.clone(),
            not_before: at(not_before),
            deadline: at(deadline),
            task: Some(Arc::new(task.clone())),
            ..self.wanted("a", 0.0)
        };
        self.enqueue(&wanted).await
    }

    /// Another task, of another id.
    pub(crate) async fn want_another_task(&self, task: &Task) -> RunId {
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5d".parse().expect("a good id");
        let task = Some(Arc::new(task.clone()));
        self.enqueue(&QueuedRun { run, task, not_before: None, ..self.wanted("reindex", 0.0) }).await
    }

    /// A task that a worker claimed which is gone; `ended` if it had ended.
    pub(crate) async fn leave_task_of_a_dead_worker(&self, task: &Task, ended: Option<Ended>) -> RunId {
        self.leave_active(ActiveTask {
            held: self.held(task.name.as_str()),
            task: Arc::new(task.clone()),
            ended,
        })
        .await
    }

    /// A task in the worker's own name, of a claim that it has given up.
    pub(crate) async fn leave_phantom_task(&self, task: &Task) -> RunId {
        let own = list_all(&*self.store, &self.keys.workers).await.expect("list").0.pop();
        let session = own.expect("the worker is registered").create_revision;
        let held = self.held(task.name.as_str());
        let held = HeldLock { worker: "w".parse().expect("a good id"), session, ..held };
        self.leave_active(ActiveTask { held, task: Arc::new(task.clone()), ended: None }).await
    }

    async fn leave_active(&self, active: ActiveTask) -> RunId {
        let put = Op::Put(self.keys.active(&active.held.run), active.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("leave a task");
        active.held.run
    }

    /// Wants the worker to take nothing new, and to end what it runs.
    pub(crate) async fn drain(&self, evict: bool) {
        let drain = Drain { by: "a test".into(), at: self.clock.now(), note: "new disk".into(), evict };
        let put = Op::Put(self.keys.drain(&"w".parse().expect("a good id")), drain.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("drain");
    }

    /// Takes that back.
    pub(crate) async fn undrain(&self) {
        let delete = vec![Op::Delete(self.keys.drain(&"w".parse().expect("a good id")))];
        self.store.txn(Txn::when(Vec::new(), delete)).await.expect("undrain");
    }

    /// Until the worker says so of itself.
    pub(crate) async fn until_readiness(&self, wanted: Readiness) {
        let key = self.keys.worker(&"w".parse().expect("a good id"));
        self.until("the worker says so", async || {
            let entry = self.store.get(&key).await.expect("read").0?;
            (Registration::decode(&entry.value).expect("it decodes").readiness == wanted).then_some(())
        })
        .await;
    }

    /// Wants an end of one run.
    pub(crate) async fn kill_run(&self, run: &RunId) {
        let kill = Kill { by: "a test".into(), at: self.clock.now(), worker: None };
        let put = Op::Put(self.keys.kill_run(run), kill.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("kill");
    }

    /// Another task that was lost with its worker, behind all others in the store.
    pub(crate) async fn leave_lost_task(&self, task: &Task) {
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5f".parse().expect("a good id");
        let held = HeldLock { run, ..self.held(task.name.as_str()) };
        self.leave_active(ActiveTask { held, task: Arc::new(task.clone()), ended: None }).await;
    }

    /// Until one task is left that is claimed.
    pub(crate) async fn until_one_task(&self) {
        let active = async || list_all(&*self.store, &self.keys.active).await.expect("list").0;
        self.until("one task is active", async || (active().await.len() == 1).then_some(())).await;
    }

    /// What is on record of a run.
    pub(crate) async fn records(&self, run: &RunId) -> Vec<RunRecord> {
        self.runlog.run(run).await.expect("read the run log")
    }

    /// Until no task is claimed any more.
    pub(crate) async fn until_no_task(&self) {
        let active = async || list_all(&*self.store, &self.keys.active).await.expect("list").0;
        self.until("no task is active", async || active().await.is_empty().then_some(())).await;
    }

    /// The run's records once there are so many, in order.
    pub(crate) async fn until_records(&self, run: &RunId, count: usize) -> Vec<RunRecord> {
        self.until("so many attempts are on record", async || {
            let records = self.runlog.run(run).await.expect("read the run log");
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// As TERM does.
    pub(crate) fn tell_to_end(&self) {
        self.shutdown.cancel();
    }

    /// The jobs of which a run is queued, and its attempt.
    pub(crate) async fn queued(&self) -> Vec<(String, u32)> {
        let (queued, _) = list_all(&*self.store, &self.keys.queue).await.expect("list");
        let queued = queued.iter().map(|entry| QueuedRun::decode(&entry.value).expect("it decodes"));
        queued.map(|wanted| (wanted.job.to_string(), wanted.attempt)).collect()
    }

    pub(crate) async fn until_nothing_queued(&self) {
        let left = async || list_all(&*self.store, &self.keys.queue).await.expect("list").0;
        self.until("the queue is empty", async || left().await.is_empty().then_some(())).await;
    }

    pub(crate) async fn until_nothing_passed(&self) {
        let left = async || list_all(&*self.store, &self.keys.passed).await.expect("list").0;
        self.until("no ticks wait for a record", async || left().await.is_empty().then_some(())).await;
    }

    /// Another worker, which can be seen and does nothing. It is not the first choice for the jobs of these tests.
    pub(crate) async fn register(&self, id: &str) {
        let id = id.parse().expect("a good id");
        let own = list_all(&*self.store, &self.keys.workers).await.expect("list").0.pop();
        let own = Registration::decode(&own.expect("the worker is registered").value).expect("it decodes");
        let other = Registration { id, ..own };
        let put = Op::Put(self.keys.worker(&other.id), other.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("register");
    }

    /// The worker's registration is taken away, as when its lease ends.
    pub(crate) async fn deregister(&self) {
        let delete = vec![Op::Delete(self.keys.worker(&"w".parse().expect("a good id")))];
        self.store.txn(Txn::when(Vec::new(), delete)).await.expect("deregister");
    }

    pub(crate) async fn delete(&self, name: &str) {
        let delete = vec![Op::Delete(self.keys.job(&self::name(name)))];
        self.store.txn(Txn::when(Vec::new(), delete)).await.expect("delete a job");
    }

    /// The revision at which the job's lock stands.
    pub(crate) async fn lock_revision(&self, job: &str) -> common::revision::Revision {
        let (entry, _) = self.store.get(&self.keys.lock(&name(job))).await.expect("read a lock");
        entry.expect("there is a lock").mod_revision
    }

    /// Saves what has changed of a job, and leaves its lock alone.
    pub(crate) async fn edit(&self, job: &Job) {
        let definition = StoredJob::new(job.clone(), self.clock.now()).encode();
        let put = vec![Op::Put(self.keys.job(&job.name), definition, None)];
        self.store.txn(Txn::when(Vec::new(), put)).await.expect("save a job");
    }

    /// Waits until the worker has heard of all that was saved up to now: the next run that starts is one that is saved
    /// and wanted only now.
    pub(crate) async fn until_heard(&mut self) {
        let mut other = job("other");
        other.trigger = Trigger::Manual;
        self.put(&other, start()).await;
        self.want_another("other").await;
        let started = self.started().await;
        assert_eq!(job_of(&started), "other", "another run started");
        started.end();
    }

    /// Waits until the worker waits for an instant between these, in seconds behind the start.
    pub(crate) async fn until_awaited(&self, from: f64, to: f64) {
        let awaited = self.clock.until_awaited(self.instant(from), self.instant(to));
        tokio::time::timeout(PATIENCE, awaited).await.expect("the worker waits for that instant");
    }

    pub(crate) fn instant(&self, seconds: f64) -> DateTime<Utc> {
        start() + Duration::from_secs_f64(seconds)
    }

    /// The tick of an every-second job before this one.
    pub(crate) fn before(&self, tick: Tick) -> Tick {
        Tick::from_instant(tick.instant() - chrono::Duration::seconds(1))
    }

    pub(crate) fn tick(&self, seconds: i64) -> Tick {
        Tick::from_instant(start() + chrono::Duration::seconds(seconds))
    }

    /// Moves the clock to so many seconds behind the start.
    pub(crate) async fn move_to(&self, seconds: f64) {
        let now = self.clock.since_boot();
        self.clock.advance(Duration::from_secs_f64(seconds).saturating_sub(now));
    }

    /// Lets so many seconds pass.
    pub(crate) fn pass(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    /// The clock is set back by so many seconds.
    pub(crate) fn set_back(&self, seconds: f64) {
        self.clock.set_back(Duration::from_secs_f64(seconds));
    }

    /// Frees the job's lock at this tick, as a manager does who resets its fence.
    pub(crate) async fn reset_fence(&self, job: &str, fence: Tick) {
        let put = Op::Put(self.keys.lock(&name(job)), Lock::new(fence).encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("reset a fence");
    }

    /// From here on the store takes no writes of the worker's, or takes them again.
    pub(crate) fn set_full(&self, full: bool) {
        self.filling.set_full(full);
    }

    /// The worker's next claim fills the store: it is done, and told as refused.
    pub(crate) fn fill_by_a_claim(&self) {
        self.filling.fill_by_a_claim();
    }

    pub(crate) async fn until_claim_refused(&self) {
        self.until("a claim is refused", async || (self.filling.refused() > 0).then_some(())).await;
    }

    /// Wants an end of the job's runs.
    pub(crate) async fn kill(&self, job: &str) {
        let kill = Kill { by: "a test".into(), at: self.clock.now(), worker: None };
        let put = Op::Put(self.keys.kill_job(&name(job)), kill.encode(), None);
        self.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("kill");
    }

    /// The next run that starts.
    pub(crate) async fn started(&mut self) -> Started {
        let started = tokio::time::timeout(PATIENCE, self.runs.recv()).await.expect("a run starts");
        started.expect("the worker lives")
    }

    pub(crate) fn none_started(&mut self) -> bool {
        self.runs.try_recv().is_err()
    }

    async fn lock(&self, job: &str) -> Option<Lock> {
        let (entry, _) = self.store.get(&self.keys.lock(&name(job))).await.expect("read a lock");
        entry.map(|entry| Lock::decode(&entry.value).expect("it decodes"))
    }

    pub(crate) async fn until_held(&self, job: &str) -> HeldLock {
        self.until("the lock is held", async || match self.lock(job).await {
            Some(Lock::Held(held)) => Some(held),
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_free_at(&self, job: &str, fence: Tick) {
        let free = async || match self.lock(job).await {
            Some(Lock::Free(free)) if free.fence == fence => Some(()),
            _ => None,
        };
        self.until("the lock is free at that tick", free).await;
    }

    pub(crate) async fn until_no_lock(&self, job: &str) {
        self.until("the lock is gone", async || self.lock(job).await.is_none().then_some(())).await;
    }

    /// The lock's values from now on.
    pub(crate) async fn watch_lock(&self, job: &str) -> Locks {
        let key = self.keys.lock(&name(job));
        let (_, revision) = self.store.get(&key).await.expect("read a lock");
        Locks(self.store.watch(&self.keys.locks, revision + 1), VecDeque::new())
    }

    /// The job's records of ticks without a run.
    pub(crate) async fn ticks(&self, job: &str) -> Vec<TickRecord> {
        let query = TickQuery { job: Some(job.to_owned()), ..TickQuery::default() };
        self.runlog.ticks(&query).await.expect("read the run log")
    }

    pub(crate) async fn until_ticks(&self, job: &str) -> TickRecord {
        self.until("a tick is on record", async || self.ticks(job).await.pop()).await
    }

    /// The tick that waits for the end of the job's run.
    pub(crate) async fn until_waiting(&self, job: &str) -> Tick {
        let key = self.keys.next_of(&name(job));
        self.until("a tick waits", async || {
            let entry = self.store.get(&key).await.expect("read the queue").0?;
            QueuedRun::decode(&entry.value).expect("it decodes").tick
        })
        .await
    }

    /// Until the ticks of an every-second job from one to another are on record, each once.
    pub(crate) async fn until_on_record(&self, job: &str, from: Tick, to: Tick) {
        let wanted: Vec<i64> = (from.seconds()..=to.seconds()).collect();
        self.until("the ticks are on record", async || {
            let records = self.ticks(job).await;
            let mut told: Vec<i64> =
                records.iter().flat_map(|record| record.from.seconds()..=record.to.seconds()).collect();
            told.sort_unstable();
            (told == wanted).then_some(())
        })
        .await;
    }

    /// The job's oldest record of a run.
    pub(crate) async fn until_ended(&self, job: &str) -> RunRecord {
        let log = async || self.runlog.log(job, 0, 10).await.expect("read the run log").pop();
        self.until("a run is on record", log).await
    }

    /// How the job's runs ended, the newest first, when so many are on record.
    pub(crate) async fn until_states(&self, job: &str, count: usize) -> Vec<RunState> {
        let states = async || {
            let log = self.runlog.log(job, 0, 10).await.expect("read the run log");
            let states: Vec<RunState> = log.into_iter().map(|record| record.state).collect();
            (states.len() >= count).then_some(states)
        };
        self.until("so many runs are on record", states).await
    }

    async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "still not so: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a lock says, one value after the other.
pub(crate) struct Locks(BoxStream<'static, Result<Events, StoreError>>, VecDeque<Event>);

impl Locks {
    pub(crate) async fn next(&mut self) -> Lock {
        loop {
            match self.1.pop_front() {
                Some(Event::Put(entry)) => return Lock::decode(&entry.value).expect("it decodes"),
                Some(Event::Deleted(..)) => panic!("the lock was deleted"),
                None => {
                    let events = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("it changes");
                    self.1.extend(events.expect("the watch goes on").expect("it is whole").events);
                }
            }
        }
    }
}

fn name(job: &str) -> JobName {
    job.parse().expect("a good name")
}

/// Says what starts, and leaves the rest to the test. A job that has the label `stubborn` does not end when told.
struct Scripted(mpsc::UnboundedSender<Started>);

struct Execution {
    ended: oneshot::Receiver<()>,
    told_to_end: oneshot::Sender<()>,
    stubborn: bool,
}

#[async_trait]
impl Driver for Scripted {
    async fn start(&self, spec: &RunSpec, _output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let ((end, ended), (tell, told_to_end)) = (oneshot::channel(), oneshot::channel());
        // A test that has what it wanted no longer listens.
        let _ = self.0.send(Started { spec: spec.clone(), end, told_to_end });
        let stubborn = spec.job.labels.contains_key("stubborn");
        Ok(Box::new(Execution { ended, told_to_end: tell, stubborn }))
    }
}

#[async_trait]
impl Running for Execution {
    async fn wait(self: Box<Self>, mut stop: StopSignal) -> Exit {
        let mut ended = self.ended;
        tokio::select! {
            // A test that drops the run lets it go on.
            Ok(()) = &mut ended => return Exit::code(0),
            _ = stop.wait_for(Option::is_some) => {}
        }
        let _ = self.told_to_end.send(());
        if self.stubborn && ended.await.is_ok() {
            return Exit::code(0);
        }
        Exit::signal(15)
    }
}
