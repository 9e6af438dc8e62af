//! Follows the store's epoch, which a person raises after the store was restored from a copy.

use std::sync::Arc;

use common::{
    epoch::Raised,
    store::{Change, Entry, Event, Store, StoreError, follow, key::Keys},
};
use tokio_util::sync::CancellationToken;

use crate::load::Load;

/// Reads the epoch, before a session begins: what is claimed in it carries the epoch.
pub(crate) async fn read(store: &dyn Store, keys: &Keys, load: &Load) -> Result<(), StoreError> {
    let (entry, _) = store.get(&keys.epoch()).await?;
    note(load, entry.as_ref());
    Ok(())
}

/// Follows it until `ending`.
pub(crate) async fn run(store: Arc<dyn Store>, keys: Keys, load: Arc<Load>, ending: CancellationToken) {
    let mut changes = follow(store, keys.epoch.clone(), ending);
    while let Some(change) = changes.recv().await {
        match change {
            Change::Reset(entries, _) => note(&load, entries.iter().find(|entry| entry.key == keys.epoch())),
            Change::Events(events) => {
                for event in events.events {
                    if let Event::Put(entry) = event {
                        note(&load, Some(&entry).filter(|entry| entry.key == keys.epoch()));
                    }
                }
            }
            // Before the listing of the restored store, so that an epoch raised meanwhile counts.
            Change::WentBack { seen, now } => load.store_was_restored(seen, now),
            Change::Stale(_) => {}
        }
    }
}

fn note(load: &Load, entry: Option<&Entry>) {
    match entry.map(|entry| Raised::decode(&entry.value)) {
        None => load.saw_epoch(common::epoch::Epoch::default()),
        Some(Ok(raised)) => load.saw_epoch(raised.epoch),
        Some(Err(error)) => tracing::error!(%error, "the store's epoch cannot be read"),
    }
}
