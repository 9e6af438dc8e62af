//! What a worker does beside its runs so that nothing is left unattended: one trait, and one loop that runs every
//! duty.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::store::StoreError;
use tokio::time::sleep;

use crate::session::Standing;

pub(crate) mod boot;
pub(crate) mod locks;
pub(crate) mod passed;
pub(crate) mod tasks;

/// After a pass that failed.
const RETRY: Duration = Duration::from_millis(300);

/// A duty.
#[async_trait]
pub(crate) trait Duty: Send {
    /// Its name, for measurements and messages.
    fn name(&self) -> &'static str;

    /// Resolves when a pass is due; none: whatever wakes it has ended, and the duty ends too. Cancel safe.
    async fn woken(&mut self) -> Option<()>;

    /// Does what has to be done now. After an error it is tried again without being woken.
    async fn pass(&mut self) -> Result<Done, StoreError>;
}

/// Whether a duty is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Until it is woken.
    ForNow,
    /// There is nothing left that it could do.
    ForGood,
}

/// Runs a duty until the worker is closing. No error ends it.
pub(crate) async fn run(mut duty: impl Duty, standing: Arc<Standing>) {
    let name = duty.name();
    let closing = standing.closing.clone();
    let passes = async {
        while duty.woken().await.is_some() {
            loop {
                match duty.pass().await {
                    Ok(Done::ForNow) => break,
                    Ok(Done::ForGood) => return,
                    Err(error) => {
                        tracing::debug!(duty = name, error = error.chain(), "a pass was not finished");
                        sleep(RETRY).await;
                    }
                }
            }
            let now = standing.clock.now().timestamp_millis();
            metrics::gauge!("quorate_duty_last_pass_seconds", "duty" => name).set(now as f64 / 1000.0);
        }
    };
    tokio::select! {
        biased;
        () = closing.cancelled() => {}
        () = passes => {}
    }
}
