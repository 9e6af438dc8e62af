//! Serves the output of what executes here, while someone watches it: the one thing that goes from a worker to a
//! manager directly.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use common::{
    id::RunId,
    live::{LiveError, LiveOutput},
};
use serde::Deserialize;

use crate::runner::Runner;

/// What a worker's listener serves.
pub fn router(runner: Arc<Runner>) -> Router {
    Router::new().route("/live/{run}", get(output)).route("/healthz", get(async || "ok\n")).with_state(runner)
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
