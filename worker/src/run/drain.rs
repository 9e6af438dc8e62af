//! Follows whether somebody wants this worker to take nothing new.

use std::sync::Arc;

use common::{
    store::{Entry, Key, Mirror, Revision, Store, follow, keep, key::Keys},
    worker::Drain,
};
use tokio_util::sync::CancellationToken;

use super::runner::Runner;
use crate::session::load::Load;

/// Follows it until `ending`.
pub(crate) async fn run(
    store: Arc<dyn Store>,
    (keys, key): (Keys, Key),
    load: Arc<Load>,
    runner: Arc<Runner>,
    ending: CancellationToken,
) {
    let changes = follow(store, keys.drains, ending);
    keep(changes, Followed { key, load, runner, evicted: Revision::NONE }).await;
}

struct Followed {
    key: Key,
    load: Arc<Load>,
    runner: Arc<Runner>,
    /// The wish by which runs were ended last: a new listing is no new wish.
    evicted: Revision,
}

impl Followed {
    fn note(&mut self, entry: Option<&Entry>) {
        // One that cannot be read is there all the same.
        self.load.set_told_to_drain(entry.is_some());
        let Some(entry) = entry else { return };
        match Drain::decode(&entry.value) {
            Ok(drain) if drain.evict && self.evicted != entry.mod_revision => {
                self.evicted = entry.mod_revision;
                self.runner.evict(&drain);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(key = %entry.key, %error, "a drain cannot be read; it counts as one without a note")
            }
        }
    }
}

impl Mirror for Followed {
    fn list(&mut self, all: Vec<Entry>, _at: Revision) {
        self.note(all.iter().find(|entry| entry.key == self.key));
    }

    fn put(&mut self, entry: Entry) {
        if entry.key == self.key {
            self.note(Some(&entry));
        }
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        if *key == self.key {
            self.note(None);
        }
    }
}
