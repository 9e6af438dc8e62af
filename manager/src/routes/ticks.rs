//! `/api/v1/jobs/{job}/ticks`: the job's ticks that got no run, and why.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{
    api::List,
    id::JobName,
    runlog::{TickOutcome, TickQuery, TickRecord},
    tick::Tick,
};
use serde::Serialize;

use crate::{
    input::{Named, Params},
    problem::ApiError,
    state::App,
    view::instant,
};

/// A stretch of ticks without a run.
#[derive(Serialize)]
pub(crate) struct TickView {
    job: String,
    /// The first tick, RFC 3339 in UTC with milliseconds.
    from: String,
    /// The last tick.
    to: String,
    /// How many, both included.
    count: u64,
    outcome: TickOutcome,
    reason: String,
    /// Who says so.
    worker: String,
}

impl From<TickRecord> for TickView {
    fn from(record: TickRecord) -> Self {
        let text = |tick: Tick| instant(tick.instant());
        Self {
            job: record.job_name.to_string(),
            from: text(record.from),
            to: text(record.to),
            count: record.count,
            outcome: record.outcome,
            reason: record.reason,
            worker: record.worker.to_string(),
        }
    }
}

/// Newest first. Also of a job that is gone: what became of its ticks stays.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named(name): Named<JobName>,
    mut params: Params,
) -> Result<Json<List<TickView>>, ApiError> {
    let query = TickQuery {
        job: Some(name.to_string()),
        from: params.instant("from"),
        to: params.instant("to"),
        limit: params.limit(),
    };
    params.done()?;
    let records = app.ask_runlog(app.runlog.ticks(&query)).await?;
    Ok(Json(List { items: records.into_iter().map(TickView::from).collect(), next: None }))
}
