//! `@reboot`: once per worker and boot of its machine, every job that the worker has the labels for, on that worker.
//!
//! The store remembers, under `boots/<worker>`, the boot that this worker has dealt with. It is written in one
//! transaction with the queued runs, so that a worker queues each job once, whenever it is killed: before it, nothing
//! has happened; after it, nothing is left to do. A job that is saved later waits for the next boot. Every worker
//! queues for itself, so a job that is meant for some machines has to require a label of theirs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    id::JobName,
    job::{Job, StoredJob},
    queue::QueuedRun,
    run::Cause,
    store::{Entry, Revision, StoreError, read_all},
    worker::Boot,
};
use tokio::time::sleep;

use super::{Done, Duty};
use crate::{
    claim::{self, Session, claims::Claims},
    plan::start_deadline,
};

/// Jobs in one transaction: with the boot's own key they are below the store's limit.
const TOGETHER: usize = 100;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

/// Queues what waits for a boot.
pub(crate) struct Boots {
    claims: Arc<Claims>,
    /// This one.
    boot: String,
}

impl Boots {
    /// None where this boot cannot be told from others.
    pub(crate) fn new(claims: Arc<Claims>, boot: String) -> Option<Self> {
        if boot.is_empty() {
            tracing::warn!("this machine's boot cannot be told from others; @reboot jobs are not started");
            return None;
        }
        Some(Self { claims, boot })
    }
}

#[async_trait]
impl Duty for Boots {
    fn name(&self) -> &'static str {
        "boot"
    }

    /// At once: each pass queues a part.
    async fn woken(&mut self) -> Option<()> {
        Some(())
    }

    async fn pass(&mut self) -> Result<Done, StoreError> {
        match self.claims.standing.trusted().await {
            Some(session) => self.queue_some(&session).await,
            None => Ok(Done::ForGood),
        }
    }
}

impl Boots {
    async fn queue_some(&self, session: &Session) -> Result<Done, StoreError> {
        let key = self.claims.keys().boot(self.claims.standing.id());
        let (entry, _) = self.claims.store.get(&key).await?;
        let seen = entry.as_ref().map_or(Revision::NONE, |entry| entry.mod_revision);
        // What does not decode tells of no boot, and is replaced.
        let dealt_with = entry.and_then(|entry| Boot::decode(&entry.value).ok());
        let after = match dealt_with.filter(|dealt_with| dealt_with.boot == self.boot) {
            Some(Boot { through: None, .. }) => return Ok(Done::ForGood),
            Some(Boot { through, .. }) => through,
            None => None,
        };
        let jobs = self.jobs_at_boot(after.as_ref()).await?;
        let part = &jobs[..jobs.len().min(TOGETHER)];
        let through = part.last().filter(|_| part.len() < jobs.len()).map(|job| job.name.clone());
        let done = through.is_none();
        let wanted: Vec<QueuedRun> = part.iter().map(|job| self.wanted_at_boot(job)).collect();
        let boot = Boot { boot: self.boot.clone(), through };
        let txn = claim::queue_at_boot(self.claims.keys(), self.claims.standing.id(), seen, &boot, &wanted);
        match self.claims.batcher.guarded(txn, session).await {
            Ok(outcome) if outcome.succeeded => {
                for job in part {
                    tracing::info!(job = %job.name, "queued: this machine has booted");
                }
                Ok(if done { Done::ForGood } else { Done::ForNow })
            }
            // An earlier try was done although its answer was lost.
            Ok(_) => Ok(Done::ForNow),
            Err(error) => {
                tracing::debug!(%error, "@reboot jobs are not queued yet");
                sleep(RETRY).await;
                Ok(Done::ForNow)
            }
        }
    }

    /// The jobs behind `after` that boots start and that this worker has the labels for, by name.
    async fn jobs_at_boot(&self, after: Option<&JobName>) -> Result<Vec<Job>, StoreError> {
        let prefix = &self.claims.keys().jobs;
        let starts = |stored: &StoredJob| {
            let at_boot = stored.job.schedule().ok().flatten().is_some_and(|it| it.fires_at_boot());
            at_boot && !stored.paused && after.is_none_or(|after| stored.job.name > *after)
        };
        let mine = |entry: Entry| {
            // One that cannot be read is said to be so by the scheduler.
            let stored = StoredJob::decode(prefix.name(&entry.key)?, &entry.value).ok().filter(starts)?;
            Some(stored.job).filter(|job| job.placement.allows(&self.claims.standing.config.labels))
        };
        let (mut jobs, _) = read_all(&*self.claims.store, prefix, mine).await?;
        jobs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(jobs)
    }

    fn wanted_at_boot(&self, job: &Job) -> QueuedRun {
        let now = self.claims.standing.clock.now();
        let wanted = QueuedRun::new(job.name.clone(), self.claims.chance.run_id(now), Cause::Reboot, now);
        QueuedRun {
            deadline: start_deadline(job, now),
            worker: Some(self.claims.standing.id().clone()),
            by: format!("the boot of {}", self.claims.standing.config.host),
            ..wanted
        }
    }
}
