//! GDTS's routes: every answer is HTTP 200 with `{"errno","msg","data"}` in this order, even for errors; what is
//! posted is a form; a job has exactly three keys and a run exactly eight.
//!
//! What its form of a job cannot express is kept: saving over an existing job changes its command and schedule, and a
//! command or an expression that comes back unchanged changes nothing.

use std::sync::Arc;

use axum::{
    Form, Json,
    extract::{FromRequest, Query, Request, State},
    http::Method,
    response::{IntoResponse, Response},
};
use common::{
    id::JobName,
    job::{Job, JobError},
    runlog::{LOG_BYTES, RunRecord},
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use crate::{
    access::Caller,
    budget::Share,
    cache::CachedJob,
    change::{
        delete::delete as delete_job,
        kill::kill_job,
        save::{Expect, save as save_job},
    },
    input::read_body,
    precondition::Precondition,
    problem::ApiError,
    route::{Limits, Role, Route, Schema, Surface, Terms, Verb},
    state::App,
};

mod translate;

/// Its routes. They answer the wrong method in their own form, so that any is theirs.
pub(crate) fn surface() -> Surface<Arc<App>> {
    let tells = |summary, gives| Terms {
        role: Role::Reader,
        limits: Limits::USUAL,
        summary,
        takes: None,
        gives: Some(gives),
    };
    let form = Some(Schema::of::<Form<Vec<(String, String)>>>());
    let does = |summary, gives| Terms { role: Role::Operator, takes: form, ..tells(summary, gives) };
    let (was, nothing) = (Schema::of::<Answer<Option<GdtsJob>>>(), Schema::of::<Answer<()>>());
    let (jobs, runs) = (Schema::of::<Answer<Vec<GdtsJob>>>(), Schema::of::<Answer<Vec<GdtsLog>>>());
    let names = Schema::of::<Answer<Vec<String>>>();
    let routes = vec![
        Route::new(Verb::Any, "/job/save", save, does("Saves a job in GDTS's form", was)),
        Route::new(Verb::Any, "/job/delete", delete, does("Deletes a job, and tells what it was", was)),
        Route::new(Verb::Any, "/job/kill", kill, does("Ends a job's runs, if there are any", nothing)),
        Route::new(Verb::Any, "/job/list", list, tells("All jobs in GDTS's form", jobs)),
        Route::new(Verb::Any, "/job/log", log, tells("A job's finished runs in GDTS's form", runs)),
        Route::new(Verb::Any, "/worker/list", workers, tells("All workers by address", names)),
    ];
    Surface { at: "", from_lists: true, routes }
}

/// `/job/log` without a `limit`, and at most; large outputs end a page before.
const LOG_LIMIT: (usize, usize) = (20, 1000);

/// What a job of ordinary size takes that is shown, as such and as text.
const JOB_TAKES: usize = 512;

/// JSON takes at most this many times its size when it is read.
const JSON_TAKES: usize = 32;

/// Every answer.
#[derive(Serialize)]
struct Answer<T> {
    errno: i8,
    msg: String,
    data: T,
}

/// A job in GDTS's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GdtsJob {
    name: String,
    command: String,
    cron_expr: String,
}

impl From<&Job> for GdtsJob {
    fn from(job: &Job) -> Self {
        let cron_expr = job.trigger.expressions().join(translate::BETWEEN_EXPRESSIONS);
        Self { name: job.name.to_string(), command: job.driver.shell_text(), cron_expr }
    }
}

/// A run in GDTS's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GdtsLog {
    job_name: String,
    command: String,
    err: String,
    output: String,
    plan_time: i64,
    schedule_time: i64,
    start_time: i64,
    end_time: i64,
}

impl From<RunRecord> for GdtsLog {
    fn from(record: RunRecord) -> Self {
        Self {
            job_name: record.job_name.to_string(),
            command: record.command.clone(),
            err: record.err.clone(),
            plan_time: record.plan_time,
            schedule_time: record.schedule_time,
            start_time: record.start_time,
            end_time: record.end_time,
            output: record.told_output(),
        }
    }
}

fn answer(outcome: Result<impl Serialize, ApiError>) -> Response {
    match outcome {
        Ok(data) => Json(Answer { errno: 0, msg: "success".to_owned(), data }).into_response(),
        // Told as the layer tells it that finds no room for an answer.
        Err(error @ ApiError::Busy) => error.into_response(),
        // Nothing serializes as null.
        Err(error) => Json(Answer { errno: -1, msg: error.to_string(), data: () }).into_response(),
    }
}

/// A request's parameters: the form of a POST, the query of a GET.
struct Fields(Vec<(String, String)>);

impl Fields {
    async fn posted(app: &App, request: Request) -> Result<Self, ApiError> {
        if *request.method() != Method::POST {
            return Err(ApiError::bad_request("this route takes POST with a form, as curl -d sends it"));
        }
        let (parts, body) = request.into_parts();
        let read = read_body(Request::from_parts(parts.clone(), body), app).await;
        let (body, _share) = read.map_err(|error| match error {
            ApiError::TooLarge { .. } => ApiError::bad_request(format!("the form cannot be read: {error}")),
            other => other,
        })?;
        let request = Request::from_parts(parts, body.into());
        let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(fields) = form.map_err(|error| {
            ApiError::bad_request(format!(
                "the form cannot be read: {}; send name=value pairs as application/x-www-form-urlencoded",
                error.body_text()
            ))
        })?;
        Ok(Self(fields))
    }

    fn queried(request: &Request) -> Result<Self, ApiError> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(ApiError::bad_request("this route takes GET"));
        }
        Query::try_from_uri(request.uri())
            .map(|Query(fields)| Self(fields))
            .map_err(|error| ApiError::bad_request(format!("the query cannot be read: {error}")))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, ApiError> {
        let given = self.get(name).filter(|value| !value.is_empty());
        given.ok_or_else(|| ApiError::bad_request(format!("the parameter {name:?} is missing")))
    }

    /// What is not a number counts as the default, as it always did.
    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.trim().parse().ok())
    }
}

async fn save(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    answer(do_save(&app, &caller, request).await)
}

/// The job that is posted, by name, and what of it is given.
async fn posted_job(app: &App, request: Request) -> Result<(JobName, Map<String, Value>), ApiError> {
    let fields = Fields::posted(app, request).await?;
    let text = fields.required("job")?;
    let _share = app.budget.hold(text.len() * JSON_TAKES).await?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        ApiError::bad_request(format!("job is not JSON: {error}; use, for example, {}", translate::EXAMPLE))
    })?;
    let given = translate::given(value)?;
    Ok((translate::name(&given)?, given))
}

async fn do_save(app: &App, caller: &Caller, request: Request) -> Result<Option<GdtsJob>, ApiError> {
    let (name, given) = posted_job(app, request).await?;
    let saved = save_job(app, caller, &name, (&Expect::Any, &Precondition::default()), |previous| {
        translate::job(&given, previous).map_err(|error: JobError| error.into())
    })
    .await?;
    Ok(saved.previous.as_ref().map(|stored| GdtsJob::from(&stored.job)))
}

async fn delete(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    answer(do_delete(&app, &caller, request).await)
}

async fn do_delete(app: &App, caller: &Caller, request: Request) -> Result<Option<GdtsJob>, ApiError> {
    let name: JobName = Fields::posted(app, request).await?.required("name")?.parse()?;
    let Some(deleted) = delete_job(app, caller, &name, &Precondition::default()).await? else {
        return Ok(None);
    };
    // What was no job can only be named.
    let unreadable = GdtsJob { name: name.to_string(), command: String::new(), cron_expr: String::new() };
    Ok(Some(deleted.previous.map_or(unreadable, |stored| GdtsJob::from(&stored.job))))
}

async fn kill(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Response {
    answer(do_kill(&app, &caller, request).await)
}

async fn do_kill(app: &App, caller: &Caller, request: Request) -> Result<(), ApiError> {
    let name: JobName = Fields::posted(app, request).await?.required("name")?.parse()?;
    match kill_job(app, caller, &name, &Precondition::default()).await {
        Ok(_) | Err(ApiError::NoSuchJob(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn list(State(app): State<Arc<App>>, request: Request) -> Response {
    match do_list(&app, Fields::queried(&request)).await {
        Ok((jobs, share)) => {
            let shown = move || jobs.iter().map(shown).collect::<Vec<GdtsJob>>();
            answer_elsewhere(share, shown).await
        }
        Err(error) => answer(Err::<(), _>(error)),
    }
}

fn shown((name, job): &(String, Arc<CachedJob>)) -> GdtsJob {
    match &job.stored {
        Ok(stored) => GdtsJob::from(&stored.job),
        Err(_) => GdtsJob { name: name.clone(), command: String::new(), cron_expr: String::new() },
    }
}

/// All jobs, and room for what is shown of them.
async fn do_list(
    app: &App,
    fields: Result<Fields, ApiError>,
) -> Result<(Vec<(String, Arc<CachedJob>)>, Share), ApiError> {
    fields?;
    app.loaded().await?;
    let jobs = app.cache.all_jobs();
    let share = app.budget.hold(jobs.len() * JOB_TAKES).await?;
    Ok((jobs, share))
}

/// The answer with what `data` makes, on a thread that answers no requests: it may be many megabytes. The share stays
/// with it, also when nobody waits for the answer any more.
async fn answer_elsewhere<T: Serialize>(share: Share, data: impl FnOnce() -> T + Send + 'static) -> Response {
    let made = spawn_blocking(move || share.left_with(answer(Ok(data())))).await;
    made.unwrap_or_else(|error| {
        tracing::error!(%error, "failed to make an answer");
        answer(Err::<(), _>(ApiError::Internal))
    })
}

async fn log(State(app): State<Arc<App>>, request: Request) -> Response {
    match do_log(&app, Fields::queried(&request)).await {
        Ok((records, share)) => {
            let shown = move || records.into_iter().map(GdtsLog::from).collect::<Vec<_>>();
            answer_elsewhere(share, shown).await
        }
        Err(error) => answer(Err::<(), _>(error)),
    }
}

/// A page of records, and room for them and for what is shown of them.
async fn do_log(app: &App, fields: Result<Fields, ApiError>) -> Result<(Vec<RunRecord>, Share), ApiError> {
    let fields = fields?;
    let name = fields.required("name")?;
    let (default, most) = LOG_LIMIT;
    let limit = fields.number("limit").filter(|limit| *limit > 0);
    let limit = limit.map_or(default, |limit| usize::try_from(limit).unwrap_or(most).min(most));
    let skip = fields.number("skip").unwrap_or(0);
    let share = app.budget.hold(2 * LOG_BYTES).await?;
    let records = app.ask_runlog(app.runlog.log(name, skip, limit)).await?;
    Ok((records, share))
}

async fn workers(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(do_workers(&app, Fields::queried(&request)).await)
}

async fn do_workers(app: &App, fields: Result<Fields, ApiError>) -> Result<Vec<String>, ApiError> {
    fields?;
    app.loaded().await?;
    let name = |worker: &Arc<common::worker::Registration>| {
        if worker.address.is_empty() { worker.id.to_string() } else { worker.address.clone() }
    };
    Ok(app.cache.workers().iter().map(name).collect())
}
