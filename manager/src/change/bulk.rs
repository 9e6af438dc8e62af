//! Saving many jobs at once: each goes its own way, as if it had come alone; they share only the transactions that
//! their writes are nested in.

use std::collections::HashSet;

use common::{
    job::{FieldError, Job, JobError},
    store::StoreError,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::save::{Expect, Saved, save_by};
use crate::{access::Caller, input::many::Given, problem::ApiError, state::App};

/// How many are under way at a time: enough to fill the transactions in flight.
const AT_A_TIME: usize = 512;

/// Saves each job, and says what became of each, with its name if it has one. Of several with one name only the first
/// is saved. Whatever is not under way at the request's deadline is refused, so that the request gets an answer.
pub(crate) async fn save_all(
    app: &App,
    caller: &Caller,
    jobs: Vec<Given>,
    expect: &Expect,
) -> Vec<(Option<String>, Result<Saved, ApiError>)> {
    let deadline = App::deadline();
    let mut names = HashSet::new();
    let jobs: Vec<_> = jobs
        .into_iter()
        .map(|Given { name, job }| {
            let is_first = name.as_ref().is_none_or(|name| names.insert(name.clone()));
            (name, if is_first { Ok(job) } else { Err(()) })
        })
        .collect();
    let saves = jobs.into_iter().map(|(name, job)| async move {
        let saved = match job {
            Ok(job) => save_one(deadline, app, caller, job, expect).await,
            Err(()) => Err(twice(name.as_deref().unwrap_or_default())),
        };
        (name, saved)
    });
    stream::iter(saves).buffered(AT_A_TIME).collect().await
}

async fn save_one(
    deadline: Instant,
    app: &App,
    caller: &Caller,
    job: Result<Job, JobError>,
    expect: &Expect,
) -> Result<Saved, ApiError> {
    let job = job?;
    if Instant::now() >= deadline {
        return Err(StoreError::Unavailable("the jobs before it took the request's time".into()).into());
    }
    save_by(deadline, app, caller, &job, expect).await
}

fn twice(name: &str) -> ApiError {
    let problem = "is the name of a job before it in this request";
    JobError::from(FieldError::new("name", name, problem, "a name of its own")).into()
}
