//! Who this worker is, and until when it may act.

use std::sync::Arc;

use common::{clock::Clock, id::WorkerId, job::Job, lock::Holder};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    claim::Session,
    config::WorkerConfig,
    session::{
        lease::Trust,
        load::{Load, Slot},
    },
};

pub(crate) mod drain;
pub(crate) mod epoch;
pub(crate) mod hindrance;
pub(crate) mod lease;
pub mod life;
pub mod load;
pub(crate) mod registry;
pub(crate) mod room;

/// What every part of a worker goes by: its settings, the time, its session while that may be trusted, and whether it
/// may claim.
pub struct Standing {
    /// Settings.
    pub config: Arc<WorkerConfig>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Slots, and what keeps it from claiming.
    pub load: Arc<Load>,
    /// From here on nothing new is claimed.
    pub closing: CancellationToken,
    /// Every task that decides or runs.
    pub tasks: TaskTracker,
    trusted: Trusted,
}

/// The session, and those who wait for it.
struct Trusted {
    trust: watch::Receiver<Option<Trust>>,
    /// Who waits for a session waits here: they go on in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

impl Standing {
    /// The standing of a worker; `trust` tells of its lease.
    pub fn new(
        config: Arc<WorkerConfig>,
        clock: Arc<dyn Clock>,
        load: Arc<Load>,
        trust: watch::Receiver<Option<Trust>>,
    ) -> Arc<Self> {
        let trusted = Trusted { trust, turn: tokio::sync::Mutex::default() };
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        Arc::new(Self { config, clock, load, closing, tasks, trusted })
    }

    /// The worker's id.
    pub fn id(&self) -> &WorkerId {
        &self.config.id
    }

    /// Tells of the lease, as it changes.
    pub fn trust(&self) -> watch::Receiver<Option<Trust>> {
        self.trusted.trust.clone()
    }

    /// The session, if it may be trusted now.
    pub fn session(&self) -> Option<Session> {
        let trust = self.trusted.trust.borrow();
        let trust = trust.as_ref().filter(|trust| trust.until > self.clock.since_boot());
        trust.map(|trust| trust.session.clone())
    }

    /// Waits for a session that may be trusted. Cancel safe; `None` when the worker is closing.
    pub async fn trusted(&self) -> Option<Session> {
        if let Some(session) = self.session() {
            return Some(session);
        }
        let _turn = self.trusted.turn.lock().await;
        let mut trust = self.trusted.trust.clone();
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

    /// Who holds what `session` claims now.
    pub fn holder(&self, session: &Session) -> Holder {
        Holder { worker: session.worker.clone(), session: session.revision, epoch: self.load.epoch() }
    }

    /// True if this worker may run the job, by the definition that would run: the worker may have been ranked by an
    /// older one.
    pub fn has_labels_of(&self, job: &Job) -> bool {
        job.placement.allows(&self.config.labels)
    }

    /// True while it may claim.
    pub fn may_claim(&self) -> bool {
        self.load.may_claim() && !self.closing.is_cancelled()
    }

    /// Waits for a slot; `None` if this worker must not claim any more by then.
    pub async fn slot(&self) -> Option<Slot> {
        let slot = tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            slot = self.load.take() => slot,
        };
        slot.filter(|_| self.may_claim())
    }
}
