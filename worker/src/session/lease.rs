//! Keeps this worker's lease and registration, and says until when it may be trusted.
//!
//! A worker's session is its registration in one life: the key under its lease, told from earlier ones by the
//! revision that created it. Every lock that the worker holds stands or falls with it. Trust ends at *renewal
//! sent* + granted time − margin by the time since boot: counted from the reply, a slow network would stretch it.
//! The margin is the grace that runs get at the end plus a second, so that they are dead before anybody may take
//! over. The worker also watches its own key: a store that was stopped may revoke a lease that was just renewed.
//!
//! When trust ends, [`Trust`] becomes `None`: the runner kills its runs, and a new session begins when the store
//! answers again. Losing the lease is not shutdown.

use std::{io, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    clock::Clock,
    store::{Compare, LeaseId, Op, Revision, Store, StoreError, Txn},
    worker::{Readiness, Registration},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    claim::Session,
    config::WorkerConfig,
    session::{
        drain, epoch,
        life::{Life, LifeFile},
        load::{Load, Trouble},
    },
};

/// A session, and until when it may be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The session.
    pub session: Session,
    /// Its lease.
    pub lease: LeaseId,
    /// By the time since boot.
    pub until: Duration,
}

/// Between two tries to get a lease.
const RETRY: Duration = Duration::from_millis(500);

/// A store that renews the lease but fails this many writes in a row takes none, whatever it says: a broken disk does
/// not say that it is full.
const UNWRITABLE: u32 = 2;

/// How often somebody is told that the store cannot be reached.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Keeps the lease.
pub(crate) struct Keeper {
    /// Settings.
    pub config: Arc<WorkerConfig>,
    /// Where the lease is.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What the registration says of the worker.
    pub load: Arc<Load>,
    /// This life on disk.
    pub file: LifeFile,
    /// This life.
    pub life: Life,
    /// A lease of this worker that may still live, from this life or an earlier one. Nothing under it executes any
    /// more; it is revoked before the worker gets another.
    pub stale: Option<LeaseId>,
    /// The revision at which the worker's own key was last seen removed.
    pub removed: watch::Receiver<Revision>,
    /// Told to all who may act only while trusted.
    pub trust: watch::Sender<Option<Trust>>,
    /// When this process started.
    pub started: DateTime<Utc>,
}

impl Keeper {
    /// Keeps a session, one after the other, until `shutdown`; then revokes it: last of all, because without it
    /// others may take over.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let begun = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                trust = self.begin() => trust,
            };
            let lease = begun.lease;
            tracing::info!(worker = %self.config.id, session = %begun.session.revision, "registered");
            self.trust.send_replace(Some(begun.clone()));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.end(lease).await;
                    return;
                }
                why = self.keep(begun) => tracing::error!(why, "the lease can no longer be trusted; ending all runs"),
            }
            self.trust.send_replace(None);
            // The runs get their grace; only then may the lease be given up and another be had.
            let grace = self.config.lease_grace() + Duration::from_secs(1);
            // Those that have ended and whose locks the store cannot free now are not waited for.
            if timeout(grace, self.load.nothing_executes()).await.is_err() {
                let runs = self.load.executing();
                tracing::warn!(runs, "some runs still execute: they are to be kept, or cannot be killed");
            }
            self.stale = Some(lease);
        }
    }

    async fn end(&self, lease: LeaseId) {
        let revoked = timeout(self.config.renew_every(), self.store.revoke(lease)).await;
        if !matches!(revoked, Ok(Ok(()))) {
            tracing::debug!("the lease could not be revoked; it ends by itself");
        }
    }

    /// Waits until the store grants a lease and takes the registration.
    async fn begin(&mut self) -> Trust {
        let mut said: Option<Instant> = None;
        loop {
            match self.register().await {
                Ok(trust) => return trust,
                Err(why) => {
                    if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                        tracing::warn!("not registered yet: {why}");
                        said = Some(Instant::now());
                    }
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn register(&mut self) -> Result<Trust, String> {
        let load = self.load.clone();
        let text = |error: StoreError| {
            note(&load, &error);
            error.chain()
        };
        if let Some(stale) = self.stale {
            self.store.revoke(stale).await.map_err(text)?;
            self.stale = None;
        }
        epoch::read(&*self.store, &self.config.keys, &self.load).await.map_err(text)?;
        let key = self.config.keys.drain(&self.config.id);
        drain::read(&*self.store, &key, &self.load).await.map_err(text)?;
        let sent = self.clock.since_boot();
        let (lease, granted) = self.store.grant(self.config.lease_ttl).await.map_err(text)?;
        self.life.lease = Some(lease.0);
        // Before the session begins: one that the next life would not know of claims nothing.
        if let Err(error) = self.write_life() {
            tracing::error!(%error, "cannot keep the lease's id in the data directory; this worker claims nothing until it can");
        }
        let key = self.config.keys.worker(&self.config.id);
        let put = Op::Put(key.clone(), self.registration().encode(), Some(lease));
        let txn = Txn::when(vec![Compare::CreateRevision(key.clone(), Revision::NONE)], vec![put])
            .or_get(key.clone());
        let outcome = self.store.txn(txn).await;
        let revision = match outcome {
            Ok(outcome) if outcome.succeeded => outcome.revision,
            Ok(outcome) => {
                self.stale = Some(lease);
                let other = outcome.got(0).and_then(|entry| Registration::decode(&entry.value).ok());
                return Err(match other {
                    Some(other) => format!(
                        "the worker id {} is taken by process {} on {}; give this one another --id, or wait for its lease to end",
                        other.id, other.pid, other.host
                    ),
                    None => "the worker id is taken; give --id".to_owned(),
                });
            }
            Err(error) => {
                // It may be there: read back by trying again under a new lease, once this one has ended.
                self.stale = Some(lease);
                return Err(text(error));
            }
        };
        self.load.set_store_full(None);
        let session = Session { worker: self.config.id.clone(), revision };
        Ok(Trust { session, lease, until: self.until(sent, granted) })
    }

    fn write_life(&self) -> io::Result<()> {
        let written = self.file.write(&self.life);
        self.load.set_life_unkept(written.as_ref().err().map(Trouble::of));
        written
    }

    /// Tries once more what failed when the session began. A slow disk holds up nothing here but renewals: in such a
    /// session nothing was claimed.
    fn write_life_again(&self) {
        match self.write_life() {
            Ok(()) => tracing::info!("the lease's id is in the data directory now; this worker claims again"),
            Err(error) => tracing::debug!(%error, "still cannot keep the lease's id in the data directory"),
        }
    }

    fn until(&self, sent: Duration, granted: Duration) -> Duration {
        let margin = self.config.lease_grace() + Duration::from_secs(1);
        sent + granted.saturating_sub(margin)
    }

    /// Renews until the session is lost; says why.
    async fn keep(&self, mut trust: Trust) -> &'static str {
        let every = self.config.renew_every();
        let (mut removed, session) = (self.removed.clone(), trust.session.revision);
        let (mut next, mut unpublished) = (Instant::now() + every, 0);
        loop {
            let left = trust.until.saturating_sub(self.clock.since_boot());
            if left.is_zero() {
                return "the store has not answered a renewal in time";
            }
            tokio::select! {
                biased;
                // Removals of earlier lives, our own revocations among them, are older than this session.
                Ok(_) = removed.wait_for(|at| *at > session) => {
                    return "the registration was removed from the store";
                }
                () = sleep_until(next.min(Instant::now() + left)) => {}
            }
            if Instant::now() < next {
                continue;
            }
            next = Instant::now() + every;
            let sent = self.clock.since_boot();
            match self.store.renew(trust.lease, every.min(left)).await {
                Ok(granted) => {
                    trust.until = self.until(sent, granted).max(trust.until);
                    self.trust.send_replace(Some(trust.clone()));
                }
                Err(StoreError::LeaseGone(_)) => return "the lease has ended in the store",
                Err(error) => {
                    note(&self.load, &error);
                    tracing::warn!(error = error.chain(), "cannot renew the lease");
                    next = Instant::now() + RETRY.min(every);
                    continue;
                }
            }
            if self.load.is_life_unkept() {
                self.write_life_again();
            }
            if !self.publish(&trust, every, &mut unpublished).await {
                next = Instant::now() + RETRY.min(every);
            }
        }
    }

    /// Says anew what the worker is doing; not worth more than one try, unless the store takes no writes: this is what
    /// tells when it does again. False: say it again soon.
    /// `failed` counts how often in a row it was answered with an error, of a store that renewed the lease.
    async fn publish(&self, trust: &Trust, within: Duration, failed: &mut u32) -> bool {
        let key = self.config.keys.worker(&self.config.id);
        let put = Op::Put(key.clone(), self.registration().encode(), Some(trust.lease));
        let txn = Txn::when(vec![Compare::CreateRevision(key, trust.session.revision)], vec![put]);
        let was_full = self.load.is_store_full();
        match timeout(within, self.store.txn(txn)).await {
            Ok(Ok(outcome)) => {
                *failed = 0;
                if outcome.succeeded && was_full {
                    // What was just written says otherwise.
                    self.load.set_store_full(None);
                    return false;
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(error = error.chain(), "cannot publish the registration");
                note(&self.load, &error);
                *failed += 1;
                if *failed >= UNWRITABLE && error.is_passing() {
                    self.load.set_store_full(Some(error.chain()));
                }
            }
            Err(_) => tracing::debug!("publishing the registration took too long"),
        }
        !self.load.is_store_full()
    }

    fn registration(&self) -> Registration {
        let config = &self.config;
        Registration {
            id: config.id.clone(),
            address: config.address.clone(),
            host: config.host.clone(),
            pid: std::process::id(),
            labels: config.labels.clone(),
            slots: config.slots,
            running: self.load.running(),
            load: Load::average(),
            readiness: self.readiness(),
            epoch: self.load.epoch(),
            version: config.version.clone(),
            started: self.started,
            clock: self.clock.now(),
        }
    }

    fn readiness(&self) -> Readiness {
        self.load.readiness()
    }
}

/// A store that was restored, or takes no writes, is told of by whichever request meets it first.
fn note(load: &Load, error: &StoreError) {
    match error {
        StoreError::WentBack { seen, now } => load.store_was_restored(*seen, *now),
        StoreError::Full(_) => load.set_store_full(Some(error.chain())),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
