//! `/api/v1/workers`: the live workers.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::api::WorkerList;

use crate::{input::Params, problem::ApiError, routes::health, state::App, view};

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    mut params: Params,
) -> Result<Json<WorkerList>, ApiError> {
    let after = params.text("after");
    let limit = params.limit();
    params.done()?;
    app.loaded().await?;
    let store_is_full = health::store_is_full(&app).await;
    let workers = app.cache.workers();
    let behind = |id: &str| after.as_deref().is_none_or(|after| id > after);
    let mut rest = workers.iter().filter(|worker| behind(worker.id.as_str()));
    let items: Vec<_> = rest.by_ref().take(limit).map(|worker| view::worker(worker, store_is_full)).collect();
    let more = rest.next().is_some();
    let next = items.last().filter(|_| more).map(|worker| worker.registration.id.to_string());
    Ok(Json(WorkerList { items, next }))
}
