//! Ends runs whose worker may not be trusted any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::runner::Runner;
use crate::{guard::GuardHandle, session::lease::Trust};

/// Tells the guard how long it may trust this worker, and ends all runs when nobody may.
pub(crate) async fn end_runs_without_trust(
    runner: Arc<Runner>,
    guard: GuardHandle,
    mut trust: watch::Receiver<Option<Trust>>,
    grace: Duration,
    ending: CancellationToken,
) {
    let mut trusted = false;
    loop {
        let until = trust.borrow_and_update().as_ref().map(|trust| trust.until);
        match until {
            // The guard acts only when this worker did not: after the grace that it gives its runs.
            Some(until) => {
                guard.trust_until(until + grace);
                runner.guarded_until(until + grace);
            }
            None if trusted => runner.lease_lost(grace),
            None => {}
        }
        trusted = until.is_some();
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            changed = trust.changed() => if changed.is_err() {
                // The keeper has died, and nobody renews the lease.
                runner.lease_lost(grace);
                return ending.cancelled().await;
            },
        }
    }
}
