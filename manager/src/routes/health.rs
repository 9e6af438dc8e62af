//! `/healthz`, `/readyz`, `/metrics`: for load balancers and monitors.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use common::store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::state::App;

/// A server that takes longer to say what it is counts as away.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// A server behind this manager.
#[derive(Serialize)]
struct Part {
    ok: bool,
    /// What it is, or why it cannot be used.
    says: String,
}

#[derive(Serialize)]
pub(crate) struct Readiness {
    /// `ready`, `degraded` (no run log: jobs can be changed, past runs not be seen) or `unready`.
    status: &'static str,
    store: Part,
    run_log: Part,
    /// Whether lists show the store as it is now.
    lists: Part,
}

/// It serves.
pub(crate) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// 200 while the store can be used, which one that takes no writes cannot. Without the run log a manager still does the most important things, and all
/// managers would be without it at once, so it stays in service.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let store = async { app.store.status().await.map_err(|error| error.chain()) };
    let run_log = async { app.runlog.status().await.map_err(|error| error.chain()) };
    let (store, run_log) = tokio::join!(part(store), part(run_log));
    let lists = match (app.cache.stale(), app.cache.is_loaded()) {
        (Some(reason), _) => Part { ok: false, says: reason.to_string() },
        (None, false) => Part { ok: false, says: "not read yet".to_owned() },
        (None, true) => Part { ok: true, says: "current".to_owned() },
    };
    let (code, status) = match (store.ok && lists.ok, run_log.ok) {
        (true, true) => (StatusCode::OK, "ready"),
        (true, false) => (StatusCode::OK, "degraded"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
    };
    (code, Json(Readiness { status, store, run_log, lists }))
}

/// True when the store says that it takes no writes. One that is away says nothing.
pub(crate) async fn store_is_full(app: &App) -> bool {
    if app.cache.stale().is_some() {
        return false;
    }
    matches!(timeout(STATUS_WITHIN, app.store.status()).await, Ok(Err(StoreError::Full(_))))
}

async fn part(status: impl Future<Output = Result<String, String>>) -> Part {
    match timeout(STATUS_WITHIN, status).await {
        Ok(Ok(says)) => Part { ok: true, says },
        Ok(Err(says)) => Part { ok: false, says },
        Err(_) => Part { ok: false, says: "it does not answer".to_owned() },
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
