//! Jobs and ticks as a worker knows them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::{Job, Overlap},
    lock::HeldLock,
    revision::Revision,
    schedule::Schedule,
    tick::Tick,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, watch};

use agenda::Agenda;

pub mod agenda;

/// The jobs as they stand, for all parts of a worker.
#[derive(Debug)]
pub struct Plan {
    agenda: Mutex<Agenda>,
    listed: watch::Sender<bool>,
    changed: mpsc::UnboundedSender<Changed>,
}

/// Which jobs have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// All, as after a new listing.
    All,
    /// One.
    Job(JobName),
}

impl Plan {
    /// A plan without jobs. Whoever has the receiver hears of changes.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Changed>) {
        let (changed, changes) = mpsc::unbounded_channel();
        let plan = Self { agenda: Mutex::default(), listed: watch::Sender::new(false), changed };
        (Arc::new(plan), changes)
    }

    /// The job as it stands.
    pub fn job(&self, name: &JobName) -> Option<Arc<Planned>> {
        self.agenda.lock().get(name.as_str()).cloned()
    }

    /// All of them, and when they are due.
    pub fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock()
    }

    /// Jobs have changed.
    pub fn tell(&self, changed: Changed) {
        if changed == Changed::All {
            self.listed.send_replace(true);
        }
        // Nobody listens while the worker ends.
        let _ = self.changed.send(changed);
    }

    /// Resolves when the jobs were listed. Cancel safe.
    pub async fn listed(&self) {
        // The sender is here, so that it never ends without a listing.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }
}

/// A job as a worker goes by it.
#[derive(Debug)]
pub struct Planned {
    /// The definition.
    pub job: Arc<Job>,
    /// The revision of its definition: claims compare it.
    pub revision: Revision,
    /// The revision that created it: runs queued before belong to an earlier job of this name.
    pub created: Revision,
    /// None: only people start it.
    pub schedule: Option<Schedule>,
    /// True: its ticks pass.
    pub paused: bool,
}

impl Planned {
    /// True: their ticks are the same.
    pub fn has_ticks_of(&self, other: &Self) -> bool {
        self.paused == other.paused && self.job.trigger == other.job.trigger
    }
}

/// A job that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// The job as it stood when its second came.
    pub job: Arc<Planned>,
    /// The tick.
    pub tick: Tick,
    /// The tick before it, or the instant since which the job has had none.
    pub previous: Tick,
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

impl Next {
    /// True if it may be claimed in the transaction that ends the run of `ended`: it is the next tick, by the same
    /// definition, and the job's runs take the lock.
    pub fn may_follow(&self, ended: &HeldLock, planned: &Planned) -> bool {
        planned.revision == self.definition
            && !planned.paused
            // Edited since: what may run beside others takes no lock over.
            // Once: a job edited from `skip` to `allow` in the moment of its run's end never ran again; that end
            // took the lock for the next tick, and nobody held it.
            && planned.job.overlap != Overlap::Allow
            && self.previous <= ended.fence
            && ended.fence < self.tick
    }
}

/// Until when a run that is due at `from` may start; none: for ever.
pub fn start_deadline(job: &Job, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    from.checked_add_signed(chrono::Duration::from_std(job.misfire.deadline.0).ok()?)
}
