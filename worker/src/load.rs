//! What a worker executes now, and whether it may take more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use common::worker::Readiness;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Slots and the reasons not to claim.
#[derive(Debug)]
pub struct Load {
    slots: Arc<Semaphore>,
    total: u32,
    running: AtomicU32,
    ended: Notify,
    draining: AtomicBool,
    disk_full: AtomicBool,
    clock_ahead: AtomicBool,
}

/// A slot, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    load: Arc<Load>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load.running.fetch_sub(1, Ordering::SeqCst);
        self.load.ended.notify_waiters();
    }
}

impl Load {
    /// With so many slots.
    pub fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(slots as usize)),
            total: slots,
            running: AtomicU32::new(0),
            ended: Notify::new(),
            draining: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
            clock_ahead: AtomicBool::new(false),
        })
    }

    /// Waits for a slot. Cancel safe; `None` never comes while the worker lives.
    pub async fn take(self: &Arc<Self>) -> Option<Slot> {
        let permit = self.slots.clone().acquire_owned().await.ok()?;
        self.running.fetch_add(1, Ordering::SeqCst);
        Some(Slot { load: self.clone(), _permit: permit })
    }

    /// Runs that execute or are about to.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// Resolves when nothing executes. Cancel safe.
    pub async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Whether the worker claims, and if not, why.
    pub fn readiness(&self) -> Readiness {
        let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        if is(&self.draining) {
            Readiness::Draining
        } else if is(&self.clock_ahead) {
            Readiness::ClockAhead
        } else if is(&self.disk_full) {
            Readiness::DiskFull
        } else if self.running() >= self.total {
            Readiness::Full
        } else {
            Readiness::Ready
        }
    }

    /// True when nothing but a lack of slots keeps the worker from claiming.
    pub fn may_claim(&self) -> bool {
        matches!(self.readiness(), Readiness::Ready | Readiness::Full)
    }

    /// From here on it takes nothing new.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether run logs can be kept on disk.
    pub fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::SeqCst);
    }

    /// Whether the clock is ahead of the others'.
    pub fn set_clock_ahead(&self, ahead: bool) {
        self.clock_ahead.store(ahead, Ordering::SeqCst);
    }

    /// The machine's load over one minute; 0 where it cannot be read.
    pub fn average() -> f64 {
        sysinfo::System::load_average().map_or(0.0, |load| load.one)
    }
}
