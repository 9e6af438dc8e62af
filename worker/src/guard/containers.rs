//! The guard's hand on its worker's containers: by their labels, through the engine's socket.

use std::time::Duration;

use crate::driver::docker::{EngineAddress, Spared, sweep};

/// Ends and removes the containers of a session. Blocks, for little more than `patience` while the engine does not answer.
/// False: some may be left.
pub(super) fn end(engine: &EngineAddress, token: &str, spared: Spared, patience: Duration) -> bool {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the guard cannot speak to the container engine");
            return false;
        }
    };
    match runtime.block_on(sweep::session(engine, token, spared, patience)) {
        Ok(removed) => {
            if removed > 0 {
                tracing::warn!(removed, "the guard has removed its worker's containers");
            }
            true
        }
        Err(error) => {
            tracing::error!(%engine, %error, "containers of a worker that is gone may go on");
            false
        }
    }
}
