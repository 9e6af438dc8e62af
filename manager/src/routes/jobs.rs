//! `/api/v1/jobs`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    api::{
        BrokenJob, Existing, JobPage, JobView, KillRequested, RunRequested, SaveOutcome, SaveReport,
        SaveResult,
    },
    id::JobName,
    job::{FieldError, Job, JobError},
};
use serde_json::Value;

use crate::{
    access::Caller,
    cache::list::{JobFilter, Position},
    change::{
        bulk,
        delete::delete as delete_job,
        fence,
        kill::kill_job,
        pause::{self, Paused},
        run_now::run_now,
        save::{Expect, Saved, save},
    },
    input::{Body, BulkBody, Named, NoParams, Params},
    precondition::{NoPrecondition, Precondition},
    problem::ApiError,
    state::App,
    view::{Viewer, says_righted},
};

/// So many jobs that do not decode are shown beside a page.
const BROKEN_SHOWN: usize = 100;

pub(crate) async fn list(State(app): State<Arc<App>>, mut params: Params) -> Result<Json<JobPage>, ApiError> {
    let sort = params
        .parsed(
            "sort",
            "an order of jobs; the orders are name, next, ended and result, each also with a minus before it",
            "-ended",
        )
        .unwrap_or_default();
    let after = params.text("after");
    let filter = JobFilter {
        contains: params.text("q"),
        state: params.parsed(
            "state",
            "a state of a job; the states are active, paused, running and the last run's succeeded, failed, \
             timed_out, killed, lost and expired",
            "paused",
        ),
        sort,
        after: after.as_deref().and_then(|text| Position::parse(text, sort)),
        limit: params.limit(),
    };
    params.done()?;
    if let Some(text) = after.filter(|_| filter.after.is_none()) {
        let problem = "is not a position in a list of this order";
        return Err(ApiError::bad_field(FieldError::new(
            "after",
            text,
            problem,
            "the \"next\" of the page before",
        )));
    }
    app.loaded().await?;
    let now = app.now();
    let first_and_any = filter.after.is_none() && filter.state.is_none();
    let broken = if first_and_any { broken(&app, filter.contains.as_deref()) } else { Vec::new() };
    // A walk through all jobs, and at first a schedule to read for each: not on a thread that answers requests.
    let walk = {
        let app = app.clone();
        tokio::task::spawn_blocking(move || app.cache.jobs(&filter, now))
    };
    let (page, next) = walk.await.map_err(|error| {
        tracing::error!(%error, "failed to go through the jobs");
        ApiError::Internal
    })?;
    let viewer = Viewer::new(&app.cache, now);
    let items = page.iter().map(|job| viewer.job(job)).collect::<Result<_, _>>()?;
    Ok(Json(JobPage { items, next, broken }))
}

fn broken(app: &App, contains: Option<&str>) -> Vec<BrokenJob> {
    let told = |(name, job): (String, Arc<crate::cache::CachedJob>)| {
        let problem = job.stored.as_ref().err()?.to_string();
        Some(BrokenJob { name, revision: job.revision, problem })
    };
    app.cache.broken(contains, BROKEN_SHOWN).into_iter().filter_map(told).collect()
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: NoParams,
    Named(name): Named<JobName>,
) -> Result<Response, ApiError> {
    shown(&app, &name).await
}

async fn shown(app: &App, name: &JobName) -> Result<Response, ApiError> {
    app.loaded().await?;
    let snapshot = app.cache.job(name.as_str()).ok_or_else(|| ApiError::NoSuchJob(name.to_string()))?;
    let view = Viewer::new(&app.cache, app.now()).job(&snapshot)?;
    Ok(answer(StatusCode::OK, view))
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Body(body, _share): Body,
) -> Result<Response, ApiError> {
    let job = Job::from_value(body)?;
    let saved = save(&app, &caller, &job.name, (&Expect::Absent, &precondition), |_| Ok(job.clone())).await?;
    let location = format!("/api/v1/jobs/{}", encoded(job.name.as_str()));
    let mut response = saved_view(&app, &saved);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Many jobs, each by itself: a job that is refused stops no other.
pub(crate) async fn save_all(
    State(app): State<Arc<App>>,
    mut params: Params,
    caller: Caller,
    _: NoPrecondition,
    BulkBody(given, _share): BulkBody,
) -> Result<Json<SaveReport>, ApiError> {
    let expect = match params.parsed(
        "existing",
        "a way to treat jobs that exist; the ways are replace and refuse",
        "refuse",
    ) {
        Some(Existing::Refuse) => Expect::Absent,
        Some(Existing::Replace) | None => Expect::Any,
    };
    params.done()?;
    let saved = bulk::save_all(&app, &caller, given, &expect).await;
    let mut report = SaveReport { results: Vec::with_capacity(saved.len()), ..SaveReport::default() };
    for (job, saved) in saved {
        let (result, count) = match &saved {
            Ok(saved) if saved.created => (SaveOutcome::Created, &mut report.created),
            Ok(_) => (SaveOutcome::Replaced, &mut report.replaced),
            Err(error) if error.is_in_doubt() => (SaveOutcome::Unknown, &mut report.unknown),
            Err(_) => (SaveOutcome::Refused, &mut report.refused),
        };
        *count += 1;
        let revision = saved.as_ref().ok().map(|saved| saved.revision);
        let problem = saved.err().map(|error| error.problem());
        report.results.push(SaveResult { job, result, revision, problem });
    }
    Ok(Json(report))
}

pub(crate) async fn replace(
    State(app): State<Arc<App>>,
    _: NoParams,
    Named(name): Named<JobName>,
    caller: Caller,
    precondition: Precondition,
    Body(mut body, _share): Body,
) -> Result<Response, ApiError> {
    if let Value::Object(fields) = &mut body {
        let given = fields.entry("name").or_insert_with(|| Value::String(name.to_string()));
        if given.as_str() != Some(name.as_str()) {
            let problem = format!("is not the name in the path, {name:?}; a job cannot be renamed");
            let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
            return Err(JobError::from(FieldError::new("name", given, problem, format!("{name:?}"))).into());
        }
    }
    let job = Job::from_value(body)?;
    let saved = save(&app, &caller, &name, (&Expect::Any, &precondition), |_| Ok(job.clone())).await?;
    Ok(saved_view(&app, &saved))
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(name): Named<JobName>,
) -> Result<StatusCode, ApiError> {
    match delete_job(&app, &caller, &name, &precondition).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(ApiError::NoSuchJob(name.to_string())),
    }
}

pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(name): Named<JobName>,
) -> Result<Response, ApiError> {
    set_paused(&app, &caller, &name, Paused::Yes, &precondition).await
}

pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(name): Named<JobName>,
) -> Result<Response, ApiError> {
    set_paused(&app, &caller, &name, Paused::No, &precondition).await
}

async fn set_paused(
    app: &App,
    caller: &Caller,
    name: &JobName,
    paused: Paused,
    precondition: &Precondition,
) -> Result<Response, ApiError> {
    let saved = pause::set_paused(app, caller, name, paused, precondition).await?;
    Ok(saved_view(app, &saved))
}

pub(crate) async fn reset_fence(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(name): Named<JobName>,
) -> Result<Response, ApiError> {
    fence::reset(&app, &caller, &name, &precondition).await?;
    shown(&app, &name).await
}

pub(crate) async fn run(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(name): Named<JobName>,
) -> Result<(StatusCode, Json<RunRequested>), ApiError> {
    let run = run_now(&app, &caller, &name, &precondition).await?;
    Ok((StatusCode::ACCEPTED, Json(RunRequested { run: run.to_string() })))
}

pub(crate) async fn kill(
    State(app): State<Arc<App>>,
    _: NoParams,
    caller: Caller,
    precondition: Precondition,
    Named(job): Named<JobName>,
) -> Result<(StatusCode, Json<KillRequested>), ApiError> {
    let runs = kill_job(&app, &caller, &job, &precondition).await?;
    Ok((StatusCode::ACCEPTED, Json(KillRequested { job, runs })))
}

/// The job as it was written, with what the cache knows of its runs.
fn saved_view(app: &App, saved: &Saved) -> Response {
    let known = app.cache.job(saved.stored.job.name.as_str());
    let viewer = Viewer::new(&app.cache, app.now());
    let mut view = viewer.stored(&saved.stored, saved.revision, known.as_ref());
    if let Some(by) = saved.righted {
        let lock = known.as_ref().and_then(|known| known.lock.as_deref());
        view.status.warning = says_righted(by, &view.status.warning, lock, app.now());
    }
    answer(if saved.created { StatusCode::CREATED } else { StatusCode::OK }, view)
}

fn answer(status: StatusCode, view: JobView) -> Response {
    let tag = format!("\"{}\"", view.status.revision);
    (status, [(header::ETAG, tag)], Json(view)).into_response()
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
