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

use std::{sync::Arc, time::Duration};

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
    life::{Life, LifeFile},
    load::Load,
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

/// How often somebody is told that the store cannot be reached.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Keeps the lease.
pub struct Keeper {
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
    /// A lease of this worker's that may still live, of this life or an earlier one. Nothing of it executes any
    /// more; it is revoked before another is had.
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
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let begun = tokio::select! {
                () = shutdown.cancelled() => return,
                trust = self.begin() => trust,
            };
            let lease = begun.lease;
            tracing::info!(worker = %self.config.id, session = begun.session.revision, "registered");
            self.trust.send_replace(Some(begun.clone()));
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.end(lease).await;
                    return;
                }
                why = self.keep(begun) => tracing::error!(why, "the lease can no longer be trusted; ending all runs"),
            }
            self.trust.send_replace(None);
            // The runs get their grace; only then may the lease be given up and another be had.
            let grace = self.config.lease_grace() + Duration::from_secs(1);
            if timeout(grace, self.load.idle()).await.is_err() {
                tracing::warn!(
                    "runs are left behind the grace; they were told to be kept, or cannot be killed"
                );
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
        let text = |error: StoreError| error.chain();
        if let Some(stale) = self.stale {
            self.store.revoke(stale).await.map_err(text)?;
            self.stale = None;
        }
        let sent = self.clock.since_boot();
        let (lease, granted) = self.store.grant(self.config.lease_ttl).await.map_err(text)?;
        self.life.lease = Some(lease.0);
        if let Err(error) = self.file.write(&self.life) {
            self.load.set_disk_full(true);
            tracing::error!(%error, "cannot keep the lease's id in the data directory");
        }
        let key = self.config.keys.worker(&self.config.id);
        let put = Op::Put(key.clone(), self.registration().encode(), Some(lease));
        let txn = Txn::when(vec![Compare::CreateRevision(key.clone(), 0)], vec![put]).or_get(key.clone());
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
        let session = Session { worker: self.config.id.clone(), revision };
        Ok(Trust { session, lease, until: self.until(sent, granted) })
    }

    fn until(&self, sent: Duration, granted: Duration) -> Duration {
        let margin = self.config.lease_grace() + Duration::from_secs(1);
        sent + granted.saturating_sub(margin)
    }

    /// Renews until the session is lost; says why.
    async fn keep(&self, mut trust: Trust) -> &'static str {
        let every = self.config.renew_every();
        let (mut removed, session) = (self.removed.clone(), trust.session.revision);
        let mut next = Instant::now() + every;
        loop {
            let left = trust.until.saturating_sub(self.clock.since_boot());
            if left.is_zero() {
                return "the store has not answered a renewal in time";
            }
            tokio::select! {
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
                    tracing::warn!(error = error.chain(), "cannot renew the lease");
                    next = Instant::now() + RETRY.min(every);
                    continue;
                }
            }
            self.publish(&trust, every).await;
        }
    }

    /// Says anew what the worker is doing; not worth more than one try.
    async fn publish(&self, trust: &Trust, within: Duration) {
        let key = self.config.keys.worker(&self.config.id);
        let put = Op::Put(key.clone(), self.registration().encode(), Some(trust.lease));
        let txn = Txn::when(vec![Compare::CreateRevision(key, trust.session.revision)], vec![put]);
        match timeout(within, self.store.txn(txn)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "cannot publish the registration"),
            Err(_) => tracing::debug!("publishing the registration took too long"),
        }
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
            version: config.version.clone(),
            started: self.started,
            clock: self.clock.now(),
        }
    }

    fn readiness(&self) -> Readiness {
        self.load.readiness()
    }
}

#[cfg(test)]
mod tests {
    use common::{
        clock::SystemClock,
        store::{embedded::EmbeddedStore, key::Keys},
    };

    use super::*;
    use crate::registry::Registry;

    fn config(dir: &std::path::Path) -> Arc<WorkerConfig> {
        Arc::new(WorkerConfig {
            id: "w".parse().unwrap(),
            keys: Keys::new("/quorate/").unwrap(),
            labels: std::collections::BTreeMap::new(),
            slots: 1,
            lease_ttl: Duration::from_secs(15),
            hedge: Duration::from_millis(250),
            data_dir: dir.to_owned(),
            shell: "/bin/sh".into(),
            self_exe: "/bin/true".into(),
            address: String::new(),
            host: String::new(),
            version: String::new(),
            retention: Duration::from_secs(1),
        })
    }

    /// The worker revokes its old lease before it takes another, which removes its own key once more: that must
    /// not end the session after it.
    #[tokio::test]
    async fn a_lost_lease_is_followed_by_one_session_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start().unwrap());
        let load = Load::new(1);
        let (shutdown, trust) = (CancellationToken::new(), watch::Sender::new(None));
        let registry = Registry::new(config.id.clone(), clock.clone(), load.clone());
        tokio::spawn(registry.clone().run(store.clone(), config.keys.clone(), shutdown.clone()));
        let mut sessions = trust.subscribe();
        let keeper = Keeper {
            file: LifeFile::in_dir(dir.path()),
            life: Life::new("token".into()),
            removed: registry.removed(),
            stale: None,
            started: clock.now(),
            store: store.clone(),
            config,
            clock,
            load,
            trust,
        };
        tokio::spawn(keeper.run(shutdown.clone()));
        let mut next = async |after: Revision| -> Trust {
            let newer =
                |trust: &Option<Trust>| trust.as_ref().is_some_and(|trust| trust.session.revision > after);
            let waited = timeout(Duration::from_secs(10), sessions.wait_for(newer)).await;
            waited.expect("a session begins").unwrap().clone().unwrap()
        };

        let first = next(0).await;
        store.revoke(first.lease).await.unwrap();
        let second = next(first.session.revision).await;
        // The registry has seen all of it when it has seen the second registration.
        let mut view = registry.changes();
        let lives =
            |view: &Arc<crate::registry::View>| view.lives(&second.session.worker, second.session.revision);
        timeout(Duration::from_secs(10), view.wait_for(lives)).await.expect("it is seen").unwrap();
        assert!(*registry.removed().borrow() < second.session.revision);
        assert!(next(0).await.session == second.session, "the second session was ended");
        shutdown.cancel();
    }
}
