//! `/api/v1/runs`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    api::{LatenessView, RunAttempt, RunList, RunRequested},
    id::RunId,
    job::FieldError,
    runlog::task_owner,
    task::NewTask,
};
use tokio::time::{Instant, sleep};

use crate::{
    access::Caller,
    change::{kill::kill_run, task::hand_in},
    input::{Body, Named, NoParams, Params},
    precondition::NoPrecondition,
    problem::ApiError,
    runs::{self, RunFilter, lateness as latenesses, output as outputs},
    state::App,
};

/// The longest wait for more output.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Between two looks at a run that prints nothing.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) async fn list(State(app): State<Arc<App>>, mut params: Params) -> Result<Json<RunList>, ApiError> {
    let (job, task) = (params.text("job"), params.text("task"));
    if let Some(task) = task.as_ref().filter(|_| job.is_some()) {
        let problem = "stands beside job: give one of them";
        return Err(ApiError::bad_field(FieldError::new("task", task, problem, "only task=reindex")));
    }
    let filter = RunFilter {
        owner: job.or_else(|| task.as_deref().map(task_owner)),
        state: params.parsed(
            "state",
            "a state of a run; the states are queued, claimed, running, succeeded, failed, timed_out, killed, lost \
             and expired",
            "failed",
        ),
        worker: params.text("worker"),
        from: params.instant("from"),
        to: params.instant("to"),
        after: params.text("after"),
        limit: params.limit(),
    };
    params.done()?;
    runs::list(&app, &filter).await.map(Json)
}

pub(crate) async fn lateness(
    State(app): State<Arc<App>>,
    mut params: Params,
) -> Result<Json<LatenessView>, ApiError> {
    let (job, worker) = (params.text("job"), params.text("worker"));
    params.done()?;
    latenesses::of_newest(&app, job, worker).await.map(Json)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: NoParams,
    Named(run): Named<RunId>,
) -> Result<Json<RunAttempt>, ApiError> {
    runs::get(&app, run).await.map(Json)
}

/// The output behind `from`. With `wait`, an answer without news is held back this long for news.
pub(crate) async fn output(
    State(app): State<Arc<App>>,
    Named(run): Named<RunId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let from = params.parsed("from", "a number of bytes", "4096").unwrap_or(0);
    let attempt = params.parsed("attempt", "the number of an attempt", "1");
    let wait = params.span("wait").unwrap_or_default().min(LONGEST_WAIT);
    params.done()?;
    let until = Instant::now() + wait;
    loop {
        let (view, share) = outputs::read(&app, run, attempt, from).await?;
        let is_news = view.complete || view.next > from;
        if is_news || Instant::now() >= until || app.ending.is_cancelled() {
            let response = Json(view).into_response();
            return Ok(match share {
                Some(share) => share.left_with(response),
                None => response,
            });
        }
        drop(share);
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = app.ending.cancelled() => {}
        }
    }
}

/// A task, whose id is in the answer and its `Location`. Handed in again under the same id, it is the one that there is.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    _: NoParams,
    _: NoPrecondition,
    caller: Caller,
    Body(body, _share): Body,
) -> Result<Response, ApiError> {
    let new = NewTask::from_value(body, app.now())?;
    let (run, is_new) = hand_in(&app, &caller, new).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/runs/{run}"))];
    Ok((status, location, Json(RunRequested { run: run.to_string() })).into_response())
}

pub(crate) async fn kill(
    State(app): State<Arc<App>>,
    _: NoParams,
    _: NoPrecondition,
    caller: Caller,
    Named(run): Named<RunId>,
) -> Result<(StatusCode, Json<RunRequested>), ApiError> {
    kill_run(&app, &caller, run).await?;
    Ok((StatusCode::ACCEPTED, Json(RunRequested { run: run.to_string() })))
}
