//! A machine, of a worker or of a manager: it outlives what runs on it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    id::RunId,
    live::{LiveError, LiveOutput, LiveOutputs},
    runlog::RunLog,
    store::{Store, key::Keys},
    worker::Registration,
};
use manager::{Manager, ManagerConfig, ManagerPorts};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use worker::{Simulated, Worker, WorkerConfig, WorkerPorts, spool};

use crate::{
    clock::{SimClock, Time},
    door::Door,
    driver::SimDriver,
    ledger::Ledger,
    link::{Health, Link, STREAMS, Way},
    network::Network,
    wire::Wire,
};

/// What all machines share.
pub struct Surroundings {
    /// Virtual time.
    pub time: Time,
    /// What carries everything.
    pub network: Arc<Network>,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The run log itself.
    pub runlog: Arc<dyn RunLog>,
    /// Told what runs.
    pub ledger: Arc<Ledger>,
    /// Where everything is in the store.
    pub keys: Keys,
    /// Where all chance comes from.
    pub seed: u64,
}

/// A machine.
pub struct Node {
    number: usize,
    role: Role,
    /// Its clock.
    pub clock: Arc<SimClock>,
    lives: u32,
    life: Option<Life>,
    /// How its links are, also those of its next life.
    store_health: Health,
    runlog_health: Health,
}

/// What runs on a machine, and what of it outlives a life.
enum Role {
    Worker { config: Box<WorkerConfig>, spool: Arc<spool::Memory> },
    Manager { config: Box<ManagerConfig>, door: Arc<Door> },
}

/// A process that lives.
struct Life {
    shutdown: CancellationToken,
    died: CancellationToken,
    store: Arc<Link>,
    runlog: Arc<Link>,
    running: JoinHandle<()>,
}

/// What a life begins with.
struct Birth {
    store: Arc<dyn Store>,
    runlog: Arc<dyn RunLog>,
    shutdown: CancellationToken,
    died: CancellationToken,
    seed: u64,
}

/// Lives of a machine, at most: each has ids of links of its own.
const LIVES: u32 = 1_000;

/// A worker's lease.
const LEASE: Duration = Duration::from_secs(15);

/// A manager that is told to end gets so long.
const DRAIN: Duration = Duration::from_secs(5);

impl Node {
    /// A machine whose worker has not started yet, with a folder of its own.
    pub fn worker(number: usize, dir: &Path, around: &Surroundings) -> std::io::Result<Self> {
        let id = format!("worker-{number:02}");
        let data_dir = dir.join(&id);
        std::fs::create_dir_all(&data_dir)?;
        let config = WorkerConfig {
            id: id.parse().expect("a good id"),
            keys: around.keys.clone(),
            labels: BTreeMap::new(),
            slots: 5_000,
            lease_ttl: LEASE,
            hedge: Duration::from_millis(250),
            data_dir,
            shell: "/bin/sh".into(),
            http_forbid: worker::driver::Forbidden::default(),
            engine: worker::driver::EngineAddress::default(),
            registry_auth: None,
            self_exe: "/nowhere".into(),
            address: String::new(),
            host: id,
            version: "sim".into(),
            retention: Duration::from_secs(20 * 60),
        };
        let spool = Arc::new(spool::Memory::default());
        spool.set_sync_time(SYNC);
        Ok(Self::new(number, around, |_| Role::Worker { config: Box::new(config), spool }))
    }

    /// A machine whose manager has not started yet.
    pub fn manager(number: usize, around: &Surroundings) -> Self {
        let config = ManagerConfig {
            id: format!("manager-{number:02}"),
            keys: around.keys.clone(),
            zone: chrono_tz::Tz::UTC,
            listen: ([127, 0, 0, 1], 8070).into(),
            allowed_hosts: Vec::new(),
            lease_ttl: LEASE,
            // Compactions are the plan's.
            store_history: None,
            version: "sim".into(),
        };
        let door = |clock: &Arc<SimClock>| Arc::new(Door::new(clock.clone()));
        Self::new(number, around, |clock| Role::Manager { config: Box::new(config), door: door(clock) })
    }

    fn new(number: usize, around: &Surroundings, role: impl FnOnce(&Arc<SimClock>) -> Role) -> Self {
        // Clocks are never quite right.
        let ahead = i64::try_from(mix(around.seed, number as u64) % 41).unwrap_or_default() - 20;
        let clock = Arc::new(SimClock::new(around.time, ahead));
        Self {
            number,
            role: role(&clock),
            clock,
            lives: 0,
            life: None,
            store_health: Health::default(),
            runlog_health: Health::default(),
        }
    }

    /// Starts what runs on it, if it does not live.
    pub fn start(&mut self, around: &Surroundings) {
        if self.life.is_some() {
            return;
        }
        self.lives += 1;
        let machine = u32::try_from(self.number).unwrap_or_default();
        let id = (machine * LIVES + self.lives % LIVES) * 2 * STREAMS;
        let seed = mix(mix(around.seed, 1 + u64::from(machine)), u64::from(self.lives));
        let (store, runlog) =
            (Link::new(id, seed, &around.network), Link::new(id + STREAMS, mix(seed, 1), &around.network));
        store.set(self.store_health);
        runlog.set(self.runlog_health);
        let (shutdown, died) = (CancellationToken::new(), CancellationToken::new());
        let birth = Birth {
            store: Arc::new(Wire::new(around.store.clone(), store.clone())),
            runlog: Arc::new(Wire::new(around.runlog.clone(), runlog.clone())),
            shutdown: shutdown.clone(),
            died: died.clone(),
            seed,
        };
        let running = match &self.role {
            Role::Worker { config, spool } => self.start_worker(config, spool, &around.ledger, birth),
            Role::Manager { config, door } => self.start_manager(config, door, birth),
        };
        self.life = Some(Life { shutdown, died, store, runlog, running });
    }

    fn start_worker(
        &self,
        config: &WorkerConfig,
        spool: &Arc<spool::Memory>,
        ledger: &Arc<Ledger>,
        birth: Birth,
    ) -> JoinHandle<()> {
        let seed = birth.seed;
        let driver =
            SimDriver::new(ledger.clone(), self.number, self.clock.clone(), birth.died, mix(seed, 2));
        let ports = WorkerPorts { store: birth.store, runlog: birth.runlog, clock: self.clock.clone() };
        let simulated = Simulated { driver: Arc::new(driver), spool: spool.clone(), seed: mix(seed, 3) };
        let worker = Worker::simulated(config.clone(), ports, simulated);
        tokio::spawn(async move {
            // It has said what was wrong, and it shows in what it did not do.
            let _ = worker.run(None, birth.shutdown).await;
        })
    }

    fn start_manager(&self, config: &ManagerConfig, door: &Arc<Door>, birth: Birth) -> JoinHandle<()> {
        let ports = ManagerPorts {
            store: birth.store,
            runlog: birth.runlog,
            live: Arc::new(NothingLive),
            clock: self.clock.clone(),
            assets: |_| None,
            metrics: Arc::new(String::new),
        };
        let manager = Manager::simulated(config.clone(), ports, mix(birth.seed, 3));
        door.open(manager.router(), birth.died);
        let address = config.listen;
        tokio::spawn(async move {
            let tasks = manager.start(address, birth.shutdown.clone());
            birth.shutdown.cancelled().await;
            // Else its registration ends with its lease.
            let _ = timeout(DRAIN, tasks.wait()).await;
        })
    }

    /// The machine dies: nothing that its process does from here on reaches anybody. What is left of it is told to end, so
    /// that it takes no memory.
    pub fn die(&mut self) {
        if let Some(life) = self.life.take() {
            match &self.role {
                Role::Worker { spool, .. } => spool.end_life(),
                Role::Manager { door, .. } => door.close(),
            }
            for link in [&life.store, &life.runlog] {
                link.set(Health { way: Way::Dead, ..Health::default() });
            }
            life.died.cancel();
            life.shutdown.cancel();
        }
    }

    /// Tells its process to end, and waits for that.
    pub async fn end(&mut self) {
        if let Some(life) = self.life.take() {
            if let Role::Manager { door, .. } = &self.role {
                door.close();
            }
            life.shutdown.cancel();
            // A panic has been reported by itself, and shows in what the process did not do.
            let _ = life.running.await;
        }
    }

    /// Sets how its way to the store is.
    pub fn set_store(&mut self, health: Health) {
        self.store_health = health;
        if let Some(life) = &self.life {
            life.store.set(health);
        }
    }

    /// Sets how its way to the run log is.
    pub fn set_runlog(&mut self, health: Health) {
        self.runlog_health = health;
        if let Some(life) = &self.life {
            life.runlog.set(health);
        }
    }

    /// Its watches are told that what they want is compacted.
    pub fn compact(&self) {
        if let Some(life) = &self.life {
            life.store.compact();
        }
    }

    /// Its disk, if it has one.
    pub fn spool(&self) -> Option<&Arc<spool::Memory>> {
        match &self.role {
            Role::Worker { spool, .. } => Some(spool),
            Role::Manager { .. } => None,
        }
    }

    /// The way in, if it is a manager's.
    pub fn door(&self) -> Option<&Arc<Door>> {
        match &self.role {
            Role::Worker { .. } => None,
            Role::Manager { door, .. } => Some(door),
        }
    }
}

/// Nobody watches what runs print.
struct NothingLive;

#[async_trait]
impl LiveOutputs for NothingLive {
    async fn read(&self, _: &Registration, _: &RunId, _: u64) -> Result<LiveOutput, LiveError> {
        Err(LiveError::NotRunning)
    }
}

/// How long a sound disk takes to keep something.
pub const SYNC: Duration = Duration::from_millis(1);

/// Two numbers into one that tells of both.
pub fn mix(one: u64, other: u64) -> u64 {
    let mut x = one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.wrapping_add(0x2545_f491_4f6c_dd1d);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
