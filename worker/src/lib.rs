//! A worker: watches the jobs, decides for itself which ticks it runs, takes a lock per job, runs them, and keeps the
//! run logs. It names no adapter: the store and the run log are ports.
//!
//! The way of a tick: `tick/scheduler.rs` (due) → `tick/decide.rs` (claim, skip, catch up, as `tick/verdict.rs` says) →
//! `run/carry_out.rs` (run, spool, finish) → `shipper.rs` (run log).

// A process must not panic because nobody reads what it says.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{io, sync::Arc, time::Duration};

use common::{
    chance::Chance,
    clock::Clock,
    id::JobName,
    runlog::RunLog,
    serve::{Limits, serve},
    store::{Revision, Store},
    vital::Vital,
};
use futures::future::BoxFuture;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    claim::{
        batch::Batcher,
        claims::{Beside, Claims},
        post::Posts,
    },
    driver::{DriverConfig, Drivers},
    duty::{boot::Boots, locks::Locks, passed::PassedTicks, tasks::ActiveTasks},
    guard::GuardHandle,
    machine::{Leftovers, Machine, containers, open_spool, spill_dir},
    parts::Parts,
    plan::Plan,
    run::{live, lost, runner::Runner},
    session::{
        Standing,
        lease::{Keeper, Trust},
        life::{Life, LifeFile},
        load::Load,
    },
    shipper::Logged,
};

pub use config::WorkerConfig;

pub mod claim;
mod config;
pub mod driver;
mod duty;
pub mod guard;
mod machine;
pub mod output;
mod parts;
pub mod plan;
mod queue;
pub mod run;
pub mod session;
pub mod shipper;
pub mod spool;
pub mod tick;

/// What a worker is given.
pub struct WorkerPorts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The run log.
    pub runlog: Arc<dyn RunLog>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What a simulated worker is given besides.
#[cfg(feature = "test-support")]
pub struct Simulated {
    /// It runs all commands.
    pub driver: Arc<dyn driver::Driver>,
    /// Its spool, with what an earlier life left in it.
    pub spool: Arc<spool::Memory>,
    /// What its chance comes from.
    pub seed: u64,
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its data directory cannot be used.
    #[error("the data directory {dir} cannot be used")]
    DataDir {
        /// Which.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// The guard that kills what a dead worker left behind cannot be started.
    #[error("the guard process cannot be started")]
    Guard(#[source] io::Error),
    /// A part of it that it cannot do without has ended by itself: a mistake in Quorate, which a new start gets over.
    #[error(
        "{0} has ended unexpectedly, and this worker must not go on without it: the log before this says why"
    )]
    Died(&'static str),
}

/// How long running runs may go on when the worker is told to end; then they are killed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The last chance of the run logs at the end; what is not shipped stays on disk.
const FLUSH: Duration = Duration::from_secs(5);

/// A worker.
pub struct Worker {
    config: Arc<WorkerConfig>,
    ports: WorkerPorts,
    load: Arc<Load>,
    runner: Arc<Runner>,
    machine: Machine,
    measurements: Option<live::Measurements>,
    vital: Vital,
}

impl Worker {
    /// Prepares the data directory and starts the guard.
    pub fn new(config: WorkerConfig, ports: WorkerPorts) -> Result<Self, WorkerError> {
        let load = Load::new(config.slots);
        let spool = open_spool(&config, &load)?;
        let life = Life::new(guard::new_session_token(), &config.data_dir);
        let leftovers = Leftovers::of(&config, &life);
        let guard = GuardHandle::spawn(config.self_exe.clone(), &life.token, Some(config.engine.clone()));
        let guard = guard.map_err(WorkerError::Guard)?;
        let drivers = Drivers::new(DriverConfig {
            shell: config.shell.clone(),
            containers: containers(&config, &life),
            forbidden: config.http_forbid,
            ..DriverConfig::new(config.self_exe.clone(), life.token.clone(), guard.clone())
        });
        let dir = Some(config.data_dir.clone());
        let machine = Machine { spool, guard, life, chance: Chance::default(), leftovers, dir };
        Ok(Self::on(machine, config, ports, load, drivers))
    }

    /// The same with another way to execute, for measurements: `driver` runs all commands, and there is no guard.
    #[cfg(feature = "test-support")]
    pub fn with_driver(
        config: WorkerConfig,
        ports: WorkerPorts,
        driver: Arc<dyn driver::Driver>,
    ) -> Result<Self, WorkerError> {
        let load = Load::new(config.slots);
        let machine = Machine {
            spool: open_spool(&config, &load)?,
            guard: GuardHandle::absent(),
            life: Life::new(guard::new_session_token(), &config.data_dir),
            chance: Chance::default(),
            leftovers: Leftovers::default(),
            dir: None,
        };
        Ok(Self::on(machine, config, ports, load, Drivers::only(driver)))
    }

    /// The same in a simulation, whose clock waits for no thread and no disk, and in which nothing happens by chance.
    /// There is no boot to tell from others, so that `@reboot` jobs are not started.
    #[cfg(feature = "test-support")]
    pub fn simulated(
        config: WorkerConfig,
        ports: WorkerPorts,
        Simulated { driver, spool, seed }: Simulated,
    ) -> Self {
        let load = Load::new(config.slots);
        let life = Life { token: String::new(), lease: None, boot: String::new(), place: String::new() };
        let machine = Machine {
            spool: spool::Spool::in_memory(&spool),
            guard: GuardHandle::absent(),
            life,
            chance: Chance::seeded(seed),
            // What executed in an earlier life died with it; its lease may live.
            leftovers: Leftovers { lease: Leftovers::lease(&config), ..Leftovers::default() },
            dir: None,
        };
        Self::on(machine, config, ports, load, Drivers::only(driver))
    }

    fn on(
        machine: Machine,
        config: WorkerConfig,
        ports: WorkerPorts,
        load: Arc<Load>,
        drivers: Drivers,
    ) -> Self {
        let runner = Runner::new(ports.clock.clone(), drivers, spill_dir(&config), config.retention);
        let vital = Vital::default();
        Self { config: Arc::new(config), ports, load, runner, machine, measurements: None, vital }
    }

    /// Serves this process's measurements as well.
    #[must_use]
    pub fn with_measurements(self, measurements: live::Measurements) -> Self {
        Self { measurements: Some(measurements), ..self }
    }

    /// What executes here, for live output.
    pub fn runner(&self) -> Arc<Runner> {
        self.runner.clone()
    }

    /// Kills what an earlier life left behind, works until `shutdown`, then ends in order: claims nothing, ends its
    /// runs, ships its logs, gives up its lease. It ends in the same order, with an error, when a part of it dies.
    pub async fn run(
        mut self,
        listener: Option<TcpListener>,
        shutdown: CancellationToken,
    ) -> Result<(), WorkerError> {
        // Before the keeper revokes the earlier life's lease: without it others may start what still executes.
        let ending = CancellationToken::new();
        if !self.machine.kill_leftovers(&self.config, &ending).await {
            // Then it ends by itself, and this worker waits for its id until then.
            self.machine.leftovers.lease = None;
        }
        let background = TaskTracker::new();
        let trust = watch::Sender::new(None);
        let (logged, log) = mpsc::unbounded_channel();
        self.start_background(&background, &ending, (listener, logged), trust.subscribe());
        let (plan, jobs) = Plan::new();
        let (parts, freed) = self.parts(&background, &ending, trust.subscribe(), plan);
        let standing = parts.standing.clone();
        self.start_hearing(&background, &ending, &parts);
        let following = parts.tasks.clone().follow_log(log);
        self.vital.spawn(&background, "what follows the run log", &ending, following);
        let lease_ending = CancellationToken::new();
        let keeper = self.keeper(trust, parts.registry.removed()).run(lease_ending.clone());
        let keeping = self.vital.spawn(&TaskTracker::new(), "the keeper of the lease", &lease_ending, keeper);
        let scheduler = Arc::new(parts.scheduler()).run();
        let scheduling = self.vital.spawn(&TaskTracker::new(), "the scheduler", &standing.closing, scheduler);
        self.start_duties(&parts);
        let news = queue::take::News { jobs, freed };
        let queue = Arc::new(parts.queue()).run(news);
        let closing = standing.closing.clone();
        self.vital.spawn(&standing.tasks, "what looks after the queue", &closing, queue);

        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            part = self.vital.died() => tracing::error!("{part} has ended unexpectedly; ending this worker"),
        }
        // From here on this worker claims nothing.
        self.load.drain();
        standing.closing.cancel();
        // A task that panicked was reported by its panic.
        let _ = scheduling.await;
        standing.tasks.close();
        if timeout(SHUTDOWN_GRACE, standing.tasks.wait()).await.is_err() {
            self.runner.end_all();
            if timeout(SHUTDOWN_GRACE, standing.tasks.wait()).await.is_err() {
                self.say_what_is_left();
            }
        }
        ending.cancel();
        // What the run log does not take now stays in the spool.
        if timeout(FLUSH, shipper::flush(&self.machine.spool, &*self.ports.runlog)).await.is_err() {
            tracing::warn!(
                "the run log did not take all records in time; they are shipped after the next start"
            );
        }
        background.close();
        if timeout(FLUSH, background.wait()).await.is_err() {
            tracing::debug!("something in the background did not end in time");
        }
        // Last, because without the lease others may take over our runs.
        lease_ending.cancel();
        if timeout(FLUSH, keeping).await.is_err() {
            tracing::warn!("the lease could not be given up in time; it ends by itself");
        }
        self.vital.dead().map_or(Ok(()), |part| Err(WorkerError::Died(part)))
    }

    /// Starts what hears of the store's changes, or tells it of this worker's.
    fn start_hearing(&self, background: &TaskTracker, ending: &CancellationToken, parts: &Parts) {
        let vital = |name, until, task| self.vital.spawn(background, name, until, task);
        let (store, keys) = (self.ports.store.clone(), self.config.keys.clone());
        let closing = &parts.standing.closing;
        let registry = parts.registry.clone().run(store.clone(), keys.clone(), ending.clone());
        vital("the registry", ending, Box::pin(registry) as BoxFuture<'static, ()>);
        vital("what publishes marks", closing, Box::pin(parts.publisher().run()));
        let kills = parts.kill_watch().run(store.clone(), ending.clone());
        vital("what hears of kills", ending, Box::pin(kills));
        let journal = parts.carrier.journal.clone();
        vital("what notes why nothing is claimed", closing, Box::pin(journal.note_hindrances()));
        let key = keys.drain(&self.config.id);
        let (load, runner) = (self.load.clone(), self.runner.clone());
        let drain = run::drain::run(store.clone(), (keys.clone(), key), load, runner, ending.clone());
        vital("what hears that it is to take nothing new", ending, Box::pin(drain));
        let epoch = session::epoch::run(store, keys, self.load.clone(), ending.clone());
        vital("what follows the epoch", ending, Box::pin(epoch));
        vital("what sends transactions", ending, Box::pin(parts.claims.batcher.clone().ended()));
    }

    /// Starts the duties.
    fn start_duties(&self, parts: &Parts) {
        let standing = &parts.standing;
        let vital = |name, task| self.vital.spawn(&standing.tasks, name, &standing.closing, task);
        let locks = duty::run(Locks::new(parts.decider.clone()), standing.clone());
        vital("the caretaker", Box::pin(locks) as BoxFuture<'static, ()>);
        let tasks = ActiveTasks::new(parts.tasks.clone(), parts.registry.clone(), self.ports.runlog.clone());
        vital("what looks after tasks", Box::pin(duty::run(tasks, standing.clone())));
        let passed = PassedTicks::new(parts.registry.clone(), parts.carrier.journal.clone(), &parts.claims);
        vital("what records passed ticks", Box::pin(duty::run(passed, standing.clone())));
        if let Some(boots) = Boots::new(parts.claims.clone(), self.machine.life.boot.clone()) {
            standing.tasks.spawn(duty::run(boots, standing.clone()));
        }
    }

    fn say_what_is_left(&self) {
        let executing = self.load.executing();
        if executing > 0 {
            tracing::warn!(
                runs = executing,
                "some runs did not end in time; the guard ends them, and their caretakers record them"
            );
        }
        let ended = self.load.running().saturating_sub(executing);
        if ended > 0 {
            tracing::warn!(
                runs = ended,
                "some runs have ended, but the store cannot be told; their locks end with this worker's lease"
            );
        }
    }

    fn start_background(
        &self,
        background: &TaskTracker,
        ending: &CancellationToken,
        (listener, logged): (Option<TcpListener>, Logged),
        trust: watch::Receiver<Option<Trust>>,
    ) {
        if let Some(listener) = listener {
            let (router, ending) =
                (live::router(self.runner.clone(), self.measurements.clone()), ending.clone());
            let until = ending.clone();
            self.vital.spawn(background, "what serves live output", &until, async move {
                serve(listener, Limits::default(), |_| router.clone(), ending).await;
            });
        }
        if let Some(dir) = self.machine.dir.clone() {
            background.spawn(session::room::watch(dir, self.load.clone(), ending.clone()));
        }
        let copies = self.machine.leftovers.copies.clone();
        background.spawn(lost::keep(copies, self.machine.spool.clone(), self.config.retention));
        let (spool, runlog) = (self.machine.spool.clone(), self.ports.runlog.clone());
        let shipping = shipper::run(spool, runlog, Some(logged), ending.clone());
        self.vital.spawn(background, "the shipper", ending, shipping);
        let (runner, guard) = (self.runner.clone(), self.machine.guard.clone());
        let grace = self.config.lease_grace();
        let watching = run::trust::end_runs_without_trust(runner, guard, trust, grace, ending.clone());
        self.vital.spawn(background, "what ends runs without a lease", ending, watching);
    }

    fn parts(
        &mut self,
        background: &TaskTracker,
        ending: &CancellationToken,
        trust: watch::Receiver<Option<Trust>>,
        plan: Arc<Plan>,
    ) -> (Parts, mpsc::UnboundedReceiver<JobName>) {
        let chance = Arc::new(std::mem::take(&mut self.machine.chance));
        let (clock, load) = (self.ports.clock.clone(), self.load.clone());
        let standing = Standing::new(self.config.clone(), clock, load.clone(), trust);
        let (store, keys) = (self.ports.store.clone(), self.config.keys.clone());
        let batcher = Batcher::start(store.clone(), keys, load, background, ending.clone());
        let claims =
            Claims { standing, store, batcher, posts: Posts::default(), beside: Beside::default(), chance };
        Parts::new(Arc::new(claims), self.runner.clone(), self.machine.spool.clone(), plan)
    }

    fn keeper(&self, trust: watch::Sender<Option<Trust>>, removed: watch::Receiver<Revision>) -> Keeper {
        Keeper {
            config: self.config.clone(),
            store: self.ports.store.clone(),
            clock: self.ports.clock.clone(),
            load: self.load.clone(),
            file: LifeFile::in_dir(&self.config.data_dir),
            life: self.machine.life.clone(),
            stale: self.machine.leftovers.lease,
            removed,
            trust,
            started: self.ports.clock.now(),
        }
    }
}
