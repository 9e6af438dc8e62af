//! What the deciding parts of a worker share: the ports, the jobs, and a post for each job that has been dealt
//! with. A post's lock makes sure that this process has one transaction on a job's lock in flight.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use common::{
    chance::Chance,
    clock::Clock,
    id::{JobName, RunId},
    job::Job,
    lock::Held,
    queue::Wanted,
    store::{Revision, Store},
    tick::Tick,
    vital::Vital,
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agenda::{Agenda, Planned},
    claim::{Holding, Session, batch::Batcher, lead::Lead},
    config::WorkerConfig,
    hindrance::Hindrances,
    kills::Kills,
    lease::Trust,
    load::{Load, Slot},
    marks::Marks,
    registry::Registry,
    runner::{Runner, Stop},
    spool::Spool,
};

/// One job, as far as this process deals with its lock.
#[derive(Default)]
pub struct Post {
    /// Held while a transaction on the lock is in flight; what this process holds.
    pub holding: tokio::sync::Mutex<Option<Holding>>,
    /// Said when what was held is free, or held for the next tick.
    pub freed: Notify,
    newest: AtomicI64,
    /// Said when a newer tick is announced.
    announced: Notify,
    next: Mutex<Option<Next>>,
    /// When the claim was answered of the run that holds the lock.
    answered: Mutex<Option<(RunId, DateTime<Utc>)>>,
    /// The run that has ended and whose lock is not free yet: its record is on its way to the disk.
    ended: Mutex<Option<RunId>>,
}

/// A tick that is to be claimed in the transaction that ends this process's run of its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The tick.
    pub tick: Tick,
    /// The tick before it: all up to it must be decided.
    pub previous: Tick,
    /// The revision of the definition that has this tick.
    pub definition: Revision,
}

impl Post {
    /// A tick is to be decided; older ones that still wait are accounted for by it.
    pub fn announce(&self, tick: Tick) {
        if self.newest.fetch_max(tick.seconds(), Ordering::SeqCst) < tick.seconds() {
            self.announced.notify_waiters();
        }
    }

    /// The clock was ahead, and says `now`: no newer tick is being decided.
    pub fn set_back(&self, now: Tick) {
        self.newest.fetch_min(now.seconds(), Ordering::SeqCst);
        self.next.lock().take_if(|next| next.tick > now);
    }

    /// The run's claim was answered.
    pub fn answered(&self, run: RunId, at: DateTime<Utc>) {
        *self.answered.lock() = Some((run, at));
    }

    /// Since when the run of a lock may stand in the way of ticks: since its claim was answered, which may have been sent
    /// long before.
    pub fn since(&self, held: &Held) -> DateTime<Utc> {
        let answered = *self.answered.lock();
        answered.filter(|(run, _)| *run == held.run).map_or(held.claimed, |(_, at)| at.max(held.claimed))
    }

    /// The run has ended: a tick that finds its lock held waits for that instead of being skipped.
    pub fn mark_ended(&self, run: RunId) {
        *self.ended.lock() = Some(run);
    }

    /// True when nothing executes any more of the run that holds the lock.
    pub fn has_ended(&self, run: RunId) -> bool {
        *self.ended.lock() == Some(run)
    }

    /// Asks whoever ends the run to claim this tick with it.
    pub fn wait_for_end(&self, next: Next) {
        *self.next.lock() = Some(next);
    }

    /// The tick that waits for the end, if one does; it waits no longer.
    pub fn take_next(&self) -> Option<Next> {
        self.next.lock().take()
    }

    /// The tick no longer waits for the end: it looks for itself.
    pub fn forget_next(&self, tick: Tick) {
        self.next.lock().take_if(|next| next.tick == tick);
    }

    /// True when a newer tick of the job is being decided as well.
    pub fn is_overtaken(&self, tick: Tick) -> bool {
        self.newest.load(Ordering::SeqCst) > tick.seconds()
    }

    /// Resolves when a newer tick of the job is being decided as well. Cancel safe.
    pub async fn overtaken(&self, tick: Tick) {
        loop {
            let announced = self.announced.notified();
            if self.is_overtaken(tick) {
                return;
            }
            announced.await;
        }
    }
}

/// Shared by the scheduler, the caretaker duties and the queue.
pub struct Desk {
    /// Settings.
    pub config: Arc<WorkerConfig>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Chance,
    /// The store, for reads.
    pub store: Arc<dyn Store>,
    /// The store, for transactions on locks.
    pub batcher: Batcher,
    /// The live workers.
    pub registry: Arc<Registry>,
    /// Slots.
    pub load: Arc<Load>,
    /// What executes.
    pub runner: Arc<Runner>,
    /// Where records go.
    pub spool: Spool,
    /// This worker's session, while it may be trusted.
    pub trust: watch::Receiver<Option<Trust>>,
    /// Who waits for a session waits here: they go on in the order in which they came.
    pub turn: tokio::sync::Mutex<()>,
    /// The jobs.
    pub agenda: Mutex<Agenda>,
    /// The kills that stand.
    pub kills: Kills,
    /// The wanted runs, by their key's name.
    pub queue: Mutex<HashMap<String, (Wanted, Revision)>>,
    /// How long claims take, so that they are sent so much ahead.
    pub lead: Lead,
    /// How far this worker has decided.
    pub marks: Marks,
    /// Every task that decides or runs.
    pub tasks: TaskTracker,
    /// Those without which the worker must not go on.
    pub vital: Vital,
    /// From here on nothing new is claimed.
    pub closing: CancellationToken,
    /// The jobs that have been dealt with.
    pub posts: Mutex<HashMap<JobName, Arc<Post>>>,
    /// The runs beside a lock that this process answers for.
    pub beside: Beside,
    /// When this worker could claim nothing.
    pub hindrances: Mutex<Hindrances>,
}

/// Runs beside a lock, from before their claim is sent until their record is removed. One of this session that the
/// store has and that is not here is nobody's: its claim was done after it had been given up.
#[derive(Debug, Default)]
pub struct Beside(Mutex<HashSet<RunId>>);

impl Beside {
    /// To be called before the claim is sent.
    pub fn enter(&self, run: RunId) {
        self.runs().insert(run);
    }

    /// It is not claimed, or has ended.
    pub fn leave(&self, run: RunId) {
        self.runs().remove(&run);
    }

    /// True when this process answers for the run.
    pub fn has(&self, run: RunId) -> bool {
        self.runs().contains(&run)
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.0.lock()
    }
}

impl Desk {
    /// The job's post.
    pub fn post(&self, job: &JobName) -> Arc<Post> {
        self.posts.lock().entry(job.clone()).or_default().clone()
    }

    /// True when this process holds the job's lock.
    pub fn runs_here(&self, job: &JobName) -> bool {
        let posts = self.posts.lock();
        posts.get(job).is_some_and(|post| post.holding.try_lock().is_ok_and(|holding| holding.is_some()))
    }

    /// A job is gone: so is its post, unless something still goes on at it.
    pub fn forget_post(&self, job: &str) {
        let mut posts = self.posts.lock();
        if posts.get(job).is_some_and(|post| Arc::strong_count(post) == 1) {
            posts.remove(job);
        }
    }

    /// The job as it stands.
    pub fn planned(&self, job: &JobName) -> Option<Arc<Planned>> {
        self.agenda.lock().get(job.as_str()).cloned()
    }

    /// True when this worker may run the job, by the definition that would run: it may have been ranked by an older one.
    pub fn has_labels_of(&self, job: &Job) -> bool {
        job.placement.allows(&self.config.labels)
    }

    /// The session, if it may be trusted now.
    pub fn session(&self) -> Option<Session> {
        let trust = self.trust.borrow();
        trust
            .as_ref()
            .filter(|trust| trust.until > self.clock.since_boot())
            .map(|trust| trust.session.clone())
    }

    /// Waits for a session that may be trusted. Cancel safe; `None` when the worker is closing.
    pub async fn trusted(&self) -> Option<Session> {
        if let Some(session) = self.session() {
            return Some(session);
        }
        let _turn = self.turn.lock().await;
        let mut trust = self.trust.clone();
        loop {
            if let Some(session) = self.session() {
                return Some(session);
            }
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                changed = trust.changed() => changed.ok()?,
            }
        }
    }

    /// Waits for a slot; `None` when this worker may not claim any more, whatever it might when the wait began.
    pub async fn slot(&self) -> Option<Slot> {
        let slot = tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            slot = self.load.take() => slot,
        };
        slot.filter(|_| self.load.may_claim() && !self.closing.is_cancelled())
    }

    /// A new run's id.
    pub fn new_run(&self) -> RunId {
        self.chance.run_id(self.clock.now())
    }

    /// When a record of something that ended at `at` may be removed.
    pub fn expires(&self, at: DateTime<Utc>) -> i64 {
        let retention = i64::try_from(self.config.retention.as_millis()).unwrap_or(i64::MAX);
        at.timestamp_millis().saturating_add(retention)
    }

    /// The last look before a start: why the run may not start after all.
    pub fn withdrawn(&self, held: &Held, claimed: Revision) -> Option<Stop> {
        if self.session().is_none_or(|session| session.revision != held.session) {
            return Some(Stop::LeaseLost);
        }
        if let Some(kill) = self.kills.of(&held.job, &held.run, claimed) {
            return Some(Stop::Killed(format!("killed by {}", kill.by)));
        }
        match self.planned(&held.job) {
            None => Some(Stop::Withdrawn("the job was deleted before the run started")),
            Some(planned) if planned.paused && held.tick.is_some() => {
                Some(Stop::Withdrawn("the job was paused before the run started"))
            }
            Some(_) => None,
        }
    }
}
