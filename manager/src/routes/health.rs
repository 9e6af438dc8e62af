//! `/healthz`, `/readyz`, `/metrics`: for load balancers and monitors.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use common::{
    api::{Health, HealthPart, HealthStatus},
    store::StoreError,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::state::App;

/// A server that takes longer to say what it is counts as away.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// It serves.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// 200 while the store can be used, which one that takes no writes cannot. Without the run log a manager still does the most important things, and all
/// managers would be without it at once, so it stays in service.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let store = async { app.store.status().await.map_err(|error| error.chain()) };
    let run_log = async { app.runlog.status().await.map_err(|error| error.chain()) };
    let (store, run_log) = tokio::join!(part(store), part(run_log));
    let lists = match (app.cache.stale(), app.cache.is_loaded()) {
        (Some(reason), _) => HealthPart { ok: false, says: reason.to_string() },
        (None, false) => HealthPart { ok: false, says: "not read yet".to_owned() },
        (None, true) => HealthPart { ok: true, says: "current".to_owned() },
    };
    let (code, status) = match (store.ok && lists.ok, run_log.ok) {
        (true, true) => (StatusCode::OK, HealthStatus::Ready),
        (true, false) => (StatusCode::OK, HealthStatus::Degraded),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, HealthStatus::Unready),
    };
    (code, Json(Health { status, store, run_log, lists }))
}

/// True when the store says that it takes no writes. One that is away says nothing.
pub(crate) async fn store_is_full(app: &App) -> bool {
    if app.cache.stale().is_some() {
        return false;
    }
    matches!(timeout(STATUS_WITHIN, app.store.status()).await, Ok(Err(StoreError::Full(_))))
}

async fn part(status: impl Future<Output = Result<String, String>>) -> HealthPart {
    match timeout(STATUS_WITHIN, status).await {
        Ok(Ok(says)) => HealthPart { ok: true, says },
        Ok(Err(says)) => HealthPart { ok: false, says },
        Err(_) => HealthPart { ok: false, says: "it does not answer".to_owned() },
    }
}

/// As Prometheus reads them, with what this manager sees in the store now.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    for (what, count) in app.cache.counts() {
        // Counts stay far below where a float is no longer exact.
        metrics::gauge!("quorate_store_entries", "what" => what).set(count as f64);
    }
    metrics::gauge!("quorate_store_stale").set(if app.cache.stale().is_some() { 1.0 } else { 0.0 });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)())
}
