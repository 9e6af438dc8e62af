//! Announces this manager under `managers/` with a lease, so that others know who serves.
//!
//! Nothing depends on it: while the store is away, it keeps trying, and requests are served meanwhile.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::store::{LeaseId, Op, StoreError, Txn};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::state::App;

/// What stands under `managers/<manager>`.
#[derive(Serialize)]
struct Announcement<'a> {
    id: &'a str,
    address: String,
    version: &'a str,
    started: DateTime<Utc>,
    clock: DateTime<Utc>,
}

/// Between two renewals there is a fifth of the lease.
const RENEWALS_A_LEASE: u32 = 5;

/// The clock in the announcement is never older than this many renewals.
const RENEWALS_A_CLOCK: u32 = 10;

const CALL_WITHIN: Duration = Duration::from_secs(5);

/// Keeps the announcement standing until `shutdown`, then takes it back.
pub(crate) async fn run(app: Arc<App>, address: SocketAddr, shutdown: CancellationToken) {
    let started = app.now();
    let pause = (app.config.lease_ttl / RENEWALS_A_LEASE).max(Duration::from_millis(200));
    let mut lease = None;
    while !shutdown.is_cancelled() {
        match announce(&app, address, started, &mut lease).await {
            Ok(lease) => keep(&app, lease, pause, &shutdown).await,
            Err(error) => {
                tracing::debug!(error = error.chain(), "the manager's registration failed");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {}
                    () = sleep(pause) => {}
                }
            }
        }
    }
    let Some(lease) = lease else { return };
    match timeout(CALL_WITHIN, app.store.revoke(lease)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = error.chain(), "the manager's lease ends by itself"),
        Err(_) => tracing::debug!("the manager's lease ends by itself"),
    }
}

/// Writes the announcement, under the lease there is or else under a new one.
async fn announce(
    app: &App,
    address: SocketAddr,
    started: DateTime<Utc>,
    lease: &mut Option<LeaseId>,
) -> Result<LeaseId, StoreError> {
    let deadline = Instant::now() + CALL_WITHIN;
    let id = match *lease {
        Some(id) => id,
        None => app.write_store(deadline, app.store.grant(app.config.lease_ttl)).await?.0,
    };
    *lease = Some(id);
    let announcement = Announcement {
        id: &app.config.id,
        address: address.to_string(),
        version: &app.config.version,
        started,
        clock: app.now(),
    };
    let value = serde_json::to_vec(&announcement).map_err(|error| StoreError::Refused(error.into()))?;
    let put = Op::Put(app.config.keys.managers.key(&app.config.id), value, Some(id));
    let put = app.write_store(deadline, app.store.txn(Txn::when(Vec::new(), vec![put]))).await;
    if matches!(put, Err(StoreError::LeaseGone(_))) {
        *lease = None;
    }
    put.map(|_| id)
}

/// Renews until the lease is gone, the clock has to be written again, or `shutdown`.
async fn keep(app: &App, lease: LeaseId, pause: Duration, shutdown: &CancellationToken) {
    for _ in 0..RENEWALS_A_CLOCK {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
        match app.store.renew(lease, CALL_WITHIN).await {
            Err(StoreError::LeaseGone(_)) => return,
            Err(error) => tracing::debug!(error = error.chain(), "the manager's lease was not renewed"),
            Ok(_) => {}
        }
    }
}
