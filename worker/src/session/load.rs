//! How much a worker executes now, and whether it may take more.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{epoch::Epoch, handles, store::Revision, worker::Readiness};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

/// Slots and the reasons not to claim.
#[derive(Debug)]
pub struct Load {
    slots: Arc<Semaphore>,
    total: u32,
    running: AtomicU32,
    executing: AtomicU32,
    ended: Notify,
    draining: AtomicBool,
    told_to_drain: AtomicBool,
    room_short: AtomicBool,
    unkept: Mutex<Unkept>,
    store_full: AtomicBool,
    clock_ahead: AtomicBool,
    store_restored: AtomicBool,
    restores: AtomicU64,
    epoch: Mutex<KnownEpoch>,
    /// Why it may not claim just now.
    hindrance: watch::Sender<Option<Readiness>>,
}

/// Why something cannot be kept in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room.
    Full,
    /// This process or machine has no handle left to write with.
    NoHandles,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What an error tells of.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ if handles::lack_in(error).is_some() => Self::NoHandles,
            _ => Self::Other,
        }
    }

    const fn readiness(self) -> Readiness {
        match self {
            Self::Full => Readiness::DiskFull,
            Self::NoHandles => Readiness::NoHandles,
            Self::Other => Readiness::DiskFailing,
        }
    }
}

/// What cannot be kept just now, and why.
#[derive(Clone, Copy, Debug, Default)]
struct Unkept {
    /// Run logs: the spool's word.
    runs: Option<Trouble>,
    /// This life's session: the lease keeper's word.
    life: Option<Trouble>,
}

#[derive(Debug, Default)]
struct KnownEpoch {
    epoch: Option<Epoch>,
    /// When it was seen to grow.
    raised: Option<Instant>,
}

/// Each request and each watch that meets a restored store tells of it. What comes so soon after the epoch was raised
/// is late news of the restore that it was raised for.
const LATE_NEWS: Duration = Duration::from_secs(30);

/// A slot, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    load: Arc<Load>,
    _permit: OwnedSemaphorePermit,
}

/// Says, while it lives, that something executes in a slot. A slot outlasts it: until the run's record is kept and its
/// lock is free, which a store that is away delays.
#[derive(Debug)]
pub struct Executing(Arc<Load>);

impl Slot {
    /// From here on something executes in it.
    pub fn execute(&self) -> Executing {
        self.load.executing.fetch_add(1, Ordering::SeqCst);
        Executing(self.load.clone())
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.executing.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
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
            executing: AtomicU32::new(0),
            ended: Notify::new(),
            draining: AtomicBool::new(false),
            told_to_drain: AtomicBool::new(false),
            room_short: AtomicBool::new(false),
            unkept: Mutex::default(),
            store_full: AtomicBool::new(false),
            clock_ahead: AtomicBool::new(false),
            store_restored: AtomicBool::new(false),
            restores: AtomicU64::new(0),
            epoch: Mutex::default(),
            hindrance: watch::Sender::new(None),
        })
    }

    /// Waits for a slot. Cancel safe; `None` never comes while the worker lives.
    pub async fn take(self: &Arc<Self>) -> Option<Slot> {
        let permit = self.slots.clone().acquire_owned().await.ok()?;
        self.running.fetch_add(1, Ordering::SeqCst);
        Some(Slot { load: self.clone(), _permit: permit })
    }

    /// Slots that are taken: runs that execute, are about to, or have ended and are not accounted for yet.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// Runs that execute, or wait for their instant.
    pub fn executing(&self) -> u32 {
        self.executing.load(Ordering::SeqCst)
    }

    /// Resolves when nothing executes. Cancel safe.
    pub async fn nothing_executes(&self) {
        loop {
            let ended = self.ended.notified();
            if self.executing() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Whether the worker claims, and if not, why.
    pub fn readiness(&self) -> Readiness {
        let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        if is(&self.draining) || is(&self.told_to_drain) {
            Readiness::Draining
        } else if is(&self.store_restored) {
            Readiness::StoreRestored
        } else if is(&self.clock_ahead) {
            Readiness::ClockAhead
        } else if is(&self.store_full) {
            Readiness::StoreFull
        } else if let Some(trouble) = self.trouble() {
            trouble.readiness()
        } else if self.running() >= self.total {
            Readiness::Full
        } else {
            Readiness::Ready
        }
    }

    fn trouble(&self) -> Option<Trouble> {
        let Unkept { runs, life } = *self.unkept();
        let room = self.room_short.load(Ordering::SeqCst).then_some(Trouble::Full);
        runs.or(life).or(room)
    }

    fn unkept(&self) -> MutexGuard<'_, Unkept> {
        self.unkept.lock()
    }

    /// True when nothing but a lack of slots keeps the worker from claiming.
    pub fn may_claim(&self) -> bool {
        matches!(self.readiness(), Readiness::Ready | Readiness::Full)
    }

    /// From here on it takes nothing new.
    pub fn drain(&self) {
        self.set(&self.draining, true);
    }

    /// Whether somebody wants it to take nothing new, until that is taken back.
    pub fn set_told_to_drain(&self, told: bool) {
        self.set(&self.told_to_drain, told);
    }

    /// Tells each change of what keeps the worker from claiming; a lack of slots does not.
    pub fn hindrance(&self) -> watch::Receiver<Option<Readiness>> {
        self.hindrance.subscribe()
    }

    /// True: it was otherwise before.
    fn set(&self, flag: &AtomicBool, to: bool) -> bool {
        let changed = flag.swap(to, Ordering::SeqCst) != to;
        if changed {
            self.tell_hindrance();
        }
        changed
    }

    fn tell_hindrance(&self) {
        self.hindrance.send_if_modified(|told| {
            // Under the channel's lock, so that the last word is right.
            let now = Some(self.readiness()).filter(|_| !self.may_claim());
            std::mem::replace(told, now) != now
        });
    }

    /// Why run logs cannot be kept on disk, if so: the spool's word.
    pub fn set_runs_unkept(&self, why: Option<Trouble>) {
        self.unkept().runs = why;
        self.tell_hindrance();
    }

    /// Why the data directory has too little room for what comes next, if so: the word of whoever watches it.
    pub fn set_room_short(&self, why: Option<String>) {
        if !self.set(&self.room_short, why.is_some()) {
            return;
        }
        match why {
            Some(why) => {
                tracing::error!(
                    why,
                    "there is no room for run logs; this worker claims nothing until there is"
                );
            }
            None => tracing::info!("there is room for run logs again; this worker claims again"),
        }
    }

    /// Why the store takes no writes, if so: the word of whoever was refused one, and of the lease keeper, who tries.
    pub fn set_store_full(&self, why: Option<String>) {
        if !self.set(&self.store_full, why.is_some()) {
            return;
        }
        match why {
            Some(why) => {
                tracing::error!(why, "the store takes no writes; this worker claims nothing until it does");
            }
            None => tracing::info!("the store takes writes again; this worker claims again"),
        }
    }

    /// True when the store takes no writes.
    pub fn is_store_full(&self) -> bool {
        self.store_full.load(Ordering::SeqCst)
    }

    /// Why this life's session is not on disk, if so: the lease keeper's word. The next life would not know of it.
    pub fn set_life_unkept(&self, why: Option<Trouble>) {
        self.unkept().life = why;
        self.tell_hindrance();
    }

    /// True when this life's session could not be written to the disk yet.
    pub fn is_life_unkept(&self) -> bool {
        self.unkept().life.is_some()
    }

    /// Whether the clock is ahead of the others'.
    pub fn set_clock_ahead(&self, ahead: bool) {
        self.set(&self.clock_ahead, ahead);
    }

    /// From here on it takes nothing new until the epoch is raised, or it is restarted: a restored store's fences may be
    /// older than what has run, and a person has to see to it. Several who notice say it once.
    pub fn store_was_restored(&self, seen: Revision, now: Revision) {
        // Under the lock, so that it is either before the raised epoch is seen, or late news.
        let known = self.epoch.lock();
        if known.raised.is_some_and(|at| at.elapsed() < LATE_NEWS) {
            tracing::debug!(%seen, %now, "the store went back, and somebody has dealt with that since");
            return;
        }
        if self.set(&self.store_restored, true) {
            self.restores.fetch_add(1, Ordering::SeqCst);
            tracing::error!(
                %seen,
                %now,
                "the store went back: it was restored from a copy, or is another one. Ticks that have run since the copy was \
                 made could run again, so this worker claims nothing any more: see what has run, then give `quorate admin \
                 after-restore`"
            );
        }
    }

    /// The store's epoch, as it was read. One above what was known says that a person has seen to a restore: what stands
    /// in the store counts again.
    pub fn saw_epoch(&self, epoch: Epoch) {
        let mut known = self.epoch.lock();
        let before = known.epoch;
        known.epoch = before.max(Some(epoch));
        if before.is_none_or(|before| epoch <= before) {
            return;
        }
        known.raised = Some(Instant::now());
        if self.set(&self.store_restored, false) {
            tracing::warn!(%epoch, "the restored store has been dealt with; this worker claims again");
        }
    }

    /// The store's epoch, as far as it is known.
    pub fn epoch(&self) -> Epoch {
        self.epoch.lock().epoch.unwrap_or_default()
    }

    /// How often the store was found to be restored.
    pub fn restores(&self) -> u64 {
        self.restores.load(Ordering::SeqCst)
    }

    /// True when what stands in the store may be older than what has happened.
    pub fn is_store_restored(&self) -> bool {
        self.store_restored.load(Ordering::SeqCst)
    }

    /// The machine's load over one minute; 0 where it cannot be read.
    pub fn average() -> f64 {
        sysinfo::System::load_average().map_or(0.0, |load| load.one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Once: any error of the spool counted as a full disk, also a lack of file handles.
    #[test]
    fn what_cannot_be_kept_is_told_for_its_own_reason() {
        let load = Load::new(1);
        let of = |errno: nix::errno::Errno| Some(Trouble::of(&errno.into()));
        for (errno, readiness) in [
            (nix::errno::Errno::ENOSPC, Readiness::DiskFull),
            (nix::errno::Errno::EDQUOT, Readiness::DiskFull),
            (nix::errno::Errno::EMFILE, Readiness::NoHandles),
            (nix::errno::Errno::ENFILE, Readiness::NoHandles),
            (nix::errno::Errno::ENOMEM, Readiness::DiskFailing),
            (nix::errno::Errno::EROFS, Readiness::DiskFailing),
        ] {
            load.set_runs_unkept(of(errno));
            load.set_room_short(Some("less than a run may take".into()));
            assert_eq!((load.readiness(), load.may_claim()), (readiness, false));
        }
        load.set_runs_unkept(None);
        assert_eq!(load.readiness(), Readiness::DiskFull, "there is no room for the next one");
        load.set_room_short(None);
        load.set_life_unkept(of(nix::errno::Errno::EMFILE));
        assert_eq!((load.readiness(), load.is_life_unkept()), (Readiness::NoHandles, true));
        load.set_life_unkept(None);
        assert_eq!(load.readiness(), Readiness::Ready);
    }

    #[test]
    fn only_an_epoch_above_the_known_one_ends_the_wait_after_a_restore() {
        let load = Load::new(1);
        let (one, two) = (Epoch::default().next(), Epoch::default().next().next());
        load.saw_epoch(one);
        load.store_was_restored(Revision::new(1000), Revision::new(10));
        for copied in [Epoch::default(), one] {
            load.saw_epoch(copied);
            assert_eq!(load.readiness(), Readiness::StoreRestored);
        }
        assert_eq!(load.epoch(), one, "tokens do not go back");
        load.saw_epoch(two);
        assert_eq!((load.readiness(), load.epoch()), (Readiness::Ready, two));
        // Some watch is late to tell of it.
        load.store_was_restored(Revision::new(900), Revision::new(12));
        assert_eq!((load.readiness(), load.restores()), (Readiness::Ready, 1));
        // Long after.
        load.epoch.lock().raised = None;
        load.store_was_restored(Revision::new(1000), Revision::new(10));
        assert_eq!((load.readiness(), load.restores()), (Readiness::StoreRestored, 2));
    }
}
