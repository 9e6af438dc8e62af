//! Follows the store's epoch, which a person raises after the store was restored from a copy.

use std::sync::Arc;

use common::{
    epoch::Raised,
    store::{Away, Entry, Key, Mirror, Revision, Store, StoreError, follow, keep, key::Keys},
};
use tokio_util::sync::CancellationToken;

use crate::session::load::Load;

/// Reads the epoch, before a session begins: what is claimed in it carries the epoch.
pub(crate) async fn read(store: &dyn Store, keys: &Keys, load: &Load) -> Result<(), StoreError> {
    let (entry, _) = store.get(&keys.epoch()).await?;
    note(load, entry.as_ref());
    Ok(())
}

/// Follows it until `ending`.
pub(crate) async fn run(store: Arc<dyn Store>, keys: Keys, load: Arc<Load>, ending: CancellationToken) {
    let changes = follow(store, keys.epoch.clone(), ending);
    keep(changes, Followed { key: keys.epoch(), load }).await;
}

struct Followed {
    key: Key,
    load: Arc<Load>,
}

impl Mirror for Followed {
    fn list(&mut self, all: Vec<Entry>, _at: Revision) {
        note(&self.load, all.iter().find(|entry| entry.key == self.key));
    }

    fn put(&mut self, entry: Entry) {
        if entry.key == self.key {
            note(&self.load, Some(&entry));
        }
    }

    fn remove(&mut self, _key: &Key, _at: Revision) {}

    fn away(&mut self, why: Away) {
        // Before the listing of the restored store, so that an epoch raised meanwhile counts.
        if let Away::WentBack { seen, now } = why {
            self.load.store_was_restored(seen, now);
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
