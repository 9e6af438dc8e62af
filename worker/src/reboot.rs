//! `@reboot`: once for each worker and boot of its machine, each job that the worker has the labels for, on itself.
//!
//! The store remembers, under `boots/<worker>`, the boot that this worker has dealt with. It is written in one
//! transaction with the wanted runs, so that a worker that is killed at any point queues each job once: before it,
//! nothing has happened; after it, nothing is left to do. A job that is saved later waits for the next boot. Every
//! worker queues for itself, so that a job that is meant for some machines has to require a label of theirs.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    id::{JobName, WorkerId},
    job::{Job, StoredJob},
    queue::Wanted,
    run::Cause,
    store::{Entry, Revision, StoreError, read_all},
    worker::Boot,
};
use tokio::time::sleep;

use crate::{
    claim::{self, Session},
    desk::Desk,
};

/// Jobs in one transaction: with the boot's own key they are below the store's limit.
const TOGETHER: usize = 100;

/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

enum Step {
    Done,
    /// More to queue, or somebody has been faster.
    Again,
}

impl Desk {
    /// Queues what waits for this boot, unless it is queued already. Ends by itself, or when the worker is closing.
    pub async fn queue_reboot_jobs(self: Arc<Self>, boot: String) {
        if boot.is_empty() {
            tracing::warn!("this machine's boot cannot be told from others; @reboot jobs are not started");
            return;
        }
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            () = self.queue_until_done(&boot) => {}
        }
    }

    async fn queue_until_done(&self, boot: &str) {
        loop {
            let Some(session) = self.trusted().await else { return };
            match self.queue_some(boot, &session).await {
                Ok(Step::Done) => return,
                Ok(Step::Again) => {}
                Err(error) => {
                    tracing::warn!(error = error.chain(), "cannot queue @reboot jobs yet");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn queue_some(&self, boot: &str, session: &Session) -> Result<Step, StoreError> {
        let key = self.config.keys.boot(&self.config.id);
        let (entry, _) = self.store.get(&key).await?;
        let seen = entry.as_ref().map_or(Revision::NONE, |entry| entry.mod_revision);
        // What does not decode tells of no boot, and is replaced.
        let dealt_with = entry.and_then(|entry| Boot::decode(&entry.value).ok());
        let after = match dealt_with.filter(|dealt_with| dealt_with.boot == boot) {
            Some(Boot { through: None, .. }) => return Ok(Step::Done),
            Some(Boot { through, .. }) => through,
            None => None,
        };
        let jobs = self.jobs_at_boot(after.as_ref()).await?;
        let part = &jobs[..jobs.len().min(TOGETHER)];
        let through = part.last().filter(|_| part.len() < jobs.len()).map(|job| job.name.clone());
        let done = through.is_none();
        let wanted: Vec<Wanted> = part.iter().map(|job| self.wanted_at_boot(job)).collect();
        let boot = Boot { boot: boot.to_owned(), through };
        let txn = claim::queue_at_boot(&self.config.keys, &self.config.id, seen, &boot, &wanted);
        match self.batcher.guarded(txn, session).await {
            Ok(outcome) if outcome.succeeded => {
                for job in part {
                    tracing::info!(job = %job.name, "queued: this machine has booted");
                }
                Ok(if done { Step::Done } else { Step::Again })
            }
            // An earlier try was done although its answer was lost.
            Ok(_) => Ok(Step::Again),
            Err(error) => {
                tracing::debug!(%error, "@reboot jobs are not queued yet");
                sleep(RETRY).await;
                Ok(Step::Again)
            }
        }
    }

    /// The jobs behind `after` that boots start and that this worker has the labels for, by name.
    async fn jobs_at_boot(&self, after: Option<&JobName>) -> Result<Vec<Job>, StoreError> {
        let prefix = &self.config.keys.jobs;
        let starts = |stored: &StoredJob| {
            let at_boot = stored.job.schedule().ok().flatten().is_some_and(|it| it.fires_at_boot());
            at_boot && !stored.paused && after.is_none_or(|after| stored.job.name > *after)
        };
        let mine = |entry: Entry| {
            // One that cannot be read is said to be so by the scheduler.
            let stored = StoredJob::decode(prefix.name(&entry.key)?, &entry.value).ok().filter(starts)?;
            Some(stored.job).filter(|job| job.placement.allows(&self.config.labels))
        };
        let (mut jobs, _) = read_all(&*self.store, prefix, mine).await?;
        jobs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(jobs)
    }

    fn wanted_at_boot(&self, job: &Job) -> Wanted {
        let now = self.clock.now();
        Wanted {
            job: job.name.clone(),
            run: self.new_run(),
            attempt: 1,
            cause: Cause::Reboot,
            tick: None,
            since: now,
            not_before: None,
            deadline: start_deadline(job, now),
            worker: Some(self.config.id.clone()),
            by: format!("the boot of {}", self.config.host),
            killed: None,
        }
    }
}

/// Where the next attempt of a run belongs, and by when it has to start: a boot is one worker's, which may be gone for
/// good. `None`: any worker's, at any time.
pub(crate) fn bound(
    job: &Job,
    cause: Cause,
    worker: &WorkerId,
    now: DateTime<Utc>,
) -> Option<(WorkerId, Option<DateTime<Utc>>)> {
    // The attempts after the second are known by the job only.
    let at_boot = cause == Cause::Reboot
        || job.schedule().is_ok_and(|schedule| schedule.is_some_and(|it| it.is_reboot()));
    at_boot.then(|| (worker.clone(), start_deadline(job, now)))
}

fn start_deadline(job: &Job, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    from.checked_add_signed(chrono::Duration::from_std(job.misfire.deadline.0).ok()?)
}
