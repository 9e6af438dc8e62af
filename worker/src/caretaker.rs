//! The full pass: what needs a caretaker (a lock whose holder is gone, a missed tick, a lock that was never made, a
//! lost run without a lock) is the duty of the job's first choice. It runs at the start, when the workers change,
//! and now and then, and takes the same path as a tick does, so that a lost event and a second worker are one case.

use std::{sync::Arc, time::Duration};

use common::{
    id::JobName,
    job::Placement,
    lock::{Held, Lock},
    store::{StoreError, list_all},
    tick::Tick,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    agenda::{Due, Planned},
    claim::{self, Seen},
    desk::Desk,
};

/// Without any change, so often.
const EVERY: Duration = Duration::from_secs(30);

/// After a change, once things have been quiet for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// A tick this young is left to the path of due ticks.
const YOUNG: chrono::Duration = chrono::Duration::seconds(2);

impl Desk {
    /// Passes for ever.
    pub async fn take_care(self: Arc<Self>) {
        let mut changes = self.registry.changes();
        let mut candidates = None;
        loop {
            let next = Instant::now() + EVERY;
            if self.trusted().await.is_none() {
                return;
            }
            if let Err(error) = self.pass().await {
                tracing::debug!(error = error.chain(), "a full pass was not finished");
                sleep(SETTLED).await;
                continue;
            }
            candidates.replace(self.registry.view().candidates.view());
            loop {
                tokio::select! {
                    () = self.closing.cancelled() => return,
                    () = sleep_until(next) => break,
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        if candidates != Some(self.registry.view().candidates.view()) {
                            sleep(SETTLED).await;
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn pass(self: &Arc<Self>) -> Result<(), StoreError> {
        let keys = &self.config.keys;
        let view = self.registry.view();
        let first = |job: &JobName, placement: &Placement| {
            view.candidates.rank_of(&self.config.id, job, placement) == Some(0)
        };
        let (locks, _) = list_all(&*self.store, &keys.locks).await?;
        let mut with_lock = std::collections::HashSet::with_capacity(locks.len());
        for entry in &locks {
            let Some(job) = keys.locks.name(&entry.key).and_then(|name| name.parse::<JobName>().ok()) else {
                continue;
            };
            if let (Some(planned), Some(seen)) = (self.planned(&job), claim::seen(entry))
                && first(&job, &planned.job.placement)
            {
                self.look_after(&planned, seen).await;
            }
            with_lock.insert(job);
        }
        let without: Vec<Arc<Planned>> = {
            let agenda = self.agenda.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            agenda.jobs().filter(|planned| !with_lock.contains(&planned.job.name)).cloned().collect()
        };
        for planned in without {
            if first(&planned.job.name, &planned.job.placement) {
                self.create_lock(&planned).await;
            }
        }
        let (runs, _) = list_all(&*self.store, &keys.runs).await?;
        for entry in runs {
            if let Ok(held) = Held::decode(&entry.value)
                && first(&held.job, &Placement::default())
            {
                self.free_beside(&held, entry.mod_revision).await;
            }
        }
        Ok(())
    }

    /// One job that this worker ranks first for.
    async fn look_after(self: &Arc<Self>, planned: &Arc<Planned>, seen: Seen) {
        match seen.lock {
            Lock::Held(held) => {
                if self.is_gone(&held).await
                    && let Some(session) = self.session()
                {
                    self.free_if_orphaned(planned, &held, seen.revision, &session).await;
                }
            }
            Lock::Free(free) => {
                let Some(schedule) = planned.schedule.as_ref().filter(|_| !planned.paused) else { return };
                let until = self.clock.now() - YOUNG;
                let Some(newest) = schedule.latest_in(free.fence.instant(), until) else { return };
                let before = newest - chrono::Duration::seconds(1);
                let previous = schedule.latest_in(free.fence.instant(), before);
                let due = Due {
                    job: planned.clone(),
                    tick: Tick::from_instant(newest),
                    // Behind the fence when ticks were missed in between, so that the claim becomes a catch-up.
                    previous: previous.map_or(free.fence, Tick::from_instant),
                };
                self.tasks.spawn(self.clone().decide(due, 0));
            }
        }
    }
}
