//! Ticks that a change of their job buried: the manager named them in the transaction that moved the fence, and the
//! job's first choice puts them on record. Doing it twice does no harm: the record has the same id.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    job::Placement,
    queue::Passed,
    runlog::TickOutcome,
    store::{Change, Entry, Event, Follow, Key, Revision, StoreError, follow},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Done, Duty};
use crate::{
    claim::{self, batch::Batcher, claims::Claims},
    registry::Registry,
    run::record::Journal,
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

type Named = BTreeMap<Key, Entered>;

/// Puts passed ticks on record.
pub(crate) struct PassedTicks {
    registry: Arc<Registry>,
    journal: Arc<Journal>,
    batcher: Batcher,
    changes: Follow,
    again: Interval,
    named: Named,
}

impl PassedTicks {
    /// Follows what names them.
    pub(crate) fn new(registry: Arc<Registry>, journal: Arc<Journal>, claims: &Claims) -> Self {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = claims.standing.closing.clone();
        let changes = follow(claims.store.clone(), claims.keys().passed.clone(), closing);
        Self { registry, journal, batcher: claims.batcher.clone(), changes, again, named: Named::new() }
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
            change = self.changes.recv() => note(&mut self.named, change?),
            _ = self.again.tick() => {}
        }
        Some(())
    }

    /// The job may be gone, so that its placement does not count: any worker can do this.
    async fn pass(&mut self) -> Result<Done, StoreError> {
        let me = self.journal.standing.id();
        for (key, Entered { passed, revision, on_record }) in &mut self.named {
            let view = self.registry.view();
            let rank = view.candidates.rank_of(me, &passed.job, &Placement::default());
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

fn note(named: &mut Named, change: Change) {
    match change {
        Change::Reset(entries, _) => {
            named.clear();
            entries.iter().for_each(|entry| put(named, entry));
        }
        Change::Events(events) => {
            for event in &events.events {
                match event {
                    Event::Put(entry) => put(named, entry),
                    Event::Deleted(key, _) => {
                        named.remove(key);
                    }
                }
            }
        }
        Change::Stale(_) | Change::WentBack { .. } => {}
    }
}

fn put(named: &mut Named, entry: &Entry) {
    match Passed::decode(&entry.value) {
        Ok(passed) => {
            let entered = Entered { passed, revision: entry.mod_revision, on_record: false };
            named.insert(entry.key.clone(), entered);
        }
        Err(error) => tracing::error!(key = %entry.key, %error, "a record of passed ticks cannot be read"),
    }
}
