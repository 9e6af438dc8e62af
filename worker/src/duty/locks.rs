//! The full pass: what needs a caretaker (a lock whose holder is gone, a missed tick, a lock that was never made, a
//! lost run without a lock) is the duty of the job's first choice. It runs at the start, when the workers change, and
//! every now and then, and takes the same path as a tick, so that a lost event and a second worker are one case.
//!
//! When the workers change, all locks are listed: some may be of jobs that are gone. In between, a worker reads those
//! of its own jobs, so that all workers together read each lock once, however many they are.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    id::JobName,
    job::{Job, Placement},
    lock::{HeldLock, Lock},
    store::{MAX_TXN_OPS, Op, StoreError, Txn, list_all},
    tick::Tick,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Done, Duty};
use crate::{
    claim::{self, StoredLock, claims::Claims},
    plan::{Due, Planned},
    run::orphan::Orphans,
    session::{Standing, registry::View},
    tick::decide::Decider,
};

/// Without any change, so often.
const EVERY: Duration = Duration::from_secs(30);

/// Every so many passes look at all locks, as after a change.
const WHOLE: u32 = 20;

/// After a change, once things have been quiet for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// Locks read at a time: few enough that they weigh nothing beside the jobs.
const PAGE: usize = 10_000;

/// A tick this young is left to the path of due ticks.
const YOUNG: chrono::Duration = chrono::Duration::seconds(2);

/// Looks after locks.
pub(crate) struct Locks {
    standing: Arc<Standing>,
    decider: Arc<Decider>,
    orphans: Arc<Orphans>,
    changes: watch::Receiver<Arc<View>>,
    /// Passes since all locks were looked at.
    since_whole: u32,
    /// By which workers the last pass ranked, and when the next one is due.
    last: Option<(u64, Instant)>,
}

impl Locks {
    /// No pass was made yet.
    pub(crate) fn new(decider: Arc<Decider>) -> Self {
        let (standing, orphans) = (decider.standing.clone(), decider.orphans.clone());
        let changes = orphans.registry.changes();
        Self { standing, decider, orphans, changes, since_whole: 0, last: None }
    }

    fn claims(&self) -> &Claims {
        &self.orphans.claims
    }
}

#[async_trait]
impl Duty for Locks {
    fn name(&self) -> &'static str {
        "locks"
    }

    async fn woken(&mut self) -> Option<()> {
        let Some((candidates, next)) = self.last else {
            // Only now can a full pass know the jobs.
            self.orphans.plan.listed().await;
            return Some(());
        };
        loop {
            tokio::select! {
                biased;
                () = sleep_until(next) => return Some(()),
                changed = self.changes.changed() => {
                    changed.ok()?;
                    if candidates != self.orphans.registry.view().candidates.view() {
                        self.since_whole = 0;
                        sleep(SETTLED).await;
                        return Some(());
                    }
                }
            }
        }
    }

    async fn pass(&mut self) -> Result<Done, StoreError> {
        let next = Instant::now() + EVERY;
        if self.standing.trusted().await.is_none() {
            return Ok(Done::ForGood);
        }
        // Before the pass: what changes during it may have come too late for it, and is looked at again.
        let candidates = self.orphans.registry.view().candidates.view();
        self.look_at_locks(self.since_whole == 0).await?;
        self.since_whole = (self.since_whole + 1) % WHOLE;
        self.last = Some((candidates, next));
        Ok(Done::ForNow)
    }
}

impl Locks {
    async fn look_at_locks(&self, whole: bool) -> Result<(), StoreError> {
        if self.standing.load.is_store_restored() {
            // Whoever holds a lock there may be alive and well, by a registration that the copy does not have.
            return Ok(());
        }
        let view = self.orphans.registry.view();
        let first = |job: &JobName| {
            view.candidates.rank_of(self.standing.id(), job.as_str(), &Placement::default()) == Some(0)
        };
        let rank = |job: &Job| view.candidates.rank_of(self.standing.id(), job.name.as_str(), &job.placement);
        let mut own = {
            let mut agenda = self.orphans.plan.agenda();
            agenda.ranked(0, view.candidates.view(), rank)
        };
        own.sort_unstable_by(|one, other| one.job.name.cmp(&other.job.name));
        if whole {
            self.pass_all(own, first).await?;
        } else {
            self.pass_own(&own).await?;
        }
        let (runs, _) = list_all(&*self.claims().store, &self.standing.config.keys.runs).await?;
        for entry in runs {
            if let Ok(held) = HeldLock::decode(&entry.value)
                && (first(&held.job) || self.claims().is_phantom_beside(&held))
            {
                self.orphans.free_beside(&held, entry.mod_revision).await;
            }
        }
        Ok(())
    }

    /// All locks that there are, page by page, and those that there should be. `own` are the jobs that this worker ranks
    /// first for, in the order of their names, which is the locks' order; `first` says so of a job that is gone.
    async fn pass_all(
        &self,
        own: Vec<Arc<Planned>>,
        first: impl Fn(&JobName) -> bool,
    ) -> Result<(), StoreError> {
        let locks = &self.standing.config.keys.locks;
        let mut own = own.into_iter().peekable();
        let (mut without, mut after) = (Vec::new(), None);
        loop {
            // Each page as it stands now: each lock is dealt with by itself, under a comparison of its own revision.
            let page = self.claims().store.list(locks, after.as_ref(), PAGE, None).await?;
            for entry in &page.entries {
                let Some(name) = locks.name(&entry.key) else { continue };
                while let Some(planned) = own.next_if(|planned| planned.job.name.as_str() < name) {
                    without.push(planned);
                }
                // Most locks are others' to look after: only the own ones are decoded.
                if let Some(planned) = own.next_if(|planned| planned.job.name.as_str() == name) {
                    if let Some(seen) = claim::seen(entry) {
                        self.look_after(&planned.job.name, seen).await;
                    }
                } else if let Ok(job) = name.parse::<JobName>()
                    && self.orphans.plan.job(&job).is_none()
                    && first(&job)
                    && let Some(seen) = claim::seen(entry)
                {
                    self.look_after_gone(&job, seen).await;
                }
            }
            after = page.entries.last().map(|entry| entry.key.clone()).filter(|_| page.more);
            if after.is_none() {
                break;
            }
        }
        for planned in without.into_iter().chain(own) {
            self.claims().create_lock(&planned).await;
        }
        Ok(())
    }

    /// The locks of the jobs that this worker ranks first for.
    async fn pass_own(&self, own: &[Arc<Planned>]) -> Result<(), StoreError> {
        for jobs in own.chunks(MAX_TXN_OPS) {
            let gets = jobs.iter().map(|planned| Op::Get(self.standing.config.keys.lock(&planned.job.name)));
            let read = self.claims().store.txn(Txn::when(Vec::new(), gets.collect())).await?;
            for (n, planned) in jobs.iter().enumerate() {
                match read.got(n) {
                    Some(entry) => {
                        if let Some(seen) = claim::seen(entry) {
                            self.look_after(&planned.job.name, seen).await;
                        }
                    }
                    None => self.claims().create_lock(planned).await,
                }
            }
        }
        Ok(())
    }

    /// One job that this worker ranks first for, as it stands now: a pass may take long.
    async fn look_after(&self, job: &JobName, seen: StoredLock) {
        let Some(planned) = self.orphans.plan.job(job) else { return self.look_after_gone(job, seen).await };
        match seen.lock {
            Lock::Held(held) => {
                self.orphans.free_lock_if_gone(Some(&planned.job), &held, seen.revision).await
            }
            Lock::Free(free) => {
                let Some(schedule) = planned.schedule.as_ref().filter(|_| !planned.paused) else { return };
                let until = self.standing.clock.now() - YOUNG;
                let Some(newest) = schedule.latest_in(free.fence.instant(), until) else { return };
                let before = newest - chrono::Duration::seconds(1);
                let previous = schedule.latest_in(free.fence.instant(), before);
                let due = Due {
                    job: planned.clone(),
                    tick: Tick::from_instant(newest),
                    // Behind the fence when ticks were missed in between, so that the claim becomes a catch-up.
                    previous: previous.map_or(free.fence, Tick::from_instant),
                };
                let decider = self.decider.clone();
                self.standing.tasks.spawn(async move { decider.decide(&due).await });
            }
        }
    }

    /// The lock of a job that is gone, or cannot be read: a run that is lost is on record all the same.
    async fn look_after_gone(&self, job: &JobName, seen: StoredLock) {
        match seen.lock {
            Lock::Held(held) => self.orphans.free_lock_if_gone(None, &held, seen.revision).await,
            Lock::Free(_) => {
                let removed = self
                    .claims()
                    .batcher
                    .plain(claim::remove(&self.standing.config.keys, job, seen.revision))
                    .await;
                if let Err(error) = removed {
                    tracing::debug!(%job, %error, "the lock of a deleted job stays until the next pass");
                }
            }
        }
    }
}
