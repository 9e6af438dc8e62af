//! Ticks that a change of their job buried: the manager named them in the transaction that moved the fence, and the
//! job's first choice puts them on record. Doing it twice does no harm: the record has the same id.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    job::Placement,
    queue::Passed,
    runlog::TickOutcome,
    store::{Entry, Follow, Key, Mirror, Revision, StoreError, follow},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Done, Duty};
use crate::{
    claim::{self, batch::Batcher, claims::Claims},
    run::record::Journal,
    session::registry::Registry,
};

/// How often those are looked at that are still there: their first choice may have died, or the store been away.
const AGAIN: Duration = Duration::from_secs(5);

/// What the store names and this worker has yet to remove.
struct Entered {
    passed: Passed,
    revision: Revision,
    /// Only the removal is left: while the store is away, the record is not kept again and again.
    on_record: bool,
}

/// Puts passed ticks on record.
pub(crate) struct PassedTicks {
    registry: Arc<Registry>,
    journal: Arc<Journal>,
    batcher: Batcher,
    changes: Follow,
    again: Interval,
    entries: Entries,
}

impl PassedTicks {
    /// Follows what names them.
    pub(crate) fn new(registry: Arc<Registry>, journal: Arc<Journal>, claims: &Claims) -> Self {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = claims.standing.closing.clone();
        let changes = follow(claims.store.clone(), claims.keys().passed.clone(), closing);
        Self {
            registry,
            journal,
            batcher: claims.batcher.clone(),
            changes,
            again,
            entries: Entries::default(),
        }
    }
}

#[async_trait]
impl Duty for PassedTicks {
    fn name(&self) -> &'static str {
        "passed"
    }

    async fn woken(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            change = self.changes.recv() => self.entries.take(change?),
            _ = self.again.tick() => {}
        }
        Some(())
    }

    /// The job may be gone, so that its placement does not count: any worker can do this.
    async fn pass(&mut self) -> Result<Done, StoreError> {
        let me = self.journal.standing.id();
        for (key, Entered { passed, revision, on_record }) in &mut self.entries.0 {
            let view = self.registry.view();
            let rank = view.candidates.rank_of(me, passed.job.as_str(), &Placement::default());
            if rank != Some(0) {
                continue;
            }
            // On disk first: what is removed from the store is on record.
            if !*on_record {
                let (ticks, reason) = (&passed.ticks, &passed.reason);
                self.journal.keep_ticks(&passed.job, ticks, TickOutcome::Missed, reason).await;
                *on_record = true;
            }
            if let Err(error) = self.batcher.plain(claim::clear(key.clone(), *revision)).await {
                tracing::debug!(%key, %error, "a record of passed ticks stays in the store until the next pass");
            }
        }
        Ok(Done::ForNow)
    }
}

/// What the store names, by its key.
#[derive(Default)]
struct Entries(BTreeMap<Key, Entered>);

impl Mirror for Entries {
    fn list(&mut self, all: Vec<Entry>, _at: Revision) {
        self.0.clear();
        all.into_iter().for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: Entry) {
        match Passed::decode(&entry.value) {
            Ok(passed) => {
                let entered = Entered { passed, revision: entry.mod_revision, on_record: false };
                self.0.insert(entry.key, entered);
            }
            Err(error) => tracing::error!(key = %entry.key, %error, "what names passed ticks cannot be read"),
        }
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        self.0.remove(key);
    }
}
