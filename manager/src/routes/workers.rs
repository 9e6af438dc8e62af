//! `/api/v1/workers`: the live workers.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{
    api::{WorkerDrain, WorkerList, WorkerView},
    id::WorkerId,
    job::FieldError,
    worker::{Drain, Registration},
};

use crate::{
    access::Caller,
    change::drain::set_drain,
    input::{Named, NoParams, Params},
    precondition::NoPrecondition,
    problem::ApiError,
    routes::health,
    state::App,
    view,
};

/// The longest note of a drain, in bytes.
const LONGEST_NOTE: usize = 500;

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
    let items: Vec<_> = rest.by_ref().take(limit).map(|worker| shown(&app, worker, store_is_full)).collect();
    let more = rest.next().is_some();
    let next = items.last().filter(|_| more).map(|worker| worker.registration.id.to_string());
    Ok(Json(WorkerList { items, next }))
}

fn shown(app: &App, worker: &Registration, store_is_full: bool) -> WorkerView {
    view::worker(worker, app.cache.drain(worker.id.as_str()), store_is_full)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: NoParams,
    Named(id): Named<WorkerId>,
) -> Result<Json<WorkerView>, ApiError> {
    app.loaded().await?;
    let store_is_full = health::store_is_full(&app).await;
    let worker = app.cache.worker(id.as_str()).ok_or(ApiError::NoSuchWorker(id))?;
    Ok(Json(shown(&app, &worker, store_is_full)))
}

pub(crate) async fn drain(
    State(app): State<Arc<App>>,
    mut params: Params,
    _: NoPrecondition,
    caller: Caller,
    Named(id): Named<WorkerId>,
) -> Result<Json<WorkerDrain>, ApiError> {
    let note = params.text("note").unwrap_or_default();
    let evict = params.parsed("evict", "true or false", "true").unwrap_or(false);
    params.done()?;
    if note.len() > LONGEST_NOTE || note.chars().any(char::is_control) {
        let problem = format!("is longer than {LONGEST_NOTE} bytes, or not one line");
        return Err(ApiError::bad_field(FieldError::new("note", "…", problem, "note=new%20disk")));
    }
    let wanted = Drain { by: caller.to_string(), at: app.now(), note, evict };
    set_drain(&app, &caller, &id, Some(wanted.clone())).await?;
    Ok(Json(WorkerDrain { worker: id.to_string(), drain: Some(wanted) }))
}

pub(crate) async fn undrain(
    State(app): State<Arc<App>>,
    _: NoParams,
    _: NoPrecondition,
    caller: Caller,
    Named(id): Named<WorkerId>,
) -> Result<Json<WorkerDrain>, ApiError> {
    set_drain(&app, &caller, &id, None).await?;
    Ok(Json(WorkerDrain { worker: id.to_string(), drain: None }))
}
