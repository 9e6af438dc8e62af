//! What drivers do without a process: they wait for something, until it is there or the run is to end.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::StopSignal;
use crate::output::{Output, SPILL_AFTER};

/// Waits for `work`; none: the run is to end, and `work` is dropped at once.
pub(super) async fn until_stopped<T>(
    work: impl Future<Output = T>,
    mut stop: StopSignal,
    output: &Arc<Output>,
) -> Option<T> {
    let long = sleep_until(output.started() + SPILL_AFTER);
    tokio::pin!(work, long);
    let mut spills = true;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return None,
            done = &mut work => return Some(done),
            () = &mut long, if spills => {
                output.spill_now();
                spills = false;
            }
        }
    }
}

/// Resolves when the run is to end; never, if nobody can say so any more.
async fn stopped(stop: &mut StopSignal) {
    if stop.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}
