//! A post for each job whose lock this process deals with: it lets only one transaction on the lock be in flight, and
//! knows what this process holds.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use common::{
    id::{JobName, RunId},
    lock::HeldLock,
    tick::Tick,
};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify, futures::Notified};

use super::OwnLock;
use crate::plan::Next;

/// One job's lock, as far as this process deals with it.
#[derive(Default)]
pub(crate) struct Post {
    /// Held while a transaction on the lock is in flight.
    holding: tokio::sync::Mutex<Option<OwnLock>>,
    freed: Notify,
    newest: AtomicI64,
    announced: Notify,
    next: Mutex<Option<Next>>,
    /// When the claim of the run that holds the lock was answered.
    answered: Mutex<Option<(RunId, DateTime<Utc>)>>,
    /// The run that has ended and whose lock is not free yet: its record is on its way to the disk.
    ended: Mutex<Option<RunId>>,
}

/// The right to send a transaction on a job's lock.
pub(crate) struct Turn<'a> {
    /// The job's post.
    pub post: &'a Arc<Post>,
    /// What this process holds.
    pub holding: MutexGuard<'a, Option<OwnLock>>,
}

impl Post {
    /// Waits for a turn. Cancel safe.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn<'_> {
        Turn { post: self, holding: self.holding.lock().await }
    }

    /// Resolves when what is held just now is free, or held for the next tick. Cancel safe.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// What was held is free, or held for the next tick.
    pub(crate) fn set_free(&self) {
        self.freed.notify_waiters();
    }

    /// A tick is to be decided; older ones that still wait are accounted for by it.
    pub(crate) fn announce(&self, tick: Tick) {
        if self.newest.fetch_max(tick.seconds(), Ordering::SeqCst) < tick.seconds() {
            self.announced.notify_waiters();
        }
    }

    /// The clock was ahead and now says `now`: no newer tick is being decided.
    pub(crate) fn set_back(&self, now: Tick) {
        self.newest.fetch_min(now.seconds(), Ordering::SeqCst);
        self.next.lock().take_if(|next| next.tick > now);
    }

    /// The run's claim was answered.
    pub(crate) fn answered(&self, run: RunId, at: DateTime<Utc>) {
        *self.answered.lock() = Some((run, at));
    }

    /// Since when a lock's run may stand in the way of ticks: since its claim was answered, which may have been sent
    /// long before.
    pub(crate) fn since(&self, held: &HeldLock) -> DateTime<Utc> {
        let answered = *self.answered.lock();
        answered.filter(|(run, _)| *run == held.run).map_or(held.claimed, |(_, at)| at.max(held.claimed))
    }

    /// The run has ended: a tick that finds its lock held waits for that instead of being skipped.
    pub(crate) fn mark_ended(&self, run: RunId) {
        *self.ended.lock() = Some(run);
    }

    /// True when nothing executes any more of the run that holds the lock.
    pub(crate) fn has_ended(&self, run: RunId) -> bool {
        *self.ended.lock() == Some(run)
    }

    /// Asks whoever ends the run to claim this tick with it.
    pub(crate) fn wait_for_end(&self, next: Next) {
        *self.next.lock() = Some(next);
    }

    /// The tick that waits for the end, if one does; it waits no longer.
    pub(crate) fn take_next(&self) -> Option<Next> {
        self.next.lock().take()
    }

    /// The tick no longer waits for the end: it looks for itself.
    pub(crate) fn forget_next(&self, tick: Tick) {
        self.next.lock().take_if(|next| next.tick == tick);
    }

    /// True when a newer tick of the job is being decided as well.
    pub(crate) fn is_overtaken(&self, tick: Tick) -> bool {
        self.newest.load(Ordering::SeqCst) > tick.seconds()
    }

    /// Resolves when a newer tick of the job is being decided as well. Cancel safe.
    pub(crate) async fn overtaken(&self, tick: Tick) {
        loop {
            let announced = self.announced.notified();
            if self.is_overtaken(tick) {
                return;
            }
            announced.await;
        }
    }
}

/// The posts of the jobs that were dealt with.
#[derive(Default)]
pub(crate) struct Posts(Mutex<HashMap<JobName, Arc<Post>>>);

impl Posts {
    /// The job's post.
    pub(crate) fn of(&self, job: &JobName) -> Arc<Post> {
        self.0.lock().entry(job.clone()).or_default().clone()
    }

    /// True when this process holds the job's lock.
    pub(crate) fn runs_here(&self, job: &JobName) -> bool {
        let posts = self.0.lock();
        posts.get(job).is_some_and(|post| post.holding.try_lock().is_ok_and(|holding| holding.is_some()))
    }

    /// A job is gone: so is its post, unless something still goes on at it.
    pub(crate) fn forget(&self, job: &str) {
        let mut posts = self.0.lock();
        if posts.get(job).is_some_and(|post| Arc::strong_count(post) == 1) {
            posts.remove(job);
        }
    }

    /// The clock was ahead, and says `now`.
    pub(crate) fn set_back(&self, now: Tick) {
        self.0.lock().values().for_each(|post| post.set_back(now));
    }
}
