//! Hears of kills and acts on them, also while this worker is ending.

use std::{collections::HashSet, sync::Arc};

use common::{
    queue::Kill,
    store::{Entry, Key, Mirror, Revision, Store, follow, keep, key::Keys},
};
use tokio_util::sync::CancellationToken;

use super::kills::Kills;
use crate::run::runner::Runner;

/// Acts on kills.
pub(crate) struct KillWatch {
    /// Those that stand.
    pub kills: Arc<Kills>,
    /// What executes.
    pub runner: Arc<Runner>,
    /// Where they stand.
    pub keys: Keys,
}

impl Mirror for KillWatch {
    /// Kills that were put while this worker was cut off still act, on runs claimed before them.
    fn list(&mut self, all: Vec<Entry>, _at: Revision) {
        let named: HashSet<&str> = all.iter().filter_map(|entry| self.keys.kills.name(&entry.key)).collect();
        self.kills.retain(|name| named.contains(name));
        all.iter().for_each(|entry| self.act_on(entry));
    }

    fn put(&mut self, entry: Entry) {
        self.act_on(&entry);
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        if let Some(name) = self.keys.kills.name(key) {
            self.kills.remove(name);
        }
    }
}

impl KillWatch {
    /// Hears of kills until `ending`.
    pub(crate) async fn run(self, store: Arc<dyn Store>, ending: CancellationToken) {
        let changes = follow(store, self.keys.kills.clone(), ending);
        keep(changes, self).await;
    }

    /// Acts at once on what executes; whatever is about to start asks for it, and so does the queue.
    fn act_on(&self, entry: &Entry) {
        let Some(name) = self.keys.kills.name(&entry.key) else { return };
        match Kill::decode(&entry.value) {
            Ok(kill) => {
                // First it is known, then acted on: a run that begins in between meets one of the two.
                self.kills.put(name, kill.clone(), entry.mod_revision);
                self.runner.kill(name, &kill, entry.mod_revision);
            }
            Err(error) => tracing::error!(key = %entry.key, %error, "a kill cannot be read"),
        }
    }
}
