//! Keeps the store's history short. Claims are written all the time, and etcd keeps every version of every key until
//! it is told to compact: 500 runs a second fill its quota within a day, and then it takes no more writes.
//!
//! Each manager does it without asking the others: compacting twice costs nothing, and none of them is special. What
//! is left reaches back one to two times the time that was asked for, so that a watch which was cut off for a while
//! goes on without a new listing.

use std::{sync::Arc, time::Duration};

use common::store::Revision;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// Forgets for ever what is older than `keep`.
pub(crate) async fn run(app: Arc<App>, keep: Duration, shutdown: CancellationToken) {
    let mut before = None;
    loop {
        before = forget(&app, before).await;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep(keep) => {}
        }
    }
}

/// Forgets what is older than the last look, and gives this one.
async fn forget(app: &App, before: Option<Revision>) -> Option<Revision> {
    let key = app.config.keys.epoch();
    let now = match app.read_store(App::deadline(), app.store.get(&key)).await {
        Ok((_, now)) => now,
        Err(error) => {
            tracing::debug!(error = error.chain(), "the store's revision cannot be read");
            return before;
        }
    };
    // After a restore the store is below what was seen.
    if let Some(before) = before.filter(|before| *before < now) {
        match app.write_store(App::deadline(), app.store.compact(before)).await {
            Ok(()) => tracing::debug!(%before, %now, "compacted the store's history"),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the store's history cannot be compacted, and grows")
            }
        }
    }
    Some(now)
}
