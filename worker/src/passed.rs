//! Ticks that a change of their job passed over: the manager named them in the transaction that moved the fence, and the
//! job's first choice puts them on record. Done twice it is done once: the record has the same id.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    job::Placement,
    queue::Passed,
    runlog::TickOutcome,
    store::{Change, Entry, Event, Key, Revision, follow},
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{claim, desk::Desk};

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

impl Desk {
    /// Puts passed ticks on record until this worker ends.
    pub async fn record_passed(self: Arc<Self>) {
        let keys = &self.config.keys;
        let mut changes = follow(self.store.clone(), keys.passed.clone(), self.closing.clone());
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut named = Named::new();
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    note(&mut named, change);
                }
                _ = again.tick() => {}
            }
            self.record_mine(&mut named).await;
        }
    }

    /// The job may be gone, so that its placement does not count: any worker can do this.
    async fn record_mine(&self, named: &mut Named) {
        for (key, Entered { passed, revision, on_record }) in named {
            let view = self.registry.view();
            let rank = view.candidates.rank_of(&self.config.id, &passed.job, &Placement::default());
            if rank != Some(0) {
                continue;
            }
            // On disk first: what is removed from the store is on record.
            if !*on_record {
                self.keep_ticks(&passed.job, &passed.ticks, TickOutcome::Missed, &passed.reason).await;
                *on_record = true;
            }
            if let Err(error) = self.batcher.plain(claim::clear(key.clone(), *revision)).await {
                tracing::debug!(%key, %error, "what names passed ticks stays in the store until the next look");
            }
        }
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
        Err(error) => tracing::error!(key = %entry.key, %error, "what names passed ticks cannot be read"),
    }
}
