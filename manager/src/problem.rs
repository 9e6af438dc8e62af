//! The only place where an error becomes a status code and a problem document (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use common::{
    api::{Problem, ProblemKind},
    id::{JobName, NameError, RunId, WorkerId},
    job::{FieldError, JobError, MOST_PROBLEMS},
    live::LiveError,
    lock::LockError,
    run::RunState,
    runlog::RunLogError,
    store::{Revision, StoreError},
};

/// Everything that a request can meet, split by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Invalid(#[from] JobError),
    #[error("{0}")]
    BadRequest(#[source] BadRequest),
    #[error("there is no job {0:?}; GET /api/v1/jobs lists them")]
    NoSuchJob(String),
    #[error("there is no run {0}, neither queued nor running nor in the run log")]
    NoSuchRun(RunId),
    #[error("there is no live worker {0}; GET /api/v1/workers lists them")]
    NoSuchWorker(WorkerId),
    #[error("there is no {0}; docs/api.md lists the routes")]
    NoSuchPath(String),
    #[error("{0} is not a method of this path; the Allow header lists those that are")]
    MethodNotAllowed(String),
    #[error("there is a job {0} already; PUT /api/v1/jobs/{0} replaces it")]
    JobExists(JobName),
    #[error("the stored value of job {name:?} is not a job: {error}; PUT a job in its place, or DELETE it")]
    BrokenJob { name: String, error: JobError },
    #[error(
        "the lock of job {0} says that it is held, in a form that this release does not know; update this manager"
    )]
    UnknownHeldLock(JobName),
    #[error("job {name} executes (run {run}): kill it or wait for its end, then reset its fence")]
    LockHeld { name: JobName, run: RunId },
    #[error("the lock of job {name} cannot be read: {error}; save the job again")]
    BrokenLock { name: JobName, error: LockError },
    #[error("there is another run {0} already; leave \"run\" out to get an id that nothing has")]
    RunExists(RunId),
    #[error("run {run} has ended already: {state}")]
    RunEnded { run: RunId, state: RunState },
    #[error("{}", changed(.name, .given, *.now))]
    Changed { name: JobName, given: String, now: Revision },
    #[error(
        "job {name} exists, at revision {now}, and If-None-Match: {given} requires that it does not; nothing was done"
    )]
    Exists { name: JobName, given: String, now: Revision },
    #[error(
        "this manager's clock is {} s ahead of the workers', so one of them is wrong, and the change might pass over ticks that are yet to come; set the clocks right, or ask another manager",
        .by.num_seconds()
    )]
    ClockAhead { by: TimeDelta },
    #[error(
        "this manager's clock is {} s behind the workers', so one of them is wrong, and ticks that have run might run again; set the clocks right, or ask another manager",
        .by.num_seconds()
    )]
    ClockBehind { by: TimeDelta },
    #[error("the body is larger than {limit} bytes, the limit here")]
    TooLarge { limit: usize },
    #[error("the body's type is {0:?}; send JSON with \"Content-Type: application/json\"")]
    ContentType(String),
    #[error(
        "this server does not answer for the host {0:?}; use localhost or its address, or start it with --allowed-host {0}"
    )]
    Misdirected(String),
    #[error("{0}")]
    CrossSite(String),
    #[error("{}", .0.chain())]
    Store(#[source] StoreError),
    #[error("the store cannot be reached, and nothing has been read from it yet{}", reason(.0))]
    NotLoaded(Option<String>),
    #[error("others keep changing this job; nothing was written, try again")]
    Contended,
    #[error("{}", .0.chain())]
    RunLog(#[source] RunLogError),
    #[error("{0}")]
    Live(#[from] LiveError),
    #[error(
        "other requests and answers use all the memory there is for large ones; try again, or ask for less at a time"
    )]
    Busy,
    #[error("the request took too long; a write may have happened, read it back")]
    TooSlow,
    #[error("something failed that should not have; the manager's log says what")]
    Internal,
}

/// A request that could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct BadRequest {
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
}

fn changed(name: &JobName, given: &str, now: Revision) -> String {
    if now == Revision::NONE {
        return format!("there is no job {name}, and If-Match: {given} requires one; nothing was done");
    }
    format!(
        "job {name} is at revision {now}, not {given}: somebody changed it; get it again and repeat the change"
    )
}

fn reason(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RunLogError> for ApiError {
    fn from(error: RunLogError) -> Self {
        match error {
            RunLogError::BadPosition(position) => Self::bad_field(FieldError::new(
                "after",
                position,
                "is not a position in this list",
                "the \"next\" of the page before",
            )),
            other => Self::RunLog(other),
        }
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::bad_field(FieldError::new(error.what, &error.got, error.problem, error.example))
    }
}

impl ApiError {
    /// Whatever a write was answered with that may have been done.
    pub(crate) fn may_have_happened(error: StoreError) -> Self {
        Self::Store(match error {
            lost @ StoreError::Ambiguous(_) => lost,
            other => StoreError::Ambiguous(other.into()),
        })
    }

    /// True: nobody knows whether what was asked for is done.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Store(StoreError::Ambiguous(_)))
    }

    /// A request that could not be understood because of one field.
    pub(crate) fn bad_field(error: FieldError) -> Self {
        Self::bad_fields(vec![error])
    }

    /// A request that could not be understood because of several; of very many the first are told.
    pub(crate) fn bad_fields(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MOST_PROBLEMS);
        let detail = JobError { errors: errors.clone() }.to_string();
        Self::BadRequest(BadRequest { detail, errors })
    }

    /// A request that could not be understood as a whole.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::BadRequest(BadRequest { detail: detail.into(), errors: Vec::new() })
    }

    const fn kind(&self) -> ProblemKind {
        use ProblemKind as K;
        match self {
            Self::Invalid(_) => K::InvalidJob,
            Self::BadRequest(_) => K::BadRequest,
            Self::NoSuchJob(_) | Self::NoSuchRun(_) | Self::NoSuchWorker(_) | Self::NoSuchPath(_) => {
                K::NotFound
            }
            Self::MethodNotAllowed(_) => K::MethodNotAllowed,
            Self::JobExists(_) => K::JobExists,
            Self::BrokenJob { .. } => K::BrokenJob,
            Self::UnknownHeldLock(_) => K::UnknownLock,
            Self::LockHeld { .. } => K::LockHeld,
            Self::BrokenLock { .. } => K::BrokenLock,
            Self::RunExists(_) => K::RunExists,
            Self::RunEnded { .. } => K::RunEnded,
            Self::Changed { .. } => K::Changed,
            Self::Exists { .. } => K::Exists,
            Self::TooLarge { .. } => K::TooLarge,
            Self::ContentType(_) => K::ContentType,
            Self::Misdirected(_) => K::WrongHost,
            Self::CrossSite(_) => K::CrossSite,
            Self::Store(StoreError::Refused(_)) => K::StoreRefused,
            Self::Store(StoreError::Full(_)) => K::StoreFull,
            Self::Store(StoreError::Ambiguous(_)) => K::InDoubt,
            Self::Store(_) | Self::NotLoaded(_) => K::StoreUnavailable,
            Self::ClockAhead { .. } => K::ClockAhead,
            Self::ClockBehind { .. } => K::ClockBehind,
            Self::Contended => K::Contended,
            Self::RunLog(RunLogError::Refused(_)) => K::RunLogRefused,
            Self::RunLog(_) => K::RunLogUnavailable,
            Self::Live(_) => K::WorkerUnavailable,
            Self::Busy => K::Busy,
            Self::TooSlow => K::TooSlow,
            Self::Internal => K::Internal,
        }
    }

    /// The document.
    pub(crate) fn problem(&self) -> Problem {
        let kind = self.kind();
        let errors = match self {
            Self::Invalid(error) | Self::BrokenJob { error, .. } => error.errors.clone(),
            Self::BadRequest(request) => request.errors.clone(),
            Self::Changed { given, now, .. } => {
                vec![FieldError::new("If-Match", given, "is not the job's revision", now.to_string())]
            }
            Self::Exists { given, now, .. } => {
                let problem = format!("matches the job, which is at revision {now}");
                vec![FieldError::new("If-None-Match", given, problem, "no such header, to replace the job")]
            }
            _ => Vec::new(),
        };
        Problem {
            title: kind.title().to_owned(),
            status: kind.status(),
            kind,
            detail: self.to_string(),
            errors,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(kind = %problem.kind, detail = problem.detail, "answered with an error");
        }
        let mut response = (status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
