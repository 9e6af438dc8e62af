//! Saving many jobs at once: each goes its own way, as if it came alone, and they share the transactions that their
//! writes are nested in.

use std::collections::HashSet;

use common::{
    job::{FieldError, Job, JobError},
    store::StoreError,
};
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;

use super::{Expect, Saved, save_by};
use crate::{precondition::Precondition, problem::ApiError, state::App};

/// More jobs in one request are refused: it has to be answered within seconds.
pub(crate) const MOST_JOBS: usize = 5_000;

/// So many are under way at a time: enough to fill the transactions in flight.
const AT_A_TIME: usize = 512;

const EXAMPLE: &str =
    r#"[{"name": "a", "trigger": {"every": "90s"}, "driver": {"shell": {"command": "date"}}}]"#;

/// The jobs of a body: a list, or `{"jobs": [...]}`.
pub(crate) fn jobs(body: Value) -> Result<Vec<Value>, ApiError> {
    let wrong =
        |got: &str, problem: String| Err(ApiError::bad_field(FieldError::new("jobs", got, problem, EXAMPLE)));
    let jobs = match body {
        Value::Array(jobs) => jobs,
        Value::Object(mut fields) => {
            let jobs = fields.remove("jobs");
            if let Some(other) = fields.keys().next() {
                return wrong(other, format!("stands beside {other:?}, which this does not have"));
            }
            match jobs {
                Some(Value::Array(jobs)) => jobs,
                _ => return wrong("", "is no list of jobs".to_owned()),
            }
        }
        _ => return wrong("", "is no list of jobs".to_owned()),
    };
    if jobs.is_empty() || jobs.len() > MOST_JOBS {
        return wrong(
            &jobs.len().to_string(),
            format!("is not 1 to {MOST_JOBS} jobs; send several requests"),
        );
    }
    Ok(jobs)
}

/// Saves each job, and says of each what became of it, with its name where it has one. Of several of one name only the
/// first is saved. What is not under way at the request's deadline is refused, so that the request has an answer.
pub(crate) async fn save_all(
    app: &App,
    jobs: Vec<Value>,
    expect: &Expect,
) -> Vec<(Option<String>, Result<Saved, ApiError>)> {
    let deadline = App::deadline();
    let mut names = HashSet::new();
    let jobs: Vec<_> = jobs
        .into_iter()
        .map(|job| {
            let name = job.get("name").and_then(Value::as_str).map(str::to_owned);
            let is_first = name.as_ref().is_none_or(|name| names.insert(name.clone()));
            (name, if is_first { Ok(job) } else { Err(()) })
        })
        .collect();
    let saves = jobs.into_iter().map(|(name, job)| async move {
        let saved = match job {
            Ok(job) => save_one(deadline, app, job, expect).await,
            Err(()) => Err(twice(name.as_deref().unwrap_or_default())),
        };
        (name, saved)
    });
    stream::iter(saves).buffered(AT_A_TIME).collect().await
}

async fn save_one(deadline: Instant, app: &App, job: Value, expect: &Expect) -> Result<Saved, ApiError> {
    let job = Job::from_value(job)?;
    if Instant::now() >= deadline {
        return Err(StoreError::Unavailable("the jobs before it took the request's time".into()).into());
    }
    save_by(deadline, app, &job.name, (expect, &Precondition::default()), |_| Ok(job.clone())).await
}

fn twice(name: &str) -> ApiError {
    let problem = "is the name of a job before it in this request";
    JobError::from(FieldError::new("name", name, problem, "a name of its own")).into()
}
