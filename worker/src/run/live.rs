//! What a worker serves by HTTP: the output of what executes here while someone watches it (the one thing that goes
//! straight from a worker to a manager), and its measurements.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    routing::get,
};
use common::{
    id::RunId,
    live::{LiveError, LiveOutput},
};
use serde::Deserialize;

use super::runner::Runner;

/// Gives this process's measurements as Prometheus reads them.
pub type Measurements = Arc<dyn Fn() -> String + Send + Sync>;

/// What a worker's listener serves.
pub fn router(runner: Arc<Runner>, measurements: Option<Measurements>) -> Router {
    let measured = measurements.map_or_else(Router::new, |measurements| {
        let running = runner.clone();
        let text = async move || {
            // Far below where a float is no longer exact.
            metrics::gauge!("quorate_runs_executing").set(running.executing() as f64);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], measurements())
        };
        Router::new().route("/metrics", get(text))
    });
    let output = Router::new().route("/live/{run}", get(output)).with_state(runner);
    output.route("/healthz", get(async || "ok\n")).merge(measured)
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn output(
    State(runner): State<Arc<Runner>>,
    Path(run): Path<String>,
    Query(From { from }): Query<From>,
) -> Result<Json<LiveOutput>, (StatusCode, String)> {
    let run: RunId = run.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    runner.live(&run, from).map(Json).map_err(|error| {
        let status = match error {
            LiveError::NotRunning => StatusCode::NOT_FOUND,
            LiveError::Unreachable(_) => StatusCode::BAD_GATEWAY,
        };
        (status, format!("{error}\n"))
    })
}
