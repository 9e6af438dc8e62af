//! Whether somebody wants this worker to take nothing new, as a session begins. Then `run/drain.rs` follows it.

use common::store::{Key, Store, StoreError};

use crate::session::load::Load;

/// Reads it before a session begins: a worker that was drained claims nothing after a restart either.
pub(crate) async fn read(store: &dyn Store, key: &Key, load: &Load) -> Result<(), StoreError> {
    let (entry, _) = store.get(key).await?;
    load.set_told_to_drain(entry.is_some());
    Ok(())
}
