//! A worker's machine: it outlives the worker's lives.

use std::{path::Path, sync::Arc, time::Duration};

use common::{
    runlog::RunLog,
    store::{Store, key::Keys},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Simulated, Worker, WorkerConfig, WorkerError, WorkerPorts, spool};

use crate::{
    clock::{SimClock, Time},
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
    config: WorkerConfig,
    /// Its clock.
    pub clock: Arc<SimClock>,
    /// Its disk.
    pub spool: Arc<spool::Memory>,
    lives: u32,
    life: Option<Life>,
    /// How its links are, also those of its next life.
    store_health: Health,
    runlog_health: Health,
}

/// A worker that lives.
struct Life {
    shutdown: CancellationToken,
    died: CancellationToken,
    store: Arc<Link>,
    runlog: Arc<Link>,
    running: JoinHandle<Result<(), WorkerError>>,
}

/// Lives of a machine, at most: each has ids of links of its own.
const LIVES: u32 = 1_000;

impl Node {
    /// A machine whose worker has not started yet, with a folder of its own.
    pub fn new(number: usize, dir: &Path, around: &Surroundings) -> std::io::Result<Self> {
        let id = format!("worker-{number:02}");
        let data_dir = dir.join(&id);
        std::fs::create_dir_all(&data_dir)?;
        let config = WorkerConfig {
            id: id.parse().expect("a good id"),
            keys: around.keys.clone(),
            labels: std::collections::BTreeMap::new(),
            slots: 5_000,
            lease_ttl: Duration::from_secs(15),
            hedge: Duration::from_millis(250),
            data_dir,
            shell: "/bin/sh".into(),
            self_exe: "/nowhere".into(),
            address: String::new(),
            host: id,
            version: "sim".into(),
            retention: Duration::from_secs(20 * 60),
        };
        // Clocks are never quite right.
        let ahead = i64::try_from(mix(around.seed, number as u64) % 41).unwrap_or_default() - 20;
        let memory = Arc::new(spool::Memory::default());
        memory.set_sync_time(SYNC);
        Ok(Self {
            number,
            config,
            clock: Arc::new(SimClock::new(around.time, ahead)),
            spool: memory,
            lives: 0,
            life: None,
            store_health: Health::default(),
            runlog_health: Health::default(),
        })
    }

    /// Starts its worker, if none lives.
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
        let driver = SimDriver::new(
            around.ledger.clone(),
            self.number,
            self.clock.clone(),
            died.clone(),
            mix(seed, 2),
        );
        let ports = WorkerPorts {
            store: Arc::new(Wire::new(around.store.clone(), store.clone())),
            runlog: Arc::new(Wire::new(around.runlog.clone(), runlog.clone())),
            clock: self.clock.clone(),
        };
        let simulated = Simulated { driver: Arc::new(driver), spool: self.spool.clone(), seed: mix(seed, 3) };
        let worker = Worker::simulated(self.config.clone(), ports, simulated);
        let running = tokio::spawn(worker.run(None, shutdown.clone()));
        self.life = Some(Life { shutdown, died, store, runlog, running });
    }

    /// The machine dies: nothing that its worker does from here on reaches anybody. What is left of it is told to end, so
    /// that it takes no memory.
    pub fn die(&mut self) {
        if let Some(life) = self.life.take() {
            self.spool.end_life();
            for link in [&life.store, &life.runlog] {
                link.set(Health { way: Way::Dead, ..Health::default() });
            }
            life.died.cancel();
            life.shutdown.cancel();
        }
    }

    /// Tells its worker to end, and waits for that.
    pub async fn end(&mut self) {
        if let Some(life) = self.life.take() {
            life.shutdown.cancel();
            // A panic has been reported by itself, and shows in what the worker did not do.
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
