//! Watches how much room the data directory has: without any, a worker stops claiming before it has runs whose
//! records it cannot keep.

use std::{path::PathBuf, sync::Arc, time::Duration};

use common::room;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::session::load::Load;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Watches until `shutdown`.
pub(crate) async fn watch(dir: PathBuf, load: Arc<Load>, shutdown: CancellationToken) {
    loop {
        load.set_room_short(room::lack_of(&dir));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep(EVERY) => {}
        }
    }
}
